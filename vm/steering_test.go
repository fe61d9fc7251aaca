package vm

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

const ms = 1_000_000 // ns

// follow runs a hart of the given speed for a while and returns the largest
// error of its clock, in ns, over the second half, and how many entries that took.
func follow(t *testing.T, perMS uint64, c machine.Clock, s *steering) (worst int64, entries int) {
	t.Helper()
	i := c.I0
	const length = 2000
	for k := int64(1); k <= length; k++ {
		before := c.At(i)
		i += machine.Icount(perMS)
		if next, changed := s.running(k*ms, i, c); changed {
			if next.I0 != i || next.T0 != c.At(i) {
				t.Fatalf("while the hart runs the clock stepped from %d to %d", c.At(i), next.T0)
			}
			c = next
			entries++
		}
		if c.At(i) < before {
			t.Fatal("the clock went backward")
		}
		if k > length/2 {
			off := (int64(s.target(k*ms)) - int64(c.At(i))) * nsPerTick
			worst = max(worst, off, -off)
		}
	}
	return worst, entries
}

func TestSlopeFollowsTheSpeedOfTheHart(t *testing.T) {
	for _, perMS := range []uint64{20_000, 100_000, 400_000, 4_000_000} {
		var s steering
		s.start(0, 0, 0)
		worst, entries := follow(t, perMS, machine.Clock{Mul: firstMul}, &s)
		if worst > 5*ms {
			t.Errorf("%d instructions/ms: clock is off by %d us", perMS, worst/1000)
		}
		if entries > 40 {
			t.Errorf("%d instructions/ms: %d entries for a steady hart", perMS, entries)
		}
	}
}

// A hart whose speed changes as that of a JIT does, from cold code to hot and
// back, does not run away with the clock.
func TestClockStaysWhenTheSpeedChanges(t *testing.T) {
	var s steering
	s.start(0, 0, 0)
	c, i := machine.Clock{Mul: firstMul}, machine.Icount(0)
	worst, entries := int64(0), 0
	for us := int64(0); us < 4_000_000; us += 100 {
		perSlice := machine.Icount(20_000) // in 100 us
		if us/30_000%2 == 1 {
			perSlice = 400_000
		}
		i += perSlice
		next, changed := s.running(us*1000, i, c)
		if changed {
			c = next
			entries++
		}
		off := (int64(c.At(i)) - int64(s.target(us*1000))) * nsPerTick
		worst = max(worst, off)
	}
	if worst > 60*ms {
		t.Errorf("the clock was ahead by %d ms", worst/ms)
	}
	if entries > 4*500 {
		t.Errorf("%d entries in 4 s", entries)
	}
}

// A failover's gap is made good slowly: the clock neither jumps nor stays behind.
func TestTimeLostInFailoverIsSlewed(t *testing.T) {
	var s steering
	s.start(0, 1000, 50*ms)
	if got := s.target(0); got != 1000 {
		t.Errorf("at going live the clock should show %d, want 1000", got)
	}
	if got, want := s.target(100*ms), machine.VTime(1000+105*ms/nsPerTick); got != want {
		t.Errorf("after 100 ms %d, want %d", got, want)
	}
	if got, want := s.target(5000*ms), machine.VTime(1000+5050*ms/nsPerTick); got != want {
		t.Errorf("after 5 s %d, want %d", got, want)
	}
}

func TestOnlyAnIdleGuestsSleepMovesItsClock(t *testing.T) {
	const timer = 1000 + 4*ms/nsPerTick
	for name, tt := range map[string]struct {
		heard, now  int64
		timer       machine.VTime
		armed       bool
		slept, lost int64
	}{
		"a killed primary":                 {2 * ms, 50 * ms, timer, true, 2 * ms, 48 * ms},
		"one that was stuck in its host":   {30_000 * ms, 30_500 * ms, timer, true, 4 * ms, 30_496 * ms},
		"an idle guest without a timer":    {30_000 * ms, 30_500 * ms, 0, false, 30_000 * ms, 500 * ms},
		"one with a timer that never is":   {30_000 * ms, 30_500 * ms, ^machine.VTime(0), true, 30_000 * ms, 500 * ms},
		"a timer that is due":              {2 * ms, 50 * ms, 900, true, 0, 50 * ms},
		"nothing was heard after an entry": {-1 * ms, 50 * ms, timer, true, 0, 50 * ms},
	} {
		slept, lost := unseen(0, tt.heard, tt.now, 1000, tt.timer, tt.armed)
		if slept != tt.slept || lost != tt.lost {
			t.Errorf("%s: slept %v, lost %v us", name, slept/1000, lost/1000)
		}
	}
}

func TestClockStepsOnlyForwardWhileTheHartWaits(t *testing.T) {
	var s steering
	s.start(0, 0, 0)
	c := machine.Clock{Mul: firstMul}
	next, changed := s.waiting(30*ms, 5, c)
	if !changed || next.T0 != 30*ms/nsPerTick || next.I0 != 5 {
		t.Errorf("waiting: %+v, %v", next, changed)
	}
	ahead := machine.Clock{T0: 40 * ms / nsPerTick, I0: 5, Mul: firstMul}
	if _, changed := s.waiting(30*ms, 5, ahead); changed {
		t.Error("a clock that is ahead was set back")
	}
}

func TestTimeUntilTimer(t *testing.T) {
	var s steering
	s.start(0, 0, 0)
	if got := s.until(10*ms, 12*ms/nsPerTick); got != 2*ms {
		t.Errorf("until = %d ns", got)
	}
	if got := s.until(10*ms, 9*ms/nsPerTick); got != 0 {
		t.Errorf("until a timer that is due = %d ns", got)
	}
	if got := s.until(0, ^machine.VTime(0)); got <= 0 {
		t.Errorf("until the end of time = %d ns", got)
	}
}
