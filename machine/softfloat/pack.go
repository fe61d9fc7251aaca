package softfloat

import "math/bits"

// number is a finite value: (-1)^sign * sig/2^63 * 2^exp. The top bit of sig is
// set unless the value is zero, in which case sig is 0 and exp means nothing.
// Bit 0 of sig may be sticky: set if anything non-zero lies below it.
type number struct {
	sig  uint64
	exp  int32
	sign uint8
}

// unpack32 takes a finite binary32 apart.
func unpack32(a uint32) number {
	sign, e, sig := uint8(a>>31), int32(a>>23&0xff), uint64(a)<<40&^(1<<63)
	if e != 0 {
		return number{sig | 1<<63, e - 127, sign}
	}
	if sig == 0 {
		return number{0, 0, sign}
	}
	n := bits.LeadingZeros64(sig)
	return number{sig << n, -126 - int32(n), sign}
}

// unpack64 takes a finite binary64 apart.
func unpack64(a uint64) number {
	sign, e, sig := uint8(a>>63), int32(a>>52&0x7ff), a<<11&^(1<<63)
	if e != 0 {
		return number{sig | 1<<63, e - 1023, sign}
	}
	if sig == 0 {
		return number{0, 0, sign}
	}
	n := bits.LeadingZeros64(sig)
	return number{sig << n, -1022 - int32(n), sign}
}

// roundsUp says whether a significand with the given last kept bit and
// remainder (against half of that bit's weight) gains one.
func roundsUp(rm RoundingMode, sign uint8, odd bool, rem, half uint64) bool {
	switch rm {
	case RNE:
		return rem > half || rem == half && odd
	case RTZ:
		return false
	case RDN:
		return rem != 0 && sign != 0
	case RUP:
		return rem != 0 && sign == 0
	default:
		return rem >= half
	}
}

// overflowsToInf says whether a value too large becomes an infinity; if not it
// becomes the largest finite value.
func overflowsToInf(rm RoundingMode, sign uint8) bool {
	switch rm {
	case RTZ:
		return false
	case RDN:
		return sign != 0
	case RUP:
		return sign == 0
	default:
		return true
	}
}

// shiftJam is sig >> n with the bits shifted out kept as a sticky bit.
func shiftJam(sig uint64, n uint32) uint64 {
	if n >= 64 {
		if sig != 0 {
			return 1
		}
		return 0
	}
	out := sig >> n
	if out<<n != sig {
		out |= 1
	}
	return out
}

// pack64 rounds a non-zero number to binary64.
func pack64(v number, rm RoundingMode) (uint64, Flags) {
	const low, half = 1<<11 - 1, 1 << 10
	e, sig := v.exp+1023, v.sig
	if e <= 0 {
		return packSmall64(v, rm)
	}
	// The significand's top bit adds the last one to the exponent field, and
	// so does a carry out of the rounding.
	r := uint64(e-1)<<52 + sig>>11
	var flags Flags
	if rem := sig & low; rem != 0 {
		flags = NX
		if roundsUp(rm, v.sign, r&1 != 0, rem, half) {
			r++
		}
	}
	if e >= 0x7ff || r >= inf64 {
		flags = OF | NX
		r = inf64
		if !overflowsToInf(rm, v.sign) {
			r--
		}
	}
	return uint64(v.sign)<<63 | r, flags
}

// packSmall64 rounds a number below the least normal one.
func packSmall64(v number, rm RoundingMode) (uint64, Flags) {
	const low, half = 1<<11 - 1, 1 << 10
	e, sig := v.exp+1023, v.sig
	// Tiny unless rounding with an unbounded exponent reaches the least normal
	// number.
	tiny := e < 0 || sig>>11 != 1<<53-1 || !roundsUp(rm, v.sign, true, sig&low, half)
	sig = shiftJam(sig, uint32(1-e))
	r := sig >> 11
	var flags Flags
	if rem := sig & low; rem != 0 {
		flags = NX
		if tiny {
			flags |= UF
		}
		if roundsUp(rm, v.sign, r&1 != 0, rem, half) {
			r++
		}
	}
	return uint64(v.sign)<<63 | r, flags
}

// pack32 rounds a non-zero number to binary32.
func pack32(v number, rm RoundingMode) (uint32, Flags) {
	const low, half = 1<<40 - 1, 1 << 39
	e, sig := v.exp+127, v.sig
	if e <= 0 {
		return packSmall32(v, rm)
	}
	r := uint64(e-1)<<23 + sig>>40
	var flags Flags
	if rem := sig & low; rem != 0 {
		flags = NX
		if roundsUp(rm, v.sign, r&1 != 0, rem, half) {
			r++
		}
	}
	if e >= 0xff || r >= uint64(inf32) {
		flags = OF | NX
		r = uint64(inf32)
		if !overflowsToInf(rm, v.sign) {
			r--
		}
	}
	return uint32(v.sign)<<31 | uint32(r), flags
}

// packSmall32 rounds a number below the least normal one.
func packSmall32(v number, rm RoundingMode) (uint32, Flags) {
	const low, half = 1<<40 - 1, 1 << 39
	e, sig := v.exp+127, v.sig
	tiny := e < 0 || sig>>40 != 1<<24-1 || !roundsUp(rm, v.sign, true, sig&low, half)
	sig = shiftJam(sig, uint32(1-e))
	r := sig >> 40
	var flags Flags
	if rem := sig & low; rem != 0 {
		flags = NX
		if tiny {
			flags |= UF
		}
		if roundsUp(rm, v.sign, r&1 != 0, rem, half) {
			r++
		}
	}
	return uint32(v.sign)<<31 | uint32(r), flags
}
