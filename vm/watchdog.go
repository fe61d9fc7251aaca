package vm

import (
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

// hungOwner is how long the goroutine that owns the machine may be stuck in the
// host, in a write to a disk that hangs for example, before the other replica is
// to go on without this one.
const hungOwner = 30 * time.Second

// watchOwner cuts a replica whose owner is stuck off from its peer, which takes
// it for dead then: what this process still receives and acknowledges would keep
// its place for it. When the owner is back it finds what one finds that was
// partitioned. Before a pairing is armed nobody needs it: to receive a State and to
// write it down may take longer. Time is counted in ticks of this goroutine's, so
// that what the whole process has slept is not held against it.
func (r *Replica) watchOwner() {
	tick := time.NewTicker(r.cfg.tick())
	defer tick.Stop()
	last, stuck := r.turns.Load(), time.Duration(0)
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		turns := r.turns.Load()
		if turns != last {
			last, stuck = turns, 0
			r.end.Isolate(false)
			continue
		}
		before := stuck
		if stuck += r.cfg.tick(); stuck < r.cfg.hungOwner || !r.wasArmed() {
			continue
		}
		r.end.Isolate(true)
		if before < r.cfg.hungOwner {
			r.box.do(func() { // when the owner is back
				r.event(EventNote, "this process was stuck in the host for %v or longer, and cut itself off from the other replica: look at the host's disks", r.cfg.hungOwner)
			})
		}
	}
}

// wasArmed says whether this replica was one of a protected pair when its owner last
// said so.
func (r *Replica) wasArmed() bool {
	state := r.Status().State
	return state == ft.Protected.String() || state == ft.Replaying.String()
}
