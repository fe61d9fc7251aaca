package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

func image(t *testing.T, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "disk.img")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string) *File {
	t.Helper()
	b, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// claimed is a backend that is this process's.
func claimed(t *testing.T, b Backend) Backend {
	t.Helper()
	if err := b.Claim(context.Background(), ft.Fence{}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	return b
}

// check does what every backend must, on a disk of at least 1 MiB.
func check(t *testing.T, b Backend, path string) {
	t.Helper()
	const size = 1 << 20
	want := bytes.Repeat([]byte("lockstep"), size/8)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	same := func(when string) {
		t.Helper()
		got := make([]byte, size)
		must("read", b.ReadAt(got, 0))
		if i := firstDifference(got, want); i >= 0 {
			t.Fatalf("%s: byte %d is %#x, want %#x", when, i, got[i], want[i])
		}
	}
	must("write", b.WriteAt(want, 0))
	same("after a write of everything")
	block := bytes.Repeat([]byte{0xb5}, 4096)
	must("write", b.WriteAt(block, 40960))
	copy(want[40960:], block)
	same("after a small write")
	must("zero", b.Zero(65536, 131072))
	clear(want[65536 : 65536+131072])
	same("after a zeroing")
	if u, ok := b.(Unmapper); ok {
		must("unmap", u.Unmap(300<<10, 4096))
		clear(want[300<<10 : 300<<10+4096])
		same("after an unmapping")
	}
	must("sync", b.Sync())
	must("discard", b.Discard(512<<10, 8192))
	// It may read as anything: what is written there stands.
	must("write", b.WriteAt(want[512<<10:512<<10+8192], 512<<10))
	same("after a discard")
	must("sync", b.Sync())
	on, err := os.Open(path)
	must("open", err)
	defer on.Close()
	got := make([]byte, size)
	if _, err := io.ReadFull(on, got); err != nil || firstDifference(got, want) >= 0 {
		t.Errorf("the disk outside is different at %d, %v", firstDifference(got, want), err)
	}
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func TestFile(t *testing.T) {
	dirs := map[string]string{"the file system of temporary files": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "lockstep"); err == nil { // cannot zero a range
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		dirs["tmpfs"] = dir
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			path := image(t, dir, 1<<20)
			b := openFile(t, path)
			check(t, claimed(t, b), path)
			if b.Sectors() != 2048 || b.BlockSize() != 512 {
				t.Errorf("%d sectors of %d", b.Sectors(), b.BlockSize())
			}
		})
	}
}

// As on another host's file system.
func TestFileWritesThrough(t *testing.T) {
	path := image(t, t.TempDir(), 1<<20)
	b := openFile(t, path)
	b.through = true
	check(t, claimed(t, b), path)
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestDiscardGivesRoomBack(t *testing.T) {
	path := image(t, t.TempDir(), 4<<20)
	b := claimed(t, openFile(t, path)).(*File)
	full := bytes.Repeat([]byte{1}, 4<<20)
	for name, give := range map[string]func(off, n int64) error{"discard": b.Discard, "unmap": b.Unmap} {
		if err := errors.Join(b.WriteAt(full, 0), b.Sync()); err != nil {
			t.Fatal(err)
		}
		was := allocated(t, path)
		if err := errors.Join(give(1<<20, 2<<20), b.Sync()); err != nil {
			t.Fatal(err)
		}
		if now := allocated(t, path); now > was-2<<20 {
			t.Errorf("%s: %d bytes before, %d after", name, was, now)
		}
	}
	if err := errors.Join(b.WriteAt(full, 0), b.Zero(0, 4<<20), b.Sync()); err != nil {
		t.Fatal(err)
	}
	if now := allocated(t, path); now < 4<<20 {
		t.Errorf("a zeroing gave room back: %d bytes are left", now)
	}
}

// Many terabytes: no offset is cut.
func TestHugeFile(t *testing.T) {
	const size = 10 << 40
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Skipf("the file system has no files of %d bytes: %v", int64(size), err)
	}
	h := newHarness(t, openFile(t, path), 0)
	if h.Sectors() != size/512 {
		t.Fatalf("%d sectors", h.Sectors())
	}
	last := uint64(size/512 - 2)
	h.run(write(1, last, 'z'), read(2, last), read(3, 0))
	for range 3 {
		d := <-h.done
		if d.ID == 2 && d.Bytes[1023] != 'z' || d.ID == 3 && d.Bytes[0] != 0 {
			t.Errorf("request %d read %#x", d.ID, d.Bytes[0])
		}
	}
}

// DESIGN R19: "the winner of a claim waits, visibly, for that lock".
func TestSecondOwnerWaitsForTheLock(t *testing.T) {
	path := image(t, t.TempDir(), 4096)
	first := claimed(t, openFile(t, path))
	second := openFile(t, path)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	var told []string
	err := second.Claim(ctx, ft.Fence{}, func(why string) { told = append(told, why) })
	if !errors.Is(err, context.DeadlineExceeded) || len(told) != 1 || !strings.Contains(told[0], path) {
		t.Fatalf("claim while held: %v, told %q", err, told)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	claimed(t, second)
}

// An image that has become shorter stops the disk: it is no error of the guest.
func TestAShortenedImageStopsTheDisk(t *testing.T) {
	path := image(t, t.TempDir(), 8192)
	h := newHarness(t, openFile(t, path), 0)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	h.run(read(1, 7))
	if s := <-h.stopped; !errors.Is(s, io.ErrUnexpectedEOF) || !strings.Contains(s.Error(), "shorter than it was") {
		t.Errorf("stopped with %v", s)
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	h.Resume()
	if d := <-h.done; d.ID != 1 || d.Status != machine.DiskOK {
		t.Errorf("%+v", d)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := image(t, dir, 4096)
	ask := func(target string, readOnly bool) (Backend, error) {
		return nil, fmt.Errorf("asked for %s %v", target, readOnly)
	}
	for _, c := range []struct{ target, want string }{
		{dir, "neither a regular file nor a block device"},
		{"/dev/null", "neither a regular file nor a block device"},
		{filepath.Join(dir, "gone"), "no such file"},
		{"nbd://host/x", "asked for nbd://host/x true"},
		{"ftp://host/x", "a disk is a path or nbd://...; there is no ftp://"},
		{"./x://y", "no such file"},
	} {
		if _, err := Open(c.target, true, Openers{"nbd": ask}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.target, err, c.want)
		}
	}
	b, err := Open(path, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := claimed(t, b).WriteAt(make([]byte, 512), 0); err == nil {
		t.Error("wrote to a read-only disk")
	}
	for name, size := range map[string]int64{"empty": 0, "odd": 700} {
		if _, err := Open(image(t, t.TempDir(), size), false, nil); err == nil || !strings.Contains(err.Error(), "multiple of 512") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
