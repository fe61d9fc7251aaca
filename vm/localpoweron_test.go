package vm

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// meeting is an arbiter at which two power-ons meet: each has read the record, and
// perhaps marked its images, before either is told or asks for the run.
type meeting struct {
	arbiter.Arbiter
	there  *sync.WaitGroup
	marked bool
}

func (m meeting) meet() {
	m.there.Done()
	m.there.Wait()
}

func (m meeting) Last(vm string) (arbiter.Record, bool, error) {
	rec, any, err := m.Arbiter.Last(vm)
	if !m.marked {
		m.meet()
	}
	return rec, any, err
}

func (m meeting) BeginRun(p arbiter.PowerOn) (ft.Run, error) {
	if mark := p.Mark; m.marked {
		p.Mark = func(gen ft.Generation) error {
			err := mark(gen)
			m.meet()
			return err
		}
	}
	return m.Arbiter.BeginRun(p)
}

// DESIGN R15: the run record "begins a new run by compare-and-set". Two hosts with
// a copy each power the VM on at once: one of them has it, the other's copy is as
// it was and can be made the backup's.
func TestTwoHostsPowerOnAtOnce(t *testing.T) {
	for _, marked := range []bool{false, true} {
		t.Run(map[bool]string{false: "both have read the record", true: "both have marked their images"}[marked], func(t *testing.T) {
			s := newLocalStage(t)
			blank(t, s.on("b").disk())
			address := porttest.Address()
			there := new(sync.WaitGroup)
			there.Add(2)
			hosts := []string{"a", "b"}
			var replicas [2]*Replica
			var logs [2]*events
			var images [2][]byte
			for i, host := range hosts {
				logs[i] = newEvents()
				cfg := s.on(host).config(logs[i])
				cfg.Peer = address
				images[i] = readImage(t, s.disk())
				var err error
				if replicas[i], err = newReplica(cfg); err != nil {
					t.Fatal(err)
				}
				replicas[i].arb = meeting{replicas[i].arb, there, marked}
			}
			var errs [2]error
			var wg sync.WaitGroup
			for i, r := range replicas {
				wg.Go(func() { errs[i] = r.powerOn() })
			}
			wg.Wait()
			won, lost := 0, 1
			if errs[0] != nil {
				won, lost = 1, 0
			}
			replicas[lost].close()
			if errs[won] != nil || errs[lost] == nil {
				replicas[won].close()
				t.Fatalf("the two were told %v and %v", errs[0], errs[1])
			}
			if err := errs[lost]; !errors.Is(err, arbiter.ErrTaken) && !errors.Is(err, arbiter.ErrNotEnded) || !strings.Contains(err.Error(), "lockstep backup") {
				t.Errorf("the loser is told %v", err)
			}
			if c := s.record(); c.Primary != replicas[won].local.id || c.Backup != (ft.CopyID{}) {
				t.Errorf("the record names %+v", c)
			}
			if !bytes.Equal(readImage(t, s.on(hosts[lost]).disk()), images[lost]) {
				t.Error("the loser's image was written")
			}
			if why := s.refused(hosts[lost]); !strings.Contains(why, "stale") {
				t.Errorf("the loser's copy: %s", why)
			}

			// The same run: the winner waits for its backup.
			primary := run(t, replicas[won], logs[won])
			log := newEvents()
			cfg := s.on(hosts[lost]).config(log)
			cfg.Listen = address
			r, err := Follow(cfg)
			if err != nil {
				t.Fatal(err)
			}
			backup := run(t, r, log)
			primary.log.await(t, EventProtected)
			backup.log.await(t, EventProtected)
			s.endsAlike(primary, backup)
		})
	}
}

// What a computer reads after its power-on is on the disk: it may not have been
// written out when the process before it died.
func TestPowerOnSyncsItsCopy(t *testing.T) {
	s := newLocalStage(t)
	files := &syncsFS{sync: func(local.File) error { return unix.EIO }}
	cfg := s.on("a").config(newEvents())
	cfg.files = files
	if r, err := PowerOn(cfg); !errors.Is(err, unix.EIO) {
		if err == nil {
			r.close()
		}
		t.Errorf("powered on from an image that cannot be synced: %v", err)
	}
}

// A restored VM never followed: what its State has pending is asked of its copy.
func TestRestoredVMAsksItsLocalDiskAgain(t *testing.T) {
	s := newLocalStage(t).on("a")
	s.take()
	asked := s.pending()[0].ID
	g := s.begin(PowerOn, func(c *Config) { c.Restore = s.snapshot() })
	g.until(t, "end of what was under way", func() bool {
		return ask(g, func() bool {
			return !slices.ContainsFunc(g.m.Pending(nil), func(o machine.Output) bool { return o.ID == asked })
		})
	})
	g.end(t)
}
