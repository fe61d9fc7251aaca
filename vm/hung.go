package vm

import (
	"fmt"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
)

// The VM must not stand still for a request that one host does not do, whether it
// fails again and again or does not come back at all, while the other host's disk
// is good. So after this long a backup ends, for whose replay the guest's writes or
// a full log wait at last, and a protected primary leaves the VM to its backup if
// the copy is its own. A shared disk that does not answer the primary may not
// answer the backup either.
const (
	failingRead = 30 * time.Second // of a shared disk, by the backup
	hungRequest = 2 * time.Minute  // a block store may be started again meanwhile
	hungFlush   = 10 * time.Minute // with gigabytes to write
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

// watchDisks is called once a tick. Who is all that there is of the VM waits for as
// long as it takes.
func (r *Replica) watchDisks() {
	follows := r.proto.State() == ft.Replaying
	if !follows && r.proto.State() != ft.Protected {
		r.waits = nil
		return
	}
	if r.waits == nil {
		r.waits = map[uint8]diskWait{}
	}
	for i, d := range r.disks {
		disk := uint8(i)
		if !follows && !r.local.is(disk) {
			continue
		}
		oldest, op := d.Oldest()
		w := r.waits[disk].next(oldest)
		r.waits[disk] = w
		limit := r.hungAfter(disk, op)
		switch {
		case time.Duration(w.ticks)*r.cfg.tick() < limit:
		case follows:
			r.endForDisk(disk, limit)
			return
		default:
			r.copyFailed(storage.Stop{Disk: disk, Op: op, Err: fmt.Errorf("it is not done after %v", limit)})
			return
		}
	}
}

// hungAfter is for how long a request is waited for.
func (r *Replica) hungAfter(disk uint8, op machine.DiskOp) time.Duration {
	switch {
	case r.follow.own.failing(disk) != nil:
		return failingRead
	case op == machine.DiskFlush:
		return hungFlush
	}
	return hungRequest
}

// endForDisk ends this backup.
func (r *Replica) endForDisk(disk uint8, limit time.Duration) {
	r.bye(logchan.ByeHalted) // the primary need not wait for silence
	why := fmt.Errorf("disk %d (%s) has not done a request for %v", disk, r.cfg.Disks[disk].Path, limit)
	if s := r.follow.own.failing(disk); s != nil {
		why = fmt.Errorf("%w, for %v", *s, limit)
	}
	r.event(EventDiskStopped, "%v: this process is no backup any more, and ends when the host has let go of its requests", why)
	r.finish(Halted, fmt.Errorf("vm: %w; this backup ends, so that the VM goes on without it: see to the disk and start it again", why))
}
