package guests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/vm"
)

// failoversVariable is how many pairs lose a replica in each test below.
const failoversVariable = "LOCKSTEP_FAILOVERS"

// A diskMode is a way in which a pair has its disks.
type diskMode struct {
	name        string
	backupReads bool
	local       bool // each replica has an image of its own
	store       bool // a block store serves the images, and keeps the arbiter
}

// diskModes are those that are tested.
var diskModes = []diskMode{
	{name: "shared"},
	{name: "reads-backup", backupReads: true},
	{name: "nbd", store: true},
	{name: "nbd-reads-backup", backupReads: true, store: true},
	{name: "local", local: true},
}

// A waiting is a guest that was booted once and saved: it waits for a line of
// shell, and each pair goes on from there.
type waiting struct {
	mode   diskMode
	part   part
	images []string // of the disks, as they were when it was saved
	early  int      // pairs whose guest was through before the kill
}

// hosted are the disks of a replica, the files that they lie in, and an arbiter
// that has seen no VM.
type hosted struct {
	disks   []vm.Disk
	files   []string
	arbiter string
	store   *blockStore // that serves them; may be nil
}

// close ends the store: nothing that it said to be written waits in it.
func (h hosted) close(t testing.TB) {
	t.Helper()
	if h.store != nil {
		h.store.stop(t)
	}
}

// wait boots a guest until it waits. Its disks are images.
func (mode diskMode) wait(t *testing.T, g guest, images []string) *waiting {
	t.Helper()
	mc := g.config(t)
	dir := t.TempDir()
	img, err := image.Load("", g.image)
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{mode: mode, images: images}
	w.part = part{
		Memory: mc.Memory, Kernel: img.Kernel, Initrd: filepath.Join(dir, "initrd"), Cmdline: mc.Cmdline,
		Guest: g.disks, Save: filepath.Join(dir, "snapshot"),
	}
	for i := range w.part.Guest {
		w.part.Guest[i].Local = mode.local
	}
	if err := os.WriteFile(w.part.Initrd, mc.Initrd, 0o600); err != nil {
		t.Fatal(err)
	}
	first, h := w.part, w.host(t)
	first.Host, first.Arbiter = h.disks, h.arbiter
	r := startReplica(t, first, newReader(1))
	if err := r.wait(); err != nil {
		t.Fatalf("%v; it told\n%s\nand its console said\n%s", err, strings.Join(r.events.all(), "\n"), tail(strings.Join(r.console.all(), "\n")))
	}
	h.close(t)
	if _, err := os.Stat(w.part.Save); err != nil {
		t.Fatalf("the guest did not wait: %v; its console said\n%s", err, tail(strings.Join(r.console.all(), "\n")))
	}
	w.part.Restore, w.part.Save = w.part.Save, ""
	return w
}

// host makes fresh copies of the images.
func (w *waiting) host(t testing.TB) hosted {
	t.Helper()
	dir := t.TempDir()
	h := hosted{arbiter: filepath.Join(dir, "arbiter")}
	for i, path := range w.images {
		copied := filepath.Join(dir, fmt.Sprintf("disk%d", i))
		command(t, "cp", "--sparse=always", path, copied)
		h.files = append(h.files, copied)
	}
	targets := h.files
	if w.mode.store {
		h.store = startStore(t, h.arbiter, h.files)
		targets, h.arbiter = h.store.urls, "store:"+h.store.address
	}
	for _, target := range targets {
		h.disks = append(h.disks, vm.Disk{Path: target, BackupReads: w.mode.backupReads})
	}
	return h
}

// failedOver fails a test in which too many guests were through before a
// replica was killed: it has not tried what it is for.
func (w *waiting) failedOver(t testing.TB, rounds int) {
	t.Helper()
	if w.early > 1+rounds/5 {
		t.Errorf("in %d of %d rounds the guest was through before the kill", w.early, rounds)
	}
}

// A round is a pair that works at a line of shell until one side is killed, and
// what came of it.
type round struct {
	rng    *rand.Rand
	line   string
	word   string // begins the lines that say what is durable
	within int    // the kill is after one of so many of those
	plug   bool   // the survivor is killed too, a while later
}

// result is what a round leaves.
type result struct {
	images  []string // paths of the survivor's disks
	console []string // lines that left
}

// A side is a replica of a pair and where its disks lie.
type side struct {
	*replica
	host    hosted
	address string
}

