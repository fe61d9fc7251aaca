package vm

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
)

// medium is a disk that two replicas share. It compares fence numbers.
type medium struct {
	mu      sync.Mutex
	blocks  []byte
	highest ft.Fence
}

// way is one replica's way to the medium. It can break.
type way struct {
	*medium
	number ft.Fence
	broken error
	failed int
	shut   chan struct{} // if not nil, what works waits until it is closed
}

func newMedium() *medium { return &medium{blocks: make([]byte, 16*512)} }

// put makes the way the only disk of a replica.
func (w *way) put(cfg *Config) {
	cfg.Disks[0].Path = "way://disk"
	cfg.Openers = storage.Openers{"way": func(string, bool) (storage.Backend, error) { return w, nil }}
	cfg.retryEvery = time.Hour
}

func (w *way) breaks(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
}

func (w *way) failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// mends lets what was broken work, and wait until the function is called.
func (w *way) mends() (open func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken, w.shut = nil, make(chan struct{})
	return func() { close(w.shut) }
}

func (w *way) do(f func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if shut := w.shut; shut != nil && w.broken == nil {
		w.mu.Unlock()
		<-shut
		w.mu.Lock()
	}
	if w.number.Less(w.highest) {
		return storage.ErrFenced{By: w.highest}
	}
	if w.broken != nil {
		w.failed++
		return fmt.Errorf("the way: %w", w.broken)
	}
	f()
	return nil
}

func (w *way) Sectors() uint64   { return uint64(len(w.blocks) / 512) }
func (w *way) BlockSize() uint32 { return 512 }
func (w *way) Claim(_ context.Context, number ft.Fence, _ func(string)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number, w.highest = number, number
	return nil
}
func (w *way) ReadAt(p []byte, off int64) error {
	return w.do(func() { copy(p, w.blocks[off:]) })
}
func (w *way) WriteAt(p []byte, off int64) error {
	return w.do(func() { copy(w.blocks[off:], p) })
}
func (w *way) Sync() error                { return w.do(func() {}) }
func (w *way) Discard(off, n int64) error { return w.Zero(off, n) }
func (w *way) Zero(off, n int64) error {
	return w.do(func() { clear(w.blocks[off : off+n]) })
}
func (w *way) Close() error { return nil }

// aloneOn powers on a toy without a backup.
func (s *stage) aloneOn(w *way, change ...func(*Config)) *running {
	s.t.Helper()
	log := newEvents()
	cfg := s.config(log)
	w.put(&cfg)
	for _, c := range change {
		c(&cfg)
	}
	r, err := PowerOn(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, r, log)
}

