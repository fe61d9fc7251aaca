package vm

import "time"

const (
	throttleEvery = 10_000_000 // ns between two looks at the lag
	maxThrottle   = 90         // percent

	// leastPause is how much must be owed before a pause is made. A pause has a
	// price of its own, for the thread is put to sleep and woken: after every
	// slice it would cost more than it leaves.
	leastPause = 2_000_000 // ns
	// mostPause is the longest that the owner does not look at what has arrived.
	mostPause = 10_000_000 // ns
)

// throttle is the share of the host's time, in percent, that a primary leaves
// unused so that its backup can catch up. It grows in small steps while the
// execution lag is over the target and shrinks when it is not (paper, section
// 3.2; DESIGN section 6, execution lag).
type throttle struct {
	percent uint
	next    int64 // host time of the next look
	owed    int64 // ns of pauses that were not made; less than 0 after one that was too long
}

// look adjusts the share to the lag, at most every throttleEvery.
func (t *throttle) look(now int64, lag, target time.Duration) {
	if now < t.next {
		return
	}
	t.next = now + throttleEvery
	switch {
	case lag > target:
		t.percent = min(t.percent+2, maxThrottle)
	case t.percent > 0:
		t.percent--
	}
}

// pause is how long to leave the host alone after a slice that took so long, at
// most mostPause; 0 while less than leastPause is owed.
func (t *throttle) pause(took int64) int64 {
	if t.percent == 0 {
		t.owed = 0
		return 0
	}
	if t.owed += took * int64(t.percent) / int64(100-t.percent); t.owed < leastPause {
		return 0
	}
	return min(t.owed, mostPause)
}

// paused counts a pause, which may have been longer than it was to be.
func (t *throttle) paused(lasted int64) { t.owed = max(t.owed-lasted, -leastPause) }
