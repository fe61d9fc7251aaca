package vm

import (
	"testing"
	"time"
)

// Paper, section 3.2: the primary gets less of the CPU
// in small steps while the backup lags, and more again when it has caught up.
func TestThrottleFollowsTheLag(t *testing.T) {
	const target = 100 * time.Millisecond
	var th throttle
	now := int64(0)
	look := func(lag time.Duration, times int) {
		for range times {
			now += throttleEvery
			th.look(now, lag, target)
		}
	}
	if look(target, 10); th.percent != 0 || th.pause(1000) != 0 {
		t.Errorf("throttled by %d %% with the lag at its target", th.percent)
	}
	look(target+1, 1)
	if th.percent == 0 || th.percent > 5 {
		t.Errorf("the first step is %d %%", th.percent)
	}
	if th.look(now+1, target+1, target); th.percent > 5 {
		t.Error("looked twice within one interval")
	}
	if look(target+1, 1000); th.percent != maxThrottle {
		t.Errorf("%d %% after a long lag", th.percent)
	}
	if got := th.pause(100_000); got != 900_000 {
		t.Errorf("a slice of 100 us is followed by a pause of %d ns, want nine times as long", got)
	}
	if look(0, 1000); th.percent != 0 {
		t.Errorf("%d %% after the backup has caught up", th.percent)
	}
}
