package vm

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// An error of the host's is never the guest's, and least of all in the middle of
// a failover: on one side the other one goes on; on both the VM stands still
// until the disk works again.

// What is issued again at going live may fail too.
func TestReissuedRequestsThatFailStopTheVM(t *testing.T) {
	for _, cause := range []error{unix.EIO, unix.ENOSPC} {
		t.Run(cause.Error(), func(t *testing.T) {
			s := newStage(t)
			s.toy = sim.ToyConfig{Seed: 7, Racing: true}
			primary, backup, ways := s.pairOn(newMedium())
			primary.works(t, 20)
			ways[1].breaks(cause)
			ways[0].breaks(unix.EIO)
			primary.wait(t, Halted)
			backup.log.await(t, EventDiskStopped)
			backup.log.await(t, EventLive)
			one := backup.later(t)
			two := backup.later(t)
			if one.Position != two.Position {
				t.Errorf("the guest runs on, from %d to %d", one.Position, two.Position)
			}
			if len(two.Stopped) != 1 || two.Stopped[0].Error != "the way: "+cause.Error() || two.Stopped[0].Advice != advice(cause) {
				t.Errorf("the status tells %+v", two.Stopped)
			}
			backup.tries(t, ways[1])
			ways[1].breaks(nil)
			backup.comesBack(t, 1)
			backup.works(t, 20)
			backup.cancel()
			backup.wait(t, Ended)
			backup.unharmed(t)
		})
	}
}

// tries has a disk that has stopped tried in vain.
func (g *running) tries(t *testing.T, w *way) {
	t.Helper()
	failed := w.failures()
	g.Resume()
	g.until(t, "attempt", func() bool { return w.failures() > failed })
}

// full is a copy on a host without room.
type full struct {
	storage.Backend
	is *atomic.Bool
}

func (f full) WriteAt(p []byte, off int64) error {
	if f.is.Load() {
		return fmt.Errorf("write: %w", unix.ENOSPC)
	}
	return f.Backend.WriteAt(p, off)
}

// copiesThatFillUp is a protected pair with a copy on each host.
func copiesThatFillUp(t *testing.T) (s *stage, primary, backup *running, fills [2]*atomic.Bool) {
	t.Helper()
	s = newLocalStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	fills = [2]*atomic.Bool{new(atomic.Bool), new(atomic.Bool)}
	side := 1 // the backup is started first
	primary, backup, _ = s.unrulyPair(func(c *Config) {
		is := fills[side]
		side--
		c.wrapCopy = func(b storage.Backend) storage.Backend { return full{b, is} }
		c.retryEvery = 10 * time.Millisecond
	})
	return s, primary, backup, fills
}

// With local disks the other host may have room: the copy is dropped.
func TestCopyOnAFullHostIsDropped(t *testing.T) {
	for side, host := range []string{"a", "b"} {
		t.Run(host, func(t *testing.T) {
			s, primary, backup, full := copiesThatFillUp(t)
			left, lost := backup, primary
			if side == 1 {
				left, lost = primary, backup
			}
			primary.works(t, 20)
			full[side].Store(true)
			lost.wait(t, Halted)
			left.log.await(t, EventLive)
			left.works(t, 20)
			left.cancel()
			left.wait(t, Ended)
			left.unharmed(t)
			if st := s.copyOn(host); st.State != local.Stale {
				t.Errorf("the copy without room is %v", st.State)
			}
		})
	}
}

// Neither host has room: whichever is the last one stands still, its copy is kept,
// and it goes on when there is room.
func TestNeitherHostHasRoom(t *testing.T) {
	_, primary, backup, full := copiesThatFillUp(t)
	primary.works(t, 20)
	full[0].Store(true)
	full[1].Store(true)
	alone := func(g *running) bool {
		st := g.Status()
		return st.State == "alone" && len(st.Stopped) == 1
	}
	gone := func(g *running) bool {
		select {
		case <-g.done:
			return true
		default:
			return false
		}
	}
	primary.until(t, "replica that has the VM", func() bool { return alone(primary) || alone(backup) || gone(primary) || gone(backup) })
	left, lost := primary, backup
	if alone(backup) || gone(primary) {
		left, lost = backup, primary
	}
	left.until(t, "replica that stands still alone", func() bool { return alone(left) })
	one := left.later(t)
	two := left.later(t)
	if one.Position != two.Position || len(two.Stopped) != 1 {
		t.Errorf("the guest runs on, from %d to %d; stopped %+v", one.Position, two.Position, two.Stopped)
	}
	full[0].Store(false)
	full[1].Store(false)
	lost.wait(t, Halted) // one that drains may have waited for room, too
	left.log.await(t, EventDiskResumed)
	left.works(t, 20)
	left.cancel()
	left.wait(t, Ended)
	left.unharmed(t)
}

// limit bounds, in bytes, how large files may be that a process writes.
func (p *process) limit(t *testing.T, bytes uint64) {
	t.Helper()
	var now unix.Rlimit
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, nil, &now); err != nil {
		t.Fatal(err)
	}
	now.Cur = min(bytes, now.Max)
	if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &now, nil); err != nil {
		t.Fatal(err)
	}
}

// halfTheDisk leaves room for an arbiter's cells.
const halfTheDisk = 8 * 512

// A real file that this host cannot write any more: the primary leaves, with it
// goes its lock, and the backup goes on.
func TestPrimaryThatCannotWriteItsFileLeaves(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	primary.limit(t, halfTheDisk)
	primary.ends(t, Halted)
	backup.log.await(t, EventLive)
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
}

// Nor can the other host write it: the VM stands still there and goes on later.
func TestNeitherHostCanWriteTheFile(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	backup.limit(t, halfTheDisk)
	primary.limit(t, halfTheDisk)
	primary.ends(t, Halted)
	backup.log.await(t, EventDiskStopped)
	if backup.log.has(EventDiskResumed) {
		t.Errorf("told %v", backup.log.list)
	}
	backup.limit(t, unix.RLIM_INFINITY)
	backup.log.await(t, EventDiskResumed)
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
}

// A store without room is full for both: the pair waits, protected.
func TestFullStoreIsNoFailover(t *testing.T) {
	for _, reads := range []bool{false, true} {
		t.Run(fmt.Sprintf("reads by the backup %v", reads), func(t *testing.T) {
			s := newStage(t)
			s.reads = reads
			s.toy = sim.ToyConfig{Seed: 7, Racing: true}
			store := s.startStore()
			primary, backup := s.pair()
			primary.works(t, 20)
			store.limit(t, 0)
			primary.log.await(t, EventDiskStopped)
			if st := primary.later(t); st.State != "protected" || len(st.Stopped) != 1 || st.Stopped[0].Advice != advice(unix.ENOSPC) {
				t.Errorf("the primary is %s, stopped %+v", st.State, st.Stopped)
			}
			store.limit(t, unix.RLIM_INFINITY)
			primary.comesBack(t, 1)
			primary.works(t, 20)
			primary.cancel()
			primary.wait(t, Ended)
			backup.wait(t, Ended)
			agree(t, primary, backup)
			primary.unharmed(t)
			for _, g := range []*running{primary, backup} {
				if g.log.has(EventPeerLost) {
					t.Errorf("it looked like a failover: %v", g.log.list)
				}
			}
		})
	}
}
