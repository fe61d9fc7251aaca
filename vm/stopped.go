package vm

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
)

// retryEvery is the time between two attempts of a disk that has stopped.
const retryEvery = 5 * time.Second

// diskStops are the disks that errors of the host have stopped. The guest is
// never told: it stands still until its requests are done.
//
//	runs --error--> stopped --retryEvery or an order--> trying --all done--> runs
//	                   ^                                   |
//	                   +--------------- error -------------+
type diskStops struct {
	of   [machine.MaxDisks]*diskStop // nil for a disk that runs
	next int64                       // host time of the next attempt
	off  bool                        // the VM was ordered off: the guest need not stand still for that
}

type diskStop struct {
	storage.Stop
	trying bool
}

// StoppedDisk is what the status tells of a disk that has stopped.
type StoppedDisk struct {
	Disk   uint8  `json:"disk"`
	Op     string `json:"op"` // that failed: read, write, flush, ...
	Error  string `json:"error"`
	Advice string `json:"advice"`
}

func (s *diskStops) any() bool {
	for _, d := range s.of {
		if d != nil {
			return true
		}
	}
	return false
}

func (s *diskStops) status() []StoppedDisk {
	var all []StoppedDisk
	for _, d := range s.of {
		if d != nil {
			all = append(all, StoppedDisk{Disk: d.Disk, Op: d.Op.String(), Error: d.Err.Error(), Advice: advice(d.Err)})
		}
	}
	return all
}

// outOfSpace says whether room on the host is what is missing: then a failover
// to another host with the same disk does not help.
func outOfSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func advice(err error) string {
	if outOfSpace(err) {
		return "make room where the disk lies"
	}
	return "look at the disk's storage and at the log of the host that it is on"
}

// diskStopped makes the guest stand still until a disk works again. A disk that
// belongs to another process is the end of this replica (R19). A protected
// primary leaves the VM to its backup, which may reach what this host does not.
func (r *Replica) diskStopped(s storage.Stop) {
	if r.retryOwn(s) || r.copyFailed(s) {
		return
	}
	var fenced storage.ErrFenced
	if errors.As(s, &fenced) && r.proto != nil {
		r.event(EventNote, "%v", s)
		r.proto.FencedOff()
		return
	}
	r.stops.of[s.Disk] = &diskStop{Stop: s}
	r.stops.next = r.now() + int64(r.cfg.retryEvery)
	what := fmt.Sprintf("disk %d (%s) has stopped: %v failed: %v", s.Disk, r.cfg.Disks[s.Disk].Path, s.Op, s.Err)
	if !outOfSpace(s.Err) && r.proto != nil && r.proto.State() == ft.Protected && r.proto.CopyFailed(what) {
		r.event(EventDiskStopped, "%s; the backup is to go on", what)
		return
	}
	r.event(EventDiskStopped, "%s; the guest stands still and sees no error: %s. It is tried again every %v, and at once by Ctrl-A r or SIGCONT",
		what, advice(s.Err), r.cfg.retryEvery)
}

// Resume tries the disks that have stopped again at once.
func (r *Replica) Resume() {
	r.box.do(func() { r.stops.next = r.now() })
}

// retryDisks tries the disks that have stopped when it is time, and lets the
// guest go on when what they kept is done. A change that waits until the backup
// has read is none of it: the backup's read may wait for the guest. A primary
// that yields leaves its disks alone: another may be writing them.
func (r *Replica) retryDisks() {
	due := r.now() >= r.stops.next
	for i, d := range r.stops.of {
		switch {
		case d == nil:
		case d.trying && r.disks[i].Settled():
			r.stops.of[i] = nil
			r.event(EventDiskResumed, "disk %d (%s) works again", i, r.cfg.Disks[i].Path)
		case !d.trying && due && r.proto.State() != ft.Yielding && !r.proto.State().Final() && !r.out.off():
			d.trying = true
			r.disks[i].Resume()
		}
	}
}
