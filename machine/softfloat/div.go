package softfloat

import "math/bits"

// Div32 is a / b.
func Div32(a, b uint32, rm RoundingMode) (uint32, Flags) {
	sign := (a ^ b) & sign32
	aInf, bInf := a&^sign32 == inf32, b&^sign32 == inf32
	aZero, bZero := a&^sign32 == 0, b&^sign32 == 0
	switch {
	case isNaN32(a) || isNaN32(b):
		return nan32(a, b)
	case aInf && bInf || aZero && bZero:
		return NaN32, NV
	case aInf:
		return sign | inf32, 0
	case bInf || aZero:
		return sign, 0
	case bZero:
		return sign | inf32, DZ
	}
	return pack32(quotient(unpack32(a), unpack32(b)), rm)
}

// Div64 is a / b.
func Div64(a, b uint64, rm RoundingMode) (uint64, Flags) {
	sign := (a ^ b) & sign64
	aInf, bInf := a&^sign64 == inf64, b&^sign64 == inf64
	aZero, bZero := a&^sign64 == 0, b&^sign64 == 0
	switch {
	case isNaN64(a) || isNaN64(b):
		return nan64(a, b)
	case aInf && bInf || aZero && bZero:
		return NaN64, NV
	case aInf:
		return sign | inf64, 0
	case bInf || aZero:
		return sign, 0
	case bZero:
		return sign | inf64, DZ
	}
	return pack64(quotient(unpack64(a), unpack64(b)), rm)
}

// quotient divides two non-zero numbers.
func quotient(x, y number) number {
	v := number{exp: x.exp - y.exp, sign: x.sign ^ y.sign}
	// The dividend is halved so that the quotient fits 64 bits. Unpacked
	// significands have low bits to spare: nothing is lost.
	hi := x.sig >> 1
	if x.sig < y.sig {
		hi = x.sig
		v.exp--
	}
	q, rem := bits.Div64(hi, 0, y.sig)
	if rem != 0 {
		q |= 1
	}
	v.sig = q
	return v
}
