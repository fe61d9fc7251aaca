package storage

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// After an error what may run is tried again; what waits for a release is not to
// be waited for, nor what comes after it.
func TestSettledWithAHeldWriteInTheWay(t *testing.T) {
	m := &memory{bytes: make([]byte, 8192), fail: unix.ENOSPC}
	h := newHarness(t, m, 0)
	h.Submit(read(1, 0))
	<-h.stopped
	h.Submit(write(2, 0, 'w')) // held
	h.Submit(read(3, 0))
	h.Submit(flush(4))
	h.Release(4)
	if h.Settled() {
		t.Error("settled with an error")
	}
	m.setFail(nil)
	h.Resume()
	if got := h.ids(1); got[0] != 1 {
		t.Fatalf("request %d is done", got[0])
	}
	for !h.Settled() { // it is, as soon as its goroutine is gone
		runtime.Gosched()
	}
	if h.Idle() {
		t.Error("idle with a read and a flush to do")
	}
	h.Release(2)
	h.ids(3)
	for !h.Settled() || !h.Idle() {
		runtime.Gosched()
	}
}
