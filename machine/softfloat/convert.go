package softfloat

import "math/bits"

// F32ToF64 widens a; it is exact.
func F32ToF64(a uint32) (uint64, Flags) {
	if isNaN32(a) {
		_, f := nan32(a, a)
		return NaN64, f
	}
	sign := uint64(a&sign32) << 32
	if a&^sign32 == inf32 {
		return sign | inf64, 0
	}
	v := unpack32(a)
	if v.sig == 0 {
		return sign, 0
	}
	return sign | uint64(v.exp+1022)<<52 + v.sig>>11, 0
}

// F64ToF32 narrows a.
func F64ToF32(a uint64, rm RoundingMode) (uint32, Flags) {
	if isNaN64(a) {
		_, f := nan64(a, a)
		return NaN32, f
	}
	sign := uint32(a>>32) & sign32
	if a&^sign64 == inf64 {
		return sign | inf32, 0
	}
	v := unpack64(a)
	if v.sig == 0 {
		return sign, 0
	}
	return pack32(v, rm)
}

// F32ToI32 converts to a signed word. What does not fit saturates and is
// invalid; a NaN becomes the largest value.
func F32ToI32(a uint32, rm RoundingMode) (int32, Flags) {
	v, f := toSigned(widen(a), rm, 1<<31)
	return int32(v), f
}

// F32ToU32 converts to an unsigned word, saturating. What rounds to a value
// below zero becomes 0 and is invalid.
func F32ToU32(a uint32, rm RoundingMode) (uint32, Flags) {
	v, f := toUnsigned(widen(a), rm, 1<<32-1)
	return uint32(v), f
}

// F32ToI64 converts to a signed doubleword, saturating as F32ToI32.
func F32ToI64(a uint32, rm RoundingMode) (int64, Flags) {
	return toSigned(widen(a), rm, 1<<63)
}

// F32ToU64 converts to an unsigned doubleword, saturating as F32ToU32.
func F32ToU64(a uint32, rm RoundingMode) (uint64, Flags) {
	return toUnsigned(widen(a), rm, 1<<64-1)
}

// F64ToI32 converts to a signed word, saturating as F32ToI32.
func F64ToI32(a uint64, rm RoundingMode) (int32, Flags) {
	v, f := toSigned(a, rm, 1<<31)
	return int32(v), f
}

// F64ToU32 converts to an unsigned word, saturating as F32ToU32.
func F64ToU32(a uint64, rm RoundingMode) (uint32, Flags) {
	v, f := toUnsigned(a, rm, 1<<32-1)
	return uint32(v), f
}

// F64ToI64 converts to a signed doubleword, saturating as F32ToI32.
func F64ToI64(a uint64, rm RoundingMode) (int64, Flags) {
	return toSigned(a, rm, 1<<63)
}

// F64ToU64 converts to an unsigned doubleword, saturating as F32ToU32.
func F64ToU64(a uint64, rm RoundingMode) (uint64, Flags) {
	return toUnsigned(a, rm, 1<<64-1)
}

// widen is F32ToF64 without the flags: a NaN is invalid in a conversion to an
// integer whether or not it signals.
func widen(a uint32) uint64 {
	r, _ := F32ToF64(a)
	return r
}

// toSigned converts a to an integer in [-limit, limit).
func toSigned(a uint64, rm RoundingMode, limit uint64) (int64, Flags) {
	if isNaN64(a) {
		return int64(limit - 1), NV
	}
	m, inexact, over := integer(a, rm)
	if a&sign64 != 0 {
		if over || m > limit {
			return int64(-limit), NV
		}
		return int64(-m), inexact
	}
	if over || m >= limit {
		return int64(limit - 1), NV
	}
	return int64(m), inexact
}

// toUnsigned converts a to an integer in [0, largest].
func toUnsigned(a uint64, rm RoundingMode, largest uint64) (uint64, Flags) {
	if isNaN64(a) {
		return largest, NV
	}
	m, inexact, over := integer(a, rm)
	if a&sign64 != 0 {
		if over || m != 0 {
			return 0, NV
		}
		return 0, inexact
	}
	if over || m > largest {
		return largest, NV
	}
	return m, inexact
}

// integer rounds the magnitude of a, which is not a NaN, to an integer; over
// says that it has more than 64 bits.
func integer(a uint64, rm RoundingMode) (m uint64, inexact Flags, over bool) {
	if a&inf64 == inf64 {
		return 0, 0, true
	}
	v := unpack64(a)
	if v.sig == 0 {
		return 0, 0, false
	}
	var rem uint64 // what is left, in units of 2^-64
	switch {
	case v.exp > 63:
		return 0, 0, true
	case v.exp >= 0:
		n := uint32(63 - v.exp)
		m, rem = v.sig>>n, v.sig<<(64-n)
	default:
		rem = shiftJam(v.sig, uint32(-1-v.exp))
	}
	if rem == 0 {
		return m, 0, false
	}
	if roundsUp(rm, v.sign, m&1 != 0, rem, 1<<63) {
		// With a remainder m has at most 53 bits: no overflow.
		m++
	}
	return m, NX, false
}

// I32ToF32 converts a signed word.
func I32ToF32(a int32, rm RoundingMode) (uint32, Flags) { return I64ToF32(int64(a), rm) }

// U32ToF32 converts an unsigned word.
func U32ToF32(a uint32, rm RoundingMode) (uint32, Flags) { return U64ToF32(uint64(a), rm) }

// I64ToF32 converts a signed doubleword.
func I64ToF32(a int64, rm RoundingMode) (uint32, Flags) {
	if a == 0 {
		return 0, 0
	}
	return pack32(signed(a), rm)
}

// U64ToF32 converts an unsigned doubleword.
func U64ToF32(a uint64, rm RoundingMode) (uint32, Flags) {
	if a == 0 {
		return 0, 0
	}
	return pack32(unsigned(a), rm)
}

// I32ToF64 converts a signed word; it is exact.
func I32ToF64(a int32) uint64 {
	r, _ := I64ToF64(int64(a), RNE)
	return r
}

// U32ToF64 converts an unsigned word; it is exact.
func U32ToF64(a uint32) uint64 {
	r, _ := U64ToF64(uint64(a), RNE)
	return r
}

// I64ToF64 converts a signed doubleword.
func I64ToF64(a int64, rm RoundingMode) (uint64, Flags) {
	if a == 0 {
		return 0, 0
	}
	return pack64(signed(a), rm)
}

// U64ToF64 converts an unsigned doubleword.
func U64ToF64(a uint64, rm RoundingMode) (uint64, Flags) {
	if a == 0 {
		return 0, 0
	}
	return pack64(unsigned(a), rm)
}

// signed is a non-zero integer as a number.
func signed(a int64) number {
	if a >= 0 {
		return unsigned(uint64(a))
	}
	v := unsigned(-uint64(a))
	v.sign = 1
	return v
}

// unsigned is a non-zero integer as a number.
func unsigned(a uint64) number {
	n := bits.LeadingZeros64(a)
	return number{a << n, 63 - int32(n), 0}
}
