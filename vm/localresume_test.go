package vm

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
)

// resumeRegions are so many that a re-synchronisation that begins anew cannot be
// taken for one that goes on.
const resumeRegions = 32

// newResumeStage has hosts a and b with larger images, and a second one that the
// guest does not use; they are of no use to a compressor.
func newResumeStage(t *testing.T) *stage {
	t.Helper()
	s := newLocalStage(t)
	b := make([]byte, resumeRegions<<20)
	chacha := rand.NewChaCha8([32]byte{7})
	for _, host := range []string{"b", "a"} {
		_, _ = chacha.Read(b) // never fails
		for path, image := range map[string][]byte{s.on(host).disk(): b, s.second(): b[:1<<20]} {
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	blank(t, s.on("a").disk())
	return s
}

func (s *stage) second() string { return s.disk() + ".second" }

func (s *stage) resumeConfig(host string, log *events) Config {
	cfg := s.on(host).config(log)
	cfg.Machine.Disks[0].Sectors = resumeRegions << 11
	cfg.Machine.Disks = append(cfg.Machine.Disks, machine.DiskConfig{Sectors: 1 << 11, Local: true})
	cfg.Disks = append(cfg.Disks, Disk{Path: s.second()})
	// On a host so busy that nothing is read for a while the channel would lose more
	// connections than the test does.
	cfg.Heartbeat, cfg.Timeout = time.Second, 10*time.Second
	return cfg
}

// sameImages says whether both hosts have the same disk, but for what the guest
// may have written in its last moments.
func (s *stage) sameImages() bool {
	s.t.Helper()
	return bytes.Equal(readImage(s.t, s.on("a").disk())[16*512:], readImage(s.t, s.on("b").disk())[16*512:])
}

// endsAlike has a pair compare digests, stop and be alike.
func (s *stage) endsAlike(primary, backup *running) {
	s.t.Helper()
	backup.until(s.t, "digests", func() bool { return backup.Status().Digests.Compared > 0 })
	primary.cancel()
	primary.wait(s.t, Ended)
	backup.wait(s.t, Ended)
	agree(s.t, primary, backup)
	if !s.sameImages() {
		s.t.Error("the copies differ")
	}
}

// docs/storage.md: "the connection is lost in a re-synchronisation: it goes on
// where it was, as long as neither process ended".
func TestResynchronisationGoesOnAfterALostConnection(t *testing.T) {
	s := newResumeStage(t)
	log := newEvents()
	cfg := s.resumeConfig("b", log)
	cfg.Listen = porttest.Address()
	r, err := Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	backup := run(t, r, log)
	log = newEvents()
	cfg = s.resumeConfig("a", log)
	cfg.Peer = backup.Addr()
	drop := func() {
		dropped := make(chan struct{})
		r.box.do(func() {
			r.primary.Drop()
			close(dropped)
		})
		<-dropped
	}
	// Contents are sent in messages that do not compress; questions are small.
	// The connection is lost when a quarter is left.
	var mu sync.Mutex // of both disks' messages
	contents, questions := 0, 0
	cfg.paceSync = func(_ context.Context, n int) error {
		mu.Lock()
		defer mu.Unlock()
		switch before := contents < resumeRegions<<20*3/4; {
		case n > 4096:
			if contents += n; before && contents >= resumeRegions<<20*3/4 {
				drop()
			}
		case !before:
			questions++
		}
		return nil
	}
	if r, err = PowerOn(cfg); err != nil {
		t.Fatal(err)
	}
	primary := run(t, r, log)
	backup.log.await(t, EventProtected)
	primary.log.await(t, EventProtected)
	if primary.log.says("was not brought up to date") {
		t.Errorf("an attempt was given up: %v", primary.log.list)
	}
	if questions == 0 || questions >= resumeRegions {
		t.Errorf("%d questions after the loss, for %d of %d regions: it did not go on where it was", questions, resumeRegions/4, resumeRegions)
	}
	s.endsAlike(primary, backup)
	if !bytes.Equal(readImage(t, s.on("a").second()), readImage(t, s.on("b").second())) {
		t.Error("the copies of the second disk differ")
	}
}

// The State belongs to the point at which the copies are alike: a connection that
// is lost between the two ends the attempt. The next one compares again what
// either copy wrote since they were last alike, and nothing else.
func TestResynchronisationThatIsCutAtItsEndBeginsAnew(t *testing.T) {
	s := newLocalStage(t)
	follow := func(listen string) *running {
		log := newEvents()
		cfg := s.on("b").config(log)
		cfg.Listen = listen
		r, err := Follow(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return run(t, r, log)
	}
	first := follow(porttest.Address())
	pair := func(peer *running, see func(*Replica, Event)) *running {
		log := newEvents()
		cfg := s.on("a").config(log)
		cfg.Peer = peer.Addr()
		var r *Replica
		cfg.OnEvent = func(e Event) {
			see(r, e)
			log.add(e)
		}
		r, err := PowerOn(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return run(t, r, log)
	}
	primary := pair(first, func(*Replica, Event) {})
	primary.log.await(t, EventProtected)
	s.endsAlike(primary, first)

	blank(t, s.on("a").disk())
	second := follow(porttest.Address())
	cut := false
	primary = pair(second, func(r *Replica, e Event) {
		if !cut && strings.Contains(e.Text, "of state to the backup") {
			cut = true
			r.primary.Drop() // on the goroutine that owns it
		}
	})
	primary.log.awaitText(t, "was not brought up to date")
	// Who has the State already leaves; else it is there for the next attempt.
	third := second
	primary.until(t, "end of the attempt", func() bool {
		select {
		case <-second.done:
			third = nil
			return true
		default:
			return primary.log.has(EventProtected)
		}
	})
	if third == nil {
		second.wait(t, Gone)
		third = follow(second.Addr())
	}
	primary.log.await(t, EventProtected)
	third.log.await(t, EventProtected)
	if !primary.log.says("of 1 MB (what either copy wrote since they were alike)") || primary.log.says("all blocks") {
		t.Errorf("told %v", primary.log.list)
	}
	s.endsAlike(primary, third)
}
