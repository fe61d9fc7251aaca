package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// step executes one instruction in the middle of a block that has no case of
// its own in exec, or that translated code leaves to the hart. The result is as
// load's.
func (h *Hart) step(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	x := &h.X
	switch op := in.Op; {
	case op >= rv64.FADDS:
		return h.float(in, pc, i)
	case op.BitManip():
		h.bitManip(in)
		return true
	case op >= rv64.LRW:
		return h.atomic(in, pc, i)
	case op >= rv64.CBOINVAL:
		return h.blockOp(in, pc, i)
	case op >= rv64.SFENCEVMA:
		return h.sfence(in, pc, i)
	case op >= rv64.MUL:
		h.setX(in.Rd, muldiv(op, x[in.Rs1&31], x[in.Rs2&31]))
		return true
	case op >= rv64.FLW:
		return h.floatMemory(in, pc, i)
	case op >= rv64.SB:
		return h.store(in, x[in.Rs1&31]+uint64(in.Imm), pc, i)
	default:
		return h.load(in, x[in.Rs1&31]+uint64(in.Imm), pc, i)
	}
}
