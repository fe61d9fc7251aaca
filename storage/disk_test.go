package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// memory is a backend in memory that fails and waits as a test says.
type memory struct {
	mu    sync.Mutex
	bytes []byte
	log   []string
	fail  error         // of everything
	hold  chan struct{} // if not nil, each request takes a value from it
	begun chan string   // told of each request that begins, if not nil
}

func (m *memory) do(what string, f func()) error {
	if m.begun != nil {
		m.begun <- what
	}
	if m.hold != nil {
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.log = append(m.log, what)
	f()
	return nil
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) Sectors() uint64   { return uint64(len(m.bytes)) / sectorSize }
func (m *memory) BlockSize() uint32 { return 512 }
func (m *memory) Claim(context.Context, ft.Fence, func(string)) error {
	return nil
}
func (m *memory) ReadAt(p []byte, off int64) error {
	return m.do(fmt.Sprintf("read %d", off), func() { copy(p, m.bytes[off:]) })
}
func (m *memory) WriteAt(p []byte, off int64) error {
	return m.do(fmt.Sprintf("write %d", off), func() { copy(m.bytes[off:], p) })
}
func (m *memory) Sync() error { return m.do("sync", func() {}) }
func (m *memory) Discard(off, n int64) error {
	return m.do(fmt.Sprintf("discard %d", off), func() {})
}
func (m *memory) Zero(off, n int64) error {
	return m.do(fmt.Sprintf("zero %d", off), func() { clear(m.bytes[off : off+n]) })
}
func (m *memory) Close() error { return nil }

type harness struct {
	*Disk
	done    chan machine.DiskDone
	stopped chan Stop
}

func newHarness(t *testing.T, b Backend, depth int) harness {
	t.Helper()
	h := harness{done: make(chan machine.DiskDone, 256), stopped: make(chan Stop, 256)}
	h.Disk = NewDisk(b, DiskOptions{
		Index: 3, Depth: depth,
		Done:    func(d machine.DiskDone) { h.done <- d },
		Stopped: func(s Stop) { h.stopped <- s },
	})
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Claim(context.Background(), ft.Fence{}, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// run submits requests and releases those that are held.
func (h harness) run(requests ...machine.Output) {
	for _, o := range requests {
		h.Submit(o)
		if o.Held() {
			h.Release(o.ID)
		}
	}
}

func (h harness) ids(n int) (ids []uint64) {
	for range n {
		ids = append(ids, (<-h.done).ID)
	}
	return ids
}

func TestAWriteRunsOnlyAfterItsRelease(t *testing.T) {
	m := &memory{bytes: make([]byte, 8192)}
	h := newHarness(t, m, 0)
	h.Submit(write(1, 2, 'w'))
	h.Submit(read(2, 8)) // proves that the queue was looked at
	if d := <-h.done; d.ID != 2 || d.Disk != 3 {
		t.Fatalf("request %d of disk %d ran first", d.ID, d.Disk)
	}
	if !h.Idle() {
		t.Error("what is held is not to be waited for")
	}
	h.Submit(read(3, 2))
	if len(m.log) != 1 {
		t.Fatalf("ran %v", m.log)
	}
	h.Release(1)
	if d := <-h.done; d.ID != 1 || d.Status != machine.DiskOK {
		t.Fatalf("write: %+v", d)
	}
	if d := <-h.done; d.ID != 3 || !bytes.Equal(d.Bytes, bytes.Repeat([]byte{'w'}, 1024)) {
		t.Fatalf("the read after it: id %d status %d", d.ID, d.Status)
	}
}

func TestDepthIsBounded(t *testing.T) {
	m := &memory{bytes: make([]byte, 1<<20), hold: make(chan struct{}), begun: make(chan string, 64)}
	h := newHarness(t, m, 8)
	for i := range uint64(40) {
		h.Submit(read(i+1, i*2))
	}
	for range 8 {
		<-m.begun
	}
	for left := 40; left > 0; left-- {
		select {
		case what := <-m.begun:
			t.Fatalf("%s began as the ninth", what)
		default:
		}
		m.hold <- struct{}{}
		<-h.done
		if left > 8 {
			<-m.begun
		}
	}
	if !h.Idle() {
		t.Error("not idle")
	}
}

// "an error of the host is never the guest's": it stops the disk, and all that
// was asked is done, in order, after Resume.
func TestAHostErrorStopsTheDisk(t *testing.T) {
	for _, cause := range []error{unix.EIO, unix.ENOSPC} {
		for _, o := range []machine.Output{write(1, 0, 'a'), read(1, 0), flush(1), discard(1, 0), zero(1, 0)} {
			t.Run(fmt.Sprintf("%v of a %v", cause, o.Op), func(t *testing.T) {
				m := &memory{bytes: make([]byte, 8192), fail: cause}
				h := newHarness(t, m, 1)
				h.run(o, write(2, 1, 'b'), write(3, 1, 'c'), flush(4), write(5, 8, 'd'))
				s := <-h.stopped
				if s.Disk != 3 || s.Op != o.Op || !errors.Is(s, cause) {
					t.Fatalf("stopped with %+v", s)
				}
				if have, ok := h.Stopped(); !ok || have != s || h.Idle() {
					t.Error("the disk does not say that it has stopped")
				}
				h.Resume() // fails again
				if s := <-h.stopped; !errors.Is(s, cause) {
					t.Fatalf("stopped with %v", s)
				}
				m.setFail(nil)
				h.Resume()
				if got := h.ids(5); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
					t.Errorf("done in the order %v", got)
				}
				if m.bytes[512] != 'c' || m.bytes[4096] != 'd' {
					t.Error("the last write does not stand")
				}
				if _, ok := h.Stopped(); ok || len(h.stopped) != 0 || len(h.done) != 0 {
					t.Error("stopped, or more was done")
				}
			})
		}
	}
}

// What runs beside the request that failed is completed if it succeeds, and told
// once if it fails too.
func TestWhatRunsBesideAFailure(t *testing.T) {
	m := &memory{bytes: make([]byte, 8192), hold: make(chan struct{}), begun: make(chan string, 8)}
	h := newHarness(t, m, 4)
	h.run(write(1, 0, 'a'), write(2, 4, 'b'), write(3, 8, 'c'))
	for range 3 {
		<-m.begun
	}
	m.hold <- struct{}{}
	one := <-h.done
	m.setFail(unix.EIO)
	m.hold <- struct{}{}
	m.hold <- struct{}{}
	<-h.stopped
	h.Submit(read(4, 12))
	// Nothing begins while the disk stands still, and Close does not wait for it.
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if len(h.stopped) != 0 || len(h.done) != 0 || len(m.begun) != 0 {
		t.Errorf("told %d times more, %d more done after %d, %d more begun", len(h.stopped), len(h.done), one.ID, len(m.begun))
	}
}

func TestFencedOff(t *testing.T) {
	fence := ErrFenced{By: ft.Fence{Run: 1, Number: 3}}
	h := newHarness(t, &memory{bytes: make([]byte, 8192), fail: fmt.Errorf("write: %w", fence)}, 0)
	h.run(write(1, 0, 'a'))
	var got ErrFenced
	if s := <-h.stopped; !errors.As(s, &got) || got != fence {
		t.Errorf("stopped with %v", s)
	}
}

// A backup that reads for itself does not write.
func TestFollowLetsReadsIn(t *testing.T) {
	done := make(chan machine.DiskDone, 1)
	d := NewDisk(&memory{bytes: bytes.Repeat([]byte{'x'}, 4096)}, DiskOptions{Done: func(d machine.DiskDone) { done <- d }})
	defer d.Close()
	panics := func(o machine.Output) (did bool) {
		defer func() { did = recover() != nil }()
		d.Submit(o)
		return false
	}
	if !panics(read(1, 0)) {
		t.Error("a read ran before anything")
	}
	d.Follow()
	if !panics(write(2, 0, 'a')) || !panics(zero(3, 0)) || !panics(flush(4)) {
		t.Error("a write ran before the claim")
	}
	d.Submit(read(5, 0))
	if r := <-done; r.ID != 5 || r.Bytes[0] != 'x' {
		t.Errorf("%+v", r)
	}
}

// A disk that both replicas read has no blocks of which each may read another.
func TestDiscardsThatReadAsZeros(t *testing.T) {
	m, done := &memory{bytes: bytes.Repeat([]byte{'x'}, 4096)}, make(chan machine.DiskDone, 1)
	d := NewDisk(m, DiskOptions{ZeroDiscards: true, Done: func(d machine.DiskDone) { done <- d }})
	defer d.Close()
	if err := d.Claim(context.Background(), ft.Fence{}, nil); err != nil {
		t.Fatal(err)
	}
	o := zero(1, 0)
	o.Op = machine.DiskDiscard
	d.Submit(o)
	d.Release(1)
	<-done
	if m.bytes[0] != 0 {
		t.Errorf("it reads as before, after %v", m.log)
	}
}

func TestReleaseOfNothingIsABug(t *testing.T) {
	h := newHarness(t, &memory{bytes: make([]byte, 8192)}, 0)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	h.Release(7)
}
