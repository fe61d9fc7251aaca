package vm

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

const (
	sliceTarget  = 100_000 // ns that a slice should take
	minSlice     = 2_000   // instructions
	maxSlice     = 1_000_000
	horizonEvery = 4_000_000     // ns (R10)
	digestEvery  = 1_000_000_000 // instructions (R8); or
	digestPeriod = 5_000_000_000 // ns, for a guest that executes little
	recordEvery  = 100_000_000   // ns of a recorded log that a killed process may lose
	gatherFor    = 2_000_000     // ns that entries for which nothing waits are kept to be sent with others
	gatherBytes  = 256 << 10     // bytes of them that are enough for a write
	coverAfter   = 200_000       // ns of a guest that runs on after which disk writes get their marker
)

// liveState is what only a live replica needs.
type liveState struct {
	attached bool // the host halves are attached
	started  bool // this replica has executed an instruction
	pairing  bool // the State was sent: entries go to the channel
	exit     machine.Exit
	stop     bool // an order to stop the VM
	steer    steering
	slice    machine.Icount
	entropy  []uint32 // lengths of entropy requests that wait

	lastEntry  int64 // host time of the newest entry
	unsent     int   // bytes, at most, of entries that were not sent,
	since      int64 // the oldest of which is from this host time,
	urgent     bool  // and something waits for one of them
	uncovered  bool  // disk writes wait at the gate for a marker,
	leftAt     int64 // the oldest of which left the machine at this host time
	lastFlush  int64 // host time at which the recorded log was last written
	lastDigest machine.Icount
	digestTime int64 // host time of that digest
	throttle   throttle
	accounts   accounts
	frames     []arrived
}

// goLive attaches the host halves. A backup that takes over sends again what
// the old primary may not have released and issues pending requests again.
func (r *Replica) goLive() {
	if r.backup == nil {
		number := r.proto.Number()
		r.task(func() {
			err := r.takeOver(number)
			r.box.do(func() {
				if err != nil {
					r.neverRan(Halted, err)
					return
				}
				r.attach(0, 0)
				if r.restored != nil {
					r.tellRestored()
					r.reissue()
				}
			})
		})
		return
	}
	r.live.started = true
	again := r.follow.unreleased(r.backup.Released())
	heard := int64(r.heard.Sub(r.start))
	timer, armed := r.m.NextTimer()
	r.attach(unseen(r.follow.newest, heard, r.now(), r.m.Clock().At(r.m.Icount()), timer, armed))
	r.wantBackupAt(r.backup.Peer())
	r.backup, r.follow.replayer = nil, nil
	at := r.now()
	var held []machine.Output
	for _, o := range again {
		if o.Port.Kind != machine.PortDisk { // disk requests come from Pending
			held = append(held, o)
		}
	}
	r.out.resume(r.m.ConsoleTail(0))
	r.out.hold(held, at)
	r.reissue()
	// The power-off of a guest that is off may have passed the old primary's
	// gate, and with it the mark of what need not be sent again, without "ended"
	// in the run record.
	if r.live.exit = r.m.Run(r.m.Icount() + 1); r.live.exit == machine.PoweredOff {
		r.out.powerOffAgain()
	}
	r.collect()
}

// reissue makes the requests of a State that came from elsewhere again, and
// tells the network where the guest is now.
func (r *Replica) reissue() {
	for _, o := range r.m.Pending(nil) {
		if r.follow.own.keep(r, o) || r.keepLocal(o) {
			continue
		}
		r.request(o)
		if o.Port.Kind == machine.PortDisk && o.Held() {
			r.disks[o.Port.Index].Release(o.ID)
		}
	}
	for _, n := range r.nics {
		n.Announce()
	}
}

// attach begins to run the machine. Of the time in ns since the guest's clock last
// moved it has slept a part, for which the clock steps, and lost one, which is made
// good slowly.
func (r *Replica) attach(slept, lost int64) {
	l := &r.live
	l.attached = true
	l.slice = minSlice
	l.lastDigest, l.digestTime = r.m.Icount(), r.now()
	l.steer.start(r.now(), r.m.Clock().At(r.m.Icount())+machine.VTime(slept/nsPerTick), lost)
}

