package vm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/replay"
)

// linux is the configuration of a stock kernel without network and disks, from
// the directory that LOCKSTEP_GUEST names.
func linux(t *testing.T, words string) *machine.Config {
	t.Helper()
	dir := os.Getenv("LOCKSTEP_GUEST")
	if dir == "" {
		t.Skip("LOCKSTEP_GUEST names no directory with Image and initrd.cpio (lockstep image show tells where they are)")
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return &machine.Config{
		Memory: 256 << 20, Kernel: read("Image"), Initrd: read("initrd.cpio"),
		Cmdline: "console=ttyS0 ipv6.disable=1 init_on_alloc=0 cryptomgr.notests initcall_blacklist=jent_mod_init " + words,
	}
}

// screen is a console that a test reads.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// await waits until the text has appeared n times.
func (s *screen) await(t *testing.T, text string, n int) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		have := s.text.String()
		s.mu.Unlock()
		switch {
		case strings.Count(have, text) >= n:
			return
		case time.Now().After(end):
			t.Fatalf("no %q on the console; its end is %q", text, have[max(0, len(have)-500):])
		}
	}
}

// A recorded boot of the stock kernel replays, twice, with every marker and
// digest equal; "a flipped bit ... is refused".
func TestRecordedBootReplays(t *testing.T) {
	mc := linux(t, "")
	var log bytes.Buffer
	var console screen
	r, err := PowerOn(Config{Name: "boot", Machine: mc, Console: &console, Record: &log, digestEvery: 100_000_000})
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, newEvents())
	console.await(t, "lockstep: ready", 1)
	g.cancel()
	g.wait(t, Ended)

	first, n := replayed(t, mc, log.Bytes())
	second, _ := replayed(t, mc, log.Bytes())
	if first != second || first != r.m.Digest() {
		t.Errorf("digests %v and %v of the replays, %v of the run", first, second, r.m.Digest())
	}
	if n.Markers < 20 || n.Digests < 3 {
		t.Errorf("only %d markers and %d digests were compared", n.Markers, n.Digests)
	}
	t.Logf("%d bytes of log, %d markers, %d digests", log.Len(), n.Markers, n.Digests)

	flipped := bytes.Clone(log.Bytes())
	flipped[len(flipped)/2] ^= 4
	lr, err := replay.NewReader(bufio.NewReader(bytes.NewReader(flipped)))
	for err == nil {
		_, err = lr.Next()
	}
	if !errors.Is(err, replay.ErrMalformed) {
		t.Errorf("a log with a flipped bit: %v", err)
	}
}

// replayed re-executes a log and returns the digest at its end.
func replayed(t *testing.T, mc *machine.Config, log []byte) (machine.Digest, replay.Compared) {
	t.Helper()
	lr, err := replay.NewReader(bufio.NewReader(bytes.NewReader(log)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := board.New(mc, lr.Header().Birth)
	if err != nil {
		t.Fatal(err)
	}
	return replayedInto(t, m, log)
}

// replayedInto is replayed for a machine in the State that the log begins with.
func replayedInto(t *testing.T, m machine.Machine, log []byte) (machine.Digest, replay.Compared) {
	t.Helper()
	lr, err := replay.NewReader(bufio.NewReader(bytes.NewReader(log)))
	if err != nil {
		t.Fatal(err)
	}
	r := replay.NewReplayer(m, lr.Header().Start)
	for {
		e, err := lr.Next()
		if errors.Is(err, io.EOF) {
			return m.Digest(), r.Compared()
		}
		if err == nil {
			err = r.Apply(e)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Outputs(nil)
	}
}

// A guest that is typed at, and reboots, on a protected pair: the reset is a
// transition inside the machine, and the backup makes it too.
func TestRebootOfAProtectedPair(t *testing.T) {
	mc := linux(t, "lockstep.shell")
	arb := t.TempDir()
	blog, plog := newEvents(), newEvents()
	b, err := Follow(Config{Name: "boot", Machine: mc, Arbiter: arb, Listen: porttest.Address(), OnEvent: blog.add, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	backup := run(t, b, blog)
	var console screen
	p, err := PowerOn(Config{Name: "boot", Machine: mc, Arbiter: arb, Peer: b.Addr(), Console: &console, OnEvent: plog.add, Timeout: 5 * time.Second, digestEvery: 100_000_000})
	if err != nil {
		t.Fatal(err)
	}
	primary := run(t, p, plog)
	console.await(t, "~ # ", 1)
	typed := "echo $((6*7))-$((2*21)); reboot -f\n"
	primary.Type(1, 0, []byte(typed))
	console.await(t, "42-42", 1)
	console.await(t, "~ # ", 2) // that of the second boot
	primary.Type(1, uint64(len(typed)), []byte("poweroff -f\n"))
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	if st := backup.Status(); st.Digests.Compared < 5 || st.Digests.Different > 0 {
		t.Errorf("digests: %+v", st.Digests)
	}
	// The backup leaves at the primary's word, with what it has executed by then.
	if p.m.Mark().Count < b.m.Mark().Count {
		t.Errorf("the backup has made %d outputs, the primary %d", b.m.Mark().Count, p.m.Mark().Count)
	}
}

// A stock kernel that is saved and restored goes on where it was: its shell
// still has its variables.
func TestRestoredLinuxGoesOn(t *testing.T) {
	mc := linux(t, "lockstep.shell")
	path := filepath.Join(t.TempDir(), "snap")
	var before screen
	r, err := PowerOn(Config{Name: "boot", Machine: mc, Console: &before})
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, r, newEvents())
	before.await(t, "~ # ", 1)
	typed := "x=$((6*7)); echo set-$x\n"
	g.Type(1, 0, []byte(typed))
	before.await(t, "set-42", 1)
	got, err := g.Save(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes at position %d; the guest stood still for %v", got.Size, got.Pos, got.Stood)
	g.cancel()
	g.wait(t, Ended)

	var after screen
	var log bytes.Buffer
	if r, err = PowerOn(Config{Name: "boot", Machine: mc, Console: &after, Restore: path, Record: &log}); err != nil {
		t.Fatal(err)
	}
	g = run(t, r, newEvents())
	g.Type(2, 0, []byte("echo still-$x; poweroff -f\n"))
	after.await(t, "still-42", 1)
	g.wait(t, Ended)
	if bytes.Contains(after.text.Bytes(), []byte("Linux version")) {
		t.Error("it booted")
	}
	m, _, err := LoadSnapshot(path, mc, func(mc *machine.Config, b machine.Birth) (machine.Machine, error) { return board.NewReference(mc, b) })
	if err != nil {
		t.Fatal(err)
	}
	if first, n := replayedInto(t, m, log.Bytes()); first != r.m.Digest() || n.Markers == 0 {
		t.Errorf("digest %v of the replay from the snapshot, %v of the run; compared %+v", first, r.m.Digest(), n)
	}
}
