package amd64

import "github.com/lockstep-vm/lockstep/machine/rv64"

// instOrPair translates the instruction i, or it and the next one together, and
// is how many those were.
func (e *Emitter) instOrPair(i int) int {
	if i+1 < len(e.s.Insts) && e.scaledAdd(&e.s.Insts[i], &e.s.Insts[i+1]) {
		return 2
	}
	e.inst(&e.s.Insts[i], i)
	return 1
}

// scaledAdd translates a short shift to the left and an addition of its result,
// which the host has in one. False: they are no such pair, and nothing was emitted.
func (e *Emitter) scaledAdd(shift, add *rv64.Inst) bool {
	if shift.Op != rv64.SLLI || shift.Imm < 1 || shift.Imm > 3 || add.Op != rv64.ADD {
		return false
	}
	other := add.Rs1
	if add.Rs1 == shift.Rd {
		other = add.Rs2
	}
	if other == shift.Rd || add.Rs1 != shift.Rd && add.Rs2 != shift.Rd {
		return false
	}
	from, to, base := pinned[shift.Rs1], pinned[add.Rd], pinned[other]
	if from == RSP || to == RSP || base == RSP {
		return false
	}
	sum := operand{reg: base, index: from, scale: byte(shift.Imm), mem: true}
	inPlace := shift.Rd == shift.Rs1
	if inPlace {
		e.lea(to, sum)
	}
	if shift.Rd != add.Rd {
		e.shift(shift, shiftSHL)
	}
	if !inPlace {
		e.lea(to, sum)
	}
	return true
}

// inst translates an instruction in the middle of a block.
func (e *Emitter) inst(in *rv64.Inst, i int) {
	switch in.Op {
	case rv64.NOP, rv64.FENCE, rv64.WRSNTO, rv64.WRSSTO:
	case rv64.LI:
		if p := pinned[in.Rd]; p == RSP {
			e.movImm(e.x(in.Rd), int64(in.Imm))
		} else {
			e.movImm(reg(p), int64(in.Imm))
		}
	case rv64.MV:
		d := e.out(in.Rd, RAX)
		e.load(d, in.Rs1)
		e.done(in.Rd, d)
	case rv64.AUIPC:
		e.link(in.Rd, int64(e.s.Start)+int64(in.Imm))
	case rv64.ADDI:
		e.addi(in)
	case rv64.XORI:
		e.immediate(in, aluXOR)
	case rv64.ORI:
		e.immediate(in, aluOR)
	case rv64.ANDI:
		e.immediate(in, aluAND)
	case rv64.ADDIW:
		e.mov32(in.Rs1)
		e.aluImm(aluADD, l, reg(RAX), in.Imm)
		e.sign(in.Rd)
	case rv64.SLTI, rv64.SLTIU:
		a := e.in(in.Rs1, RAX)
		e.aluImm(aluCMP, q, reg(a), in.Imm)
		e.truth(in.Rd, map[bool]cond{true: condL, false: condB}[in.Op == rv64.SLTI])
	case rv64.SLT, rv64.SLTU:
		a := e.in(in.Rs1, RAX)
		if in.Rs2 == 0 {
			e.aluImm(aluCMP, q, reg(a), 0)
		} else {
			e.alu(aluCMP, q, a, e.g(in.Rs2))
		}
		e.truth(in.Rd, map[bool]cond{true: condL, false: condB}[in.Op == rv64.SLT])
	case rv64.SLLI:
		e.shift(in, shiftSHL)
	case rv64.SRLI:
		e.shift(in, shiftSHR)
	case rv64.SRAI:
		e.shift(in, shiftSAR)
	case rv64.SLLIW:
		e.shift32(in, shiftSHL)
	case rv64.SRLIW:
		e.shift32(in, shiftSHR)
	case rv64.SRAIW:
		e.shift32(in, shiftSAR)
	case rv64.ADD:
		e.binary(in, aluADD)
	case rv64.SUB:
		e.binary(in, aluSUB)
	case rv64.XOR:
		e.binary(in, aluXOR)
	case rv64.OR:
		e.binary(in, aluOR)
	case rv64.AND:
		e.binary(in, aluAND)
	case rv64.ADDW:
		e.binary32(in, aluADD)
	case rv64.SUBW:
		e.binary32(in, aluSUB)
	case rv64.SLL:
		e.variable(in, shiftSHL, q)
	case rv64.SRL:
		e.variable(in, shiftSHR, q)
	case rv64.SRA:
		e.variable(in, shiftSAR, q)
	case rv64.SLLW:
		e.variable(in, shiftSHL, l)
	case rv64.SRLW:
		e.variable(in, shiftSHR, l)
	case rv64.SRAW:
		e.variable(in, shiftSAR, l)
	case rv64.MUL:
		e.load(RAX, in.Rs1)
		e.times(q, in.Rs2)
		e.done(in.Rd, RAX)
	case rv64.MULW:
		e.mov32(in.Rs1)
		e.times(l, in.Rs2)
		e.sign(in.Rd)
	case rv64.MULH, rv64.MULHU:
		e.load(RAX, in.Rs1)
		e.load(RCX, in.Rs2)
		e.wide(q, map[bool]byte{true: wideIMUL, false: wideMUL}[in.Op == rv64.MULH], reg(RCX))
		e.done(in.Rd, RDX)
	case rv64.DIV, rv64.REM, rv64.DIVU, rv64.REMU:
		e.divide(in, i, q)
	case rv64.DIVW, rv64.REMW, rv64.DIVUW, rv64.REMUW:
		e.divide(in, i, l)
	case rv64.LB, rv64.LH, rv64.LW, rv64.LD, rv64.LBU, rv64.LHU, rv64.LWU:
		e.loadMemory(in, i)
	case rv64.SB, rv64.SH, rv64.SW, rv64.SD:
		e.storeMemory(in, i)
	case rv64.FLW, rv64.FLD, rv64.FSW, rv64.FSD:
		e.floatMemory(in, i)
	case rv64.SFENCEVMA, rv64.SINVALVMA, rv64.SFENCEWINVAL, rv64.SFENCEINVALIR:
		e.fence(i)
	case rv64.CBOZERO:
		e.zeroBlock(in, i)
	default:
		if in.Op >= rv64.FADDS {
			e.floatOp(in, i)
			return
		}
		switch {
		case in.Op.BitManip():
			e.bitManip(in, i)
		case in.Op >= rv64.LRW && in.Op <= rv64.AMOMAXUD:
			e.atomic(in, i)
		default:
			e.step(i)
		}
	}
}

