package softfloat

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

const (
	snan32 uint32 = 0x7f800001
	snan64 uint64 = 0x7ff0000000000001
	max64  uint64 = inf64 - 1
	one64  uint64 = 0x3ff0000000000000
)

// Unprivileged specification, 20.6: "If both inputs are NaNs, the result is the
// canonical NaN. If only one operand is a NaN, the result is the non-NaN
// operand. Signaling NaN inputs set the invalid operation exception flag, even
// when the result is not NaN." -0.0 is less than +0.0.
func TestMinMax(t *testing.T) {
	odd := uint32(0xffc01234) // a quiet NaN that is not canonical
	for _, c := range []struct {
		a, b, min, max uint32
		flags          Flags
	}{
		{0, sign32, sign32, 0, 0},
		{0x3f800000, 0xbf800000, 0xbf800000, 0x3f800000, 0},
		{1, sign32 | 1, sign32 | 1, 1, 0},
		{inf32, 1, 1, inf32, 0},
		{inf32 | sign32, sign32 | 5, inf32 | sign32, sign32 | 5, 0},
		{odd, 5, 5, 5, 0},
		{snan32, 5, 5, 5, NV},
		{snan32, odd, NaN32, NaN32, NV},
		{odd, odd, NaN32, NaN32, 0},
		{snan32, inf32, inf32, inf32, NV},
	} {
		for range 2 {
			if got, f := Min32(c.a, c.b); got != c.min || f != c.flags {
				t.Errorf("Min32(%x, %x) = %x, %02x; want %x, %02x", c.a, c.b, got, f, c.min, c.flags)
			}
			if got, f := Max32(c.a, c.b); got != c.max || f != c.flags {
				t.Errorf("Max32(%x, %x) = %x, %02x; want %x, %02x", c.a, c.b, got, f, c.max, c.flags)
			}
			a, b := wideBits(c.a), wideBits(c.b)
			if got, f := Min64(a, b); got != wideBits(c.min) || f != c.flags {
				t.Errorf("Min64(%x, %x) = %x, %02x; want %x, %02x", a, b, got, f, wideBits(c.min), c.flags)
			}
			if got, f := Max64(a, b); got != wideBits(c.max) || f != c.flags {
				t.Errorf("Max64(%x, %x) = %x, %02x; want %x, %02x", a, b, got, f, wideBits(c.max), c.flags)
			}
			c.a, c.b = c.b, c.a
		}
	}
}

// wideBits is the binary64 with the same sign, kind of exponent and top of the
// fraction.
func wideBits(a uint32) uint64 {
	out := uint64(a&sign32)<<32 | uint64(a&frac32)<<29
	switch a & inf32 {
	case 0:
		return out
	case inf32:
		return out | inf64
	}
	return out | uint64(a&inf32>>23+896)<<52
}

func TestClass(t *testing.T) {
	for a, want := range map[uint32]uint64{
		0xff800000: ClassNegInf, 0xbf800000: ClassNegNormal, 0x807fffff: ClassNegSubnormal, 0x80000000: ClassNegZero,
		0: ClassPosZero, 1: ClassPosSubnormal, 0x00800000: ClassPosNormal, 0x7f7fffff: ClassPosNormal, 0x7f800000: ClassPosInf,
		0x7f800001: ClassSignalingNaN, 0xffbfffff: ClassSignalingNaN, 0x7fc00000: ClassQuietNaN, 0xffffffff: ClassQuietNaN,
	} {
		if got := Class32(a); got != want {
			t.Errorf("Class32(%08x) = %x, want %x", a, got, want)
		}
		if got := Class64(wideBits(a)); got != want {
			t.Errorf("Class64(%016x) = %x, want %x", wideBits(a), got, want)
		}
	}
}

// 21.2: "if a floating-point register does not hold a valid NaN-boxed value it
// is treated as if it held the canonical NaN".
func TestBoxing(t *testing.T) {
	for reg, want := range map[uint64]uint32{
		Box(0x3f800000):    0x3f800000,
		0xfffffffe3f800000: NaN32,
		0x000000003f800000: NaN32,
		0xffffffffff800001: 0xff800001,
	} {
		if got := Unbox(reg); got != want {
			t.Errorf("Unbox(%016x) = %08x, want %08x", reg, got, want)
		}
	}
}

