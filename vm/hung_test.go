package vm

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// hang makes requests of a kind wait in the host while it is shut.
type hang struct {
	op   machine.DiskOp
	shut atomic.Bool
	open chan struct{}
}

func (h *hang) wait(op machine.DiskOp) {
	if op == h.op && h.shut.Load() {
		<-h.open
	}
}

// hanging is a backend whose requests may hang, and that a backup can read.
type hanging struct {
	storage.Backend
	*hang
}

func (h hanging) Follow() error { return nil }

func (h hanging) ReadAt(p []byte, off int64) error {
	h.wait(machine.DiskRead)
	return h.Backend.ReadAt(p, off)
}

func (h hanging) WriteAt(p []byte, off int64) error {
	h.wait(machine.DiskWrite)
	return h.Backend.WriteAt(p, off)
}

func (h hanging) Sync() error {
	h.wait(machine.DiskFlush)
	return h.Backend.Sync()
}

func TestOnlyOneRequestsWaitIsCounted(t *testing.T) {
	w := diskWait{}
	for i, tt := range []struct {
		oldest uint64
		ticks  int
	}{{0, 0}, {0, 0}, {5, 0}, {5, 1}, {5, 2}, {7, 0}, {7, 1}, {0, 0}, {7, 0}} {
		if w = w.next(tt.oldest); w != (diskWait{tt.oldest, tt.ticks}) {
			t.Errorf("tick %d: %+v, want %+v", i, w, tt)
		}
	}
}

// A request of a backup's that does not come back from the host is no reason for
// the VM to stand still.
func TestBackupWhoseDiskHangsEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		op     machine.DiskOp
		limit  time.Duration
		local  bool
		before func(*stage)
	}{
		"a read of the shared disk":             {machine.DiskRead, hungRequest, false, func(s *stage) { s.reads = true }},
		"a write of its copy":                   {machine.DiskWrite, hungRequest, true, func(*stage) {}},
		"a flush of its copy that others await": {machine.DiskFlush, hungFlush, true, func(s *stage) { s.both = true }},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hang{op: tt.op, open: make(chan struct{})}
			letGo := sync.OnceFunc(func() { close(h.open) })
			defer letGo()
			var primary, backup *running
			var s *stage
			if tt.local {
				s = newLocalStage(t)
				tt.before(s)
				primary, backup = s.localPair(nil, func(b storage.Backend) storage.Backend { return hanging{b, h} })
			} else {
				s = newStage(t)
				tt.before(s)
				backup = s.replicaOn("", "", "", func(_ string, c *Config) {
					c.Disks[0].Path = "hang://" + s.disk()
					c.Openers = storage.Openers{"hang": func(target string, readOnly bool) (storage.Backend, error) {
						b, err := storage.OpenFile(strings.TrimPrefix(target, "hang://"), readOnly)
						return hanging{b, h}, err
					}}
				})
				primary = s.powerOn(backup.Addr())
				primary.log.await(t, EventProtected)
				backup.log.await(t, EventProtected)
			}
			primary.works(t, 20)
			h.shut.Store(true)
			backup.hasWaitedFor(t, tt.limit/2)
			primary.later(t)
			if backup.log.has(EventDiskStopped) {
				t.Fatalf("it ends before its time: %v", backup.log.list)
			}
			backup.hasWaitedFor(t, tt.limit)
			backup.log.await(t, EventDiskStopped)
			primary.until(t, "primary that is alone", func() bool { return primary.Status().State == ft.Alone.String() })
			primary.works(t, 20)
			select {
			case <-backup.done:
				t.Error("it has let go of its disk while a request is under way")
			default:
			}
			letGo()
			backup.wait(t, Halted)
			if backup.err == nil || !strings.Contains(backup.err.Error(), "goes on without it") {
				t.Errorf("the backup says %v", backup.err)
			}
			primary.cancel()
			primary.wait(t, Ended)
			primary.unharmed(t)
		})
	}
}

// Its own copy is none that the VM has to stand still for.
func TestPrimaryWhoseCopyHangsLeavesTheVM(t *testing.T) {
	h := &hang{op: machine.DiskWrite, open: make(chan struct{})}
	letGo := sync.OnceFunc(func() { close(h.open) })
	defer letGo()
	s := newLocalStage(t)
	primary, backup := s.localPair(func(b storage.Backend) storage.Backend { return hanging{b, h} }, nil)
	primary.works(t, 20)
	h.shut.Store(true)
	primary.hasWaitedFor(t, hungRequest/2)
	primary.later(t)
	if primary.log.has(EventDiskStopped) {
		t.Fatalf("it leaves before its time: %v", primary.log.list)
	}
	primary.hasWaitedFor(t, hungRequest)
	primary.log.await(t, EventDiskStopped)
	backup.log.await(t, EventLive)
	backup.works(t, 20)
	letGo()
	primary.wait(t, Halted)
	backup.cancel()
	backup.wait(t, Ended)
	backup.unharmed(t)
	if !primary.log.says("write failed: it is not done after 2m0s") {
		t.Errorf("told %v", primary.log.list)
	}
	if st := s.copyOn("a"); st.State != local.Stale {
		t.Errorf("the copy that hung is %+v", st)
	}
}