// pair starts a pair that works at a line of shell, and waits until it is
// protected.
func (w *waiting) pair(t *testing.T, line string, screen *reader) (p, b *side) {
	t.Helper()
	backup, primary := w.part, w.part
	ofBackup := w.host(t)
	ofPrimary := ofBackup
	if w.mode.local {
		ofPrimary = w.host(t)
		ofPrimary.arbiter = ofBackup.arbiter
	}
	backup.Arbiter, primary.Arbiter = ofBackup.arbiter, ofBackup.arbiter
	backup.Host, primary.Host = ofBackup.disks, ofPrimary.disks
	backup.Line, primary.Line = line, line
	backup.Backup, backup.Restore = true, ""
	b = &side{replica: startReplica(t, backup, screen), host: ofBackup}
	b.address = b.tells(t, "address")
	primary.Peer = b.address
	p = &side{replica: startReplica(t, primary, screen), host: ofPrimary}
	p.address = p.tells(t, "address")
	p.tells(t, string(vm.EventProtected))
	b.tells(t, string(vm.EventProtected))
	return p, b
}

// join starts a backup in the place of a replica that was killed.
func (w *waiting) join(t *testing.T, dead *side, line string, screen *reader) *side {
	t.Helper()
	backup := w.part
	backup.Backup, backup.Restore, backup.Line = true, "", line
	backup.Listen, backup.Host, backup.Arbiter = dead.address, dead.host.disks, dead.host.arbiter
	b := &side{replica: startReplica(t, backup, screen), host: dead.host, address: dead.address}
	b.tells(t, string(vm.EventProtected))
	return b
}

// run has a pair work at the line.
func (w *waiting) run(t *testing.T, rd round) result {
	t.Helper()
	screen := newReader(2)
	victim, survivor := w.pair(t, rd.line, screen)
	if rd.rng.IntN(4) == 0 {
		victim, survivor = survivor, victim
	}
	if n := rd.rng.IntN(rd.within); n > 0 {
		screen.await(rd.word, n)
	}
	// From the line to the next one passes a random number of events of the
	// host; how many is not known, and need not be.
	for range rd.rng.IntN(2000) {
		_, _ = os.Stat(w.part.Initrd)
	}
	victim.kill()
	_ = victim.wait()
	if _, live := survivor.events.await(string(vm.EventLive), 1); !live {
		w.early++
	}
	if rd.plug {
		heard := result{console: screen.all()}.durable(rd.word)
		screen.await(rd.word, len(heard)+1+rd.rng.IntN(rd.within))
		survivor.kill()
		_ = survivor.wait()
	}
	err := survivor.wait()
	survivor.host.close(t)
	got := result{images: survivor.host.files, console: screen.all()}
	if err := screen.missed(); err != nil {
		t.Errorf("bytes of the console are in no replica's: %v", err)
	}
	text := strings.Join(got.console, "\n")
	if strings.Contains(text, "@failed") || !rd.plug && (err != nil || !strings.Contains(text, endLine+"0")) {
		t.Fatalf("%v; the survivor told\n%s\nand the console said\n%s", err, strings.Join(survivor.events.all(), "\n"), tail(text))
	}
	return got
}

// durable are the numbers of the lines that begin with a word. Such a line has
// its number twice, so that one of which a replica wrote a part is none.
func (r result) durable(word string) []uint64 {
	var all []uint64
	for _, line := range r.console {
		var a, b uint64
		if n, err := fmt.Sscanf(line, word+" %d %d.", &a, &b); n == 2 && err == nil && a == b {
			all = append(all, a)
		}
	}
	return all
}

// failovers is how many rounds a test makes.
func failovers(t testing.TB) int {
	t.Helper()
	text := os.Getenv(failoversVariable)
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q; it wants a whole number from 1", failoversVariable, text)
	}
	return n
}

// newImage is an image of so many bytes of zeros.
func newImage(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// newExt4 is an image with an empty file system.
func newExt4(t testing.TB, size int64) string {
	t.Helper()
	path := newImage(t, size)
	command(t, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", path)
	return path
}

// checkExt4 looks at a file system with the eyes of e2fsck, and copies its
// files into the directory that it returns. One whose plug was pulled may want
// its journal replayed first.
func checkExt4(t testing.TB, image string, pulled bool) (dir string) {
	t.Helper()
	if pulled {
		out, err := exec.Command("e2fsck", "-p", image).CombinedOutput()
		if code := exitCode(err); code > 1 { // 1: the journal was replayed
			t.Fatalf("e2fsck -p: %v\n%s", err, out)
		}
	}
	command(t, "e2fsck", "-f", "-n", image)
	dir = t.TempDir()
	command(t, "debugfs", "-R", "rdump / "+dir, image)
	return dir
}

func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// command runs a program of the host's and returns what it printed.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v (Debian: apt-get install e2fsprogs sqlite3)\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
