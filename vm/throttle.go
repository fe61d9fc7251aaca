package vm

import "time"

const (
	throttleEvery = 10_000_000 // ns between two looks at the lag
	maxThrottle   = 90         // percent
)

// throttle is the share of the host's time, in percent, that a primary leaves
// unused so that its backup can catch up. It grows in small steps while the
// execution lag is over the target and shrinks when it is not (paper, section
// 3.2; DESIGN section 6, execution lag).
type throttle struct {
	percent uint
	next    int64 // host time of the next look
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

// pause is how long to leave the host alone after a slice that took so long.
func (t *throttle) pause(took int64) int64 {
	return took * int64(t.percent) / int64(100-t.percent)
}
