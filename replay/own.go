package replay

import (
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

// OwnDone completes, without an error, a disk request that each replica does for
// itself: on its copy of a local disk, or as its own read of a shared one
// (DESIGN section 7). The log has no bytes, only their sum; a replica delivers
// what it has read itself, once its own request is done.
type OwnDone struct {
	Disk   uint8
	ID     uint64
	Length uint32 // bytes that were read; 0 for other requests
	Sum    uint64 // xxh3 of these bytes; 0 if there are none
}

func (OwnDone) body() {}

// NewOwnDone is how the log tells of a completion. It must be one without an
// error: those travel as they are, so that both replicas see the same.
func NewOwnDone(d machine.DiskDone) OwnDone {
	if d.Status != machine.DiskOK {
		panic(fmt.Sprintf("replay: BUG: request %d of disk %d has failed", d.ID, d.Disk))
	}
	return OwnDone{Disk: d.Disk, ID: d.ID, Length: uint32(len(d.Bytes)), Sum: ownSum(d.Bytes)}
}

func ownSum(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return xxh3.Hash(b)
}

// OwnRequests are the disk requests that a replica does for itself while it
// replays. Done is the completion of a request, and whether it is done; a
// replayer waits until it is. It is asked again with the same request until the
// entry is applied, and never afterwards.
type OwnRequests interface {
	Done(disk uint8, id uint64) (machine.DiskDone, bool)
}

// OwnFrom tells the replayer where to find what this replica has done for
// itself. Without it an OwnDone is an error.
func (r *Replayer) OwnFrom(own OwnRequests) { r.own = own }

// WaitsForOwn says whether the last Advance ended because a request of this
// replica's own is not done: the machine stands at the entry's position.
func (r *Replayer) WaitsForOwn() bool { return r.waiting }

// applyOwn delivers what this replica has done for itself; false if it is not
// done yet. Bytes with another sum are a divergence of this replica's copy.
func (r *Replayer) applyOwn(e Entry, o OwnDone) (bool, error) {
	if r.own == nil {
		return false, fmt.Errorf("replay: entry %d completes a request of disk %d that each replica does for itself: this log can be replayed only where the disk is", e.Seq, o.Disk)
	}
	done, ok := r.own.Done(o.Disk, o.ID)
	if r.waiting = !ok; !ok {
		return false, nil
	}
	if done.Status != machine.DiskOK || len(done.Bytes) != int(o.Length) || ownSum(done.Bytes) != o.Sum {
		return false, r.differ(e, fmt.Sprintf("what request %d of disk %d has read", o.ID, o.Disk),
			fmt.Sprintf("%d bytes with sum %016x", o.Length, o.Sum),
			fmt.Sprintf("%d bytes with sum %016x, status %d", len(done.Bytes), ownSum(done.Bytes), done.Status))
	}
	return true, r.deliver(e, machine.DiskDone{Disk: o.Disk, ID: o.ID, Bytes: done.Bytes})
}
