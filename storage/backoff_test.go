package storage

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBackoff(t *testing.T) {
	var b backoff
	now := time.Unix(1000, 0)
	wait := func(after, want time.Duration) {
		t.Helper()
		now = now.Add(after)
		if !b.allows(now) {
			t.Fatalf("not allowed after %v", after)
		}
		b.waited(now)
		if b.allows(now.Add(want-1)) || !b.allows(now.Add(want)) {
			t.Errorf("allowed again after %v, want %v", b.until.Sub(now), want)
		}
		now = b.until
	}
	wait(0, leastBackoff)
	wait(0, 2*leastBackoff)
	wait(time.Second, 4*leastBackoff)
	wait(4*time.Second+1, leastBackoff)
	for range 10 {
		b.waited(now)
	}
	if got := b.until.Sub(now); got != mostBackoff {
		t.Errorf("%v at most, want %v", got, mostBackoff)
	}
}

// A thread that only works for long does not wait, and one that waits for a moment
// holds nobody up.
func TestAttempt(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	works := func() bool {
		for began := time.Now(); time.Since(began) < tookLong; {
		}
		return true
	}
	naps := func() bool {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
		return true
	}
	for what, write := range map[string]func() bool{"work": works, "a nap": naps} {
		n := 0
		for range 20 {
			if done, waited := attempt(write); !done {
				t.Fatal("not done")
			} else if waited {
				n++
			}
		}
		if n == 20 { // a busy host may do that to it now and then
			t.Errorf("%s is taken for waiting", what)
		}
	}
}
