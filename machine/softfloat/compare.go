package softfloat

// Eq32 is a == b: a quiet comparison, invalid on signaling NaNs only.
func Eq32(a, b uint32) (bool, Flags) {
	if isNaN32(a) || isNaN32(b) {
		_, f := nan32(a, b)
		return false, f
	}
	return a == b || (a|b)&^sign32 == 0, 0
}

// Lt32 is a < b: a signaling comparison, invalid on any NaN.
func Lt32(a, b uint32) (bool, Flags) {
	if isNaN32(a) || isNaN32(b) {
		return false, NV
	}
	return order32(a) < order32(b), 0
}

// Le32 is a <= b: a signaling comparison, invalid on any NaN.
func Le32(a, b uint32) (bool, Flags) {
	if isNaN32(a) || isNaN32(b) {
		return false, NV
	}
	return order32(a) <= order32(b), 0
}

// Eq64 is a == b: a quiet comparison, invalid on signaling NaNs only.
func Eq64(a, b uint64) (bool, Flags) {
	if isNaN64(a) || isNaN64(b) {
		_, f := nan64(a, b)
		return false, f
	}
	return a == b || (a|b)&^sign64 == 0, 0
}

// Lt64 is a < b: a signaling comparison, invalid on any NaN.
func Lt64(a, b uint64) (bool, Flags) {
	if isNaN64(a) || isNaN64(b) {
		return false, NV
	}
	return order64(a) < order64(b), 0
}

// Le64 is a <= b: a signaling comparison, invalid on any NaN.
func Le64(a, b uint64) (bool, Flags) {
	if isNaN64(a) || isNaN64(b) {
		return false, NV
	}
	return order64(a) <= order64(b), 0
}

// order32 maps binary32 to integers in the same order, both zeros to 0.
func order32(a uint32) int32 {
	if a&sign32 != 0 {
		return -int32(a &^ sign32)
	}
	return int32(a)
}

// order64 maps binary64 to integers in the same order, both zeros to 0.
func order64(a uint64) int64 {
	if a&sign64 != 0 {
		return -int64(a &^ sign64)
	}
	return int64(a)
}

// Min32 is minimumNumber of IEEE 754-2019: a NaN loses against a number, -0
// is less than +0.
func Min32(a, b uint32) (uint32, Flags) {
	if isNaN32(a) || isNaN32(b) {
		return number32(a, b)
	}
	// At equal order only the sign can differ, and then a zero's.
	if x, y := order32(a), order32(b); x < y || x == y && a&sign32 != 0 {
		return a, 0
	}
	return b, 0
}

// Max32 is maximumNumber of IEEE 754-2019: a NaN loses against a number, +0
// is greater than -0.
func Max32(a, b uint32) (uint32, Flags) {
	if isNaN32(a) || isNaN32(b) {
		return number32(a, b)
	}
	if x, y := order32(a), order32(b); x > y || x == y && a&sign32 == 0 {
		return a, 0
	}
	return b, 0
}

// Min64 is minimumNumber of IEEE 754-2019: a NaN loses against a number, -0
// is less than +0.
func Min64(a, b uint64) (uint64, Flags) {
	if isNaN64(a) || isNaN64(b) {
		return number64(a, b)
	}
	if x, y := order64(a), order64(b); x < y || x == y && a&sign64 != 0 {
		return a, 0
	}
	return b, 0
}

// Max64 is maximumNumber of IEEE 754-2019: a NaN loses against a number, +0
// is greater than -0.
func Max64(a, b uint64) (uint64, Flags) {
	if isNaN64(a) || isNaN64(b) {
		return number64(a, b)
	}
	if x, y := order64(a), order64(b); x > y || x == y && a&sign64 == 0 {
		return a, 0
	}
	return b, 0
}

// number32 is the operand that is not a NaN, of two with at least one.
func number32(a, b uint32) (uint32, Flags) {
	r, f := nan32(a, b)
	if !isNaN32(a) {
		r = a
	} else if !isNaN32(b) {
		r = b
	}
	return r, f
}

// number64 is the operand that is not a NaN, of two with at least one.
func number64(a, b uint64) (uint64, Flags) {
	r, f := nan64(a, b)
	if !isNaN64(a) {
		r = a
	} else if !isNaN64(b) {
		r = b
	}
	return r, f
}

// Class32 is the class of a as FCLASS.S returns it: one bit of ten.
func Class32(a uint32) uint64 {
	return class(a&sign32 != 0, a&inf32 == inf32, a&inf32 == 0, a&frac32 == 0, a&quiet32 != 0)
}

// Class64 is the class of a as FCLASS.D returns it: one bit of ten.
func Class64(a uint64) uint64 {
	return class(a&sign64 != 0, a&inf64 == inf64, a&inf64 == 0, a&frac64 == 0, a&quiet64 != 0)
}

// class takes the sign, whether the exponent field is all ones or zero,
// whether the fraction is zero, and its top bit.
func class(neg, ones, zeros, noFrac, quiet bool) uint64 {
	var positive, negative uint64
	switch {
	case ones && noFrac:
		positive, negative = ClassPosInf, ClassNegInf
	case ones && quiet:
		return ClassQuietNaN
	case ones:
		return ClassSignalingNaN
	case zeros && noFrac:
		positive, negative = ClassPosZero, ClassNegZero
	case zeros:
		positive, negative = ClassPosSubnormal, ClassNegSubnormal
	default:
		positive, negative = ClassPosNormal, ClassNegNormal
	}
	if neg {
		return negative
	}
	return positive
}