// mov32 brings the low half of a guest register into EAX.
func (e *Emitter) mov32(r uint8) {
	if r == 0 {
		e.movImm(reg(RAX), 0)
		return
	}
	e.mov(l, RAX, e.g(r))
}

// sign puts the sign-extended EAX into rd.
func (e *Emitter) sign(rd uint8) {
	d := e.out(rd, RAX)
	e.extend(d, reg(RAX), 4, true)
	e.done(rd, d)
}

// truth puts a condition into rd.
func (e *Emitter) truth(rd uint8, c cond) {
	e.set(c, RAX)
	d := e.out(rd, RAX)
	e.extend(d, reg(RAX), 1, false)
	e.done(rd, d)
}

func (e *Emitter) addi(in *rv64.Inst) {
	d, s := pinned[in.Rd], pinned[in.Rs1]
	switch {
	case in.Rd == in.Rs1:
		e.aluImm(aluADD, q, e.g(in.Rd), in.Imm)
	case d != RSP && s != RSP:
		e.lea(d, mem(s, in.Imm))
	default:
		r := e.out(in.Rd, RAX)
		e.load(r, in.Rs1)
		e.aluImm(aluADD, q, reg(r), in.Imm)
		e.done(in.Rd, r)
	}
}

func (e *Emitter) immediate(in *rv64.Inst, op aluOp) {
	if in.Rd == in.Rs1 {
		e.aluImm(op, q, e.g(in.Rd), in.Imm)
		return
	}
	d := e.out(in.Rd, RAX)
	e.load(d, in.Rs1)
	e.aluImm(op, q, reg(d), in.Imm)
	e.done(in.Rd, d)
}

