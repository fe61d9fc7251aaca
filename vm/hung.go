package vm

import (
	"fmt"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
)

// A backup's replay waits for its own disks, and what the guest writes, or a full
// log, waits for the backup at last. So a backup whose disk does not do a request
// for this long ends, whether the request fails again and again or does not come
// back at all, and the VM goes on without it.
const (
	hungRead = 30 * time.Second // of a shared disk
	hungCopy = 2 * time.Minute  // of an own copy, whose flush may have gigabytes to write
)

// diskWait is for how many ticks a disk's oldest request has been the same. Ticks
// do not count what this process has slept.
type diskWait struct {
	oldest uint64 // as of storage.Disk
	ticks  int
}

// next is the wait a tick later; oldest is 0 if there is no request.
func (w diskWait) next(oldest uint64) diskWait {
	if oldest == 0 || oldest != w.oldest {
		return diskWait{oldest: oldest}
	}
	return diskWait{oldest, w.ticks + 1}
}

// watchDisks is called once a tick. A backup that has lost its primary is all that
// there is of the VM, and waits for as long as it takes.
func (r *Replica) watchDisks() {
	if r.proto.State() != ft.Replaying {
		r.follow.waits = nil
		return
	}
	if r.follow.waits == nil {
		r.follow.waits = map[uint8]diskWait{}
	}
	for i, d := range r.disks {
		i := uint8(i)
		w := r.follow.waits[i].next(d.Oldest())
		r.follow.waits[i] = w
		limit := hungRead
		if r.local.is(i) {
			limit = hungCopy
		}
		if time.Duration(w.ticks)*r.cfg.tick() >= limit {
			r.diskHangs(i, limit)
			return
		}
	}
}

// diskHangs ends this backup.
func (r *Replica) diskHangs(disk uint8, limit time.Duration) {
	const end = "this backup ends, so that the VM goes on without it: see to the disk and start it again"
	r.bye(logchan.ByeHalted) // the primary need not wait for silence
	if w := r.follow.own; w.reads(disk) {
		if s, fails := w.fails[disk]; fails {
			r.finish(Halted, fmt.Errorf("vm: %w, for %v; %s", s, limit, end))
			return
		}
	}
	path := r.cfg.Disks[disk].Path
	r.event(EventDiskStopped, "disk %d (%s) has not done a request for %v: this process is no backup any more, and ends when the host lets go of the request", disk, path, limit)
	r.finish(Halted, fmt.Errorf("vm: disk %d (%s) has not done a request for %v; %s", disk, path, limit, end))
}
