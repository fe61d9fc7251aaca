package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
	"github.com/lockstep-vm/lockstep/network"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/storage"
)

// Replica is one replica of a VM. Run drives it on one goroutine, which owns
// every field but those behind box, out and shared:
//
//	Run -> Outputs, marker, flush -> protocol, releases -> clock -> console,
//	disks, entropy, frames -> digest and horizon if due, flush -> next slice
//
// A primary and a backup that went live are the same from then on.
type Replica struct {
	cfg   Config
	self  ft.ProcessID
	start time.Time
	box   *mailbox
	out   *outlet
	arb   arbiter.Arbiter // nil without an arbiter
	end   *logchan.Endpoint
	nics  []*network.NIC
	disks []*storage.Disk
	local *localDisks // nil without local disks

	ctx    context.Context // ends with Run
	cancel context.CancelFunc
	gone   chan struct{} // closed when Run has ended and all is written
	tasks  sync.WaitGroup

	m       machine.Machine
	engine  Engine // of m; empty until there is one
	run     ft.Run
	proto   *ft.Replica
	primary *logchan.Primary // nil unless a pairing is open
	backup  *logchan.Backup  // nil once sealed and replayed

	last     replay.Point // the newest entry
	recorder *replay.Recorder
	restored *snapshot.FileHeader // of a run that began with a snapshot
	saving   *saving              // a snapshot that was asked for; the guest stands still
	writing  bool                 // a snapshot is being written
	live     liveState
	joining  joining
	follow   followState

	stops diskStops          // disks that errors of the host have stopped
	waits map[uint8]diskWait // by disk

	links    int // NICs that reach their switch
	nextTick time.Duration
	turns    atomic.Uint64 // of the owner's loop
	seen     ft.State      // of the protocol, as last told
	gen      uint64        // the newest connection of the pairing
	heard    time.Time     // the peer's last sign of life that was reported
	acked    logchan.Ack
	outputs  []machine.Output
	panicked bool
	stopped  bool
	outcome  Outcome
	failure  error // why a replica that did not end as planned stopped

	shared struct {
		sync.Mutex
		status Status
	}
}

