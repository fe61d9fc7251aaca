package amd64

import (
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// What a kernel does at every system call and around every critical section is
// translated for the mode in which it does it. All else, and whatever could let
// an interrupt in, is the hart's.

// sstatusMask are the bits that sstatus shows and lets write, xlen64 is UXL as it
// always reads.
const (
	sstatusMask = int32(hart.SstatusMask)
	xlen64      = 2 << 32
)

// system translates the last instruction of a block. False: it is one that the
// hart executes, and nothing was emitted.
func (e *Emitter) system(in *rv64.Inst, i int, next int64) bool {
	apart := &label{}
	switch in.Op {
	case rv64.CSRRW, rv64.CSRRS, rv64.CSRRC, rv64.CSRRWI, rv64.CSRRSI, rv64.CSRRCI:
		if e.flags(in, i) {
			e.goTo(next)
			return true
		}
		if !e.csr(in, apart) {
			return false
		}
		e.goTo(next)
	case rv64.SRET:
		e.sret(apart)
	case rv64.ECALL:
		e.ecall(int64(e.s.Start)+int64(in.Off), apart)
	default:
		return false
	}
	e.later(apart, func() { e.leave(hart.Site{Kind: hart.SiteEnd, Index: uint8(i)}) })
	return true
}

// inMode goes apart unless the hart is in a privilege mode.
func (e *Emitter) inMode(priv byte, apart *label) {
	e.cmpByte(e.field(e.at.Priv), priv)
	apart.add(e.jcc(condNE))
}

// undisturbed goes apart if setting SIE or leaving the mode might let an
// interrupt in.
func (e *Emitter) undisturbed(apart *label) {
	e.aluImm(aluCMP, q, e.field(e.at.Pending), 0)
	apart.add(e.jcc(condNE))
}

// writesCSR says whether an operation writes its register (unprivileged spec,
// Zicsr).
func writesCSR(in *rv64.Inst) bool {
	return in.Rs1 != 0 || in.Op == rv64.CSRRW || in.Op == rv64.CSRRWI
}

// csr translates accesses to the registers of S that traps and critical sections
// use. The result is as system's.
func (e *Emitter) csr(in *rv64.Inst, apart *label) bool {
	switch in.CSR() {
	case rv64.SSTATUS:
		e.inMode(rv64.Supervisor, apart)
		e.sstatus(in, apart)
	case rv64.SSCRATCH:
		e.plainCSR(in, e.at.Sscratch, -1, apart)
	case rv64.SEPC:
		e.plainCSR(in, e.at.Sepc, -2, apart)
	case rv64.SCAUSE:
		e.plainCSR(in, e.at.Scause, -1, apart)
	case rv64.STVAL:
		e.plainCSR(in, e.at.Stval, -1, apart)
	default:
		return false
	}
	return true
}

// source brings what an operation on a CSR takes into RCX.
func (e *Emitter) source(in *rv64.Inst) {
	if in.Op >= rv64.CSRRWI {
		e.movImm(reg(RCX), int64(in.Rs1))
		return
	}
	e.load(RCX, in.Rs1)
}

// combine makes what is to be written of the old value in RAX and the source in
// RCX.
func (e *Emitter) combine(op rv64.Op) {
	switch op {
	case rv64.CSRRS, rv64.CSRRSI:
		e.alu(aluOR, q, RCX, reg(RAX))
	case rv64.CSRRC, rv64.CSRRCI:
		e.wide(q, wideNOT, reg(RCX))
		e.alu(aluAND, q, RCX, reg(RAX))
	}
}

// plainCSR is an access to a register that is no more than its bits, of which a
// write keeps those of the mask.
func (e *Emitter) plainCSR(in *rv64.Inst, at, mask int32, apart *label) {
	e.inMode(rv64.Supervisor, apart)
	if writesCSR(in) {
		e.source(in)
	}
	e.mov(q, RAX, e.field(at))
	if writesCSR(in) {
		e.combine(in.Op)
		if mask != -1 {
			e.aluImm(aluAND, q, reg(RCX), mask)
		}
		e.movTo(q, e.field(at), RCX)
	}
	e.done(in.Rd, RAX)
}

func (e *Emitter) sstatus(in *rv64.Inst, apart *label) {
	status := e.field(e.at.Mstatus)
	switch {
	case !writesCSR(in):
		e.mov(q, RAX, status)
	case in.Op == rv64.CSRRCI && uint64(in.Rs1) == rv64.StatusSIE:
		e.mov(q, RAX, status)
		e.aluImm(aluAND, l, status, ^int32(rv64.StatusSIE))
	default:
		e.writeSstatus(in, apart)
	}
	if in.Rd == 0 {
		return
	}
	// SD shows whether FS is all ones: then adding one to it carries.
	e.mov(l, RDX, reg(RAX))
	e.aluImm(aluAND, l, reg(RDX), int32(rv64.StatusFS))
	e.aluImm(aluADD, l, reg(RDX), 1<<13)
	e.aluImm(aluAND, l, reg(RDX), 1<<15)
	e.shiftImm(shiftSHL, q, reg(RDX), 63-15)
	e.aluImm(aluAND, l, reg(RAX), sstatusMask)
	e.alu(aluOR, q, RAX, reg(RDX))
	e.movImm(reg(RDX), xlen64)
	e.alu(aluOR, q, RAX, reg(RDX))
	e.done(in.Rd, RAX)
}

// writeSstatus writes sstatus and leaves the old mstatus in RAX.
func (e *Emitter) writeSstatus(in *rv64.Inst, apart *label) {
	status := e.field(e.at.Mstatus)
	e.source(in)
	e.aluImm(aluAND, l, reg(RCX), sstatusMask)
	e.mov(q, RAX, status)
	if in.Op == rv64.CSRRW || in.Op == rv64.CSRRWI {
		e.mov(q, RDX, reg(RAX))
		e.aluImm(aluAND, q, reg(RDX), ^sstatusMask)
		e.alu(aluOR, q, RCX, reg(RDX))
	} else {
		e.combine(in.Op)
	}
	e.undisturbed(apart)
	e.mov(l, RDX, reg(RCX))
	e.alu(aluXOR, l, RDX, reg(RAX))
	e.testImm(l, reg(RDX), int32(rv64.StatusMXR))
	apart.add(e.jcc(condNE))
	e.testImm(l, reg(RDX), int32(rv64.StatusFS))
	changed := jump(e.jcc(condNE))
	unchanged := e.pos()
	e.later(changed, func() {
		e.stopFloat(apart)
		e.aim(e.jmp(), unchanged)
	})
	e.movTo(q, status, RCX)
	e.testImm(l, reg(RDX), int32(rv64.StatusSUM))
	at := jump(e.jcc(condNE))
	back := e.pos()
	e.later(at, func() {
		e.translating()
		e.aim(e.jcc(condB), back)
		e.aluImm(aluXOR, q, e.field(e.at.DataContext), hart.ContextSUM)
		e.aim(e.jmp(), back)
	})
}

// stopFloat makes operations of F and D the hart's before FS changes: they may
// run in translated code only while it is dirty. It goes apart if the host has
// registers that are to be stored.
func (e *Emitter) stopFloat(apart *label) {
	e.aluImm(aluCMP, l, e.field(e.at.Float), floatLoaded)
	apart.add(e.jcc(condE))
	e.movImm32(e.field(e.at.Float), floatOff)
}

// translating sets the host's carry flag unless page tables translate what S
// and U access.
func (e *Emitter) translating() {
	e.aluImm(aluCMP, q, e.field(e.at.FetchContext), hart.ContextFirst)
}

// sret returns from a trap (privileged spec 3.1.6.1).
func (e *Emitter) sret(apart *label) {
	status := e.field(e.at.Mstatus)
	e.inMode(rv64.Supervisor, apart)
	e.undisturbed(apart)
	e.mov(q, RAX, status)
	e.testImm(l, reg(RAX), int32(rv64.StatusTSR))
	apart.add(e.jcc(condNE))
	e.mov(q, RCX, reg(RAX))
	e.aluImm(aluAND, q, reg(RCX), ^int32(rv64.StatusSIE|rv64.StatusSPP|rv64.StatusMPRV))
	e.mov(l, RDX, reg(RAX))
	e.shiftImm(shiftSHR, l, reg(RDX), 5-1) // SPIE to SIE
	e.aluImm(aluAND, l, reg(RDX), int32(rv64.StatusSIE))
	e.alu(aluOR, q, RCX, reg(RDX))
	e.aluImm(aluOR, q, reg(RCX), int32(rv64.StatusSPIE))
	e.movTo(q, status, RCX)
	e.clearByte(e.field(e.at.Reserved))
	e.testImm(l, reg(RAX), int32(rv64.StatusSPP))
	toUser := jump(e.jcc(condE))
	back := e.pos()
	e.mov(q, RAX, e.field(e.at.Sepc))
	e.dispatch()
	e.later(toUser, func() {
		e.clearByte(e.field(e.at.Priv))
		e.changeUser(back)
	})
}

// changeUser makes contexts of S those of U or the other way round, and goes to
// a position.
func (e *Emitter) changeUser(to int) {
	e.translating()
	e.aim(e.jcc(condB), to)
	e.aluImm(aluXOR, q, e.field(e.at.FetchContext), hart.ContextUser)
	e.aluImm(aluXOR, q, e.field(e.at.DataContext), hart.ContextUser)
	e.aim(e.jmp(), to)
}

// ecall is a call from U that is delegated to S (privileged spec 3.1.8). Its
// offset is from the page.
func (e *Emitter) ecall(off int64, apart *label) {
	status := e.field(e.at.Mstatus)
	e.inMode(rv64.User, apart)
	e.testImm(l, e.field(e.at.Medeleg), 1<<rv64.EcallU)
	apart.add(e.jcc(condE))
	e.mov(q, RAX, e.field(e.at.Page))
	if off != 0 {
		e.aluImm(aluADD, q, reg(RAX), int32(off))
	}
	e.movTo(q, e.field(e.at.Sepc), RAX)
	e.movImm(e.field(e.at.Scause), int64(rv64.EcallU))
	e.movImm(e.field(e.at.Stval), 0)
	e.mov(q, RAX, status)
	e.mov(l, RDX, reg(RAX))
	e.aluImm(aluAND, q, reg(RAX), ^int32(rv64.StatusSIE|rv64.StatusSPIE|rv64.StatusSPP))
	e.aluImm(aluAND, l, reg(RDX), int32(rv64.StatusSIE))
	e.shiftImm(shiftSHL, l, reg(RDX), 5-1) // SIE to SPIE
	e.alu(aluOR, q, RAX, reg(RDX))
	e.movTo(q, status, RAX)
	e.clearByte(e.field(e.at.Reserved))
	e.setByte(e.field(e.at.Priv), rv64.Supervisor)
	// It has not retired.
	e.testImm(l, e.field(e.at.Mcountinhibit), hart.InhibitInstret)
	counts := jump(e.jcc(condE))
	counted := e.pos()
	e.translating()
	maps := jump(e.jcc(condAE))
	back := e.pos()
	e.mov(q, RAX, e.field(e.at.Stvec))
	e.aluImm(aluAND, q, reg(RAX), -4)
	e.dispatch()
	e.later(counts, func() {
		e.aluImm(aluSUB, q, e.field(e.at.Instret), 1)
		e.aim(e.jmp(), counted)
	})
	e.later(maps, func() { e.changeUser(back) })
}

// fence is SFENCE.VMA and its like, which have nothing to do: no cached
// translation is ever out of date. TVM may forbid them.
func (e *Emitter) fence(i int) {
	apart := &label{}
	e.inMode(rv64.Supervisor, apart)
	e.testImm(l, e.field(e.at.Mstatus), int32(rv64.StatusTVM))
	apart.add(e.jcc(condNE))
	e.stepAt(i, apart)
}

// zeroBlock is CBO.ZERO in S where menvcfg allows it (CMO spec, chapter 2).
func (e *Emitter) zeroBlock(in *rv64.Inst, i int) {
	apart := &label{}
	e.inMode(rv64.Supervisor, apart)
	e.testImm(l, e.field(e.at.Menvcfg), int32(rv64.EnvCBZE))
	apart.add(e.jcc(condE))
	e.load(RAX, in.Rs1)
	e.aluImm(aluAND, q, reg(RAX), -hart.BlockSize)
	e.access(i, e.at.WriteTLB, hart.BlockSize, apart)
	e.movImm(reg(RCX), 0)
	for at := int32(0); at < hart.BlockSize; at += 8 {
		e.movTo(q, mem(RAX, at), RCX)
	}
	e.stepAt(i, apart)
}
