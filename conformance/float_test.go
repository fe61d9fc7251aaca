package conformance

import (
	"math"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// rounding draws a rounding mode, a reserved one now and then.
func (r *random) rounding() asm.RM {
	if !r.calm && r.one(24) {
		return asm.RM(5 + r.IntN(2))
	}
	return choose(r, asm.RNE, asm.RTZ, asm.RDN, asm.RUP, asm.RMM, asm.DYN, asm.DYN)
}

// floatOp draws an operation of F or D, often with fresh operands that are
// related, and often with its result and its flags folded into S8.
func floatOp(r *random, _ *program) item {
	fd, f1, f2, f3, rm := r.freg(), r.freg(), r.freg(), r.freg(), r.rounding()
	rd, rs1, t := r.dst(), r.src(), r.temp()
	fresh, fold, clear := r.one(2), !r.one(3), uint(r.IntN(32))
	if r.one(2) {
		clear = 0
	}
	v := r.operands()
	single, toInt, fromInt := false, false, false
	var name string
	var emit func(p *prog)
	switch r.IntN(8) {
	case 0, 1:
		op := choose(r, floatBinary...)
		name, emit = op.name, func(p *prog) { op.emit(p, fd, f1, f2, rm) }
	case 2:
		op := choose(r, floatFused...)
		name, emit = op.name, func(p *prog) { op.emit(p, fd, f1, f2, f3, rm) }
	case 3:
		op := choose(r, floatUnary...)
		name, emit = op.name, func(p *prog) { op.emit(p, fd, f1, rm) }
	case 4:
		op := choose(r, floatSimple...)
		name, emit = op.name, func(p *prog) { op.emit(p, fd, f1, f2) }
	case 5:
		op := choose(r, floatCompare...)
		name, emit, toInt = op.name, func(p *prog) { op.emit(p, rd, f1, f2) }, true
	case 6:
		op := choose(r, floatToInt...)
		if r.one(2) {
			v[0] = math.Float64bits(float64(int64(r.integer())) + choose(r, 0, 0.5, -0.5, 0.25))
		}
		name, emit, toInt = op.name, func(p *prog) { op.emit(p, rd, f1, rm) }, true
	default:
		op := choose(r, intToFloat...)
		name, emit, fromInt = op.name, func(p *prog) { op.emit(p, fd, rs1, rm) }, true
	}
	if r.one(4) { // zeros, or the same but for the sign
		v[0] &= choose[uint64](r, 1<<63, 1<<64-1)
		v[1] = v[0]&^(1<<63) | r.Uint64()&(1<<63)
	}
	if single = name[len(name)-1] == 's' && name != "fcvtds" || name == "fcvtsd"; single && !r.one(16) && name != "fcvtsd" {
		for i := range v {
			v[i] = boxed(float32(math.Float64frombits(v[i])))
		}
	}
	if r.one(4) {
		v = [3]uint64{r.float(), r.float(), r.float()}
	}
	integer := int64(r.integer())
	return item{name: name, emit: func(c *scope) {
		switch {
		case fresh && fromInt && rs1 != asm.Zero && (rs1 < asm.S8 || rs1 > asm.S11):
			c.LI(rs1, integer)
		case fresh && !fromInt:
			for i, f := range []asm.FReg{f1, f2, f3} {
				c.LI(t, int64(v[i]))
				c.FMVDX(f, t)
			}
		}
		emit(c.Program)
		if !fold {
			return
		}
		if !toInt {
			c.FMVXD(t, fd)
			c.SUB(asm.S8, t, asm.S8)
		} else {
			c.SUB(asm.S8, rd, asm.S8)
		}
		c.CSRRWI(t, asm.FFLAGS, clear)
		c.SUB(asm.S8, t, asm.S8)
	}}
}

// boxed is a binary32 in its box.
func boxed(v float32) uint64 { return 0xffffffff<<32 | uint64(math.Float32bits(v)) }

// operands draws three binary64 values that are hard together: sums and
// products that fall half-way between two results or next to it, differences
// that cancel, results at the edges of the subnormal numbers and of the range.
func (r *random) operands() [3]uint64 {
	a := math.Ldexp(1+float64(r.Uint64()>>11)/(1<<53), r.IntN(60)-30)
	if r.one(2) { // few bits, so that products are exact
		a = math.Ldexp(float64(1+r.IntN(1<<12)), r.IntN(40)-20)
	}
	b := a
	switch r.IntN(6) {
	case 0: // half a unit in the last place of either format, nearly
		b = math.Ldexp(a, -choose(r, 23, 24, 25, 52, 53, 54))
	case 1: // cancels, nearly
		b = math.Nextafter(a, choose(r, math.Inf(1), math.Inf(-1)))
	case 2: // products and quotients at the edges of the range
		e := choose(r, -1074, -1050, -1022, -149, -138, -126, 127, 128, 1023, 1024)
		b = math.Ldexp(1+float64(r.Uint64()>>11)/(1<<53), e-math.Ilogb(a)+r.IntN(3)-1)
	case 3: // a square, for roots
		a, b = a*a, a
	case 4:
		b = math.Ldexp(float64(1+r.IntN(1<<12)), r.IntN(40)-20)
	}
	c := float64(a * b) // cancels the product, nearly
	switch r.IntN(4) {
	case 0:
		c = math.Nextafter(c, choose(r, math.Inf(1), math.Inf(-1)))
	case 1:
		c = math.Ldexp(c, -choose(r, 23, 24, 25, 52, 53, 54))
	}
	v := [3]uint64{math.Float64bits(a), math.Float64bits(b), math.Float64bits(c)}
	for i := range v {
		v[i] ^= r.Uint64() & (1 << 63)
		if r.one(16) {
			v[i] = r.float()
		}
	}
	if r.one(3) {
		v[0], v[1] = v[1], v[0]
	}
	return v
}

// floatConstant keeps operands interesting while results drift to NaN.
func floatConstant(r *random, _ *program) item {
	fd, v, t := r.freg(), r.float(), r.temp()
	return item{name: "float constant", emit: func(c *scope) { c.LI(t, int64(v)); c.FMVDX(fd, t) }}
}
