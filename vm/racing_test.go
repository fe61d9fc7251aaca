package vm

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
)

// unruly is a disk whose requests overtake each other: each yields so often
// before it is done, and again before it is told.
type unruly struct {
	storage.Backend
	under, most, all *atomic.Int64
}

func newUnruly(b storage.Backend) unruly {
	return unruly{b, new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}
}

func (u unruly) Follow() error { return nil }

func (u unruly) dally(do func() error) error {
	u.all.Add(1)
	n := u.under.Add(1)
	defer u.under.Add(-1)
	for have := u.most.Load(); n > have && !u.most.CompareAndSwap(have, n); have = u.most.Load() {
	}
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	err := do()
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	return err
}

func (u unruly) ReadAt(p []byte, off int64) error {
	return u.dally(func() error { return u.Backend.ReadAt(p, off) })
}
func (u unruly) WriteAt(p []byte, off int64) error {
	return u.dally(func() error { return u.Backend.WriteAt(p, off) })
}
func (u unruly) Zero(off, n int64) error {
	return u.dally(func() error { return u.Backend.Zero(off, n) })
}
func (u unruly) Sync() error { return u.dally(u.Backend.Sync) }
func (u unruly) Claim(ctx context.Context, number ft.Fence, waiting func(string)) error {
	return u.Backend.Claim(ctx, number, waiting)
}

// unrulyPair is a protected pair whose disks are unruly.
func (s *stage) unrulyPair(change ...func(*Config)) (primary, backup *running, disks [2]unruly) {
	s.t.Helper()
	start := func(side int, host, peer string) *running {
		log := newEvents()
		if s.host != "" {
			s.on(host)
		}
		cfg := s.config(log)
		cfg.digestEvery = 20_000
		// A connection that is silent for four of them ends a synchronisation.
		cfg.Heartbeat, cfg.Timeout = 250*time.Millisecond, time.Second
		wrap := func(b storage.Backend) storage.Backend {
			disks[side] = newUnruly(b)
			return disks[side]
		}
		cfg.wrapCopy = wrap
		if s.host == "" {
			cfg.Disks[0].Path = "unruly://" + s.disk()
			cfg.Openers = storage.Openers{"unruly": func(target string, readOnly bool) (storage.Backend, error) {
				b, err := storage.OpenFile(strings.TrimPrefix(target, "unruly://"), readOnly)
				if err != nil {
					return nil, err
				}
				return wrap(b), nil
			}}
		}
		for _, c := range change {
			c(&cfg)
		}
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
	backup = start(1, "b", "")
	primary = start(0, "a", backup.Addr())
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup, disks
}

var kindsOfDisks = []string{"shared", "reads: backup", "local"}

func stageFor(t *testing.T, kind string) *stage {
	if kind == "local" {
		return newLocalStage(t)
	}
	s := newStage(t)
	s.reads = kind == "reads: backup"
	return s
}

// guestTime is the time of a replica's guest.
func (g *running) guestTime() machine.VTime {
	got := make(chan machine.VTime, 1)
	g.box.do(func() { got <- g.m.Clock().At(g.m.Icount()) })
	select {
	case t := <-got:
		return t
	case <-g.done:
		return 0
	}
}

// The paper, section 3.4: disk operations "can execute in parallel" and may touch
// the same blocks; Lockstep has to "force such racing operations to execute
// sequentially in the same way on the primary and backup". Where each replica
// does for itself what its guest asks, an order that differs is another digest,
// or another disk.
func TestRacingRequestsEndAlike(t *testing.T) {
	for _, kind := range kindsOfDisks {
		t.Run(kind, func(t *testing.T) {
			s := stageFor(t, kind)
			s.toy = sim.ToyConfig{Seed: 11, Racing: true, DiskUntil: 10_000_000}
			primary, backup, disks := s.unrulyPair()
			primary.until(t, "silence", func() bool { return primary.guestTime() > s.toy.DiskUntil })
			before := backup.Status().Digests.Compared
			backup.until(t, "digest after it", func() bool {
				return backup.Status().Digests.Compared > before+2 && backup.guestTime() > s.toy.DiskUntil
			})
			primary.cancel()
			primary.wait(t, Ended)
			backup.wait(t, Ended)
			agree(t, primary, backup)
			primary.unharmed(t)
			backup.unharmed(t)
			if n := backup.follow.replayer.Compared().Digests; n < 5 {
				t.Errorf("%d digests were compared", n)
			}
			for side, d := range disks {
				if n := d.most.Load(); n < 2 && (side == 0 || kind != "shared") {
					t.Errorf("side %d: %d requests were under way at once", side, n)
				}
			}
			if kind != "local" {
				return
			}
			if a, b := readImage(t, s.on("a").disk()), readImage(t, s.on("b").disk()); !bytes.Equal(a[:16*512], b[:16*512]) {
				t.Error("the copies differ")
			}
		})
	}
}
