package storage

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// queue holds the requests of one disk in the order in which the guest made
// them and says which may run. It is the one place that knows the rules:
//
//   - what changes a shared disk or flushes it runs only after the gate has
//     released it;
//   - requests whose blocks overlap run in order if either of them changes
//     blocks, so a read waits for a write that is still held (DESIGN section 5);
//     a discard and a zeroing change blocks as a write does;
//   - a flush runs after everything before it that changes blocks.
//
// What a request waits for is found when it is added, by one look at those that
// could be in its way; from then on it only counts down. Nothing is searched
// when a request is taken or done.
type queue struct {
	added    uint64 // requests so far
	byID     map[uint64]*request
	reads    []*request // that are in the queue, in no order
	changes  []*request // writes, discards and zeroings, in no order
	ready    []*request // may run, in the order of the guest
	released int        // in the queue, let go by the gate
}

type request struct {
	machine.Output
	order    uint64 // of the guest
	at       int    // in reads or changes
	released bool
	waits    int        // how many requests must be done first
	blocks   []*request // those that wait for this one
}

func newQueue() *queue { return &queue{byID: map[uint64]*request{}} }

func (q *queue) add(o machine.Output) {
	q.added++
	r := &request{Output: o, order: q.added, released: !o.Held()}
	q.byID[o.ID] = r
	for _, c := range q.changes {
		if o.Op == machine.DiskFlush || overlap(c, r) {
			r.after(c)
		}
	}
	if r.changes() {
		for _, read := range q.reads {
			if overlap(read, r) {
				r.after(read)
			}
		}
	}
	switch {
	case r.changes():
		r.at = len(q.changes)
		q.changes = append(q.changes, r)
	case o.Op == machine.DiskRead:
		r.at = len(q.reads)
		q.reads = append(q.reads, r)
	}
	if r.released {
		q.released++
	}
	q.consider(r)
}

// release lets the held request id run; false if there is none.
func (q *queue) release(id uint64) bool {
	r := q.byID[id]
	if r == nil || !r.Held() {
		return false
	}
	if !r.released {
		r.released = true
		q.released++
		q.consider(r)
	}
	return true
}

// oldest is the first request in the queue; nil if it is empty.
func (q *queue) oldest() (first *request) {
	for _, r := range q.byID {
		if first == nil || r.order < first.order {
			first = r
		}
	}
	return first
}

// next takes the first request that may run; nil if there is none. It stays in
// the way of others until it is done.
func (q *queue) next() *request {
	if len(q.ready) == 0 {
		return nil
	}
	r := q.ready[0]
	q.ready = slices.Delete(q.ready, 0, 1)
	return r
}

// only says whether a request is the only one that may run.
func (q *queue) only(id uint64) bool { return len(q.ready) == 1 && q.ready[0].ID == id }

// again takes back a request that next gave out and that was not done.
func (q *queue) again(r *request) { q.consider(r) }

// done removes a request that has run.
func (q *queue) done(r *request) {
	delete(q.byID, r.ID)
	q.released--
	switch {
	case r.changes():
		q.changes = remove(q.changes, r)
	case r.Op == machine.DiskRead:
		q.reads = remove(q.reads, r)
	}
	for _, later := range r.blocks {
		later.waits--
		q.consider(later)
	}
	r.blocks = nil
}

func (q *queue) consider(r *request) {
	if !r.released || r.waits > 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(q.ready, r.order, func(have *request, order uint64) int {
		if have.order < order {
			return -1
		}
		return 1
	})
	q.ready = slices.Insert(q.ready, i, r)
}

func (r *request) after(earlier *request) {
	earlier.blocks = append(earlier.blocks, r)
	r.waits++
}

func (r *request) changes() bool {
	switch r.Op {
	case machine.DiskWrite, machine.DiskDiscard, machine.DiskZero:
		return true
	}
	return false
}

// sectors is how many sectors the request is about; 0 for a flush.
func (r *request) sectors() uint64 {
	switch r.Op {
	case machine.DiskRead:
		return uint64(r.Length) / sectorSize
	case machine.DiskWrite:
		return uint64(len(r.Bytes)) / sectorSize
	case machine.DiskDiscard, machine.DiskZero:
		return r.Sectors
	}
	return 0
}

func overlap(r, s *request) bool {
	return r.Sector < s.Sector+s.sectors() && s.Sector < r.Sector+r.sectors()
}

// remove takes r, which knows its place, out of a list without an order.
func remove(list []*request, r *request) []*request {
	last := len(list) - 1
	list[r.at] = list[last]
	list[r.at].at = r.at
	list[last] = nil
	return list[:last]
}
