package vm

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// followSlice bounds, in instructions, how long a backup replays before it
// looks at its mailbox.
const followSlice = 200_000

// followState is what only a backup needs.
type followState struct {
	lost     bool // the loss of the peer was told
	diverged bool
	inquiry  *inquiry // diverged, and the primary is asked where
	compared uint64   // digests that agreed

	replayer *replay.Replayer
	own      *ownReads        // nil unless this replica reads a shared disk while it follows
	todo     []replay.Entry   // received, not executed
	history  []machine.Output // held outputs that the primary may not have released
	newest   int64            // host time at which an entry was last received
}

// load makes the machine from the State that the primary has sent.
func (r *Replica) load() {
	state := r.backup.State()
	err := func() error {
		in, err := state.Open()
		if err != nil {
			return err
		}
		defer in.Close()
		m, err := r.build(r.cfg.Machine, machine.Birth{})
		if err != nil {
			return err
		}
		if err := m.Load(in); err != nil {
			return err
		}
		r.m = m
		return nil
	}()
	r.backup.DropState()
	if err != nil {
		r.bye(logchan.ByeLeaving)
		r.finish(Halted, fmt.Errorf("vm: the primary's state cannot be used: %w", err))
		return
	}
	r.last = state.Base
	r.recordReceived(state)
	r.follow.replayer = replay.NewReplayer(r.m, state.Base)
	r.tellEngine()
	r.event(EventNote, "the state is complete: replaying from position %d", state.Base.Pos)
	r.tellSynced()
	r.proto.StateLoaded()
	r.beginOwn()
	r.beginLocal()
	r.recordEntries(r.follow.todo)
	r.follow.own.received(r.follow.todo)
	r.reportArm(r.follow.todo)
}

// take fetches what the channel has received.
func (r *Replica) take() {
	f := &r.follow
	n := len(f.todo)
	f.todo = r.backup.Take(f.todo)
	if len(f.todo) > n {
		f.newest = r.now()
		r.recordEntries(f.todo[n:])
		r.reportArm(f.todo[n:])
		f.own.received(f.todo[n:])
	}
}

func (r *Replica) reportArm(entries []replay.Entry) {
	for _, e := range entries {
		if a, ok := e.Body.(replay.Arm); ok && r.follow.replayer != nil {
			r.proto.ArmSeen(ft.Epoch(a.Epoch))
			r.event(EventProtected, "armed for epoch %d: this backup may go live", a.Epoch)
		}
	}
}

// followSlice replays what was received, for a bounded time.
func (r *Replica) followSlice() {
	f := &r.follow
	r.take()
	r.collectOwn()
	if len(f.todo) == 0 {
		r.proto.Drained(r.last.Seq)
		r.obey()
		if f.replayer != nil && !r.stopped {
			r.sleep(-1)
		}
		return
	}
	limit := r.m.Icount() + followSlice
	done := 0
	for done < len(f.todo) && r.m.Icount() < limit {
		applied, err := f.replayer.Advance(f.todo[done], limit)
		r.collectHistory()
		if err != nil {
			r.diverge(err)
			return
		}
		if applied {
			r.last = f.replayer.Last()
			f.own.applied(f.todo[done])
			r.local.applied(f.todo[done])
			r.flushTo(f.todo[done])
			done++
		}
		if f.replayer.WaitsForOwn() {
			break
		}
	}
	f.todo = append(f.todo[:0], f.todo[done:]...)
	clear(f.todo[len(f.todo):cap(f.todo)])
	r.backup.SetExecuted(r.m.Icount())
	if done == 0 && f.replayer.WaitsForOwn() {
		r.sleep(-1)
	}
}

// collectHistory keeps the outputs that the primary may not have released, and
// learns from frames what the guest's addresses are.
func (r *Replica) collectHistory() {
	f := &r.follow
	r.outputs = r.m.Outputs(r.outputs[:0])
	for _, o := range r.outputs {
		f.own.made(o)
		r.madeLocal(o)
		if !o.Held() {
			continue
		}
		if o.Port.Kind == machine.PortNIC {
			r.nics[o.Port.Index].Learn(o.Bytes)
		}
		f.history = append(f.history, o)
	}
	f.trim(r.backup.Released())
}

func (f *followState) trim(released uint64) {
	n := 0
	for n < len(f.history) && f.history[n].Count <= released {
		n++
	}
	if n > 0 {
		rest := copy(f.history, f.history[n:])
		clear(f.history[rest:])
		f.history = f.history[:rest]
	}
}

// unreleased is what must be sent again at going live.
func (f *followState) unreleased(released uint64) []machine.Output {
	f.trim(released)
	again := f.history
	f.history = nil
	return again
}
