package vm

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
)

// early is a copy whose first read is done and not told of until the test lets it
// go; its writes fail while it is told so.
type early struct {
	storage.Backend
	read  atomic.Bool
	held  chan struct{} // closed when it waits
	letGo chan struct{}
	end   <-chan struct{} // of the test, which waits for its replicas
	fails atomic.Bool
}

func newEarly(t *testing.T) *early {
	return &early{held: make(chan struct{}), letGo: make(chan struct{}), end: t.Context().Done()}
}

func (e *early) wrap(b storage.Backend) storage.Backend {
	e.Backend = b
	return e
}

func (e *early) ReadAt(p []byte, off int64) error {
	err := e.Backend.ReadAt(p, off)
	if e.read.CompareAndSwap(false, true) {
		close(e.held)
		select {
		case <-e.letGo:
		case <-e.end:
		}
	}
	return err
}

func (e *early) WriteAt(p []byte, off int64) error {
	if e.fails.Load() {
		return errors.New("the platter is scratched")
	}
	return e.Backend.WriteAt(p, off)
}

// earlyPair is a pair that was begun while a read was under way at the primary.
func earlyPair(t *testing.T) (s *stage, primary, backup *running, e *early, read ft.Request) {
	t.Helper()
	s, e = newLocalStage(t), newEarly(t)
	primary, backup = s.localPairWith(func(c *Config) {
		c.wrapCopy = e.wrap
		c.paceSync = func(ctx context.Context, _ int) error {
			select {
			case <-e.held:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, func(*Config) {})
	pending := func() bool {
		for r := range primary.local.earlier {
			if read.ID == 0 || r.ID < read.ID {
				read = r
			}
		}
		return len(primary.local.earlier) > 0
	}
	if !primary.asks(pending) {
		t.Fatal("the State has no read that is pending")
	}
	if !backup.asks(func() bool { return backup.local.earlier[read] }) {
		t.Error("the backup takes a pending read of its State for one that it does")
	}
	return s, primary, backup, e, read
}

// The primary may have done a read of the State before a write that the backup's
// copy came with: its data is in the log, and the backup does not read for itself.
func TestReadOfTheStateComesWithTheLog(t *testing.T) {
	s, primary, backup, e, read := earlyPair(t)
	close(e.letGo)
	primary.works(t, 500)
	backup.until(t, "data of the read", func() bool {
		return backup.asks(func() bool { return len(backup.local.earlier) == 0 })
	})
	if done := backup.local.kept(backup); len(done) > 8 {
		t.Errorf("of what the backup has done for itself %d completions are kept: %v", len(done), done)
	} else if _, ok := done[read]; ok {
		t.Error("the backup has read for itself what the log has")
	}
	s.endsAlike(primary, backup)
}

// kept are completions that the log has not told of yet.
func (l *localDisks) kept(g *running) map[ft.Request]machine.DiskDone {
	all := map[ft.Request]machine.DiskDone{}
	g.asks(func() bool {
		for r, d := range l.done {
			all[r] = d
		}
		return true
	})
	return all
}

// If the log has no data of it, who goes live reads.
func TestReadOfTheStateIsBegunAtGoingLive(t *testing.T) {
	_, primary, backup, e, read := earlyPair(t)
	e.fails.Store(true)
	backup.log.await(t, EventLive)
	close(e.letGo)
	primary.wait(t, Halted)
	backup.works(t, 500)
	backup.cancel()
	backup.wait(t, Ended)
	for _, o := range backup.m.Pending(nil) {
		if ft.RequestOf(o) == read {
			t.Errorf("the guest still waits for %v", read)
		}
	}
	backup.unharmed(t)
}
