package softfloat

import "math/bits"

// Sqrt32 is the square root of a.
func Sqrt32(a uint32, rm RoundingMode) (uint32, Flags) {
	switch {
	case isNaN32(a):
		return nan32(a, a)
	case a&^sign32 == 0 || a == inf32:
		return a, 0
	case a&sign32 != 0:
		return NaN32, NV
	}
	return pack32(root(unpack32(a)), rm)
}

// Sqrt64 is the square root of a.
func Sqrt64(a uint64, rm RoundingMode) (uint64, Flags) {
	switch {
	case isNaN64(a):
		return nan64(a, a)
	case a&^sign64 == 0 || a == inf64:
		return a, 0
	case a&sign64 != 0:
		return NaN64, NV
	}
	return pack64(root(unpack64(a)), rm)
}

// firstRoot[i-64] is an upper bound, in units of 2^48, of the square root of
// any 128-bit number whose top byte is i.
var firstRoot = func() (t [192]uint64) {
	r := uint64(0)
	for i := range t {
		for r*r < uint64(i+65)<<24 {
			r++
		}
		t[i] = min(r, 1<<16-1)
	}
	return t
}()

// root is the square root of a positive number.
func root(x number) number {
	// The radicand is sig * 2^63 or, where the exponent is odd, sig * 2^64, so
	// that its root has 64 bits.
	hi, lo := x.sig, uint64(0)
	if x.exp&1 == 0 {
		hi, lo = x.sig>>1, x.sig<<63
	}
	// Newton's iteration from above stays above; each step doubles the number
	// of right bits, of which the table gives seven.
	r := firstRoot[hi>>56-64]<<48 | (1<<48 - 1)
	for range 3 {
		q, _ := bits.Div64(hi, lo, r)
		sum, carry := bits.Add64(r, q, 0)
		r = carry<<63 | sum>>1
	}
	for {
		h, l := bits.Mul64(r, r)
		if h < hi || h == hi && l <= lo {
			if h != hi || l != lo {
				r |= 1
			}
			return number{r, x.exp >> 1, 0}
		}
		r--
	}
}