// newReplica opens the host halves of a replica. Nothing runs before Run.
func newReplica(cfg Config) (*Replica, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if _, err := OpenEngine(cfg.Engine); err != nil { // a backup needs it much later
		return nil, err
	}
	r := &Replica{cfg: cfg, start: time.Now(), box: newMailbox(), gone: make(chan struct{})}
	if _, err := rand.Read(r.self[:]); err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.out = newOutlet(r.now, r.box.ring)
	if err := r.open(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// PowerOn makes the primary of a new run. It fails if the last run of the VM is
// not recorded as ended.
func PowerOn(cfg Config) (*Replica, error) {
	r, err := newReplica(cfg)
	if err != nil {
		return nil, err
	}
	if err := r.powerOn(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// Follow makes a backup that waits for a primary to dial it.
func Follow(cfg Config) (*Replica, error) {
	if cfg.Listen == "" {
		return nil, errors.New("vm: a backup needs an address to listen on")
	}
	if cfg.Restore != "" {
		return nil, errors.New("vm: a backup gets its State from the primary; restore the snapshot there")
	}
	if cfg.Record != nil && cfg.RecordState == "" {
		return nil, errors.New("BUG: vm: a backup that records needs a file for the State")
	}
	if cfg.Arbiter == "" {
		return nil, errors.New("vm: a backup needs an arbiter: add `arbiter: file:DIRECTORY` to the spec, the same as at the primary")
	}
	r, err := newReplica(cfg)
	if err != nil {
		return nil, err
	}
	if r.backup, err = r.end.OpenBackup(); err != nil {
		r.close()
		return nil, fmt.Errorf("vm: %w", err)
	}
	return r, nil
}

// open opens the host halves. Nothing is read or written by them before the
// replica is live.
func (r *Replica) open() error {
	c := &r.cfg
	if c.Arbiter != "" {
		arb, err := c.openArbiter()
		if err != nil {
			return err
		}
		r.arb = arb
	}
	if err := r.openCopies(); err != nil {
		return err
	}
	for i, d := range c.Disks {
		if err := r.openDisk(uint8(i), d); err != nil {
			return err
		}
	}
	for i, n := range c.NICs {
		nic, err := network.Dial(r.ctx, network.NICConfig{
			Switch: n.Switch, Insecure: c.Insecure, VM: c.Name, Index: uint8(i), MAC: c.Machine.NICs[i].MAC,
		})
		if err != nil {
			return err
		}
		r.nics = append(r.nics, nic)
	}
	r.out.nics, r.out.disks = r.nics, r.disks
	r.out.console = newConsoleWriter(c.Console, c.ConsoleAt)
	if c.Peer == "" && c.Listen == "" {
		return nil
	}
	listen := c.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	end, err := logchan.Listen(logchan.Config{
		VM: c.Name, Process: r.self, ConfigHash: c.hash(),
		Listen: listen, Advertise: c.Advertise, Insecure: c.Insecure, Heartbeat: c.Heartbeat,
	})
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	r.end = end
	return nil
}

// Addr is where this replica's end of the logging channel listens; empty
// without one.
func (r *Replica) Addr() string {
	if r.end == nil {
		return ""
	}
	return r.end.Addr().String()
}

// powerOn builds the machine in its first state and begins a run (R15).
func (r *Replica) powerOn() error {
	birth := machine.Birth{RTC: uint64(time.Now().UnixNano()), Clock: machine.Clock{Mul: firstMul}}
	if _, err := rand.Read(birth.Seed[:]); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	// First: what cannot run does not begin a run.
	head, err := r.firstState(birth)
	if err != nil {
		return err
	}
	r.run = ft.Run{Ordinal: 1}
	if r.arb != nil {
		p := arbiter.PowerOn{VM: r.cfg.Name, By: r.self, Force: r.cfg.Force}
		if err := r.powerOnFrom(&p); err != nil {
			return err
		}
		run, err := r.arb.BeginRun(p)
		if err != nil {
			return r.local.outrun(err)
		}
		c := ft.Claim{Cell: ft.Cell{VM: r.cfg.Name, Run: run}, By: r.self}
		if p.Mark != nil {
			c.Copies = ft.ClaimedCopies(run, 0, p.Copy)
		}
		owner, err := r.arb.Claim(c)
		if err != nil {
			return err
		}
		if owner != r.self {
			return r.local.outrun(arbiter.ErrTaken)
		}
		r.run = run
	} else {
		// Nobody keeps count of the runs: the time keeps their order, so that
		// the switch takes a later one for the newer.
		r.run.Ordinal = uint64(time.Now().UnixNano())
		copy(r.run.ID[:], r.self[:])
	}
	if r.cfg.Record != nil {
		head.RunOrdinal, head.RunID = r.run.Ordinal, r.run.ID
		if r.recorder, err = replay.NewRecorder(r.cfg.Record, head); err != nil {
			return fmt.Errorf("vm: %w", err)
		}
	}
	r.proto = ft.NewPrimary(r.cfg.protocol(r.run, r.self, r.local))
	r.joining.peer = r.cfg.Peer
	return nil
}

// Run drives the replica to its end. Cancelling ctx stops the VM if this
// replica is live (an entry in the log, gated like any other) and leaves if it
// is not. It returns an error only if the replica could not do its part.
func (r *Replica) Run(ctx context.Context) (Outcome, error) {
	// The reader and writer goroutines of the channel should get a core before
	// the machine does: the Output Rule waits for them.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 5)
	defer r.close()
	defer context.AfterFunc(ctx, func() { r.box.do(r.stop) })()
	if r.end != nil {
		r.task(r.watchChannel)
		r.task(r.watchOwner)
	}
	r.links = len(r.nics)
	for i, n := range r.nics {
		r.task(func() { r.pumpNIC(uint8(i), n) })
		r.task(func() { r.watchNIC(n) })
	}
	if r.arb != nil {
		if ok, why := r.arb.Durable(); !ok {
			r.event(EventNote, "the arbiter at %s is not durable: %s", r.cfg.Arbiter, why)
		}
		if ok, why := r.arb.Outside(); !ok {
			r.event(EventNote, "the arbiter at %s is not on a third place: %s", r.cfg.Arbiter, why)
		}
	}
	r.tellEngine()
	for {
		r.turns.Add(1)
		for _, f := range r.box.takeCommands() {
			f()
			r.obeyCommand()
		}
		r.protocol()
		if r.stopped {
			r.publish()
			return r.outcome, r.failure
		}
		switch {
		case r.running():
			r.liveSlice()
		case r.follow.replayer != nil && !r.follow.diverged:
			r.followSlice()
		default:
			r.sleep(-1)
		}
	}
}

// running says whether this replica's machine is the VM and may execute.
func (r *Replica) running() bool {
	return r.proto != nil && r.proto.Running() && r.live.attached
}

// stop ends the VM by order if this replica is live, and else just leaves.
func (r *Replica) stop() {
	switch {
	case r.running():
		r.live.stop, r.stops.off = true, true
	case r.proto != nil && r.proto.Live() && !r.live.started:
		r.neverRan(Ended, nil)
	default:
		r.finish(Gone, nil)
	}
}

// neverRan ends a run of which not one instruction was executed.
func (r *Replica) neverRan(o Outcome, why error) {
	if r.arb != nil {
		why = errors.Join(why, r.arb.EndRun(r.cfg.Name, r.run))
	}
	r.finish(o, why)
}

// finish makes Run return.
func (r *Replica) finish(o Outcome, why error) {
	if !r.stopped {
		r.stopped, r.outcome, r.failure = true, o, why
	}
}

// Status is a copy of what the replica last published.
func (r *Replica) Status() Status {
	r.shared.Lock()
	defer r.shared.Unlock()
	return r.shared.status
}

// ResetStatistics starts the quantiles and the log's counters anew.
func (r *Replica) ResetStatistics() {
	r.out.resetDelays()
	r.box.do(func() {
		if r.primary != nil {
			r.primary.ResetStats()
		}
	})
}

// Type gives console input to the guest's first console: bytes of a session, from the given
// offset on. It waits while much of it is waiting; false after the end.
func (r *Replica) Type(session, offset uint64, b []byte) bool {
	return r.box.putConsole(machine.ConsoleInput{Session: session, Offset: offset, Bytes: b})
}

// now is host time in ns since this process began.
func (r *Replica) now() int64 { return int64(time.Since(r.start)) }

func (r *Replica) event(kind EventKind, format string, args ...any) {
	r.cfg.OnEvent(Event{Time: time.Now(), Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// task runs f beside the owner; it must end when r.ctx does.
func (r *Replica) task(f func()) { r.tasks.Go(f) }

func (r *Replica) close() {
	r.cancel()
	r.box.close()
	if r.end != nil {
		_ = r.end.Close()
	}
	for _, n := range r.nics {
		_ = n.Close()
	}
	if r.local != nil {
		r.local.endSync()
		r.local.tasks.Wait()
	}
	for _, d := range r.disks {
		_ = d.Close()
	}
	_ = r.local.close(len(r.disks))
	if r.out.console != nil {
		r.out.console.close()
	}
	if r.recorder != nil {
		_ = r.recorder.End()
	}
	if r.arb != nil {
		_ = r.arb.Close() // ends the calls that the tasks wait for
	}
	r.tasks.Wait()
	close(r.gone)
}

// sleep waits until something arrives, the next tick, or for at most d ns if d
// is not negative.
func (r *Replica) sleep(d int64) {
	if r.recorder != nil {
		_ = r.recorder.Flush() // its error sticks and is met by the next Append
	}
	if r.live.uncovered {
		r.send()
	}
	wait := max(r.nextTick-time.Duration(r.now()), 0)
	if d >= 0 {
		wait = min(wait, time.Duration(d))
	}
	if due, some := r.sendDue(r.now()); some {
		wait = min(wait, time.Duration(due))
		defer r.flush()
	}
	var acks, entries <-chan struct{}
	if r.primary != nil && r.awaitsAcks() {
		acks = r.primary.Wake()
	}
	if r.backup != nil {
		entries = r.backup.Wake()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.box.wake:
	case <-acks:
	case <-entries:
	case <-timer.C:
	}
}
