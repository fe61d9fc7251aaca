package vm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
)

func (s *stage) snapshot() string { return filepath.Join(s.dir, "snap") }

// image is the stage's disk as it was when the snapshot was taken.
func (s *stage) image() string { return s.disk() + ".then" }

// saved is a toy that keeps the image of the moment when it was saved, and says
// what it found at the gate.
type saved struct {
	*sim.Toy
	stage *stage
	held  func() bool
	bad   bool // outputs were held
}

func (m *saved) Save(w io.Writer) error {
	if m.held != nil && m.held() {
		m.bad = true
	}
	b, err := os.ReadFile(m.stage.disk())
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(m.stage.image(), b, 0o600), m.Toy.Save(w))
}

func (s *stage) build(*machine.Config, machine.Birth) (machine.Machine, error) {
	return &saved{Toy: sim.NewToy(s.toy), stage: s}, nil
}

// begin starts a replica whose configuration is changed.
func (s *stage) begin(how func(Config) (*Replica, error), change func(*Config)) *running {
	s.t.Helper()
	log := newEvents()
	cfg := s.config(log)
	cfg.build = s.build
	change(&cfg)
	r, err := how(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, r, log)
}

// work waits until so many outputs more were released.
func (g *running) work(t *testing.T, n uint64) {
	t.Helper()
	before := g.Status().OutputDelay.Count
	g.until(t, "more outputs", func() bool { return g.Status().OutputDelay.Count >= before+n })
}

// until waits for something that must come.
func (g *running) until(t *testing.T, what string, come func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !come(); time.Sleep(time.Millisecond) {
		select {
		case <-g.done:
			if !come() {
				t.Fatalf("ended without %s: %v (%v); told %v", what, g.got, g.err, g.log.list)
			}
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("no %s; told %v", what, g.log.list)
		}
	}
}

// soon waits for what a guest that works leads to, and gives up when it has done a
// lot of work without it.
func (g *running) soon(t *testing.T, what string, come func() bool) {
	t.Helper()
	end, came := g.Status().OutputDelay.Count+20_000, false
	g.until(t, what, func() bool {
		came = come()
		return came || g.Status().OutputDelay.Count > end
	})
	if !came {
		t.Fatalf("the guest works on without a %s; told %v", what, g.log.list)
	}
}

// receives waits for what a replica does on another goroutine.
func (g *running) receives(t *testing.T, what string, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-g.done:
		t.Fatalf("ended before %s: %v (%v); told %v", what, g.got, g.err, g.log.list)
	case <-time.After(patience):
		t.Fatalf("no %s; told %v", what, g.log.list)
	}
}

// asks has the owner answer a question; false if it has ended.
func (g *running) asks(question func() bool) bool {
	answer := make(chan bool, 1)
	g.box.do(func() { answer <- question() })
	select {
	case a := <-answer:
		return a
	case <-g.done:
		return false
	}
}

// unacknowledged waits until so much is held that no acknowledgement that is
// still under way releases it all.
func (g *running) unacknowledged(t *testing.T) {
	t.Helper()
	g.until(t, "outputs at the gate", func() bool {
		g.out.mu.Lock()
		defer g.out.mu.Unlock()
		n, _ := g.out.gate.Waiting()
		return n >= 1000
	})
}

// end stops the VM, whose guest must never have read anything but what it wrote.
func (g *running) end(t *testing.T) {
	t.Helper()
	g.cancel()
	g.wait(t, Ended)
	if n := g.m.(*saved).Corrupt(); n > 0 {
		t.Errorf("the guest read %d times something else than it wrote", n)
	}
}

// ask has the owner answer a question between two slices.
func ask[T any](g *running, question func() T) T {
	answer := make(chan T, 1)
	g.box.do(func() { answer <- question() })
	select {
	case a := <-answer:
		return a
	case <-g.done:
		return question() // nobody else does anything any more
	}
}

