package vm

import (
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
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
	if got := th.pause(1_000_000); got != 9_000_000 {
		t.Errorf("a slice of 1 ms is followed by a pause of %d ns, want nine times as long", got)
	}
	if got := th.pause(1_000_000_000); got != mostPause {
		t.Errorf("a slice of 1 s is followed by a pause of %d ns, want %d", got, mostPause)
	}
	if th.paused(mostPause); th.pause(0) != mostPause {
		t.Error("what was too long for one pause is not owed any more")
	}
	if look(0, 1000); th.percent != 0 {
		t.Errorf("%d %% after the backup has caught up", th.percent)
	}
	if got := th.pause(1_000_000); got != 0 {
		t.Errorf("a pause of %d ns is left over for a backup that has caught up", got)
	}
}

// A pause is not made after every slice, and one that lasts longer or shorter
// than was asked for is made good by those after it.
func TestPausesAreGatheredUntilTheyAreWorthIt(t *testing.T) {
	th := throttle{percent: 50}
	const slice = 100_000
	pauses, slept := 0, int64(0)
	for n := range int64(1000) {
		d := th.pause(slice)
		if d == 0 {
			continue
		}
		if d < leastPause {
			t.Fatalf("a pause of %d ns", d)
		}
		pauses++
		lasted := d + d/2
		if n%2 == 0 {
			lasted = d / 2
		}
		th.paused(lasted)
		slept += lasted
	}
	if want := int64(1000 * slice); slept < want-2*leastPause || slept > want+2*leastPause {
		t.Errorf("paused for %d ns after %d ns of work at 50 %%", slept, want)
	}
	if pauses > 1000*slice/leastPause*2 {
		t.Errorf("%d pauses", pauses)
	}
}

// A pause is as long as it is to be, whatever arrives meanwhile.
func TestWhatArrivesDoesNotEndAPause(t *testing.T) {
	r := &Replica{start: time.Now(), box: newMailbox()}
	r.live.throttle = throttle{percent: 50, owed: leastPause}
	r.box.putDisk(machine.DiskDone{})
	if r.pause(leastPause); r.live.throttle.owed > 0 {
		t.Errorf("%d ns of the pause were not made", r.live.throttle.owed)
	}
	if len(r.box.takeDisks()) != 1 {
		t.Error("what arrived is lost")
	}
}
