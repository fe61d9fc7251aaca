package vm

import "github.com/lockstep-vm/lockstep/machine"

const (
	nsPerTick = 1_000_000_000 / machine.TimeBase

	// steerWindow is how long the guest's speed is measured before the slope of
	// its clock is looked at again; steerHaste is enough while the clock is ahead
	// by more than steerSlack. The JIT executes hot code twenty times as fast as
	// cold, and a clock that has run ahead cannot go back.
	steerWindow = 20_000_000 // ns
	steerHaste  = 2_000_000  // ns
	steerSlack  = 2_000_000  // ns
	// steerHorizon is the time over which an error of the clock is made good.
	steerHorizon = 50_000_000 // ns
	// steerTolerance is the change of the slope, as a fraction, that is not
	// worth a log entry.
	steerTolerance = 50 // 1/50

	minMul = 1 << 32 / 2000 // 20,000 M instructions a second
	maxMul = 1 << 32        // 10 M instructions a second

	// slewShare is how fast time lost in a failover is made good: 1/20 of
	// the time that passes.
	slewShare = 20
)

// firstMul is the slope that a machine is born with: 1000 M instructions a second.
const firstMul = 1 << 32 / 100

// steering keeps the guest's virtual clock near the host's. It decides; the
// driver logs what it decides. While the hart runs only the slope changes; the
// clock steps forward only while the hart waits (DESIGN section 2, virtual time).
//
// Host times are monotonic nanoseconds.
type steering struct {
	base   machine.VTime // what the clock should have shown
	at     int64         // at this host time
	debt   int64         // ns that the clock is behind by failovers, made good slowly
	window struct {
		start int64
		from  machine.Icount
		open  bool
	}
}

// start makes the clock that is shown now the right one; debt is the time that
// passed unseen, to be made good without a jump.
func (s *steering) start(now int64, shown machine.VTime, debt int64) {
	*s = steering{base: shown, at: now, debt: max(debt, 0)}
}

// unseen divides the time in which a backup had no entry: the guest slept while its
// primary was still heard, but not beyond its next timer (false if it has none); the
// rest is lost. A primary that was stuck in its host was heard as well. Host times;
// shown is what the clock showed.
func unseen(entry, heard, now int64, shown, timer machine.VTime, armed bool) (slept, lost int64) {
	slept = max(heard-entry, 0)
	if due := timer - min(shown, timer); armed && due < machine.VTime(slept/nsPerTick) {
		slept = int64(due) * nsPerTick
	}
	return slept, max(now-entry-slept, 0)
}

// target is what the guest's clock should show.
func (s *steering) target(now int64) machine.VTime {
	elapsed := now - s.at
	return s.base + machine.VTime((elapsed+min(s.debt, elapsed/slewShare))/nsPerTick)
}

// until is the host time from now, in ns, to the moment when the guest's clock
// should show t; 0 if that has passed.
func (s *steering) until(now int64, t machine.VTime) int64 {
	target := s.target(now)
	if t <= target {
		return 0
	}
	ahead := uint64(t - target)
	if ahead > 1<<40 {
		ahead = 1 << 40
	}
	return int64(ahead) * nsPerTick
}

// running is the clock for a hart that runs, and whether it differs enough from
// the present one to be logged.
func (s *steering) running(now int64, i machine.Icount, c machine.Clock) (machine.Clock, bool) {
	w := &s.window
	if !w.open {
		w.start, w.from, w.open = now, i, true
		return c, false
	}
	took, done := now-w.start, uint64(i-w.from)
	shown := c.At(i)
	behind := (int64(s.target(now)) - int64(shown)) * nsPerTick
	if done == 0 || took < steerWindow && (took < steerHaste || behind > -steerSlack) {
		return c, false
	}
	w.open = false
	ticks := min(uint64(took)/nsPerTick, 1<<31) // a longer pause says nothing about speed
	mul := min(max(ticks<<32/done, minMul), maxMul)
	// Lean against the error: at most half as fast again, or a tenth as fast.
	behind = min(max(behind, -steerHorizon/10*9), steerHorizon/2)
	mul = min(max(mul+uint64(int64(mul)*behind/steerHorizon), minMul), maxMul)
	if differ := max(mul, c.Mul) - min(mul, c.Mul); differ*steerTolerance < c.Mul {
		return c, false
	}
	return machine.Clock{T0: shown, I0: i, Mul: mul}, true
}

// waiting is the clock for a hart that has waited until now.
func (s *steering) waiting(now int64, i machine.Icount, c machine.Clock) (machine.Clock, bool) {
	s.window.open = false
	shown := c.At(i)
	if t := s.target(now); t > shown {
		return machine.Clock{T0: t, I0: i, Mul: c.Mul}, true
	}
	return c, false
}