// take saves a toy that runs alone, lets it go on, ends it, and puts the image
// of that moment back.
func (s *stage) take() Saved {
	s.t.Helper()
	g := s.begin(PowerOn, func(*Config) {})
	var got Saved
	for len(s.pending()) == 0 { // a toy mostly waits for its disk
		g.work(s.t, 100)
		var err error
		if got, err = g.Save(s.snapshot()); err != nil {
			s.t.Fatal(err)
		}
	}
	g.log.await(s.t, EventSaved)
	g.work(s.t, 50) // the guest goes on
	g.end(s.t)
	if err := os.Rename(s.image(), s.disk()); err != nil {
		s.t.Fatal(err)
	}
	return got
}

func (s *stage) header() snapshot.FileHeader {
	s.t.Helper()
	_, h, err := LoadSnapshot(s.snapshot(), s.config(newEvents()).Machine, s.build)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// pending are the requests in the stage's snapshot, if there is one.
func (s *stage) pending() []machine.Output {
	m, _, err := LoadSnapshot(s.snapshot(), s.config(newEvents()).Machine, s.build)
	if err != nil {
		return nil
	}
	return m.Pending(nil)
}

// A VM that is saved under load goes on, and one that is restored goes on from
// there: with its requests that were under way, and its disk as it was.
func TestSnapshotOfARunningVM(t *testing.T) {
	s := newStage(t)
	got := s.take()
	h := s.header()
	if h.VM != "toy" || h.RunOrdinal != 1 || h.Pos != got.Pos || h.LogSeq == 0 || h.Pos == 0 {
		t.Errorf("the header says %+v; saved at %d", h, got.Pos)
	}
	if info, err := os.Stat(s.snapshot()); err != nil || info.Size() != got.Size || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v; saved %d bytes", info, err, got.Size)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".snap*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	pending := s.pending()
	g := s.begin(PowerOn, func(c *Config) { c.Restore = s.snapshot() })
	first := ask(g, g.m.Mark)
	g.work(t, 200)
	if st := g.Status(); machine.Icount(st.Position) <= got.Pos || first.Count < 100 {
		t.Errorf("it runs at %d with %d outputs behind it, after a snapshot of %d", st.Position, first.Count, got.Pos)
	}
	g.until(t, "completion of what was pending", func() bool {
		return !slices.ContainsFunc(ask(g, func() []machine.Output { return g.m.Pending(nil) }), func(o machine.Output) bool {
			return slices.ContainsFunc(pending, func(p machine.Output) bool { return p.Port == o.Port && p.ID == o.ID && p.Pos == o.Pos })
		})
	})
	g.end(t)
	if !s.ended() {
		t.Error("the run record does not say that the run has ended")
	}
}

// DESIGN R11: "No output skips [the gate] at shutdown, pause, snapshot". State
// does not have what is held, so a snapshot is taken when nothing is.
func TestSnapshotWaitsForHeldOutputs(t *testing.T) {
	s := newStage(t)
	backup := s.start("backup")
	log := newEvents()
	primary := s.begin(PowerOn, func(c *Config) {
		c.Peer, c.Timeout, c.OnEvent = backup.address(t), time.Minute, log.add
	})
	log.await(t, EventProtected)
	ask(primary, func() int {
		primary.m.(*saved).held = func() bool { return !primary.out.empty() }
		return 0
	})
	primary.work(t, 50)
	backup.signal(t, syscall.SIGSTOP)
	primary.unacknowledged(t)
	type result struct {
		Saved
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := primary.Save(s.snapshot())
		done <- result{got, err}
	}()
	primary.until(t, "request", func() bool {
		return len(done) > 0 || ask(primary, func() bool { return primary.saving != nil })
	})
	stands := ask(primary, func() machine.Icount { return primary.m.Icount() })
	for range 10 {
		if pos := ask(primary, func() machine.Icount { return primary.m.Icount() }); pos != stands || len(done) > 0 {
			t.Fatalf("the guest ran from %d to %d, %d snapshots, with outputs at the gate", stands, pos, len(done))
		}
	}
	if _, err := primary.Save(s.snapshot() + "2"); err == nil || !strings.Contains(err.Error(), "another one") {
		t.Errorf("a second snapshot meanwhile: %v", err)
	}
	backup.signal(t, syscall.SIGCONT)
	got := <-done
	if got.err != nil || got.Pos != stands {
		t.Fatalf("%+v, the guest stood at %d", got, stands)
	}
	primary.work(t, 50)
	primary.end(t)
	if primary.m.(*saved).bad {
		t.Error("State was taken with outputs at the gate")
	}
	backup.ends(t, Ended)
}

// A guest whose outputs nobody acknowledges does not stand still for ever.
func TestSnapshotIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for savePatience")
	}
	s := newStage(t)
	backup := s.start("backup")
	log := newEvents()
	primary := s.begin(PowerOn, func(c *Config) {
		c.Peer, c.Timeout, c.OnEvent = backup.address(t), time.Minute, log.add
	})
	log.await(t, EventProtected)
	backup.signal(t, syscall.SIGSTOP)
	primary.unacknowledged(t)
	if _, err := primary.Save(s.snapshot()); err == nil || !strings.Contains(err.Error(), "wait at the gate") {
		t.Errorf("a snapshot with outputs at the gate: %v", err)
	}
	backup.signal(t, syscall.SIGCONT)
	primary.work(t, 50)
	primary.end(t)
	backup.ends(t, Ended)
}

