package storage

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tookLong is what tells a write that had to wait from one that was copied.
	tookLong     = time.Millisecond
	leastBackoff = time.Second
	mostBackoff  = time.Minute
)

// backoff keeps prompt writes from holding up the guest. Most file systems have no
// write that refuses to wait, as they have such a read: one waits when the host
// has too many dirty pages, or its file system is busy. After one that did there
// are none for a second, and for twice as long if that happens soon again.
type backoff struct {
	until time.Time
	delay time.Duration
}

// allows says whether a write may be tried.
func (b *backoff) allows(now time.Time) bool { return !now.Before(b.until) }

// waited notes that one had to wait.
func (b *backoff) waited(now time.Time) {
	if now.Sub(b.until) > b.delay {
		b.delay = 0
	}
	b.delay = min(max(2*b.delay, leastBackoff), mostBackoff)
	b.until = now.Add(b.delay)
}

// attempt does a write and says whether the thread had to wait in it. A busy host
// may take the core from it as well, which is not that.
func attempt(write func() bool) (done, waited bool) {
	before, began := switches(), time.Now()
	done = write()
	return done, time.Since(began) >= tookLong && switches() != before
}

// switches counts how often this thread has given up its core.
func switches() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &u) // cannot fail
	return u.Nvcsw
}
