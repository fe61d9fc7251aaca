package vm

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// cutPair is a protected pair on local disks whose maps are cut all the time.
func (s *stage) cutPair(change func(host string, c *Config)) (primary, backup *running) {
	s.t.Helper()
	backup = s.replicaOn("b", "", "", change)
	primary = s.replicaOn("a", backup.Addr(), "", change)
	backup.log.await(s.t, EventProtected)
	primary.log.await(s.t, EventProtected)
	return primary, backup
}

// replicaOn is a primary with a peer, or a backup that listens.
func (s *stage) replicaOn(host, peer, listen string, change func(host string, c *Config)) *running {
	s.t.Helper()
	log := newEvents()
	cfg := s.on(host).config(log)
	cfg.Peer, cfg.Listen = peer, cmp.Or(listen, porttest.Address())
	cfg.cutEvery, cfg.cutRegions = 10*time.Millisecond, 1
	cfg.Timeout = 10 * time.Second // what halts says so
	change(host, &cfg)
	begin := PowerOn
	if peer == "" {
		begin = Follow
	}
	r, err := begin(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, r, log)
}

// writeBoth is a write of the guest that both copies have done.
func writeBoth(t *testing.T, primary, backup *running, region int64) {
	t.Helper()
	for _, r := range []*running{primary, backup} {
		if err := r.local.copies[0].WriteAt(bytes.Repeat([]byte{'w'}, 4096), region<<20); err != nil {
			t.Fatal(err)
		}
	}
}

// shrunk waits until both copies have a common point that came after before, and
// little in their maps.
func shrunk(t *testing.T, primary, backup *running) {
	t.Helper()
	before := primary.local.copies[0].Status().Common
	end := time.Now().Add(patience)
	for {
		p, b := primary.local.copies[0].Status(), backup.local.copies[0].Status()
		if p.Common != before && p.Common == b.Common && p.Marked <= 1 && b.Marked <= 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the maps have %d and %d regions, since %v and %v", p.Marked, b.Marked, p.Common, b.Common)
		}
		time.Sleep(time.Millisecond)
	}
}

// DESIGN section 7: "Re-sync copies the union of what either copy wrote since the
// last common point", which moves on while the pair runs.
func TestMapsGetSmallWhileAPairRuns(t *testing.T) {
	s := newLocalStage(t)
	wrap, fails := breakable()
	primary, backup := s.cutPair(func(host string, c *Config) {
		if host == "a" {
			c.wrapCopy = wrap
		}
	})
	for round := range 2 {
		for region := range int64(3) {
			writeBoth(t, primary, backup, 1+region)
		}
		if n := primary.local.copies[0].Marked(); n < 3 && round == 0 {
			t.Errorf("%d regions are in the map", n)
		}
		shrunk(t, primary, backup)
	}
	served := primary.Status().OutputDelay.Count
	primary.until(t, "answers", func() bool { return primary.Status().OutputDelay.Count > served+50 })

	address := primary.Addr()
	fails.Store(true)
	primary.wait(t, Halted)
	backup.log.await(t, EventLive)
	// What was written before the common point is not compared: this does not
	// come back.
	at := int64(2<<20 + 512)
	scratch(t, s.on("a").disk(), at, []byte("x"))
	again := s.replicaOn("a", "", address, func(string, *Config) {})
	again.log.await(t, EventProtected)
	if !backup.log.says("compared 1 of 1 MB (what either copy wrote") {
		t.Errorf("told %v", backup.log.list)
	}
	backup.cancel()
	backup.wait(t, Ended)
	again.wait(t, Ended)
	x, y := readImage(t, s.on("a").disk()), readImage(t, s.on("b").disk())
	if x[at] != 'x' {
		t.Error("a region that nobody wrote since the common point was copied")
	}
	x[at] = y[at]
	// The guest, in the first region, may have been in the middle of a write.
	if !bytes.Equal(x[1<<20:], y[1<<20:]) {
		t.Error("the copies differ")
	}
}

// slowFS is the operating system's files, in which a write that goes to one
// region waits, once it is armed, until it is let go.
type slowFS struct {
	local.OS
	armed atomic.Bool
	waits chan struct{}
	letGo chan struct{}
}

func newSlowFS() *slowFS { return &slowFS{waits: make(chan struct{}), letGo: make(chan struct{})} }

