package amd64

import "github.com/lockstep-vm/lockstep/machine/rv64"

// bitManip translates Zba, Zbb, Zbs and Zicond.
func (e *Emitter) bitManip(in *rv64.Inst, i int) {
	if in.Rd == 0 {
		return
	}
	switch in.Op {
	case rv64.ADDUW:
		e.scaled(in, 0, l)
	case rv64.SH1ADD:
		e.scaled(in, 1, q)
	case rv64.SH2ADD:
		e.scaled(in, 2, q)
	case rv64.SH3ADD:
		e.scaled(in, 3, q)
	case rv64.SH1ADDUW:
		e.scaled(in, 1, l)
	case rv64.SH2ADDUW:
		e.scaled(in, 2, l)
	case rv64.SH3ADDUW:
		e.scaled(in, 3, l)
	case rv64.SLLIUW:
		e.mov32(in.Rs1)
		e.shiftImm(shiftSHL, q, reg(RAX), byte(in.Imm&63))
		e.done(in.Rd, RAX)
	case rv64.ANDN:
		e.inverted(in, aluAND)
	case rv64.ORN:
		e.inverted(in, aluOR)
	case rv64.XNOR:
		e.inverted(in, aluXOR)
	case rv64.MIN:
		e.extremum(in, condL)
	case rv64.MINU:
		e.extremum(in, condB)
	case rv64.MAX:
		e.extremum(in, condG)
	case rv64.MAXU:
		e.extremum(in, condA)
	case rv64.ROL:
		e.variable(in, shiftROL, q)
	case rv64.ROR:
		e.variable(in, shiftROR, q)
	case rv64.ROLW:
		e.variable(in, shiftROL, l)
	case rv64.RORW:
		e.variable(in, shiftROR, l)
	case rv64.RORI:
		e.shift(in, shiftROR)
	case rv64.RORIW:
		e.shift32(in, shiftROR)
	case rv64.BCLR, rv64.BCLRI:
		e.bit(in, bitReset)
	case rv64.BINV, rv64.BINVI:
		e.bit(in, bitComplement)
	case rv64.BSET, rv64.BSETI:
		e.bit(in, bitSet)
	case rv64.BEXT, rv64.BEXTI:
		e.load(RAX, in.Rs1)
		if in.Op == rv64.BEXTI {
			e.shiftImm(shiftSHR, q, reg(RAX), byte(in.Imm&63))
		} else {
			e.load(RCX, in.Rs2)
			e.shiftCL(shiftSHR, q, reg(RAX))
		}
		e.aluImm(aluAND, l, reg(RAX), 1)
		e.done(in.Rd, RAX)
	case rv64.CZEROEQZ:
		e.conditional(in, condE)
	case rv64.CZERONEZ:
		e.conditional(in, condNE)
	case rv64.SEXTB:
		e.narrow(in, 1, true)
	case rv64.SEXTH:
		e.narrow(in, 2, true)
	case rv64.ZEXTH:
		e.narrow(in, 2, false)
	case rv64.REV8:
		e.load(RAX, in.Rs1)
		e.b(0x48, 0x0f, 0xc8) // bswap rax
		e.done(in.Rd, RAX)
	case rv64.CLZ, rv64.CLZW, rv64.CTZ, rv64.CTZW, rv64.CPOP, rv64.CPOPW:
		e.count(in, i)
	default:
		e.step(i)
	}
}

// scaled is rd = rs2 + rs1 << n, with rs1 taken as 32 bits if w says so.
func (e *Emitter) scaled(in *rv64.Inst, n byte, w size) {
	if w == l {
		e.mov32(in.Rs1)
	} else {
		e.load(RAX, in.Rs1)
	}
	if n > 0 {
		e.shiftImm(shiftSHL, q, reg(RAX), n)
	}
	if in.Rs2 != 0 {
		e.alu(aluADD, q, RAX, e.g(in.Rs2))
	}
	e.done(in.Rd, RAX)
}

// inverted is rd = rs1 op ^rs2.
func (e *Emitter) inverted(in *rv64.Inst, op aluOp) {
	e.load(RAX, in.Rs2)
	e.wide(q, wideNOT, reg(RAX))
	if in.Rs1 == 0 {
		if op == aluAND {
			e.movImm(reg(RAX), 0)
		}
	} else {
		e.alu(op, q, RAX, e.g(in.Rs1))
	}
	e.done(in.Rd, RAX)
}

// extremum keeps rs2 if it stands to rs1 as c says.
func (e *Emitter) extremum(in *rv64.Inst, c cond) {
	e.load(RAX, in.Rs1)
	e.load(RCX, in.Rs2)
	e.alu(aluCMP, q, RCX, reg(RAX))
	e.cmov(c, q, RAX, reg(RCX))
	e.done(in.Rd, RAX)
}

// Operations on one bit, by their numbers in the encoding.
const (
	bitSet        = 5
	bitReset      = 6
	bitComplement = 7
)

func (e *Emitter) bit(in *rv64.Inst, op byte) {
	e.load(RAX, in.Rs1)
	if in.Op >= rv64.SLLIUW {
		e.op(0, q, []byte{0x0f, 0xba}, Reg(op), reg(RAX), false)
		e.b(byte(in.Imm & 63))
	} else {
		e.load(RCX, in.Rs2)
		e.op(0, q, []byte{0x0f, 0x83 | op<<3}, RCX, reg(RAX), false)
	}
	e.done(in.Rd, RAX)
}

// conditional is rd = rs1, or zero if rs2 compares with zero as c says.
func (e *Emitter) conditional(in *rv64.Inst, c cond) {
	e.load(RAX, in.Rs1)
	e.load(RCX, in.Rs2)
	e.movImm(reg(RDX), 0)
	e.test(q, reg(RCX), RCX)
	e.cmov(c, q, RAX, reg(RDX))
	e.done(in.Rd, RAX)
}

func (e *Emitter) narrow(in *rv64.Inst, n int, signed bool) {
	e.load(RAX, in.Rs1)
	d := e.out(in.Rd, RAX)
	e.extend(d, reg(RAX), n, signed)
	e.done(in.Rd, d)
}

// count counts bits, where the host can: LZCNT, TZCNT and POPCNT.
func (e *Emitter) count(in *rv64.Inst, i int) {
	if !e.Counts {
		e.step(i)
		return
	}
	code, w := byte(0xb8), q
	switch in.Op {
	case rv64.CLZ, rv64.CLZW:
		code = 0xbd
	case rv64.CTZ, rv64.CTZW:
		code = 0xbc
	}
	if in.Op == rv64.CLZW || in.Op == rv64.CTZW || in.Op == rv64.CPOPW {
		w = l
	}
	e.load(RAX, in.Rs1)
	e.op(0xf3, w, []byte{0x0f, code}, RAX, reg(RAX), false)
	e.done(in.Rd, RAX)
}
