package vm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
)

// Errors of the host's where the backup reads the disk for itself.

// bothWays is a way to a medium that a backup can read before it claims.
type bothWays struct{ *way }

func (bothWays) Follow() error { return nil }

func (w bothWays) ReadAt(p []byte, off int64) error {
	w.mu.Lock()
	follows := w.number == (ft.Fence{})
	w.mu.Unlock()
	if !follows {
		return w.way.ReadAt(p, off)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		w.failed++
		return w.broken
	}
	copy(p, w.blocks[off:])
	return nil
}

func (w bothWays) Claim(ctx context.Context, number ft.Fence, waiting func(string)) error {
	return w.way.Claim(ctx, number, waiting)
}

// pairThatReads is a protected pair on a medium that the backup reads.
func (s *stage) pairThatReads(m *medium) (primary, backup *running, ways [2]*way) {
	s.t.Helper()
	s.reads = true
	ways = [2]*way{{medium: m}, {medium: m}}
	start := func(w *way, peer string) *running {
		log := newEvents()
		cfg := s.config(log)
		w.put(&cfg)
		cfg.Openers = storage.Openers{"way": func(string, bool) (storage.Backend, error) { return bothWays{w}, nil }}
		begin := PowerOn
		if cfg.Peer = peer; peer == "" {
			cfg.Listen, begin = porttest.Address(), Follow
		}
		r, err := begin(cfg)
		if err != nil {
			s.t.Fatal(err)
		}
		return run(s.t, r, log)
	}
	backup = start(ways[1], "")
	primary = start(ways[0], backup.Addr())
	s.t.Cleanup(func() { // a power-off waits for the backup's reads
		ways[0].breaks(nil)
		ways[1].breaks(nil)
	})
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup, ways
}

// count is how many events of a kind were told.
func (e *events) count(kind EventKind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

// What a disk that has stopped keeps may wait for the backup's read, and that for
// a completion that the guest has not had. So the guest goes on when what may run
// has run.
func TestFullDiskWhileWritesWaitForTheBackup(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
	for n := range 20 {
		primary.works(t, 20)
		ways[0].breaks(unix.ENOSPC)
		primary.until(t, "stop", func() bool { return len(primary.Status().Stopped) > 0 && primary.log.count(EventDiskResumed) == n })
		ways[0].breaks(nil)
		primary.comesBack(t, n+1)
	}
	primary.works(t, 20)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
	primary.unharmed(t)
}

// The backup's way to the disk may work: it goes on.
func TestBackupThatReadsGoesOnWhenThePrimaryLosesItsDisk(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
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

// Neither way works: whoever of the two is to go on stands still until its own
// works again, and its guest sees no error.
func TestNeitherReplicaThatReadsReachesItsDisk(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
	primary.works(t, 20)
	ways[0].breaks(unix.EIO)
	// Not before: what waits for reads of the backup's does not reach the
	// primary's disk.
	primary.log.await(t, EventDiskStopped)
	ways[1].breaks(unix.EIO)
	backup.until(t, "error of the backup's", func() bool { return ways[1].failures() > 0 })
	ways[1].breaks(nil)
	backup.until(t, "a live backup", func() bool {
		backup.Resume()
		return backup.log.has(EventLive)
	})
	primary.wait(t, Halted)
	if backup.log.has(EventDiskStopped) {
		backup.comesBack(t, 1)
	}
	backup.works(t, 20)
	backup.cancel()
	backup.wait(t, Ended)
	backup.unharmed(t)
}

// hasWaitedFor has a replica wait for the same request of its disk since so long ago.
func (g *running) hasWaitedFor(t *testing.T, d time.Duration) {
	t.Helper()
	g.until(t, "request that is not done", func() bool {
		return g.asks(func() bool {
			w := g.waits[0]
			if w.ticks < 3 {
				return false
			}
			w.ticks = int(d / g.cfg.tick())
			g.waits[0] = w
			return true
		})
	})
}

// What the guest writes may wait for a read of the backup's, so a backup that
// cannot read ends in the end, and the VM goes on without it.
func TestBackupThatCannotReadEnds(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
	primary.works(t, 20)
	ways[1].breaks(unix.EIO)
	backup.hasWaitedFor(t, failingRead/2)
	failures := ways[1].failures()
	backup.until(t, "third attempt", func() bool { return ways[1].failures() > failures+2 })
	backup.hasWaitedFor(t, failingRead)
	backup.wait(t, Halted)
	if backup.err == nil || !errors.Is(backup.err, unix.EIO) || !strings.Contains(backup.err.Error(), "goes on without it") {
		t.Errorf("the backup says %v", backup.err)
	}
	primary.until(t, "primary that is alone", func() bool { return primary.Status().State == ft.Alone.String() })
	primary.works(t, 20)
	primary.cancel()
	primary.wait(t, Ended)
	primary.unharmed(t)
}

// A backup that reads again has all the time there is for its next failure.
func TestBackupsReadsThatFailNowAndThen(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
	for range 3 {
		primary.works(t, 20)
		ways[1].breaks(unix.EIO)
		backup.hasWaitedFor(t, failingRead/2)
		ways[1].breaks(nil)
		backup.until(t, "read that is done", func() bool {
			return backup.asks(func() bool { return len(backup.follow.own.fails) == 0 && backup.waits[0].ticks < 3 })
		})
	}
	primary.works(t, 20)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
}

// Without its primary a backup is all that there is of the VM: it goes on trying.
func TestBackupThatIsNeededGoesOnTrying(t *testing.T) {
	s := newStage(t)
	s.toy = sim.ToyConfig{Seed: 7, Racing: true}
	primary, backup, ways := s.pairThatReads(newMedium())
	primary.works(t, 20)
	ways[1].breaks(unix.EIO)
	backup.hasWaitedFor(t, 0)
	primary.box.do(func() { primary.finish(Halted, errors.New("as if its process had been killed")) })
	primary.wait(t, Halted)
	backup.until(t, "lost primary", func() bool { return backup.Status().State == ft.Draining.String() })
	backup.asks(func() bool {
		oldest, _ := backup.disks[0].Oldest()
		backup.waits = map[uint8]diskWait{0: {oldest, int(failingRead)}}
		return true
	})
	failures := ways[1].failures()
	backup.until(t, "third attempt", func() bool { return ways[1].failures() > failures+2 })
	ways[1].breaks(nil)
	backup.log.await(t, EventLive)
	backup.works(t, 20)
	backup.cancel()
	backup.wait(t, Ended)
	backup.unharmed(t)
}

// comesBack has a disk tried again until it has come back so often. What was under
// way when it stopped may stop it once more.
func (g *running) comesBack(t *testing.T, often int) {
	t.Helper()
	g.until(t, "disk that works again", func() bool {
		g.Resume()
		return g.log.count(EventDiskResumed) >= often
	})
}