// A restored VM pairs as any other, and its backup goes live from what the
// snapshot held and the log that follows.
func TestBackupOfARestoredVMGoesLive(t *testing.T) {
	s := newStage(t)
	s.take()
	backup := s.begin(Follow, func(c *Config) { c.Listen = porttest.Address() })
	primary := s.start("restored", backup.Addr())
	backup.log.await(t, EventProtected)
	time.Sleep(worked)
	primary.signal(t, syscall.SIGKILL)
	backup.log.await(t, EventLive)
	backup.work(t, 100)
	backup.end(t)
	if st := backup.Status(); st.Digests.Different > 0 {
		t.Errorf("digests: %+v", st.Digests)
	}
}

// replayFrom re-executes a log from a snapshot file and is the machine at its end.
func (s *stage) replayFrom(path string, log []byte) (machine.Machine, replay.Header, replay.Compared) {
	s.t.Helper()
	m, h, err := LoadSnapshot(path, s.config(newEvents()).Machine, s.build)
	if err != nil {
		s.t.Fatal(err)
	}
	in, err := replay.NewReader(bufio.NewReader(bytes.NewReader(log)))
	if err != nil {
		s.t.Fatal(err)
	}
	head := in.Header()
	if !head.FromSnapshot() || head.StartDigest != h.Digest || head.Start != (replay.Point{Seq: replay.Seq(h.LogSeq), Pos: h.Pos}) {
		s.t.Errorf("the log begins at %+v, the snapshot is %+v", head, h)
	}
	r := replay.NewReplayer(m, head.Start)
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return m, head, r.Compared()
		}
		if err == nil {
			err = r.Apply(e)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		m.Outputs(nil)
	}
}

// A log of a restored VM begins with the snapshot.
func TestLogOfARestoredVMReplays(t *testing.T) {
	s := newStage(t)
	s.take()
	var log bytes.Buffer
	g := s.begin(PowerOn, func(c *Config) { c.Restore, c.Record = s.snapshot(), &log })
	g.work(t, 200)
	g.end(t)
	m, _, n := s.replayFrom(s.snapshot(), log.Bytes())
	if m.Digest() != g.m.Digest() || n.Markers == 0 || n.Digests == 0 {
		t.Errorf("digest %v, the run's %v; compared %+v", m.Digest(), g.m.Digest(), n)
	}
}