func (e *Emitter) shift(in *rv64.Inst, op shiftOp) {
	if in.Rd == in.Rs1 {
		e.shiftImm(op, q, e.g(in.Rd), byte(in.Imm&63))
		return
	}
	d := e.out(in.Rd, RAX)
	e.load(d, in.Rs1)
	e.shiftImm(op, q, reg(d), byte(in.Imm&63))
	e.done(in.Rd, d)
}

func (e *Emitter) shift32(in *rv64.Inst, op shiftOp) {
	e.mov32(in.Rs1)
	e.shiftImm(op, l, reg(RAX), byte(in.Imm&31))
	e.sign(in.Rd)
}

// binary is rd = rs1 op rs2.
func (e *Emitter) binary(in *rv64.Inst, op aluOp) {
	d := pinned[in.Rd]
	switch {
	case in.Rs2 == 0:
		r := e.out(in.Rd, RAX)
		e.load(r, in.Rs1)
		if op == aluAND {
			e.movImm(reg(r), 0)
		}
		e.done(in.Rd, r)
	case in.Rd == in.Rs1 && d == RSP:
		s := e.in(in.Rs2, RAX)
		e.aluTo(op, q, e.x(in.Rd), s)
	case d != RSP && in.Rd == in.Rs2 && in.Rs1 != in.Rd:
		if op != aluSUB && in.Rs1 != 0 {
			e.alu(op, q, d, e.g(in.Rs1))
			return
		}
		e.load(RAX, in.Rs1)
		e.alu(op, q, RAX, e.g(in.Rs2))
		e.done(in.Rd, RAX)
	case op == aluADD && d != RSP && pinned[in.Rs1] != RSP && pinned[in.Rs2] != RSP && in.Rd != in.Rs1:
		e.lea(d, memIndex(pinned[in.Rs1], pinned[in.Rs2], 0))
	default:
		r := e.out(in.Rd, RAX)
		e.load(r, in.Rs1)
		e.alu(op, q, r, e.g(in.Rs2))
		e.done(in.Rd, r)
	}
}

func (e *Emitter) binary32(in *rv64.Inst, op aluOp) {
	e.mov32(in.Rs1)
	if in.Rs2 != 0 {
		e.alu(op, l, RAX, e.g(in.Rs2))
	}
	e.sign(in.Rd)
}

// variable shifts by the low bits of rs2, as the host does.
func (e *Emitter) variable(in *rv64.Inst, op shiftOp, w size) {
	e.load(RCX, in.Rs2)
	if w == l {
		e.mov32(in.Rs1)
		e.shiftCL(op, l, reg(RAX))
		e.sign(in.Rd)
		return
	}
	d := e.out(in.Rd, RAX)
	e.load(d, in.Rs1)
	e.shiftCL(op, q, reg(d))
	e.done(in.Rd, d)
}

func (e *Emitter) times(w size, r uint8) {
	if r == 0 {
		e.movImm(reg(RAX), 0)
		return
	}
	e.imul(w, RAX, e.g(r))
}

// divide leaves for divisors that the host's division does not take: 0, and -1,
// by which the least number overflows.
func (e *Emitter) divide(in *rv64.Inst, i int, w size) {
	signed := in.Op == rv64.DIV || in.Op == rv64.REM || in.Op == rv64.DIVW || in.Op == rv64.REMW
	quotient := in.Op == rv64.DIV || in.Op == rv64.DIVU || in.Op == rv64.DIVW || in.Op == rv64.DIVUW
	e.load(RCX, in.Rs2)
	e.test(w, reg(RCX), RCX)
	slow := jump(e.jcc(condE))
	if signed {
		e.aluImm(aluCMP, w, reg(RCX), -1)
		slow.add(e.jcc(condE))
	}
	e.load(RAX, in.Rs1)
	if signed {
		e.signRAX(w)
		e.wide(w, wideIDIV, reg(RCX))
	} else {
		e.movImm(reg(RDX), 0)
		e.wide(w, wideDIV, reg(RCX))
	}
	if !quotient {
		e.mov(q, RAX, reg(RDX))
	}
	if w == l {
		e.sign(in.Rd)
	} else {
		e.done(in.Rd, RAX)
	}
	e.stepAt(i, slow)
}
