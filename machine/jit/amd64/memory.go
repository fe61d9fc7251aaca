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
	at := &e.at
	e.mov(l, RCX, reg(RAX))
	e.shiftImm(shiftSHR, l, reg(RCX), 12-at.TLBShift)
	e.aluImm(aluAND, l, reg(RCX), (hart.TLBSize-1)<<at.TLBShift)
	if n > 1 {
		e.lea(RDX, mem(RAX, n-1))
	} else {
		e.mov(q, RDX, reg(RAX))
	}
	e.aluImm(aluAND, q, reg(RDX), -pageSize)
	e.alu(aluOR, q, RDX, e.field(at.DataContext))
	e.alu(aluCMP, q, RDX, memIndex(core, RCX, table))
	miss = e.jcc(condNE)
	e.alu(aluADD, q, RAX, memIndex(core, RCX, table+at.TLBDelta))
	return miss
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
	e.address(in)
	miss := e.translate(e.at.ReadTLB, int32(n))
	if in.Rd != 0 {
		d := e.out(in.Rd, RAX)
		if n == 8 {
			e.mov(q, d, mem(RAX, 0))
		} else {
			e.extend(d, mem(RAX, 0), n, signed)
		}
		e.done(in.Rd, d)
	}
	e.stepAt(i, miss)
}

func (e *Emitter) storeMemory(in *rv64.Inst, i int) {
	n := map[rv64.Op]int{rv64.SB: 1, rv64.SH: 2, rv64.SW: 4, rv64.SD: 8}[in.Op]
	e.address(in)
	miss := e.translate(e.at.WriteTLB, int32(n))
	e.store(mem(RAX, 0), e.in2(in.Rs2), n)
	e.stepAt(i, miss)
}

// in2 is in for a value while RAX is taken.
func (e *Emitter) in2(r uint8) Reg { return e.in(r, RDX) }