// A backup records the State and the entries that it receives, and goes on with
// what it does once it is live.
func TestRecordingBackup(t *testing.T) {
	s := newStage(t)
	var log bytes.Buffer
	backup := s.begin(Follow, func(c *Config) {
		c.Listen, c.Record, c.RecordState = porttest.Address(), &log, s.snapshot()
	})
	primary := s.start("primary", backup.Addr())
	backup.log.await(t, EventProtected)
	time.Sleep(worked)
	primary.signal(t, syscall.SIGKILL)
	backup.log.await(t, EventLive)
	live := backup.Status().Position
	backup.work(t, 100)
	backup.end(t)
	m, head, n := s.replayFrom(s.snapshot(), log.Bytes())
	if m.Digest() != backup.m.Digest() || n.Markers < 100 || uint64(m.Icount()) <= live {
		t.Errorf("digest %v at %d, the backup's %v at %d; compared %+v", m.Digest(), m.Icount(), backup.m.Digest(), backup.m.Icount(), n)
	}
	if head.RunOrdinal != 1 {
		t.Errorf("the log is of run %d", head.RunOrdinal)
	}
}

// failing is a writer that takes so many bytes.
type failing struct {
	mu   sync.Mutex
	left int
}

func (f *failing) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

// full says whether a write has failed, after making every further one fail.
func (f *failing) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.left < 0
	f.left = min(f.left, 0)
	return was
}