// pairOn is a protected pair, each with its own way to one medium.
func (s *stage) pairOn(m *medium) (primary, backup *running, ways [2]*way) {
	s.t.Helper()
	ways = [2]*way{{medium: m}, {medium: m}}
	log := newEvents()
	cfg := s.config(log)
	ways[1].put(&cfg)
	cfg.Listen = porttest.Address()
	r, err := Follow(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	backup = run(s.t, r, log)
	primary = s.aloneOn(ways[0], func(c *Config) { c.Peer = r.Addr() })
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup, ways
}

// works waits until so many outputs were released since.
func (g *running) works(t *testing.T, n uint64) {
	t.Helper()
	before := g.Status().OutputDelay.Count
	g.until(t, "outputs that are released", func() bool { return g.Status().OutputDelay.Count >= before+n })
}

// later is the status after the next one, so that what it tells began after the
// call.
func (g *running) later(t *testing.T) Status {
	t.Helper()
	st := g.Status()
	for range 2 {
		before := st.Time
		g.until(t, "newer status", func() bool {
			st = g.Status()
			return !st.Time.Equal(before)
		})
	}
	return st
}

func (g *running) unharmed(t *testing.T) {
	t.Helper()
	if n := g.m.(*sim.Toy).Corrupt(); n > 0 {
		t.Errorf("the guest read something else than it wrote, %d times", n)
	}
	if n := g.m.(*sim.Toy).Failed(); n > 0 {
		t.Errorf("the guest saw %d errors", n)
	}
}

// An error of the host is never the guest's: it stands still, and goes on where
// it was.
func TestGuestStandsStillWhileItsDiskIsStopped(t *testing.T) {
	s := newStage(t)
	w := &way{medium: newMedium()}
	g := s.aloneOn(w)
	g.works(t, 20)
	w.breaks(unix.ENOSPC)
	g.log.await(t, EventDiskStopped)
	one := g.later(t)
	two := g.later(t)
	if one.Position != two.Position {
		t.Errorf("the guest runs on, from %d to %d", one.Position, two.Position)
	}
	before := w.failures()
	if g.later(t); w.failures() != before {
		t.Error("the disk is tried again before it is time")
	}
	if len(two.Stopped) != 1 || two.Stopped[0].Disk != 0 || two.Stopped[0].Op == "" ||
		two.Stopped[0].Error != "the way: no space left on device" || two.Stopped[0].Advice != "make room where the disk lies" {
		t.Errorf("the status tells %+v", two.Stopped)
	}
	failed := w.failures()
	g.Resume()
	g.until(t, "attempt by order", func() bool { return w.failures() > failed }) // and stopped anew
	if st := g.later(t); st.Position != two.Position || g.log.has(EventDiskResumed) {
		t.Errorf("the guest ran on to %d from %d though nothing was done: %v", st.Position, two.Position, g.log.list)
	}
	open := sync.OnceFunc(w.mends())
	defer open()
	g.Resume()
	if st := g.later(t); st.Position != two.Position || len(st.Stopped) != 1 || g.log.has(EventDiskResumed) {
		t.Errorf("the disk works again before what it kept is done: %+v, %v", st.Stopped, g.log.list)
	}
	open()
	g.log.await(t, EventDiskResumed)
	g.works(t, 20)
	if st := g.later(t); len(st.Stopped) != 0 {
		t.Errorf("the status still tells %+v", st.Stopped)
	}
	g.cancel()
	g.wait(t, Ended)
	g.unharmed(t)
}

// Without an order it is tried again from time to time.
func TestStoppedDiskIsTriedAgain(t *testing.T) {
	s := newStage(t)
	w := &way{medium: newMedium()}
	g := s.aloneOn(w, func(c *Config) { c.retryEvery = 20 * time.Millisecond })
	g.works(t, 20)
	w.breaks(unix.EIO)
	g.log.await(t, EventDiskStopped)
	failed := w.failures()
	g.until(t, "attempts of its own", func() bool { return w.failures() >= failed+3 })
	w.breaks(nil)
	g.log.await(t, EventDiskResumed)
	g.works(t, 20)
	g.cancel()
	g.wait(t, Ended)
	g.unharmed(t)
}

// A VM whose disk has stopped can be switched off: what was never done for the
// guest is dropped, as when its plug is pulled.
func TestVMWithAStoppedDiskEndsByOrder(t *testing.T) {
	s := newStage(t)
	w := &way{medium: newMedium()}
	g := s.aloneOn(w)
	g.works(t, 20)
	w.breaks(unix.EIO)
	g.log.await(t, EventDiskStopped)
	g.cancel()
	g.wait(t, Ended)
	if !s.ended() {
		t.Error("the run record does not say that the run has ended")
	}
}

// The backup's way to the disk may work: it goes on, with what the primary could
// not do.
func TestBackupGoesOnWhenThePrimaryLosesItsDisk(t *testing.T) {
	s := newStage(t)
	primary, backup, ways := s.pairOn(newMedium())
	primary.works(t, 20)
	ways[0].breaks(unix.EIO)
	primary.log.await(t, EventDiskStopped)
	backup.log.await(t, EventLive)
	primary.wait(t, Halted)
	backup.works(t, 20)
	backup.cancel()
	backup.wait(t, Ended)
	backup.unharmed(t)
}

// A full disk is full for both: the pair waits, protected.
func TestFullDiskIsNoFailover(t *testing.T) {
	s := newStage(t)
	primary, backup, ways := s.pairOn(newMedium())
	primary.works(t, 20)
	ways[0].breaks(unix.ENOSPC)
	primary.log.await(t, EventDiskStopped)
	if st := primary.later(t); st.State != "protected" {
		t.Errorf("the primary is %s", st.State)
	}
	ways[0].breaks(nil)
	primary.Resume()
	primary.log.await(t, EventDiskResumed)
	primary.works(t, 20)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	primary.unharmed(t)
	for _, g := range []*running{primary, backup} {
		if g.log.has(EventPeerLost) {
			t.Errorf("it looked like a failover: %v", g.log.list)
		}
	}
}

// DESIGN R19: who is fenced off halts.
func TestFencedDiskHaltsItsVM(t *testing.T) {
	s := newStage(t)
	w := &way{medium: newMedium()}
	g := s.aloneOn(w)
	g.works(t, 20)
	other := &way{medium: w.medium}
	if err := other.Claim(t.Context(), ft.Fence{Run: ^uint64(0), Number: 1}, nil); err != nil {
		t.Fatal(err)
	}
	g.wait(t, Halted)
	if g.log.has(EventDiskStopped) {
		t.Errorf("it waits for another's disk: %v", g.log.list)
	}
}
