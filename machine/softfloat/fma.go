package softfloat

import "math/bits"

// FMA32 is a*b + c, rounded once. The other three fused operations of the ISA
// are this one with signs of a or c flipped, which must happen before the call.
func FMA32(a, b, c uint32, rm RoundingMode) (uint32, Flags) {
	if a&inf32 == inf32 || b&inf32 == inf32 || c&inf32 == inf32 {
		return fmaSpecial32(a, b, c)
	}
	v := fma(unpack32(a), unpack32(b), unpack32(c), rm)
	if v.sig == 0 {
		return uint32(v.sign) << 31, 0
	}
	return pack32(v, rm)
}

// FMA64 is a*b + c, rounded once. The other three fused operations of the ISA
// are this one with signs of a or c flipped, which must happen before the call.
func FMA64(a, b, c uint64, rm RoundingMode) (uint64, Flags) {
	if a&inf64 == inf64 || b&inf64 == inf64 || c&inf64 == inf64 {
		return fmaSpecial64(a, b, c)
	}
	v := fma(unpack64(a), unpack64(b), unpack64(c), rm)
	if v.sig == 0 {
		return uint64(v.sign) << 63, 0
	}
	return pack64(v, rm)
}

// fmaSpecial32 is FMA32 with an operand that is not finite. Infinity times
// zero is invalid even when the addend is a quiet NaN.
func fmaSpecial32(a, b, c uint32) (uint32, Flags) {
	if isNaN32(a) || isNaN32(b) {
		_, f := nan32(a, b)
		_, g := nan32(c, c)
		return NaN32, f | g
	}
	if a&inf32 != inf32 && b&inf32 != inf32 {
		if isNaN32(c) {
			return nan32(c, c)
		}
		return c, 0
	}
	if a&^sign32 == 0 || b&^sign32 == 0 {
		return NaN32, NV
	}
	return addSpecial32((a^b)&sign32|inf32, c)
}

// fmaSpecial64 is FMA64 with an operand that is not finite.
func fmaSpecial64(a, b, c uint64) (uint64, Flags) {
	if isNaN64(a) || isNaN64(b) {
		_, f := nan64(a, b)
		_, g := nan64(c, c)
		return NaN64, f | g
	}
	if a&inf64 != inf64 && b&inf64 != inf64 {
		if isNaN64(c) {
			return nan64(c, c)
		}
		return c, 0
	}
	if a&^sign64 == 0 || b&^sign64 == 0 {
		return NaN64, NV
	}
	return addSpecial64((a^b)&sign64|inf64, c)
}

// fma works on 128-bit significands: a product has at most 106 bits, so that
// what alignment shifts out of them matters as a sticky bit only.
func fma(x, y, z number, rm RoundingMode) number {
	sign := x.sign ^ y.sign
	hi, lo := bits.Mul64(x.sig, y.sig)
	if hi == 0 || z.sig == 0 {
		return sumZero(product(x, y), z, rm)
	}
	exp := x.exp + y.exp + 1
	if hi>>63 == 0 {
		hi, lo = hi<<1|lo>>63, lo<<1
		exp--
	}
	// p is the larger, q the smaller magnitude.
	p, q := wide{hi, lo}, wide{z.sig, 0}
	d := exp - z.exp
	flip := d < 0 || d == 0 && (hi < z.sig)
	if flip {
		p, q, exp, d = q, p, z.exp, -d
	}
	q = q.shiftJam(uint32(d))
	if sign == z.sign {
		l, carry := bits.Add64(p.lo, q.lo, 0)
		h, carry := bits.Add64(p.hi, q.hi, carry)
		if carry != 0 {
			l |= h << 63
			h = 1<<63 | h>>1 | h&1
			exp++
		}
		return wide{h, l}.number(exp, sign)
	}
	if flip {
		sign = z.sign
	}
	l, borrow := bits.Sub64(p.lo, q.lo, 0)
	h, _ := bits.Sub64(p.hi, q.hi, borrow)
	if h|l == 0 {
		return zero(rm)
	}
	return wide{h, l}.number(exp, sign)
}

// wide is a 128-bit significand.
type wide struct{ hi, lo uint64 }

// shiftJam is w >> n with the bits shifted out kept as a sticky bit.
func (w wide) shiftJam(n uint32) wide {
	switch {
	case n == 0:
		return w
	case n < 64:
		out := wide{w.hi >> n, w.hi<<(64-n) | w.lo>>n}
		if w.lo<<(64-n) != 0 {
			out.lo |= 1
		}
		return out
	case w.lo != 0:
		return wide{0, shiftJam(w.hi|1, n-64)}
	}
	return wide{0, shiftJam(w.hi, n-64)}
}

// number normalises w, whose top bit stands for 2^exp.
func (w wide) number(exp int32, sign uint8) number {
	if w.hi == 0 {
		w.hi, w.lo = w.lo, 0
		exp -= 64
	}
	n := bits.LeadingZeros64(w.hi)
	sig := w.hi<<n | w.lo>>(64-n)
	if w.lo<<n != 0 {
		sig |= 1
	}
	return number{sig, exp - int32(n), sign}
}
