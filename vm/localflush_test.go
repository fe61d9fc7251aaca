package vm

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// syncsFS is the operating system's files, in which syncs of an image do what the
// test says.
type syncsFS struct {
	local.OS
	sync func(image local.File) error
}

func (s *syncsFS) Open(path string) (local.File, error) {
	f, err := s.OS.Open(path)
	if err != nil || strings.HasSuffix(path, ".lockstep") {
		return f, err
	}
	return syncsFile{f, s}, nil
}

type syncsFile struct {
	local.File
	fs *syncsFS
}

func (f syncsFile) Sync() error { return f.fs.sync(f.File) }

// unflushed is a copy for a guest whose flushes do nothing.
type unflushed struct{ storage.Backend }

func (unflushed) Sync() error { return nil }

// DESIGN section 7: "complete a guest's flush only when both copies are flushed,
// so that either may power the VM on unattended": the record names the backup's
// copy when all that it has executed until then is durable.
func TestCopyIsNamedWhenItIsFlushed(t *testing.T) {
	s := newLocalStage(t)
	s.both = true
	shut, gate, waits := new(atomic.Bool), make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(gate) })
	defer letGo()
	told := sync.OnceFunc(func() { close(waits) })
	files := &syncsFS{sync: func(image local.File) error {
		if shut.Load() {
			told()
			<-gate
		}
		return image.Sync()
	}}
	// The guest's own flushes are not what waits: they come before the digest.
	change := func(host string, c *Config) {
		c.cutEvery = patience
		if host != "b" {
			return
		}
		c.files = files
		c.wrapCopy = func(b storage.Backend) storage.Backend { return unflushed{b} }
		tell := c.OnEvent
		c.OnEvent = func(e Event) {
			if strings.Contains(e.Text, "the state is complete") {
				shut.Store(true)
			}
			tell(e)
		}
	}
	backup := s.replicaOn("b", "", "", change)
	primary := s.replicaOn("a", backup.Addr(), "", change)
	backup.receives(t, "a sync that waits", waits)
	primary.later(t)
	if c := s.record(); c.Backup != (ft.CopyID{}) || primary.log.has(EventProtected) {
		t.Errorf("the record names %+v before the backup's copy is flushed", c)
	}
	letGo()
	primary.log.await(t, EventProtected)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
}

// What the backup has told of a flush may be lost with the connection: it says so
// again on the next one.
func TestFlushIsToldAgainOnANewConnection(t *testing.T) {
	s := newLocalStage(t)
	s.both = true
	wrap, shut, held, release := slowSyncs()
	defer release()
	primary, backup := s.localPairWith(func(c *Config) { c.wrapCopy = wrap }, func(*Config) {})
	shut.Store(true)
	primary.soon(t, "flush that waits for its own copy", func() bool { return held.Load() > 0 })
	backup.until(t, "flush that is told", func() bool {
		return backup.asks(func() bool {
			for req := range backup.local.done {
				if backup.local.asked[ft.FlushID(req)] {
					return true
				}
			}
			return false
		})
	})
	primary.later(t) // so that it has come
	lost := ask(primary, func() (ids []ft.FlushID) {
		l := primary.local
		l.flushes = ft.Flushes{}
		for id := range l.asked {
			l.flushes.Ask(id)
			ids = append(ids, id)
		}
		primary.primary.Drop()
		return ids
	})
	if len(lost) == 0 {
		t.Fatal("no flush waits")
	}
	release()
	primary.until(t, "end of the flush", func() bool {
		return primary.asks(func() bool { return !primary.local.asked[lost[0]] })
	})
	s.endsAlike(primary, backup)
}