// Cases that TestFloat's generator may miss or that the specification names.
func TestCorners(t *testing.T) {
	type result struct {
		bits  uint64
		flags Flags
	}
	pair := func(bits uint64, flags Flags) result { return result{bits, flags} }
	signed := func(v int64, flags Flags) result { return result{uint64(v), flags} }
	for name, c := range map[string]struct{ got, want result }{
		"inf*0 + quiet NaN is invalid":        {pair(FMA64(inf64, 0, NaN64, RNE)), result{NaN64, NV}},
		"1*1 - 1 rounding down is -0":         {pair(FMA64(one64, one64, one64|sign64, RDN)), result{sign64, 0}},
		"1*1 - 1 is +0":                       {pair(FMA64(one64, one64, one64|sign64, RUP)), result{0, 0}},
		"-0*1 + -0 is -0":                     {pair(FMA64(sign64, one64, sign64, RNE)), result{sign64, 0}},
		"0*1 + -0 rounding down is -0":        {pair(FMA64(0, one64, sign64, RDN)), result{sign64, 0}},
		"(1+ulp)^2 - (1+2ulp) is ulp^2":       {pair(FMA64(one64+1, one64+1, one64+2|sign64, RNE)), result{0x3970000000000000, 0}},
		"max+max overflows":                   {pair(Add64(max64, max64, RNE)), result{inf64, OF | NX}},
		"max+max towards zero":                {pair(Add64(max64, max64, RTZ)), result{max64, OF | NX}},
		"1/0":                                 {pair(Div64(one64, sign64, RNE)), result{sign64 | inf64, DZ}},
		"0/0":                                 {pair(Div64(0, 0, RNE)), result{NaN64, NV}},
		"sqrt(-0)":                            {pair(Sqrt64(sign64, RNE)), result{sign64, 0}},
		"sqrt(-1)":                            {pair(Sqrt64(one64|sign64, RNE)), result{NaN64, NV}},
		"least/2 rounds to even zero":         {pair(Mul64(1, 0x3fe0000000000000, RNE)), result{0, UF | NX}},
		"least/2 rounds away":                 {pair(Mul64(1, 0x3fe0000000000000, RMM)), result{1, UF | NX}},
		"exact subnormal does not underflow":  {pair(Mul64(2, 0x3fe0000000000000, RNE)), result{1, 0}},
		"rounds up to normal: not tiny":       {pair(Mul64(0x0010000000000001, 0x3feffffffffffffe, RNE)), result{0x0010000000000000, NX}},
		"signaling NaN is quieted":            {pair(Add64(snan64, one64, RNE)), result{NaN64, NV}},
		"NaN loses its payload":               {pair(F32ToF64(0xffc12345)), result{NaN64, 0}},
		"NaN to int64":                        {signed(F64ToI64(NaN64, RTZ)), result{math.MaxInt64, NV}},
		"-inf to uint64":                      {pair(F64ToU64(sign64|inf64, RTZ)), result{0, NV}},
		"-2^63 to int64 is exact":             {signed(F64ToI64(0xc3e0000000000000, RNE)), result{1 << 63, 0}},
		"2^63 to int64":                       {signed(F64ToI64(0x43e0000000000000, RNE)), result{math.MaxInt64, NV}},
		"-0.5 to uint64 rounds to 0: inexact": {pair(F64ToU64(0xbfe0000000000000, RNE)), result{0, NX}},
		"-0.5 to uint64 rounding down":        {pair(F64ToU64(0xbfe0000000000000, RDN)), result{0, NV}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %x, flags %02x; want %x, %02x", name, c.got.bits, c.got.flags, c.want.bits, c.want.flags)
		}
	}
	if r, f := F64ToI32(0xc1e00000001fffff, RTZ); r != math.MinInt32 || f != NX {
		t.Errorf("-2^31 - 0.99 to int32: %x, %02x", r, f)
	}
	if r, f := F64ToU32(0x41efffffffffffff, RNE); r != math.MaxUint32 || f != NV {
		t.Errorf("2^32 - tiny to uint32: %x, %02x; it rounds out of range", r, f)
	}
}

// operand64 draws all kinds of operands, NaNs aside, with exponents that are
// near each other often.
func operand64(t *rapid.T, name string) float64 {
	e := rapid.OneOf(rapid.Uint64Range(0, 2046), rapid.Uint64Range(1018, 1028), rapid.Uint64Range(0, 2)).Draw(t, name+" exponent")
	f := rapid.OneOf(rapid.Uint64Range(0, frac64), rapid.Just(uint64(0)), rapid.Just(frac64), rapid.Uint64Range(0, 3)).Draw(t, name+" fraction")
	s := rapid.Uint64Range(0, 1).Draw(t, name+" sign")
	return math.Float64frombits(s<<63 | e<<52 | f)
}

// In round to nearest the results are those of this host.
func TestAgainstHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := operand64(t, "a"), operand64(t, "b"), operand64(t, "c")
		x, y, z := math.Float64bits(a), math.Float64bits(b), math.Float64bits(c)
		same := func(op string, got uint64, want float64) {
			w := math.Float64bits(want)
			if want != want {
				w = NaN64
			}
			if got != w {
				t.Errorf("%s of %v %v %v: %x, want %x", op, a, b, c, got, w)
			}
		}
		first := func(r uint64, _ Flags) uint64 { return r }
		same("sum", first(Add64(x, y, RNE)), a+b)
		same("difference", first(Sub64(x, y, RNE)), a-b)
		same("product", first(Mul64(x, y, RNE)), a*b)
		same("quotient", first(Div64(x, y, RNE)), a/b)
		same("root", first(Sqrt64(x, RNE)), math.Sqrt(a))
		same("fma", first(FMA64(x, y, z, RNE)), math.FMA(a, b, c))
		n, _ := F64ToF32(x, RNE)
		if n != math.Float32bits(float32(a)) {
			t.Errorf("%v to binary32: %x", a, n)
		}
		if lt, _ := Lt64(x, y); lt != (a < b) {
			t.Errorf("%v < %v: %v", a, b, lt)
		}
		if le, _ := Le64(x, y); le != (a <= b) {
			t.Errorf("%v <= %v: %v", a, b, le)
		}
	})
}

func BenchmarkOperations(b *testing.B) {
	x, y, z := math.Float64bits(1.2345678), math.Float64bits(-3.1415926e3), math.Float64bits(2.5)
	var sink uint64
	for name, f := range map[string]func(){
		"add64":  func() { r, _ := Add64(x, y, RNE); sink += r },
		"mul64":  func() { r, _ := Mul64(x, y, RNE); sink += r },
		"div64":  func() { r, _ := Div64(x, y, RNE); sink += r },
		"sqrt64": func() { r, _ := Sqrt64(x, RNE); sink += r },
		"fma64":  func() { r, _ := FMA64(x, y, z, RNE); sink += r },
		"add32":  func() { r, _ := Add32(0x3f9e0651, 0xc5445a00, RNE); sink += uint64(r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	_ = sink
}
