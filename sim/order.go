package sim

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// After says whether a disk request waits until an earlier one of the guest's is
// done: the order that storage promises, in the plainest words.
func After(earlier, o machine.Output) bool {
	if o.Op == machine.DiskFlush {
		return changes(earlier)
	}
	return (changes(earlier) || changes(o)) && overlap(earlier, o)
}

func changes(o machine.Output) bool {
	return o.Op == machine.DiskWrite || o.Op == machine.DiskDiscard || o.Op == machine.DiskZero
}

func overlap(a, b machine.Output) bool {
	return a.Port.Index == b.Port.Index && a.Sector < b.Sector+sectorsOf(b) && b.Sector < a.Sector+sectorsOf(a)
}

// queue is a process's requests for the shared disk, as storage.Disk has them:
// in the guest's order where After says so, what changes blocks let go by the
// gate first. An error of the host stops it; it keeps what it has, and all is
// tried again.
type queue struct {
	perform func(*queued)
	waits   []*queued // not done, in the guest's order
	running int
	halted  bool   // nothing begins, for the claim
	stopped bool   // nothing begins, since one has failed
	quiet   func() // called once when nothing runs
}

type queued struct {
	machine.Output
	released, running bool
}

// submit takes a request of the guest's; a held one runs when it is released.
func (q *queue) submit(o machine.Output) {
	q.waits = append(q.waits, &queued{Output: o, released: !o.Held()})
	q.begin()
}

// release lets a held request run.
func (q *queue) release(id uint64) {
	i := slices.IndexFunc(q.waits, func(r *queued) bool { return r.ID == id && r.Held() })
	if i < 0 {
		panic("BUG: sim: a request is released that is not held")
	}
	q.waits[i].released = true
	q.begin()
}

// begin begins whatever may run.
func (q *queue) begin() {
	for i, r := range q.waits {
		if q.halted || q.stopped {
			return
		}
		if q.mayRun(i) {
			r.running = true
			q.running++
			q.perform(r)
		}
	}
}

func (q *queue) mayRun(i int) bool {
	r := q.waits[i]
	return r.released && !r.running && !slices.ContainsFunc(q.waits[:i], func(e *queued) bool { return After(e.Output, r.Output) })
}

// left is the end of one that ran: done, or to be tried again.
func (q *queue) left(r *queued, done bool) {
	r.running = false
	q.running--
	if done {
		q.waits = slices.DeleteFunc(q.waits, func(x *queued) bool { return x == r })
	}
	if f := q.quiet; f != nil && q.running == 0 {
		q.quiet = nil
		f()
	}
}

// halt lets nothing begin, for a claim, and calls f when nothing runs.
func (q *queue) halt(f func()) {
	if q.halted = true; q.running == 0 {
		f()
		return
	}
	q.quiet = f
}

// claimed lets requests begin again.
func (q *queue) claimed() {
	q.halted = false
	q.begin()
}

// resume tries again after an error.
func (q *queue) resume() {
	q.stopped = false
	q.begin()
}

// settled says whether all that may run has run.
func (q *queue) settled() bool {
	for i := range q.waits {
		if q.mayRun(i) {
			return false
		}
	}
	return q.running == 0 && !q.stopped
}

// idle says whether nothing that was released is left to do.
func (q *queue) idle() bool {
	return !slices.ContainsFunc(q.waits, func(r *queued) bool { return r.released })
}
