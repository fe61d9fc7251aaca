package storage

import "github.com/lockstep-vm/lockstep/machine"

// queue holds the requests of one disk in the order in which the guest made
// them and says which may run now. It is the one place that knows the rules:
//
//   - a write or flush runs only after the gate has released it;
//   - requests whose blocks overlap run in order if either of them writes, so a
//     read waits for a write that is still held (DESIGN section 5);
//   - a flush runs after every write before it.
type queue struct{ requests []*request }

type request struct {
	machine.Output
	released bool
	running  bool
}

func (q *queue) add(o machine.Output) {
	q.requests = append(q.requests, &request{Output: o, released: !o.Held()})
}

// release lets the held request id run; false if there is none.
func (q *queue) release(id uint64) bool {
	for _, r := range q.requests {
		if r.ID == id && r.Held() {
			r.released = true
			return true
		}
	}
	return false
}

// next is a request that may run now, marked as running; nil if there is none.
func (q *queue) next() *request {
	for i, r := range q.requests {
		if r.released && !r.running && !q.waits(i) {
			r.running = true
			return r
		}
	}
	return nil
}

func (q *queue) waits(i int) bool {
	r := q.requests[i]
	for _, earlier := range q.requests[:i] {
		if after(earlier, r) {
			return true
		}
	}
	return false
}

// after says whether r must wait for the earlier request.
func after(earlier, r *request) bool {
	if r.Op == machine.DiskFlush {
		return earlier.Op == machine.DiskWrite
	}
	if earlier.Op == machine.DiskFlush || earlier.Op == machine.DiskRead && r.Op == machine.DiskRead {
		return false
	}
	a, b := earlier.Sector, r.Sector
	return a < b+sectors(r) && b < a+sectors(earlier)
}

func sectors(r *request) uint64 {
	if r.Op == machine.DiskRead {
		return uint64(r.Length) / sectorSize
	}
	return uint64(len(r.Bytes)) / sectorSize
}

// done removes a request that has run.
func (q *queue) done(r *request) {
	for i, have := range q.requests {
		if have == r {
			q.requests = append(q.requests[:i], q.requests[i+1:]...)
			return
		}
	}
}