// liveSlice delivers what has arrived, runs the machine for a slice and takes
// what came out.
func (r *Replica) liveSlice() {
	l := &r.live
	if r.saving != nil && !r.save() {
		r.sleep(-1)
		return
	}
	if r.stops.any() && !r.stops.off || r.local.standsStill() {
		r.sleep(-1) // the guest stands still
		return
	}
	if r.out.full() || r.primary != nil && r.primary.Full() {
		r.sleep(-1)
		return
	}
	if l.exit == machine.PoweredOff { // takes no more inputs
		r.checkpoint()
		r.send()
		r.sleep(-1)
		return
	}
	busy := r.inputs(l.exit == machine.Idle)
	r.checkpoint()
	r.flush()
	if l.exit == machine.Idle && !busy {
		r.rest()
		return
	}
	before, from := r.now(), r.m.Icount()
	if !l.started {
		l.started = true
		r.event(EventPowerOn, "power-on: run %v", r.run)
	}
	l.exit = r.m.Run(from + l.slice)
	r.collect()
	if l.exit == machine.PoweredOff {
		r.checkpoint() // the log ends with a digest
		r.send()
	}
	r.flush()
	took := r.now() - before
	if done := r.m.Icount() - from; l.exit == machine.Reached && took > 0 {
		l.slice = min(max(done*sliceTarget/machine.Icount(took), minSlice), maxSlice, 2*l.slice)
	}
	r.yield(took)
}

// collect takes what came out of the machine: held outputs go to the gate and
// are covered by a marker (R9), requests to the host.
func (r *Replica) collect() {
	at := r.now()
	r.outputs = r.m.Outputs(r.outputs[:0])
	held, soon := r.outputs[:0], false
	for _, o := range r.outputs {
		if o.Port.Kind == machine.PortDisk || !o.Held() {
			r.request(o)
		}
		if o.Held() {
			held = append(held, o)
			soon = soon || o.Port.Kind != machine.PortDisk
		}
	}
	if len(held) == 0 {
		return
	}
	r.out.hold(held, at)
	clear(r.outputs)
	r.toCover(at)
	if soon {
		r.cover()
	}
}

// request hands a disk request (a held one runs when it is released) or an
// entropy request to the host.
func (r *Replica) request(o machine.Output) {
	switch o.Port.Kind {
	case machine.PortDisk:
		if r.local.noteFlush(o) {
			r.local.flushes.Ask(ft.FlushID(ft.RequestOf(o)))
		}
		r.disks[o.Port.Index].Submit(o)
		r.readByBackup(o)
	case machine.PortEntropy:
		r.live.entropy = append(r.live.entropy, o.Length)
	}
}

// inputs delivers what has arrived, in the order of DESIGN section 9, and says
// whether there was anything. The clock comes first, so that a hart that waited
// sees the time at which its input came.
func (r *Replica) inputs(idle bool) (busy bool) {
	l := &r.live
	disks := r.deliverable(r.follow.own.useful(r.box.takeDisks()))
	l.frames = r.box.takeFrames(l.frames[:0], r.roomFor())
	typed, any := r.box.takeConsole(func(console uint8) int {
		return r.m.RxRoom(machine.Port{Kind: machine.PortConsole, Index: console})
	})
	busy = any || l.stop || len(disks)+len(l.frames)+len(l.entropy) > 0
	now := r.now()
	if idle && (busy || r.timerDue(now)) {
		busy = true
		if c, changed := l.steer.waiting(now, r.m.Icount(), r.m.Clock()); changed {
			r.deliver(machine.SetClock{Clock: c})
		}
	} else if !idle {
		if c, changed := l.steer.running(now, r.m.Icount(), r.m.Clock()); changed {
			r.deliver(machine.SetClock{Clock: c})
		}
	}
	if any {
		r.deliver(typed)
	}
	for _, d := range disks {
		r.deliver(d)
		r.disks[d.Disk].Recycle(d.Bytes) // the log has a copy
	}
	for _, n := range l.entropy {
		b := make([]byte, n)
		if _, err := rand.Read(b); err != nil {
			panic("BUG: crypto/rand does not fail: " + err.Error())
		}
		r.deliver(machine.Entropy{Bytes: b})
	}
	l.entropy = l.entropy[:0]
	for _, a := range l.frames {
		seq := r.deliver(machine.Frame{NIC: a.nic, Bytes: a.frame.Bytes})
		r.out.delivered(seq, a.nic, a.frame.Number)
	}
	clear(l.frames)
	if l.stop {
		l.stop = false
		r.deliver(machine.Stop{})
	}
	return busy
}

// roomFor counts down each NIC's room as frames are taken.
func (r *Replica) roomFor() func(nic uint8) bool {
	var asked [machine.MaxNICs]bool
	var left [machine.MaxNICs]int
	return func(nic uint8) bool {
		if !asked[nic] {
			asked[nic] = true
			left[nic] = r.m.RxRoom(machine.Port{Kind: machine.PortNIC, Index: nic})
		}
		left[nic]--
		return left[nic] >= 0
	}
}

