package vm

import (
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
)

// promptHanging is a copy whose writes may hang on the goroutine that owns the
// machine.
type promptHanging struct {
	storage.Backend
	*hang
}

func (h promptHanging) WritePromptly([]byte, int64) bool {
	h.wait(machine.DiskWrite)
	return false
}

// Who is stuck in the host still has an open connection, on which the process
// answers. The other replica goes on without it all the same, and what was stuck
// finds that it has lost the VM.
func TestReplicaThatIsStuckInTheHostIsLeftBehind(t *testing.T) {
	for _, victim := range []string{"primary", "backup"} {
		t.Run(victim, func(t *testing.T) {
			h := &hang{op: machine.DiskWrite, open: make(chan struct{})}
			letGo := sync.OnceFunc(func() { close(h.open) })
			defer letGo()
			hangs := func(c *Config) {
				c.hungOwner = time.Second
				c.wrapCopy = func(b storage.Backend) storage.Backend { return promptHanging{b, h} }
			}
			works := func(*Config) {}
			s := newLocalStage(t)
			var primary, stuck, left *running
			if victim == "primary" {
				primary, left = s.localPairWith(hangs, works)
				stuck = primary
			} else {
				primary, stuck = s.localPairWith(works, hangs)
				left = primary
			}
			primary.works(t, 20)
			h.shut.Store(true)
			if victim == "primary" {
				left.log.await(t, EventLive)
			}
			left.until(t, "replica that is alone", func() bool { return left.Status().State == ft.Alone.String() })
			left.works(t, 20)
			letGo()
			stuck.wait(t, Halted)
			stuck.log.awaitText(t, "was stuck in the host")
			left.cancel()
			left.wait(t, Ended)
			left.unharmed(t)
		})
	}
}

// A State may take long to load: nobody needs the backup yet.
func TestBackupThatIsNotArmedMayBeStuck(t *testing.T) {
	s := newStage(t)
	building, letGo := make(chan struct{}), make(chan struct{})
	backup := s.replicaOn("", "", "", func(_ string, c *Config) {
		c.hungOwner = time.Second
		build := c.build
		c.build = func(m *machine.Config, b machine.Birth) (machine.Machine, error) {
			close(building)
			<-letGo
			return build(m, b)
		}
	})
	primary := s.powerOn(backup.Addr())
	backup.receives(t, "State that is loaded", building)
	for range 30 { // ticks, of which twenty are a second
		primary.later(t)
	}
	close(letGo)
	backup.log.await(t, EventProtected)
	if backup.log.says("was stuck in the host") {
		t.Errorf("told %v", backup.log.list)
	}
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
}