// slowRegion is the first one: regions are noted ahead of a sequential writer.
const slowRegion = 0

func (s *slowFS) Open(path string) (local.File, error) {
	f, err := s.OS.Open(path)
	if err != nil || strings.HasSuffix(path, ".lockstep") {
		return f, err
	}
	return slowFile{f, s}, nil
}

// hold waits until a write waits.
func (s *slowFS) hold(t *testing.T) (letGo func()) {
	letGo = sync.OnceFunc(func() { close(s.letGo) })
	t.Cleanup(letGo)
	s.armed.Store(true)
	<-s.waits
	return letGo
}

type slowFile struct {
	local.File
	fs *slowFS
}

func (f slowFile) WriteAt(p []byte, off int64) (int, error) {
	if off>>20 == slowRegion && f.fs.armed.CompareAndSwap(true, false) {
		f.fs.waits <- struct{}{}
		<-f.fs.letGo
	}
	return f.File.WriteAt(p, off)
}

// slowPair is a pair on a disk with a guest that writes all over it, with the
// files of one host.
func (s *stage) slowPair(slow *slowFS, on string) (primary, backup *running) {
	s.t.Helper()
	return s.cutPair(func(host string, c *Config) {
		if host == on {
			c.files = slow
		}
		c.Machine.Disks[0].Sectors = wideSectors
		c.build = func(*machine.Config, machine.Birth) (machine.Machine, error) {
			return wide{Toy: sim.NewToy(s.toy)}, nil
		}
	})
}

// noted says whether the map on a host, as a loss of power would leave it, has a
// region.
func (s *stage) noted(host string, region uint64) bool {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "copy")
	for _, suffix := range []string{"", ".lockstep"} {
		if err := os.WriteFile(path+suffix, readImage(s.t, s.on(host).disk()+suffix), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	c, err := local.Open(context.Background(), path, local.Options{VM: "toy/0"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	target, err := c.NewTarget()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range target.Hello() {
		if m, _ := local.Decode(b); m != nil {
			if part, ok := m.(local.MapPart); ok {
				return part.Words[region/64]>>(region%64)&1 != 0
			}
		}
	}
	s.t.Fatal("no map")
	return false
}

// moves waits until the common point of both copies is another one.
func moves(t *testing.T, primary, backup *running) {
	t.Helper()
	before := primary.local.copies[0].Status().Common
	primary.until(t, "common point", func() bool {
		now := primary.local.copies[0].Status().Common
		return now != before && now == backup.local.copies[0].Status().Common
	})
}

// A write that is under way when the map is cut does not hold up the common
// point, and stays in the map of both: one of the copies may lack it for ever.
func TestWriteUnderWayStaysInTheMap(t *testing.T) {
	s, slow := newWideStage(t), newSlowFS()
	primary, backup := s.slowPair(slow, "a")
	moves(t, primary, backup)
	letGo := slow.hold(t)
	for range 2 { // the second was begun while it waits
		moves(t, primary, backup)
	}
	for _, host := range []string{"a", "b"} {
		if !s.noted(host, slowRegion) {
			t.Errorf("host %s: a region in which the copies may differ is not in the map", host)
		}
	}
	letGo()
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
}

// The backup has a point only when its own copy has done what the log has before
// it.
func TestBackupIsPreparedWhenItsCopyHasAll(t *testing.T) {
	s, slow := newWideStage(t), newSlowFS()
	primary, backup := s.slowPair(slow, "b")
	moves(t, primary, backup)
	letGo := slow.hold(t)
	open := func() bool {
		got := make(chan bool)
		primary.box.do(func() { got <- primary.local.cut.primary.Open() })
		return <-got
	}
	// A point may be on its way yet whose entry is before that write's.
	for round := range int64(3) {
		for region := range int64(3) {
			writeBoth(t, primary, backup, 16+3*round+region)
		}
		time.Sleep(50 * time.Millisecond)
		primary.until(t, "cut", open)
	}
	before := primary.local.copies[0].Status().Common
	time.Sleep(100 * time.Millisecond)
	if after := primary.local.copies[0].Status().Common; after != before || !open() {
		t.Errorf("the common point is %v, was %v: the backup's copy lacks a write", after, before)
	}
	letGo()
	moves(t, primary, backup)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
}