func (r *Replica) timerDue(now int64) bool {
	t, ok := r.m.NextTimer()
	return ok && r.live.steer.until(now, t) == 0
}

// deliver applies an input and logs it; the caller has made sure that it fits.
func (r *Replica) deliver(in machine.Input) replay.Seq {
	if err := r.m.Deliver(in); err != nil {
		panic(fmt.Sprintf("BUG: vm: the machine refuses an input that should fit: %v", err))
	}
	return r.logInput(in)
}

// logging says whether entries go anywhere.
func (r *Replica) logging() bool { return r.live.seeded(r.primary) || r.recorder != nil }

func (l *liveState) seeded(p *logchan.Primary) bool { return p != nil && l.pairing }

// append puts an entry into the log at the present position.
func (r *Replica) append(b replay.Body) replay.Seq {
	r.last = replay.Point{Seq: r.last.Seq + 1, Pos: r.m.Icount()}
	r.live.lastEntry = r.now()
	e := replay.Entry{Seq: r.last.Seq, Pos: r.last.Pos, Body: b}
	if r.live.seeded(r.primary) {
		if err := r.primary.Append(e); err != nil {
			panic(fmt.Sprintf("BUG: vm: the channel refuses an entry: %v", err))
		}
		r.toSend(e)
	}
	if r.recorder != nil {
		if err := r.recorder.Append(e); err != nil {
			if r.cfg.RecordState != "" {
				r.recordLost(err)
			} else {
				r.finish(Halted, fmt.Errorf("vm: the log cannot be written: %w", err))
			}
		}
	}
	return e.Seq
}

// digestDue says whether a digest is due at position i.
func (r *Replica) digestDue(i machine.Icount) bool {
	l := &r.live
	return i-l.lastDigest >= r.cfg.digestEvery ||
		i != l.lastDigest && (l.exit == machine.PoweredOff || r.now()-l.digestTime >= digestPeriod)
}

// checkpoint appends what is due without an event: a digest, a horizon.
func (r *Replica) checkpoint() {
	if !r.logging() {
		return
	}
	l := &r.live
	i := r.m.Icount()
	if r.digestDue(i) {
		l.lastDigest, l.digestTime = i, r.now()
		r.check()
	}
	if i > r.last.Pos && (l.exit == machine.Idle || r.now()-l.lastEntry >= horizonEvery) {
		r.append(replay.Horizon{})
	}
}

// rest sleeps until the guest's next timer is due or something arrives.
func (r *Replica) rest() {
	if !r.disksBusy() {
		r.send() // nothing follows soon
	}
	t, ok := r.m.NextTimer()
	if !ok {
		r.sleep(-1)
		return
	}
	r.sleep(r.live.steer.until(r.now(), t))
}

// yield leaves a share of the host's time to a backup that lags.
func (r *Replica) yield(took int64) {
	l := &r.live
	if r.primary == nil {
		l.throttle = throttle{}
		return
	}
	if a, ok := r.primary.Acked(); ok {
		l.throttle.look(r.now(), a.Lag, r.cfg.LagTarget)
	}
	if d := l.throttle.pause(took); d > 0 {
		r.pause(d)
	}
}

// pause leaves the host alone for d ns. What arrives does not end it: a guest
// with a busy disk would have a pause, and a thread to be woken, for each request.
func (r *Replica) pause(d int64) {
	r.send()
	from := r.now()
	time.Sleep(time.Duration(d))
	r.live.throttle.paused(r.now() - from)
}

// seed ships the State at the present position to a backup that has joined.
func (r *Replica) seed() {
	stood := r.now()
	if r.local != nil && r.local.sync != nil {
		stood = r.local.sync.since
	}
	var state pieces
	if err := r.m.Save(&state); err != nil {
		panic(fmt.Sprintf("BUG: vm: saving to memory failed: %v", err))
	}
	err := r.primary.SendState(logchan.State{
		Base: r.last,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(state.reader()), nil },
	})
	if err != nil {
		r.event(EventNote, "the state cannot be sent: %v", err)
		return
	}
	r.live.pairing, r.live.unsent, r.live.urgent = true, 0, false
	r.out.beginReads()
	r.local.beginEarlier(r.m)
	r.live.lastDigest, r.live.digestTime = r.m.Icount(), r.now()
	r.beginAccounts()
	if r.live.started {
		r.event(EventNote, "sending %d MB of state to the backup; the guest stood still for %d ms", state.size>>20, (r.now()-stood)/1e6)
	} else {
		r.event(EventNote, "sending %d MB of state to the backup", state.size>>20)
	}
}
