package sim

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// proc is one process: a replica with its driver and its end of the logging
// channel. What a real process does in goroutines that read (keep and
// acknowledge, release) happens when a message arrives; what its one driving
// goroutine does happens in step, which takes the mailbox first.
type proc struct {
	w    *World
	id   ft.ProcessID
	n    int
	host *host

	dead    bool
	paused  bool
	stalled []func() // what arrived while paused
	mail    []func()

	r    *ft.Replica // nil until a primary has answered
	g    *ft.Gate
	m    *Toy
	hist []uint64 // identity of every held output of the machine, by Count-1

	nextGen  uint64
	conn     *end // newest
	peer     *proc
	dialing  int // the attempt under way; 0 is none
	attempts int
	live     bool // host halves are attached
	liveAt   int  // order of going live; 0 is never
	liveHist int  // outputs in the past when it went live

	// As primary.
	logging  bool
	log      []replay.Entry // not acknowledged yet
	seq      replay.Seq     // last appended
	sent     replay.Seq
	state    *stateOf // of this pairing; nil with local disks
	inputs   []input
	confirms []confirm
	requests []machine.Output // made during the slice, not held
	writes   int              // disk writes on their way
	sends    int              // when the newest frame reaches the switch
	off      bool             // the power-off was released
	slices   int

	// As backup.
	sealed   bool
	hasState bool
	received []replay.Entry // not executed yet
	have     replay.Seq
	done     replay.Seq
	drain    bool
	known    uint64           // released by the primary, as far as told
	unsent   []machine.Output // replayed, perhaps not released by the primary
	speed    int              // instructions in one slice
	endFixed bool

	// With local disks.
	local   *localDisk
	made    []written   // of the machine, in this run
	flushed []flushedAt // what it knew to be flushed, and since when

	// With a shared disk that the backup reads.
	shared *sharing

	// Taken back to, when R16 is broken on purpose.
	saved    *ft.Replica
	savedGen uint64
}

// input is one for the machine, with the switch's id if it is a frame.
type input struct {
	in    machine.Input
	frame uint64
}

type confirm struct {
	frame uint64
	seq   replay.Seq
}

const (
	gateOutputs = 24
	gateBytes   = 1 << 16
)

func (w *World) newProc(h *host) *proc {
	p := &proc{w: w, host: h, n: len(w.procs) + 1, speed: w.rnd.Between(perSlice, 4*perSlice)}
	if w.rnd.OneIn(5) {
		p.speed = perSlice/2 + 2 // lags behind whenever the primary is busy
	}
	binary.BigEndian.PutUint64(p.id[:], w.rnd.Uint64())
	p.id[15] = byte(p.n)
	w.procs = append(w.procs, p)
	h.proc = p
	p.m = NewToy(w.program)
	p.g = ft.NewGate(gateOutputs, gateBytes)
	if w.local() {
		p.openCopy()
	}
	if w.readByBackup() {
		p.share()
	}
	w.after(w.rnd.Intn(slice), p.loop)
	w.after(w.rnd.Intn(tick), p.tickLoop)
	return p
}

func (p *proc) config() ft.Config {
	c := ft.Config{VM: "toy", Run: p.w.run, Self: p.id, Backup: true, Timeout: timeout, DialEvery: 2, AskEvery: 2}
	if p.w.local() {
		c.Copy = p.host.copy.label.ID
	}
	if p.w.cfg.Disks == DisksLocalBoth {
		c.Flush = ft.FlushBoth
	}
	return c
}

// startPrimary powers the VM on: the claim of epoch 0 is won, no fence stands.
func (w *World) startPrimary(h *host) {
	p := w.newProc(h)
	if w.local() {
		p.m.boot(w.base, uint64(w.run.Ordinal)<<32|1)
	}
	if p.shared != nil {
		p.shared.writer = true
	}
	w.arbiter.testAndSet(ft.Cell{Run: w.run}, p.id, ft.Copies{})
	p.r = ft.NewPrimary(p.config())
	w.sw.attach(p, p.r.Number())
	w.check.wentLive(p)
}

