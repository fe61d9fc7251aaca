package softfloat

import "math/bits"

// Mul32 is a * b.
func Mul32(a, b uint32, rm RoundingMode) (uint32, Flags) {
	if a&inf32 == inf32 || b&inf32 == inf32 {
		switch {
		case isNaN32(a) || isNaN32(b):
			return nan32(a, b)
		case a&^sign32 == 0 || b&^sign32 == 0:
			return NaN32, NV
		}
		return (a^b)&sign32 | inf32, 0
	}
	v := product(unpack32(a), unpack32(b))
	if v.sig == 0 {
		return uint32(v.sign) << 31, 0
	}
	return pack32(v, rm)
}

// Mul64 is a * b.
func Mul64(a, b uint64, rm RoundingMode) (uint64, Flags) {
	if a&inf64 == inf64 || b&inf64 == inf64 {
		switch {
		case isNaN64(a) || isNaN64(b):
			return nan64(a, b)
		case a&^sign64 == 0 || b&^sign64 == 0:
			return NaN64, NV
		}
		return (a^b)&sign64 | inf64, 0
	}
	v := product(unpack64(a), unpack64(b))
	if v.sig == 0 {
		return uint64(v.sign) << 63, 0
	}
	return pack64(v, rm)
}

func product(x, y number) number {
	hi, lo := bits.Mul64(x.sig, y.sig)
	v := number{hi, x.exp + y.exp + 1, x.sign ^ y.sign}
	if hi>>63 == 0 {
		v.sig = hi<<1 | lo>>63
		lo <<= 1
		v.exp--
	}
	if lo != 0 {
		v.sig |= 1
	}
	return v
}
