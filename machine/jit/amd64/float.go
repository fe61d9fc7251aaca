package amd64

import (
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Floating point runs on the host's vector unit, which rounds and detects
// tininess as RISC-V does. Its flags stay in MXCSR until code leaves. What
// differs is done by the hart: NaN boxes that are none, static rounding modes,
// minimum and maximum of NaNs and zeros, conversions out of range.
//
// A register holds all 64 bits, a single with its box. Operations of AVX take
// the bits above their result from their first operand, and so keep the box.

// pinnedF has the host registers of guest registers; XMM0 is none, and it and
// XMM1 are scratch. They are loaded by the first block that uses the unit, and
// stored on the way out if they were.
var pinnedF = func() (p [32]XMM) {
	next := XMM(2)
	for _, r := range []int{10, 11, 12, 13, 14, 15, 16, 17, 0, 1, 2, 3, 8, 9} { // fa, ft0-3, fs0-1
		p[r] = next
		next++
	}
	return p
}()

// States of Core.Float while translated code runs.
const (
	floatOff    = 0 // operations are the hart's
	floatOn     = 1 // the registers are in memory
	floatLoaded = 2 // the pinned ones are in the host's
)

// f is the memory of a floating-point register.
func (e *Emitter) f(r uint8) operand { return mem(core, e.at.F+8*int32(r&31)) }

// fop is where a register is kept.
func (e *Emitter) fop(r uint8) operand {
	if p := pinnedF[r&31]; p != 0 {
		return xmm(p)
	}
	return e.f(r)
}

// fin is a host register that has the register's value.
func (e *Emitter) fin(r uint8, scratch XMM) XMM {
	if p := pinnedF[r&31]; p != 0 {
		return p
	}
	e.vLoad(scratch, e.f(r))
	return scratch
}

// fout is the host register to compute rd in, which fdone then puts in its place.
func (e *Emitter) fout(rd uint8) XMM { return pinnedF[rd&31] }

func (e *Emitter) fdone(rd uint8, x XMM) {
	switch p := pinnedF[rd&31]; p {
	case x:
		if p == 0 {
			e.vStore(e.f(rd), x)
		}
	case 0:
		e.vStore(e.f(rd), x)
	default:
		e.vex(ppNone, 1, l, sseMove, p, 0, xmm(x))
	}
}

// Mandatory prefixes as VEX has them.
const (
	ppNone = 0
	pp66   = 1
	ppF3   = 2
	ppF2   = 3
)

// vex emits an operation of AVX: dst = a op b, with a 0 where there is no first
// operand. table is 1 for 0F and 2 for 0F38.
func (e *Emitter) vex(pp, table byte, w size, code byte, dst, a XMM, b operand) {
	e.vexRaw(pp, table, w, code, Reg(dst), ^byte(a)&15, b)
}

func (e *Emitter) vexRaw(pp, table byte, w size, code byte, field Reg, vvvv byte, b operand) {
	rxb := byte(0xe0) ^ byte(field>>3)<<7 ^ byte(b.reg>>3)<<5
	if b.mem && b.index != RSP {
		rxb ^= byte(b.index>>3) << 6
	}
	e.b(0xc4, rxb|table, byte(w)<<7|vvvv<<3|pp, code)
	e.modrm(field, b)
}

// vLoad and vStore move 64 bits.
func (e *Emitter) vLoad(dst XMM, src operand) { e.vex(ppF2, 1, l, sseLoad, dst, 0, src) }

func (e *Emitter) vStore(dst operand, src XMM) { e.vex(ppF2, 1, l, sseStore, src, 0, dst) }

// A precision is one of the two formats.
type precision struct {
	scalar byte // prefix of scalar operations
	packed byte // of comparisons
	wide   size
	nan    int64 // canonical, in its box
	bytes  int
}

var (
	single = precision{scalar: ppF3, packed: ppNone, wide: l, nan: -1<<32 | 0x7fc00000, bytes: 4}
	double = precision{scalar: ppF2, packed: pp66, wide: q, nan: 0x7ff8000000000000, bytes: 8}
)

// Opcodes of scalar operations.
const (
	sseLoad    = 0x10
	sseStore   = 0x11
	sseMove    = 0x28
	sseFromI   = 0x2a
	sseToIT    = 0x2c // truncates
	sseToI     = 0x2d
	sseUCOM    = 0x2e
	sseCOM     = 0x2f
	sseSQRT    = 0x51
	sseADD     = 0x58
	sseMUL     = 0x59
	sseBetween = 0x5a // the other format
	sseSUB     = 0x5c
	sseMIN     = 0x5d
	sseDIV     = 0x5e
	sseMAX     = 0x5f
)

// fromReg and toReg move 64 bits between a vector and a general register.
func (e *Emitter) fromReg(dst XMM, src Reg) { e.vex(pp66, 1, q, 0x6e, dst, 0, reg(src)) }

func (e *Emitter) toReg(dst Reg, src XMM) { e.vex(pp66, 1, q, 0x7e, src, 0, reg(dst)) }

// bits brings the 64 bits of a register into a general one.
func (e *Emitter) bits(dst Reg, r uint8) {
	if p := pinnedF[r&31]; p != 0 {
		e.toReg(dst, p)
	} else {
		e.mov(q, dst, e.f(r))
	}
}

// setBits puts the 64 bits of a general register into rd.
func (e *Emitter) setBits(rd uint8, src Reg) {
	if p := pinnedF[rd&31]; p != 0 {
		e.fromReg(p, src)
	} else {
		e.movTo(q, e.f(rd), src)
	}
}

// unit makes sure that the unit is on, rounds in a mode that the host has, and
// has its registers. One look serves the rest of the block: whoever finds it
// off leaves the block.
func (e *Emitter) unit(i int) {
	if e.float {
		return
	}
	e.float = true
	e.aluImm(aluCMP, l, e.field(e.at.Float), floatLoaded)
	not := e.jcc(condNE)
	back := e.pos()
	e.later(jump(not), func() {
		e.aluImm(aluCMP, l, e.field(e.at.Float), floatOff)
		e.later(jump(e.jcc(condE)), func() { e.leave(hart.Site{Kind: hart.SiteFloat, Index: uint8(i)}) })
		e.eachPinnedF(func(r uint8, x XMM) { e.vLoad(x, e.f(r)) })
		e.movImm32(e.field(e.at.Float), floatLoaded)
		e.aim(e.jmp(), back)
	})
}

// rounding makes sure that the instruction rounds as MXCSR says. False: it
// does not, and is left to the hart.
func (e *Emitter) rounding(in *rv64.Inst, slow *label) bool {
	switch in.RM() {
	case 7:
		return true
	case 0:
		e.op(0, l, []byte{0xf7}, 0, e.field(e.at.MXCSR), false) // test
		e.i32(3 << 13)
		slow.add(e.jcc(condNE))
		return true
	}
	return false
}

// boxes makes sure that registers hold numbers of the format.
func (e *Emitter) boxes(p precision, slow *label, regs ...uint8) {
	if p.bytes == 8 {
		return
	}
	for _, r := range regs {
		if e.boxed>>r&1 != 0 {
			continue
		}
		if x := pinnedF[r&31]; x != 0 {
			e.toReg(RAX, x)
			e.shiftImm(shiftSAR, q, reg(RAX), 32)
			e.aluImm(aluCMP, l, reg(RAX), -1)
		} else {
			e.aluImm(aluCMP, l, mem(core, e.at.F+8*int32(r)+4), -1)
		}
		slow.add(e.jcc(condNE))
	}
}

// holds notes what a register holds from here on, also when the hart has
// computed it.
func (e *Emitter) holds(p precision, rd uint8) {
	if p.bytes == 4 {
		e.boxed |= 1 << rd
	} else {
		e.boxed &^= 1 << rd
	}
}

// stepF leaves an operation to the hart whose result is of a format.
func (e *Emitter) stepF(p precision, rd uint8, i int) {
	e.step(i)
	e.holds(p, rd)
}

// canonical makes a NaN the canonical one.
func (e *Emitter) canonical(p precision, x XMM) {
	e.vex(p.packed, 1, l, sseUCOM, x, 0, xmm(x))
	nan := e.jcc(condP)
	back := e.pos()
	e.later(jump(nan), func() {
		e.movImm(reg(RAX), p.nan)
		e.fromReg(x, RAX)
		e.aim(e.jmp(), back)
	})
}

// arithmetic is rd = rs1 op rs2.
func (e *Emitter) arithmetic(in *rv64.Inst, i int, p precision, code byte) {
	slow := &label{}
	if !e.rounding(in, slow) {
		e.stepF(p, in.Rd, i)
		return
	}
	d := e.fout(in.Rd)
	if code == sseSQRT {
		e.boxes(p, slow, in.Rs1)
		e.vex(p.scalar, 1, l, sseSQRT, d, e.fin(in.Rs1, 0), e.fop(in.Rs1))
	} else {
		e.boxes(p, slow, in.Rs1, in.Rs2)
		e.vex(p.scalar, 1, l, code, d, e.fin(in.Rs1, 0), e.fop(in.Rs2))
	}
	e.canonical(p, d)
	e.fdone(in.Rd, d)
	e.holds(p, in.Rd)
	e.stepAt(i, slow)
}

// fused is rd = ±(rs1*rs2) ± rs3; NaNs are the hart's, for the host does not
// call infinity times zero invalid when the third operand is a NaN.
func (e *Emitter) fused(in *rv64.Inst, i int, p precision, code byte) {
	slow := &label{}
	if !e.rounding(in, slow) {
		e.stepF(p, in.Rd, i)
		return
	}
	e.boxes(p, slow, in.Rs1, in.Rs2, in.Rs3)
	// xmm0 = ±(rs1*rs2) ± xmm0
	e.vex(ppNone, 1, l, sseMove, 0, 0, xmm(e.fin(in.Rs3, 0)))
	e.vex(pp66, 2, p.wide, code, 0, e.fin(in.Rs1, 1), e.fop(in.Rs2))
	e.vex(p.packed, 1, l, sseUCOM, 0, 0, xmm(0))
	slow.add(e.jcc(condP))
	e.fdone(in.Rd, 0)
	e.holds(p, in.Rd)
	e.stepAt(i, slow)
}

// extreme is rd = min or max of rs1 and rs2.
func (e *Emitter) extreme(in *rv64.Inst, i int, p precision, code byte) {
	slow := &label{}
	e.boxes(p, slow, in.Rs1, in.Rs2)
	a := e.fin(in.Rs1, 0)
	e.vex(p.packed, 1, l, sseUCOM, a, 0, e.fop(in.Rs2))
	slow.add(e.jcc(condP))
	slow.add(e.jcc(condE))
	d := e.fout(in.Rd)
	e.vex(p.scalar, 1, l, code, d, a, e.fop(in.Rs2))
	e.fdone(in.Rd, d)
	e.holds(p, in.Rd)
	e.stepAt(i, slow)
}

// order is rd = rs1 < rs2 or rs1 <= rs2.
func (e *Emitter) order(in *rv64.Inst, i int, p precision, c cond) {
	slow := &label{}
	e.boxes(p, slow, in.Rs1, in.Rs2)
	e.vex(p.packed, 1, l, sseCOM, e.fin(in.Rs2, 0), 0, e.fop(in.Rs1))
	if in.Rd != 0 {
		e.truth(in.Rd, c)
	}
	e.stepAt(i, slow)
}

// equal is rd = rs1 == rs2.
func (e *Emitter) equal(in *rv64.Inst, i int, p precision) {
	slow := &label{}
	e.boxes(p, slow, in.Rs1, in.Rs2)
	e.vex(p.packed, 1, l, sseUCOM, e.fin(in.Rs1, 0), 0, e.fop(in.Rs2))
	if in.Rd != 0 {
		e.set(condNP, RCX)
		e.set(condE, RAX)
		e.alu(aluAND, l, RAX, reg(RCX))
		d := e.out(in.Rd, RAX)
		e.extend(d, reg(RAX), 1, false)
		e.done(in.Rd, d)
	}
	e.stepAt(i, slow)
}

// signs is rd = rs1 with a sign that comes from rs2. In a box the sign of a
// single is bit 31.
func (e *Emitter) signs(in *rv64.Inst, i int, p precision, kind rv64.Op) {
	slow := &label{}
	e.boxes(p, slow, in.Rs1, in.Rs2)
	if in.Rs1 == in.Rs2 && kind == rv64.FSGNJD {
		d := e.fout(in.Rd)
		e.vex(ppNone, 1, l, sseMove, d, 0, xmm(e.fin(in.Rs1, 0)))
		e.fdone(in.Rd, d)
		e.holds(p, in.Rd)
		e.stepAt(i, slow)
		return
	}
	top := byte(p.bytes*8 - 1)
	one := func(n byte) { // btr 6, btc 7
		e.op(0, q, []byte{0x0f, 0xba}, Reg(n), reg(RAX), false)
		e.b(top)
	}
	e.bits(RAX, in.Rs1)
	if in.Rs1 == in.Rs2 {
		one(map[rv64.Op]byte{rv64.FSGNJND: bitComplement, rv64.FSGNJXD: bitReset}[kind])
	} else {
		e.bits(RCX, in.Rs2)
		if kind == rv64.FSGNJND {
			e.wide(q, wideNOT, reg(RCX))
		}
		e.shiftImm(shiftSHR, p.wide, reg(RCX), top)
		e.shiftImm(shiftSHL, q, reg(RCX), top)
		if kind == rv64.FSGNJXD {
			e.alu(aluXOR, q, RAX, reg(RCX))
		} else {
			one(bitReset)
			e.alu(aluOR, q, RAX, reg(RCX))
		}
	}
	e.setBits(in.Rd, RAX)
	e.holds(p, in.Rd)
	e.stepAt(i, slow)
}

// fromInt converts a guest register. Exact conversions need no rounding mode.
func (e *Emitter) fromInt(in *rv64.Inst, i int, p precision, bits int, signed bool) {
	slow := &label{}
	if !(p.bytes == 8 && bits == 32) && !e.rounding(in, slow) {
		e.stepF(p, in.Rd, i)
		return
	}
	w := q
	if bits == 32 {
		e.mov32(in.Rs1)
		if signed {
			w = l
		}
	} else {
		e.load(RAX, in.Rs1)
		if !signed {
			e.test(q, reg(RAX), RAX)
			slow.add(e.jcc(condS))
		}
	}
	// The bits above the result, which are the box of a single, come from a
	// register of ones.
	e.vex(pp66, 1, l, 0x76, 1, 1, xmm(1)) // compares equal everywhere
	d := e.fout(in.Rd)
	e.vex(p.scalar, 1, w, sseFromI, d, 1, reg(RAX))
	e.fdone(in.Rd, d)
	e.holds(p, in.Rd)
	e.stepAt(i, slow)
}

// toInt converts to a signed number. Where the host answers with its sign of
// trouble, the hart finds out.
func (e *Emitter) toInt(in *rv64.Inst, i int, p precision, w size) {
	slow := &label{}
	code := byte(sseToI)
	if in.RM() == 1 {
		code = sseToIT
	} else if !e.rounding(in, slow) {
		e.step(i)
		return
	}
	e.boxes(p, slow, in.Rs1)
	e.vexRaw(p.scalar, 1, w, code, RAX, 15, e.fop(in.Rs1))
	e.mov(w, RCX, reg(RAX))
	e.aluImm(aluADD, w, reg(RCX), -1) // overflows for the least number alone
	slow.add(e.jcc(condO))
	if w == l {
		e.sign(in.Rd)
	} else {
		e.done(in.Rd, RAX)
	}
	e.stepAt(i, slow)
}

// between converts from one format to the other.
func (e *Emitter) between(in *rv64.Inst, i int, src, dst precision) {
	slow := &label{}
	if dst.bytes == 4 && !e.rounding(in, slow) {
		e.stepF(dst, in.Rd, i)
		return
	}
	e.boxes(src, slow, in.Rs1)
	e.vex(pp66, 1, l, 0x76, 1, 1, xmm(1)) // ones, for the box
	d := e.fout(in.Rd)
	e.vex(src.scalar, 1, l, sseBetween, d, 1, e.fop(in.Rs1))
	e.canonical(dst, d)
	e.fdone(in.Rd, d)
	e.holds(dst, in.Rd)
	e.stepAt(i, slow)
}

// floatMemory translates loads and stores of floating-point registers.
func (e *Emitter) floatMemory(in *rv64.Inst, i int) {
	if !e.Vector {
		e.step(i)
		return
	}
	e.unit(i)
	p := double
	if in.Op == rv64.FLW || in.Op == rv64.FSW {
		p = single
	}
	slow := &label{}
	if in.Op == rv64.FLW || in.Op == rv64.FLD {
		at := e.locate(in, i, e.at.ReadTLB, int32(p.bytes), slow)
		switch {
		case p.bytes == 4:
			// The upper half of the box, then the number.
			e.mov(l, RAX, at)
			e.movImm(reg(RCX), -1<<32)
			e.alu(aluOR, q, RAX, reg(RCX))
			e.setBits(in.Rd, RAX)
		case pinnedF[in.Rd] != 0:
			e.vLoad(pinnedF[in.Rd], at)
		default:
			e.mov(q, RAX, at)
			e.movTo(q, e.f(in.Rd), RAX)
		}
		e.holds(p, in.Rd)
		e.stepAt(i, slow)
		return
	}
	at := e.locate(in, i, e.at.WriteTLB, int32(p.bytes), slow)
	if x := pinnedF[in.Rs2]; x != 0 && p.bytes == 8 {
		e.vStore(at, x)
	} else {
		e.bits(RCX, in.Rs2)
		e.movTo(p.wide, at, RCX)
	}
	e.stepAt(i, slow)
}

// floatOp translates an operation of F or D that does not access memory.
func (e *Emitter) floatOp(in *rv64.Inst, i int) {
	if !e.Vector {
		e.step(i)
		return
	}
	e.unit(i)
	switch in.Op {
	case rv64.FADDD:
		e.arithmetic(in, i, double, sseADD)
	case rv64.FSUBD:
		e.arithmetic(in, i, double, sseSUB)
	case rv64.FMULD:
		e.arithmetic(in, i, double, sseMUL)
	case rv64.FDIVD:
		e.arithmetic(in, i, double, sseDIV)
	case rv64.FSQRTD:
		e.arithmetic(in, i, double, sseSQRT)
	case rv64.FADDS:
		e.arithmetic(in, i, single, sseADD)
	case rv64.FSUBS:
		e.arithmetic(in, i, single, sseSUB)
	case rv64.FMULS:
		e.arithmetic(in, i, single, sseMUL)
	case rv64.FDIVS:
		e.arithmetic(in, i, single, sseDIV)
	case rv64.FSQRTS:
		e.arithmetic(in, i, single, sseSQRT)
	case rv64.FMADDD:
		e.fused(in, i, double, 0xb9)
	case rv64.FMSUBD:
		e.fused(in, i, double, 0xbb)
	case rv64.FNMSUBD:
		e.fused(in, i, double, 0xbd)
	case rv64.FNMADDD:
		e.fused(in, i, double, 0xbf)
	case rv64.FMADDS:
		e.fused(in, i, single, 0xb9)
	case rv64.FMSUBS:
		e.fused(in, i, single, 0xbb)
	case rv64.FNMSUBS:
		e.fused(in, i, single, 0xbd)
	case rv64.FNMADDS:
		e.fused(in, i, single, 0xbf)
	case rv64.FMIND:
		e.extreme(in, i, double, sseMIN)
	case rv64.FMAXD:
		e.extreme(in, i, double, sseMAX)
	case rv64.FMINS:
		e.extreme(in, i, single, sseMIN)
	case rv64.FMAXS:
		e.extreme(in, i, single, sseMAX)
	case rv64.FLTD:
		e.order(in, i, double, condA)
	case rv64.FLED:
		e.order(in, i, double, condAE)
	case rv64.FEQD:
		e.equal(in, i, double)
	case rv64.FLTS:
		e.order(in, i, single, condA)
	case rv64.FLES:
		e.order(in, i, single, condAE)
	case rv64.FEQS:
		e.equal(in, i, single)
	case rv64.FSGNJD, rv64.FSGNJND, rv64.FSGNJXD:
		e.signs(in, i, double, in.Op)
	case rv64.FSGNJS:
		e.signs(in, i, single, rv64.FSGNJD)
	case rv64.FSGNJNS:
		e.signs(in, i, single, rv64.FSGNJND)
	case rv64.FSGNJXS:
		e.signs(in, i, single, rv64.FSGNJXD)
	case rv64.FMVXD:
		e.load64(in)
	case rv64.FMVXW:
		if in.Rd != 0 {
			d := e.out(in.Rd, RAX)
			e.bits(RAX, in.Rs1)
			e.extend(d, reg(RAX), 4, true)
			e.done(in.Rd, d)
		}
	case rv64.FMVDX:
		e.setBits(in.Rd, e.in(in.Rs1, RAX))
		e.holds(double, in.Rd)
	case rv64.FMVWX:
		e.mov32(in.Rs1)
		e.movImm(reg(RCX), -1<<32)
		e.alu(aluOR, q, RAX, reg(RCX))
		e.setBits(in.Rd, RAX)
		e.holds(single, in.Rd)
	case rv64.FCVTDW:
		e.fromInt(in, i, double, 32, true)
	case rv64.FCVTDWU:
		e.fromInt(in, i, double, 32, false)
	case rv64.FCVTDL:
		e.fromInt(in, i, double, 64, true)
	case rv64.FCVTDLU:
		e.fromInt(in, i, double, 64, false)
	case rv64.FCVTSW:
		e.fromInt(in, i, single, 32, true)
	case rv64.FCVTSWU:
		e.fromInt(in, i, single, 32, false)
	case rv64.FCVTSL:
		e.fromInt(in, i, single, 64, true)
	case rv64.FCVTSLU:
		e.fromInt(in, i, single, 64, false)
	case rv64.FCVTWD:
		e.toInt(in, i, double, l)
	case rv64.FCVTLD:
		e.toInt(in, i, double, q)
	case rv64.FCVTWS:
		e.toInt(in, i, single, l)
	case rv64.FCVTLS:
		e.toInt(in, i, single, q)
	case rv64.FCVTSD:
		e.between(in, i, double, single)
	case rv64.FCVTDS:
		e.between(in, i, single, double)
	default:
		e.step(i)
		e.boxed &^= 1 << in.Rd
	}
}

func (e *Emitter) load64(in *rv64.Inst) {
	if in.Rd != 0 {
		d := e.out(in.Rd, RAX)
		e.bits(d, in.Rs1)
		e.done(in.Rd, d)
	}
}

// flags translates reads and writes of fflags, with which compilers surround
// comparisons. False: it is another instruction, and nothing was emitted.
func (e *Emitter) flags(in *rv64.Inst, i int) bool {
	write := in.Op == rv64.CSRRW
	if !e.Vector || in.CSR() != rv64.FFLAGS || !write && (in.Op != rv64.CSRRS || in.Rs1 != 0) {
		return false
	}
	mxcsr := e.field(e.at.MXCSR)
	e.aluImm(aluCMP, l, e.field(e.at.Float), floatOff)
	e.later(jump(e.jcc(condE)), func() { e.leave(hart.Site{Kind: hart.SiteEnd, Index: uint8(i)}) })
	if in.Rd != 0 || write {
		e.op(0, l, []byte{0x0f, 0xae}, 3, mxcsr, false) // stmxcsr
	}
	if write {
		e.load(RDX, in.Rs1) // before rd, which may be the same register
	}
	if in.Rd != 0 {
		e.mov(l, RAX, mxcsr)
		e.aluImm(aluAND, l, reg(RAX), 0x3f)
		e.extend(RAX, memIndex(core, RAX, e.at.FlagsOf), 1, false)
		e.extend(RCX, e.field(e.at.Fflags), 1, false)
		e.alu(aluOR, l, RAX, reg(RCX))
		e.done(in.Rd, RAX)
	}
	if write {
		e.aluImm(aluAND, l, reg(RDX), 31)
		e.store(e.field(e.at.Fflags), RDX, 1)
		e.aluImm(aluAND, l, mxcsr, ^0x3f)
		e.op(0, l, []byte{0x0f, 0xae}, 2, mxcsr, false) // ldmxcsr
	}
	return true
}
