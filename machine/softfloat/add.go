package softfloat

import "math/bits"

// Add32 is a + b.
func Add32(a, b uint32, rm RoundingMode) (uint32, Flags) {
	if a&inf32 == inf32 || b&inf32 == inf32 {
		return addSpecial32(a, b)
	}
	v := sum(unpack32(a), unpack32(b), rm)
	if v.sig == 0 {
		return uint32(v.sign) << 31, 0
	}
	return pack32(v, rm)
}

// Sub32 is a - b.
func Sub32(a, b uint32, rm RoundingMode) (uint32, Flags) {
	if isNaN32(b) {
		return nan32(a, b)
	}
	return Add32(a, b^sign32, rm)
}

// Add64 is a + b.
func Add64(a, b uint64, rm RoundingMode) (uint64, Flags) {
	if a&inf64 == inf64 || b&inf64 == inf64 {
		return addSpecial64(a, b)
	}
	v := sum(unpack64(a), unpack64(b), rm)
	if v.sig == 0 {
		return uint64(v.sign) << 63, 0
	}
	return pack64(v, rm)
}

// Sub64 is a - b.
func Sub64(a, b uint64, rm RoundingMode) (uint64, Flags) {
	if isNaN64(b) {
		return nan64(a, b)
	}
	return Add64(a, b^sign64, rm)
}

func addSpecial32(a, b uint32) (uint32, Flags) {
	switch {
	case isNaN32(a) || isNaN32(b):
		return nan32(a, b)
	case a&inf32 != inf32:
		return b, 0
	case b&inf32 == inf32 && a != b:
		return NaN32, NV
	}
	return a, 0
}

func addSpecial64(a, b uint64) (uint64, Flags) {
	switch {
	case isNaN64(a) || isNaN64(b):
		return nan64(a, b)
	case a&inf64 != inf64:
		return b, 0
	case b&inf64 == inf64 && a != b:
		return NaN64, NV
	}
	return a, 0
}

// sum adds two numbers; rm decides the sign of an exact zero only.
func sum(x, y number, rm RoundingMode) number {
	if x.sig == 0 || y.sig == 0 {
		return sumZero(x, y, rm)
	}
	if x.exp < y.exp || x.exp == y.exp && x.sig < y.sig {
		x, y = y, x
	}
	low := shiftJam(y.sig, uint32(x.exp-y.exp))
	if x.sign == y.sign {
		s, carry := bits.Add64(x.sig, low, 0)
		if carry != 0 {
			return number{1<<63 | s>>1 | s&1, x.exp + 1, x.sign}
		}
		return number{s, x.exp, x.sign}
	}
	s := x.sig - low
	if s == 0 {
		return zero(rm)
	}
	n := bits.LeadingZeros64(s)
	return number{s << n, x.exp - int32(n), x.sign}
}

// sumZero adds two numbers of which at least one is zero.
func sumZero(x, y number, rm RoundingMode) number {
	switch {
	case y.sig != 0:
		return y
	case x.sig != 0 || x.sign == y.sign:
		return x
	}
	return zero(rm)
}

// zero is the sum of two numbers that cancel.
func zero(rm RoundingMode) number {
	if rm == RDN {
		return number{sign: 1}
	}
	return number{}
}
