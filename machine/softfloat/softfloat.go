// Package softfloat is the F and D arithmetic of RISC-V on integers.
//
// Every function takes and returns bit patterns: uint32 for binary32, uint64
// for binary64. Results and flags are exact to the bit as chapters 20 and 21
// of the unprivileged specification have them: one canonical NaN, tininess
// detected after rounding, five rounding modes, saturating conversions. Go's
// own floating point is not used: a compiler may fuse operations, and a host
// may differ (R6).
//
// The shape is the same everywhere. Operands are unpacked into a sign, an
// exponent and a 64-bit significand whose top bit is set; an operation works
// on those, keeping what falls off the low end as a sticky bit; pack32 or
// pack64 rounds once.
package softfloat

// RoundingMode is a rounding mode in the encoding of the rm field and of frm.
// Modes 5 to 7 are not rounding modes; a hart must trap before it calls with
// one of them.
type RoundingMode uint8

// The rounding modes.
const (
	RNE RoundingMode = 0 // to nearest, ties to even
	RTZ RoundingMode = 1 // towards zero
	RDN RoundingMode = 2 // down, towards minus infinity
	RUP RoundingMode = 3 // up, towards plus infinity
	RMM RoundingMode = 4 // to nearest, ties away from zero
)

// Flags are accrued exceptions in the bit order of fflags.
type Flags uint8

// The exceptions.
const (
	NX Flags = 1  // inexact
	UF Flags = 2  // underflow
	OF Flags = 4  // overflow
	DZ Flags = 8  // division by zero
	NV Flags = 16 // invalid operation
)

// The canonical NaNs: quiet, positive, no payload.
const (
	NaN32 uint32 = 0x7fc00000
	NaN64 uint64 = 0x7ff8000000000000
)

// Box is the NaN-boxed form of a binary32 in a 64-bit register.
func Box(f uint32) uint64 { return 0xffffffff00000000 | uint64(f) }

// Unbox is the binary32 in a 64-bit register; a register that does not hold a
// properly boxed one reads as the canonical NaN.
func Unbox(r uint64) uint32 {
	if r>>32 != 0xffffffff {
		return NaN32
	}
	return uint32(r)
}

// Class bits, as FCLASS returns them.
const (
	ClassNegInf       = 1 << 0
	ClassNegNormal    = 1 << 1
	ClassNegSubnormal = 1 << 2
	ClassNegZero      = 1 << 3
	ClassPosZero      = 1 << 4
	ClassPosSubnormal = 1 << 5
	ClassPosNormal    = 1 << 6
	ClassPosInf       = 1 << 7
	ClassSignalingNaN = 1 << 8
	ClassQuietNaN     = 1 << 9
)

const (
	sign32  uint32 = 1 << 31
	inf32   uint32 = 0xff << 23
	frac32  uint32 = 1<<23 - 1
	quiet32 uint32 = 1 << 22

	sign64  uint64 = 1 << 63
	inf64   uint64 = 0x7ff << 52
	frac64  uint64 = 1<<52 - 1
	quiet64 uint64 = 1 << 51
)

func isNaN32(a uint32) bool { return a&^sign32 > inf32 }
func isNaN64(a uint64) bool { return a&^sign64 > inf64 }

func isSignaling32(a uint32) bool { return isNaN32(a) && a&quiet32 == 0 }
func isSignaling64(a uint64) bool { return isNaN64(a) && a&quiet64 == 0 }

// nan32 is the result of an operation with at least one NaN operand.
func nan32(a, b uint32) (uint32, Flags) {
	if isSignaling32(a) || isSignaling32(b) {
		return NaN32, NV
	}
	return NaN32, 0
}

// nan64 is the result of an operation with at least one NaN operand.
func nan64(a, b uint64) (uint64, Flags) {
	if isSignaling64(a) || isSignaling64(b) {
		return NaN64, NV
	}
	return NaN64, 0
}
