package machine

import "math/bits"

// VTime is guest time in ticks of the time base.
type VTime uint64

// TimeBase is the frequency of VTime in Hz.
const TimeBase = 10_000_000

// Clock maps positions to virtual time:
//
//	time(i) = T0 + ((i - I0) * Mul >> 32)
//
// with a 128-bit product. It is part of State; only a SetClock input changes it.
type Clock struct {
	T0  VTime
	I0  Icount
	Mul uint64 // ticks per instruction, 32.32 fixed point
}

// At is the virtual time at position i, which must not lie before I0.
func (c Clock) At(i Icount) VTime {
	hi, lo := bits.Mul64(uint64(i-c.I0), c.Mul)
	return c.T0 + VTime(hi<<32|lo>>32)
}

// Reaches is the first position, not before I0, at which the clock shows t or
// later; Never if it cannot get there.
func (c Clock) Reaches(t VTime) Icount {
	if t <= c.T0 {
		return c.I0
	}
	if c.Mul == 0 {
		return Never
	}
	// The smallest d with d*Mul >= (t-T0)<<32.
	delta := uint64(t - c.T0)
	hi, lo := delta>>32, delta<<32
	if hi >= c.Mul {
		return Never
	}
	d, rem := bits.Div64(hi, lo, c.Mul)
	if rem != 0 {
		d++
	}
	if i := c.I0 + Icount(d); i >= c.I0 && d != 0 {
		return i
	}
	return Never
}
