package amd64

import "github.com/lockstep-vm/lockstep/machine/rv64"

// atomic translates the A extension on naturally aligned RAM. Everything else
// is the hart's.
func (e *Emitter) atomic(in *rv64.Inst, i int) {
	w, n := q, int32(8)
	if in.Raw>>12&7 == 2 {
		w, n = l, 4
	}
	e.load(RAX, in.Rs1)
	e.b(0xa8, byte(n-1)) // test al, n-1
	slow := jump(e.jcc(condNE))
	switch in.Op {
	case rv64.LRW, rv64.LRD:
		slow.add(e.translate(e.at.ReadTLB, n))
		e.mov(q, RCX, reg(RAX))
		e.alu(aluSUB, q, RCX, e.field(e.at.RAM))
		e.movTo(q, e.field(e.at.Reservation), RCX)
		e.setByte(e.field(e.at.Reserved), 1)
		e.fetchOld(RAX, w)
		e.done(in.Rd, RAX)
	case rv64.SCW, rv64.SCD:
		e.storeConditional(in, w, n, slow)
	default:
		slow.add(e.translate(e.at.WriteTLB, n))
		e.readModifyWrite(in, w, int(n))
	}
	e.stepAt(i, slow)
}

// fetchOld reads what RAX points to, sign-extended.
func (e *Emitter) fetchOld(dst Reg, w size) {
	if w == l {
		e.extend(dst, mem(RAX, 0), 4, true)
	} else {
		e.mov(q, dst, mem(RAX, 0))
	}
}

func (e *Emitter) storeConditional(in *rv64.Inst, w size, n int32, slow *label) {
	e.cmpByte(e.field(e.at.Reserved), 0)
	failed := jump(e.jcc(condE))
	slow.add(e.translate(e.at.WriteTLB, n))
	e.clearByte(e.field(e.at.Reserved))
	e.mov(q, RCX, reg(RAX))
	e.alu(aluSUB, q, RCX, e.field(e.at.RAM))
	e.alu(aluCMP, q, RCX, e.field(e.at.Reservation))
	failed.add(e.jcc(condNE))
	e.store(mem(RAX, 0), e.in(in.Rs2, RDX), int(n))
	e.movImm(reg(RAX), 0)
	if in.Rd != 0 {
		e.done(in.Rd, RAX)
	}
	back := e.pos()
	e.later(failed, func() {
		e.movImm(reg(RAX), 1)
		if in.Rd != 0 {
			e.done(in.Rd, RAX)
		}
		e.aim(e.jmp(), back)
	})
}

// readModifyWrite is an AMO on what RAX points to.
func (e *Emitter) readModifyWrite(in *rv64.Inst, w size, n int) {
	e.load(RCX, in.Rs2)
	e.fetchOld(RDX, w)
	var op aluOp
	switch in.Op {
	case rv64.AMOSWAPW, rv64.AMOSWAPD:
		e.store(mem(RAX, 0), RCX, n)
		e.done(in.Rd, RDX)
		return
	case rv64.AMOADDW, rv64.AMOADDD:
		op = aluADD
	case rv64.AMOXORW, rv64.AMOXORD:
		op = aluXOR
	case rv64.AMOANDW, rv64.AMOANDD:
		op = aluAND
	case rv64.AMOORW, rv64.AMOORD:
		op = aluOR
	default:
		keep := map[rv64.Op]cond{
			rv64.AMOMINW: condL, rv64.AMOMIND: condL, rv64.AMOMAXW: condG, rv64.AMOMAXD: condG,
			rv64.AMOMINUW: condB, rv64.AMOMINUD: condB, rv64.AMOMAXUW: condA, rv64.AMOMAXUD: condA,
		}[in.Op]
		e.alu(aluCMP, w, RDX, reg(RCX))
		e.cmov(keep, q, RCX, reg(RDX))
		e.store(mem(RAX, 0), RCX, n)
		e.done(in.Rd, RDX)
		return
	}
	e.aluTo(op, w, mem(RAX, 0), RCX)
	e.done(in.Rd, RDX)
}
