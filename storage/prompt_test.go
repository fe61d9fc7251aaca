package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// promptMemory has some of its blocks at hand.
type promptMemory struct {
	*memory
	below  int64           // what begins below is at hand
	during func(off int64) // called in the middle of a prompt request; may be nil
}

func (m *promptMemory) ReadPromptly(p []byte, off int64) bool {
	if m.during != nil {
		m.during(off)
	}
	copy(p, m.bytes[off:])
	return off < m.below
}

func (m *promptMemory) WritePromptly(p []byte, off int64) bool {
	if m.during != nil {
		m.during(off)
	}
	if off >= m.below {
		return false
	}
	m.log = append(m.log, "prompt")
	copy(m.bytes[off:], p)
	return true
}

// A read for which nothing has to be waited for is done when Submit returns; the
// others are read as ever, and so is one behind a write that is under way.
func TestPromptReads(t *testing.T) {
	m := &promptMemory{memory: &memory{bytes: bytes.Repeat([]byte{'x'}, 8192)}, below: 4096}
	h := newHarness(t, m, 0)
	h.Submit(read(1, 2))
	if len(h.done) != 1 || len(m.log) != 0 || !h.Idle() {
		t.Fatalf("%d done after %v", len(h.done), m.log)
	}
	if d := <-h.done; d.ID != 1 || d.Disk != 3 || !bytes.Equal(d.Bytes, bytes.Repeat([]byte{'x'}, 1024)) {
		t.Fatalf("%+v", d)
	}
	h.Submit(read(2, 8))
	if d := <-h.done; d.ID != 2 || len(m.log) != 1 {
		t.Fatalf("request %d after %v", d.ID, m.log)
	}
	h.Submit(write(3, 0, 'w'))
	h.Submit(read(4, 0))
	if len(h.done) != 0 {
		t.Fatal("a read went past a write of its blocks")
	}
	h.Release(3)
	if got := h.ids(2); got[0] != 3 || got[1] != 4 {
		t.Errorf("done: %v", got)
	}
}

// What may run by the end of a prompt read is not forgotten, however shallow the
// disk is.
func TestWhatBecomesReadyDuringAPromptRead(t *testing.T) {
	m := &promptMemory{memory: &memory{bytes: make([]byte, 8192)}, below: 4096}
	h := newHarness(t, m, 1)
	h.Submit(write(1, 8, 'w'))
	h.Submit(write(2, 0, 'v'))
	m.during = func(int64) {
		m.during = nil
		h.Release(1)
	}
	h.Submit(read(3, 4))
	if got := h.ids(2); got[0] != 3 || got[1] != 1 {
		t.Errorf("done: %v", got)
	}
	if err := h.Claim(t.Context(), ft.Fence{}, nil); err != nil {
		t.Error(err)
	}
}

// An image that was just written is in the page cache; one that is shorter than
// its disk is not read promptly, but with an error.
func TestPromptReadsOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'x'}, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, f, 0)
	got := make([]byte, 4096)
	switch {
	case f.ReadPromptly(got, 4096):
		if !bytes.Equal(got, bytes.Repeat([]byte{'x'}, 4096)) {
			t.Error("read something else")
		}
	case !f.cache.never.Load(): // the file system can tell
		t.Fatal("what was just written is not in the page cache")
	}
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	h.Submit(read(1, 8))
	if s := <-h.stopped; s.Op != machine.DiskRead {
		t.Errorf("stopped with %v", s)
	}
}

// ownWrite is one of a page that no gate holds.
func ownWrite(id, sector uint64) machine.Output {
	o := local(write(id, sector, 'w'))
	o.Bytes = bytes.Repeat([]byte{'w'}, 4096)
	return o
}

// A write that no gate holds, and for which nothing has to be waited for, is done
// when Submit returns; the others are written as ever.
func TestPromptWrites(t *testing.T) {
	m := &promptMemory{memory: &memory{bytes: make([]byte, 1<<20)}, below: 64 << 10}
	h := newHarness(t, m, 0)
	h.Submit(ownWrite(1, 8))
	if d := <-h.done; d.ID != 1 || !slices.Equal(m.log, []string{"prompt"}) || m.bytes[4096] != 'w' {
		t.Fatalf("request %d after %v", d.ID, m.log)
	}
	large := ownWrite(3, 0)
	large.Bytes = bytes.Repeat([]byte{'l'}, promptBytes+512)
	for _, o := range []machine.Output{ownWrite(2, 128), large, write(4, 0, 'h')} {
		h.run(o)
		at := o.Sector * sectorSize
		if d := <-h.done; d.ID != o.ID || slices.Contains(m.log[1:], "prompt") || !bytes.HasPrefix(m.bytes[at:], o.Bytes) {
			t.Errorf("request %d after %v", d.ID, m.log)
		}
	}
	h.Submit(write(5, 0, 'h')) // held
	h.Submit(ownWrite(6, 0))
	if len(h.done) != 0 {
		t.Fatal("a write went past another one of its blocks")
	}
	h.Release(5)
	if got := h.ids(2); got[0] != 5 || got[1] != 6 {
		t.Errorf("done: %v", got)
	}
}

// Beside a flush a write may have to wait for it, so it goes to another thread.
func TestNoPromptWriteBesideAFlush(t *testing.T) {
	m := &promptMemory{memory: &memory{bytes: make([]byte, 8192), hold: make(chan struct{}), begun: make(chan string, 3)}, below: 8192}
	h := newHarness(t, m, 0)
	h.run(flush(1))
	<-m.begun
	h.Submit(ownWrite(2, 0))
	if len(h.done) != 0 {
		t.Error("written promptly beside a flush")
	}
	close(m.hold)
	h.ids(2)
	h.Submit(ownWrite(3, 0))
	if len(h.done) != 1 {
		t.Error("not written promptly after the flush")
	}
}

// After a write in which the thread had to wait there are none that could hold up
// the guest again.
func TestNoPromptWriteAfterOneThatWaited(t *testing.T) {
	runtime.LockOSThread() // as who runs a guest does
	defer runtime.UnlockOSThread()
	m := &promptMemory{memory: &memory{bytes: make([]byte, 8192)}, below: 8192}
	m.during = func(int64) { _ = unix.Nanosleep(&unix.Timespec{Nsec: 2 * int64(tookLong)}, nil) }
	h := newHarness(t, m, 0)
	h.Submit(ownWrite(1, 0))
	h.Submit(ownWrite(2, 0))
	h.ids(2)
	if want := []string{"prompt", "write 0"}; !slices.Equal(m.log, want) {
		t.Errorf("%v, want %v", m.log, want)
	}
}