// startJoiner starts a process that wants to become a backup.
func (w *World) startJoiner(h *host) {
	p := w.newProc(h)
	w.tracef("%v starts on host %d", p, h.n)
	p.join()
}

// join says hello to whatever process is on the other host.
func (p *proc) join() {
	if p.dead || p.r != nil {
		return
	}
	if q := p.host.other().proc; q != nil && !p.paused {
		p.dial(q, ft.Hello{VM: "toy", Process: p.id})
	}
	p.w.after(p.w.rnd.Between(dialWait, 2*dialWait), p.join)
}

func (p *proc) String() string { return string(rune('A'+(p.n-1)%26)) + string(rune('0'+p.host.n)) }

// soon runs f now, or when the process is no longer paused.
func (p *proc) soon(f func()) {
	switch {
	case p.dead:
	case p.paused:
		p.stalled = append(p.stalled, f)
	default:
		f()
	}
}

// post puts an event in the mailbox of the driving goroutine.
func (p *proc) post(f func()) { p.mail = append(p.mail, f) }

// later is for adapters: f goes to the mailbox.
func (p *proc) later(f func()) { p.soon(func() { p.post(f) }) }

func (p *proc) unpause() {
	if !p.paused {
		return
	}
	p.w.tracef("%v wakes up", p)
	p.paused = false
	stalled := p.stalled
	p.stalled = nil
	for _, f := range stalled {
		p.soon(f)
	}
}

func (p *proc) loop() {
	if p.dead {
		return
	}
	if !p.paused {
		p.step()
	}
	p.w.after(slice, p.loop)
}

// tickLoop is a time.Ticker: what it is late for is dropped.
func (p *proc) tickLoop() {
	if p.dead {
		return
	}
	if !p.paused && p.r != nil {
		p.post(p.r.Tick)
		p.heartbeat()
	}
	p.w.after(tick, p.tickLoop)
}

func (p *proc) heartbeat() {
	if p.conn == nil {
		return
	}
	m := message{kind: kindHeartbeat, released: p.g.Released()}
	if !p.live {
		if p.sealed {
			return
		}
		m = p.ack(kindHeartbeat)
	}
	p.conn.send(m)
}

// step is one round of the driving goroutine.
func (p *proc) step() {
	mail := p.mail
	p.mail = nil
	for _, f := range mail {
		f()
		if p.dead {
			return
		}
		if p.act(); p.dead {
			return
		}
	}
	if p.act(); p.dead || p.r == nil {
		return
	}
	if p.shared != nil && p.live {
		p.retryDisk()
		p.powerOff()
	}
	if p.r.Live() && p.live {
		p.runSlice()
	} else {
		p.replaySlice()
	}
	if !p.dead {
		p.act()
	}
}

// exit ends the process in good order.
func (p *proc) exit() {
	p.w.tracef("%v exits: %v, %s", p, p.r.State(), p.r.Reason())
	if p.conn != nil {
		p.conn.close()
	}
	p.gone()
}

// gone is the end of a process; its host may get a new one.
func (p *proc) gone() {
	p.dead = true
	if p.host.proc == p {
		p.host.proc = nil
		if p.r == nil || p.r.State() != ft.Ended {
			p.w.respawn(p.host)
		}
	}
}

// kill is kill -9: the kernel closes what was open, if the host still lives.
func (p *proc) kill(withHost bool) {
	p.w.check.crashed(p)
	p.w.tracef("%v is killed in %s (host too: %v)", p, p.stateName(), withHost)
	if p.local != nil {
		p.local.crash()
	}
	for _, e := range p.ends() {
		e.peer.lose()
		if !withHost {
			e.close()
		}
	}
	if withHost {
		p.host.down = true
	}
	p.gone()
	if withHost {
		p.host.losePower()
	}
}

func (p *proc) ends() []*end {
	if p.conn == nil {
		return nil
	}
	return []*end{p.conn}
}

func (p *proc) stateName() string {
	if p.r == nil {
		return "no state"
	}
	return p.r.State().String()
}

// hook is a place where a fault may strike; true means that the process died.
func (p *proc) hook(name string) bool {
	p.w.faults.hook(p, name)
	return p.dead
}
