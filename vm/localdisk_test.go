package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// localSectors are four regions of a map; the toy writes the first one.
const localSectors = 4 << 11

// newLocalStage has hosts a and b, each with an image of its own: a's with
// something in it, b's with something else.
func newLocalStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	for _, host := range []string{"a", "b"} {
		if err := os.WriteFile(s.on(host).disk(), []byte(strings.Repeat(host, localSectors*512)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blank(t, s.on("a").disk())
	return s
}

// blank makes the sectors that the toy uses as it expects them at its power-on.
func blank(t *testing.T, path string) { scratch(t, path, 0, make([]byte, 16*512)) }

func scratch(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func readImage(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// on is the stage as a host sees it.
func (s *stage) on(host string) *stage {
	s.host = host
	return s
}

// record is what the run record says of copies.
func (s *stage) record() ft.Copies {
	s.t.Helper()
	arb, err := arbiter.Open(filepath.Join(s.dir, "arbiter"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer arb.Close()
	rec, _, err := arb.Last("toy")
	if err != nil {
		s.t.Fatal(err)
	}
	return rec.Copies
}

// copyOn is what the sidecar on a host says; no process may have it open.
func (s *stage) copyOn(host string) local.Status {
	s.t.Helper()
	c, err := local.Open(context.Background(), s.on(host).disk(), local.Options{VM: "toy/0"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	return c.Status()
}

// refused says why a host may not power the VM on.
func (s *stage) refused(host string) string {
	s.t.Helper()
	r, err := PowerOn(s.on(host).config(newEvents()))
	if err == nil {
		r.close()
		return "powered on"
	}
	return err.Error()
}

func (e *events) says(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if strings.Contains(ev.Text, text) {
			return true
		}
	}
	return false
}

// DESIGN section 7: "the winner's [copy] alone, by the claim itself", "power-on
// only from a named copy", "re-sync copies the union of what either copy wrote".
func TestLocalDisksThroughFailoverAndNextPowerOn(t *testing.T) {
	for _, dies := range []string{"primary", "backup"} {
		t.Run(dies+" dies", func(t *testing.T) {
			s := newLocalStage(t)
			backup := s.on("b").start("backup")
			primary := s.on("a").start("primary", backup.address(t))
			primary.log.await(t, EventProtected)
			if !primary.log.says("all blocks") {
				t.Errorf("copies that were never alike were not compared in full: %v", primary.log.list)
			}
			if c := s.record(); c.Primary == (ft.CopyID{}) || c.Backup == (ft.CopyID{}) {
				t.Errorf("the record of a protected pair names %+v", c)
			}
			time.Sleep(worked)
			dead, left, host, other := primary, backup, "b", "a"
			if dies == "backup" {
				dead, left, host, other = backup, primary, "a", "b"
			}
			dead.signal(t, syscall.SIGKILL)
			left.log.await(t, EventLive)
			time.Sleep(worked)
			left.signal(t, syscall.SIGTERM)
			left.ends(t, Ended)
			<-dead.done
			survivor, stale := s.copyOn(host), s.copyOn(other)
			if c := s.record(); c.Primary != survivor.Copy || c.Backup != (ft.CopyID{}) || c.Gen != survivor.Gen {
				t.Errorf("the record names %+v; the survivor's copy is %+v", c, survivor)
			}
			if survivor.Marked != 1 || stale.Marked != 1 {
				t.Errorf("the maps have %d and %d regions; the guest writes one", survivor.Marked, stale.Marked)
			}
			if why := s.refused(other); !strings.Contains(why, "stale") || !strings.Contains(why, "--use-copy stale") {
				t.Errorf("a stale copy: %s", why)
			}

			// What no guest wrote is not compared: this does not come back.
			at := int64(2<<20 + 512)
			scratch(t, s.on(other).disk(), at, []byte("x"))
			blank(t, s.on(host).disk())
			again := s.on(other).start("backup")
			live := s.on(host).start("primary", again.address(t))
			live.log.await(t, EventProtected)
			if !live.log.says("compared 1 of 1 MB (what either copy wrote") {
				t.Errorf("told %v", live.log.list)
			}
			time.Sleep(worked)
			live.signal(t, syscall.SIGKILL)
			again.log.await(t, EventLive)
			time.Sleep(worked)
			again.signal(t, syscall.SIGTERM)
			again.ends(t, Ended)
			if b := readImage(t, s.on(other).disk()); b[at] != 'x' {
				t.Error("a region that nobody wrote was copied")
			}
		})
	}
}

// localPair is a protected pair in this process, its copies wrapped.
func (s *stage) localPair(wrapPrimary, wrapBackup func(storage.Backend) storage.Backend) (primary, backup *running) {
	s.t.Helper()
	return s.localPairWith(func(c *Config) { c.wrapCopy = wrapPrimary }, func(c *Config) { c.wrapCopy = wrapBackup })
}

// localPairWith is a protected pair in this process, its configurations changed.
func (s *stage) localPairWith(changePrimary, changeBackup func(*Config)) (primary, backup *running) {
	s.t.Helper()
	start := func(host string, change func(*Config), peer string) *running {
		log := newEvents()
		cfg := s.on(host).config(log)
		cfg.retryEvery = 10 * time.Millisecond
		begin := PowerOn
		if cfg.Peer = peer; peer == "" {
			cfg.Listen, begin = porttest.Address(), Follow
		}
		change(&cfg)
		r, err := begin(cfg)
		if err != nil {
			s.t.Fatal(err)
		}
		return run(s.t, r, log)
	}
	backup = start("b", changeBackup, "")
	primary = start("a", changePrimary, backup.Addr())
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup
}

// DESIGN section 7: "Power-on ... unattended only from the primary's".
func TestPowerOnFromTheBackupsCopyIsAnOrder(t *testing.T) {
	s := newLocalStage(t)
	primary, backup := s.localPair(nil, nil)
	backup.until(t, "digests", func() bool { return backup.Status().Digests.Compared > 0 })
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
	if why := s.refused("b"); !strings.Contains(why, "--use-copy backup") {
		t.Errorf("the backup's copy: %s", why)
	}
	if s.copyOn("a").State != local.Clean || s.copyOn("b").State != local.Clean {
		t.Error("a planned end leaves copies that are not clean")
	}
	cfg := s.on("b").config(newEvents())
	cfg.Order = ft.OrderBackup
	r, err := PowerOn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, newEvents())
	g.works(t, 50)
	g.cancel()
	g.wait(t, Ended)
	if why := s.refused("a"); !strings.Contains(why, "stale") {
		t.Errorf("the copy that was left behind: %s", why)
	}
}

// broken is a copy whose changes fail while it is told so.
type broken struct {
	storage.Backend
	fails *atomic.Bool
}

func (b broken) WriteAt(p []byte, off int64) error {
	if b.fails.Load() {
		return errors.New("the platter is scratched")
	}
	return b.Backend.WriteAt(p, off)
}

func breakable() (func(storage.Backend) storage.Backend, *atomic.Bool) {
	fails := new(atomic.Bool)
	return func(b storage.Backend) storage.Backend { return broken{b, fails} }, fails
}

// DESIGN section 7: "A write error on one copy drops that copy from the record,
// never the guest."
func TestFailedCopyIsDropped(t *testing.T) {
	for _, which := range []string{"primary", "backup"} {
		t.Run(which, func(t *testing.T) {
			s := newLocalStage(t)
			wrap, fails := breakable()
			var primary, backup, left, lost *running
			if which == "primary" {
				primary, backup = s.localPair(wrap, nil)
				left, lost = backup, primary
			} else {
				primary, backup = s.localPair(nil, wrap)
				left, lost = primary, backup
			}
			fails.Store(true)
			lost.wait(t, Halted)
			left.log.await(t, EventLive)
			left.works(t, 50)
			left.cancel()
			left.wait(t, Ended)
			hosts := map[string]string{"primary": "a", "backup": "b"}
			if st := s.copyOn(hosts[which]); st.State != local.Stale {
				t.Errorf("the failed copy is %v", st.State)
			}
			if c := s.record(); c.Primary != left.local.id || c.Backup != (ft.CopyID{}) {
				t.Errorf("the record names %+v, and copy %v is left", c, left.local.id)
			}
		})
	}
}

// The only copy is not dropped: the guest stands still until it works again.
func TestOnlyCopyWaitsForItsHost(t *testing.T) {
	s := newLocalStage(t)
	wrap, fails := breakable()
	log := newEvents()
	cfg := s.on("a").config(log)
	cfg.wrapCopy, cfg.retryEvery = wrap, 10*time.Millisecond
	r, err := PowerOn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, log)
	g.log.await(t, EventPowerOn)
	fails.Store(true)
	g.log.await(t, EventDiskStopped)
	fails.Store(false)
	g.log.await(t, EventDiskResumed)
	g.works(t, 50)
	g.cancel()
	g.wait(t, Ended)
	if st := s.copyOn("a"); st.State != local.Clean {
		t.Errorf("the only copy is %v", st.State)
	}
}

// slow is a copy whose syncs wait while it is shut.
type slow struct {
	storage.Backend
	shut *atomic.Bool
	gate chan struct{} // closed for those that wait to go on
	held *atomic.Int64
}

func (b slow) Sync() error {
	if b.shut.Load() {
		b.held.Add(1)
		<-b.gate
	}
	return b.Backend.Sync()
}

// slowSyncs wraps copies whose syncs are held, and counted, from shut on until
// release.
func slowSyncs() (wrap func(storage.Backend) storage.Backend, shut *atomic.Bool, held *atomic.Int64, release func()) {
	shut, held = new(atomic.Bool), new(atomic.Int64)
	gate := make(chan struct{})
	release = sync.OnceFunc(func() {
		shut.Store(false)
		close(gate)
	})
	return func(b storage.Backend) storage.Backend { return slow{b, shut, gate, held} }, shut, held, release
}

// DESIGN section 7: "complete a guest's flush only when both copies are flushed".
func TestFlushOfBothCopies(t *testing.T) {
	s := newLocalStage(t)
	s.both = true
	wrap, shut, held, release := slowSyncs()
	defer release()
	primary, backup := s.localPair(nil, wrap)
	shut.Store(true)
	primary.soon(t, "flush of the backup's copy", func() bool { return held.Load() > 0 })
	// The backup's flush does not come back: the primary has done its own, and
	// the guest waits.
	waits := func() bool { return primary.asks(func() bool { return len(primary.local.asked) > 0 }) }
	primary.soon(t, "flush that waits for the backup's copy", waits)
	primary.later(t)
	if !waits() {
		t.Error("a flush was completed that the backup has not done")
	}
	// An idle owner sleeps until something comes that it awaits.
	if !primary.asks(primary.awaitsAcks) {
		t.Error("the backup's word would be taken at the next tick only")
	}
	release()
	primary.works(t, 500)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
	// Either copy may start the VM unattended.
	r, err := PowerOn(s.on("b").config(newEvents()))
	if err != nil {
		t.Fatal(err)
	}
	r.close()
}

// DESIGN section 7: a copy that the record does not name starts the VM by an order
// only, and is then the one that it names.
func TestStaleCopyPowersOnByOrder(t *testing.T) {
	s := newLocalStage(t)
	wrap, fails := breakable()
	primary, backup := s.localPair(wrap, nil)
	fails.Store(true)
	primary.wait(t, Halted)
	backup.log.await(t, EventLive)
	backup.works(t, 50)
	backup.cancel()
	backup.wait(t, Ended)
	stale := s.copyOn("a")
	if stale.State != local.Stale {
		t.Fatalf("the copy that has failed is %v", stale.State)
	}
	for _, order := range []ft.Order{ft.OrderNone, ft.OrderBackup} {
		cfg := s.on("a").config(newEvents())
		cfg.Order = order
		r, err := PowerOn(cfg)
		if err == nil {
			r.close()
		}
		if err == nil || !strings.Contains(err.Error(), "--use-copy stale") {
			t.Errorf("with the order %v: %v", order, err)
		}
	}
	cfg := s.on("a").config(newEvents())
	cfg.Order = ft.OrderStale
	r, err := PowerOn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, newEvents())
	g.works(t, 50)
	g.cancel()
	g.wait(t, Ended)
	if c := s.record(); c.Primary != stale.Copy || c.Backup != (ft.CopyID{}) {
		t.Errorf("the record names %+v, and the VM ran on copy %v", c, stale.Copy)
	}
	if why := s.refused("b"); !strings.Contains(why, "stale") {
		t.Errorf("the copy that the VM had run on before: %s", why)
	}
}

func TestLocalDisksAreRefused(t *testing.T) {
	s := newLocalStage(t)
	for want, change := range map[string]func(*Config){
		"need an arbiter":       func(c *Config) { c.Arbiter = "" },
		"write mode: shared":    func(c *Config) { c.Disks[0].ReadOnly = true },
		"leave reads out":       func(c *Config) { c.Disks[0].BackupReads = true },
		"image on each host":    func(c *Config) { c.Disks[0].Path = "nbd://x/y" },
		"flush: both is for lo": func(c *Config) { c.Machine.Disks[0].Local, c.Disks[0].FlushBoth = false, true },
	} {
		cfg := s.on("a").config(newEvents())
		change(&cfg)
		if _, err := PowerOn(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