// To protect the VM comes before recording it, also when it is all there is.
func TestBackupOutlivesItsRecording(t *testing.T) {
	for name, left := range map[string]int{"while it replays": 2000, "when it is live": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			log := &failing{left: left}
			backup := s.begin(Follow, func(c *Config) {
				c.Listen, c.Record, c.RecordState = porttest.Address(), log, s.snapshot()
			})
			primary := s.start("primary", backup.Addr())
			backup.log.await(t, EventProtected)
			time.Sleep(worked)
			primary.signal(t, syscall.SIGKILL)
			backup.log.await(t, EventLive)
			backup.until(t, "failed write", log.full)
			backup.work(t, 100)
			backup.end(t)
		})
	}
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	s := newStage(t)
	refuses := func(g *running, path, want string) {
		t.Helper()
		if _, err := g.Save(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	absent := s.follow()
	addr := absent.Addr()
	refuses(absent, s.snapshot(), "save at the primary")
	absent.cancel()
	absent.wait(t, Gone)

	waiting := s.powerOn(addr)
	waiting.log.await(t, EventWaiting)
	refuses(waiting, s.snapshot(), "does not run yet")
	waiting.cancel()
	waiting.wait(t, Ended)
	refuses(waiting, s.snapshot(), "has ended")

	g := s.begin(PowerOn, func(*Config) {})
	g.work(t, 1)
	refuses(g, filepath.Join(s.dir, "no", "such", "place"), "no such file")
	refuses(g, filepath.Join(s.dir, "arbiter"), "file exists") // it is a directory
	if _, err := g.Save(s.snapshot()); err != nil {            // and the next one may be
		t.Errorf("after one that failed: %v", err)
	}
	g.end(t)
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What cannot be restored begins no run, and what runs is not restored beside.
func TestRestoresThatAreRefused(t *testing.T) {
	s := newStage(t)
	s.take()
	whole, err := os.ReadFile(s.snapshot())
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(s.dir, "bad")
	for _, tt := range []struct {
		name   string
		file   []byte
		change func(*Config)
		want   error
	}{
		{"cut", whole[:len(whole)-1], func(*Config) {}, snapshot.ErrTruncated},
		{"another computer", whole, func(c *Config) { c.Machine.Memory *= 2 }, snapshot.ErrMisfit},
		{"something else", []byte("name: web"), func(*Config) {}, snapshot.ErrNotFile},
	} {
		if err := os.WriteFile(bad, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := s.config(newEvents())
		cfg.Restore, cfg.build = bad, s.build
		tt.change(&cfg)
		if _, err := PowerOn(cfg); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	cfg := s.config(newEvents())
	cfg.Restore, cfg.Listen = s.snapshot(), porttest.Address()
	if _, err := Follow(cfg); err == nil || !strings.Contains(err.Error(), "restore the snapshot there") {
		t.Errorf("a backup that restores: %v", err)
	}
	g := s.begin(PowerOn, func(c *Config) { c.Restore = s.snapshot() }) // none of those has begun a run
	g.work(t, 1)
	cfg = s.config(newEvents())
	cfg.Restore, cfg.build = s.snapshot(), s.build
	if _, err := PowerOn(cfg); !errors.Is(err, arbiter.ErrNotEnded) {
		t.Errorf("restored beside the VM that runs: %v", err)
	}
	g.end(t)
}

// A disk that was written since is told before the guest runs.
func TestRestoreTellsOfALaterDisk(t *testing.T) {
	s := newStage(t)
	s.take()
	told := func() bool {
		g := s.begin(PowerOn, func(c *Config) { c.Restore = s.snapshot() })
		g.work(t, 1)
		g.cancel()
		g.wait(t, Ended)
		g.log.mu.Lock()
		defer g.log.mu.Unlock()
		for _, e := range g.log.list {
			if strings.Contains(e.Text, "was written after the snapshot") {
				return true
			}
		}
		return false
	}
	image, err := os.ReadFile(s.disk())
	if err != nil {
		t.Fatal(err)
	}
	at := func(when time.Duration) {
		taken := time.Unix(s.header().Taken, 0)
		if err := errors.Join(os.WriteFile(s.disk(), image, 0o600), os.Chtimes(s.disk(), taken, taken.Add(when))); err != nil {
			t.Fatal(err)
		}
	}
	if at(0); told() {
		t.Error("the image of that moment is taken for a later one")
	}
	if at(time.Minute); !told() {
		t.Error("nothing is said of a disk that was written since")
	}
}

// letters is a kernel that writes the alphabet to its console over and over, a
// letter now and then.
func letters() []byte {
	const base, header, uart = 0x8020_0000, 64, 0x1000_0000
	p := asm.New(base + header)
	p.LI(asm.T0, uart)
	p.Label("alphabet")
	p.LI(asm.T1, 'a')
	p.Label("letter")
	p.SB(asm.T1, 0, asm.T0)
	p.LI(asm.T2, 20_000)
	p.Label("wait")
	p.ADDI(asm.T2, asm.T2, -1)
	p.BNE(asm.T2, asm.Zero, "wait")
	p.ADDI(asm.T1, asm.T1, 1)
	p.LI(asm.T2, 'z'+1)
	p.BNE(asm.T1, asm.T2, "letter")
	p.J("alphabet")
	image := make([]byte, header)
	binary.LittleEndian.PutUint32(image, 0x0400_006f) // j .+64
	binary.LittleEndian.PutUint64(image[8:], base-0x8000_0000)
	binary.LittleEndian.PutUint64(image[16:], 2<<20)
	copy(image[0x38:], "RSC\x05")
	return append(image, p.Bytes()...)
}

// The computer itself, saved and restored: its console goes on with the letter
// that is due.
func TestRestoredComputerGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snap")
	mc := &machine.Config{Memory: 32 << 20, Kernel: letters()}
	newBoard := func(mc *machine.Config, b machine.Birth) (machine.Machine, error) { return board.New(mc, b) }
	var before screen
	r, err := PowerOn(Config{Name: "letters", Machine: mc, Console: &before})
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, newEvents())
	before.await(t, "xyzabc", 2)
	if _, err := g.Save(path); err != nil {
		t.Fatal(err)
	}
	g.cancel()
	g.wait(t, Ended)

	m, _, err := LoadSnapshot(path, mc, newBoard)
	if err != nil {
		t.Fatal(err)
	}
	_, tail := m.ConsoleTail(0)
	var after screen
	if r, err = PowerOn(Config{Name: "letters", Machine: mc, Console: &after, Restore: path}); err != nil {
		t.Fatal(err)
	}
	g = run(t, r, newEvents())
	after.await(t, "xyzabc", 2)
	g.cancel()
	g.wait(t, Ended)
	last, first := tail[len(tail)-1], after.text.Bytes()[0]
	if first != last+1 && !(last == 'z' && first == 'a') {
		t.Errorf("%q follows %q", first, last)
	}
}
