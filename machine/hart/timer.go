package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// refreshTimers works out which timers show in mip now, and the deadline: the
// first position at which that changes by itself. Execution never runs past
// the deadline in one piece, so a timer's interrupt is taken at its exact
// position however Run is sliced.
func (h *Hart) refreshTimers() {
	h.timers, h.deadline = 0, machine.Never
	now := h.Time()
	h.refreshTimer(now, h.Mtimecmp, rv64.MTIP)
	if h.Menvcfg&rv64.EnvSTCE != 0 {
		h.refreshTimer(now, h.Stimecmp, rv64.STIP)
	}
	h.timersStale = false
}

func (h *Hart) refreshTimer(now, compare machine.VTime, bit uint) {
	if now >= compare {
		h.timers |= 1 << bit
		return
	}
	h.deadline = min(h.deadline, h.Clock.Reaches(compare))
}

// SetClock replaces the virtual clock.
func (h *Hart) SetClock(c machine.Clock) {
	h.Clock = c
	h.timersStale = true
}

// SetMtimecmp sets the CLINT's compare register.
func (h *Hart) SetMtimecmp(v machine.VTime) {
	h.Mtimecmp = v
	h.timersStale = true
}

// SetStimecmp sets stimecmp as the SBI's set_timer does.
func (h *Hart) SetStimecmp(v machine.VTime) {
	h.Stimecmp = v
	h.timersStale = true
}

// Time is the virtual time at the current position.
func (h *Hart) Time() machine.VTime { return h.Clock.At(h.Icount) }

// NextTimer is the virtual time of the earliest timer that can make an
// enabled interrupt pending that is not pending yet, and whether there is one.
func (h *Hart) NextTimer() (machine.VTime, bool) {
	next, any := neverTime, false
	consider := func(compare machine.VTime, bit uint) {
		if h.Mie>>bit&1 != 0 && compare > h.Time() && compare < next {
			next, any = compare, true
		}
	}
	consider(h.Mtimecmp, rv64.MTIP)
	if h.Menvcfg&rv64.EnvSTCE != 0 {
		consider(h.Stimecmp, rv64.STIP)
	}
	return next, any
}

// neverTime disarms a timer.
const neverTime = ^machine.VTime(0)
