package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// promptMemory has some of its blocks at hand.
type promptMemory struct {
	*memory
	below  int64           // what begins below is at hand
	during func(off int64) // called in the middle of a prompt read; may be nil
}

func (m *promptMemory) ReadPromptly(p []byte, off int64) bool {
	if m.during != nil {
		m.during(off)
	}
	copy(p, m.bytes[off:])
	return off < m.below
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
