package amd64

import (
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// address computes rs1 + imm in RAX.
func (e *Emitter) address(in *rv64.Inst) {
	if p := pinned[in.Rs1]; p != RSP && in.Imm != 0 {
		e.lea(RAX, mem(p, in.Imm))
		return
	}
	e.load(RAX, in.Rs1)
	if in.Imm != 0 {
		e.aluImm(aluADD, q, reg(RAX), in.Imm)
	}
}

// translate looks up the guest-virtual address in RAX for an access of n bytes
// and leaves in RAX the host's address. The result is a jump for a miss, which
// is any access that the table does not cover whole.
func (e *Emitter) translate(table int32, n int32) (miss int) {
	e.tag(n)
	return e.lookUp(table)
}

// tag computes in RDX what the tag of an entry for RAX must be: that of the last
// byte's page, so that an access across a border has none.
func (e *Emitter) tag(n int32) {
	if n > 1 {
		e.lea(RDX, mem(RAX, n-1))
	} else {
		e.mov(q, RDX, reg(RAX))
	}
	e.aluImm(aluAND, q, reg(RDX), -pageSize)
	e.alu(aluOR, q, RDX, e.field(e.at.DataContext))
}

func (e *Emitter) lookUp(table int32) (miss int) {
	e.mov(l, RCX, reg(RAX))
	e.shiftImm(shiftSHR, l, reg(RCX), 12-e.at.TLBShift)
	e.aluImm(aluAND, l, reg(RCX), (hart.TLBSize-1)<<e.at.TLBShift)
	e.alu(aluCMP, q, RDX, memIndex(core, RCX, table))
	miss = e.jcc(condNE)
	e.alu(aluADD, q, RAX, memIndex(core, RCX, table+e.at.TLBDelta))
	return miss
}

// access is translate, in blocks that are loops with an entry of Near in front
// of the table: there the host's address does not wait for a look-up that
// depends on the guest's. Elsewhere so many places would take each other's
// entries that it does not pay.
func (e *Emitter) access(i int, table int32, n int32, slow *label) {
	if !e.loop || e.s.Far>>i&1 != 0 {
		slow.add(e.translate(table, n))
		return
	}
	near := e.near % hart.NearSize
	e.near++
	entry := e.at.Near + near<<e.at.TLBShift
	e.tag(1)
	e.alu(aluCMP, q, RDX, e.field(entry))
	wrong := jump(e.jcc(condNE))
	// The last byte must lie in the page of the first: no index says so here.
	switch {
	case n == 1:
	case n&(n-1) == 0 && n <= 8: // aligned will do
		e.b(0xa8, byte(n-1)) // test al, n-1
		wrong.add(e.jcc(condNE))
	default:
		e.mov(l, RCX, reg(RAX))
		e.aluImm(aluAND, l, reg(RCX), pageSize-1)
		e.aluImm(aluCMP, l, reg(RCX), pageSize-n)
		wrong.add(e.jcc(condA))
	}
	e.alu(aluADD, q, RAX, e.field(entry+e.at.TLBDelta))
	back := e.pos()
	e.later(wrong, func() {
		e.tag(n)
		e.mov(l, RCX, reg(RAX))
		e.shiftImm(shiftSHR, l, reg(RCX), 12-e.at.TLBShift)
		e.aluImm(aluAND, l, reg(RCX), (hart.TLBSize-1)<<e.at.TLBShift)
		e.alu(aluCMP, q, RDX, memIndex(core, RCX, table))
		slow.add(e.jcc(condNE))
		e.mov(q, RCX, memIndex(core, RCX, table+e.at.TLBDelta))
		e.movTo(q, e.field(entry), RDX)
		e.movTo(q, e.field(entry+e.at.TLBDelta), RCX)
		e.movImm32(e.field(e.at.NearUsed), 1)
		e.alu(aluADD, q, RAX, reg(RCX))
		e.aluImm(aluSUB, l, e.field(e.at.NearPatience+4*near), 1)
		e.later(jump(e.jcc(condE)), func() { e.leaveFor(hart.SiteFar, i) })
		e.aim(e.jmp(), back)
	})
}

// locate finds the memory that an instruction accesses. In a group that is known
// from its beginning on.
func (e *Emitter) locate(in *rv64.Inst, i int, table int32, n int32, slow *label) operand {
	if g := e.group; g != nil {
		return mem(RDX, in.Imm-g.low)
	}
	e.address(in)
	e.access(i, table, n, slow)
	return mem(RAX, 0)
}

func (e *Emitter) loadMemory(in *rv64.Inst, i int) {
	n, signed := 8, true
	switch in.Op {
	case rv64.LB:
		n = 1
	case rv64.LH:
		n = 2
	case rv64.LW:
		n = 4
	case rv64.LBU:
		n, signed = 1, false
	case rv64.LHU:
		n, signed = 2, false
	case rv64.LWU:
		n, signed = 4, false
	}
	slow := &label{}
	at := e.locate(in, i, e.at.ReadTLB, int32(n), slow)
	if in.Rd != 0 {
		d := e.out(in.Rd, RAX)
		if n == 8 {
			e.mov(q, d, at)
		} else {
			e.extend(d, at, n, signed)
		}
		e.done(in.Rd, d)
	}
	e.stepAt(i, slow)
}

func (e *Emitter) storeMemory(in *rv64.Inst, i int) {
	n := sizeOf(in.Op)
	slow := &label{}
	at := e.locate(in, i, e.at.WriteTLB, n, slow)
	e.store(at, e.in(in.Rs2, RCX), int(n))
	e.stepAt(i, slow)
}
