package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// system executes ECALL, EBREAK, MRET, SRET, WFI and what is no instruction.
// State is exact afterwards, and the block is over.
func (h *Hart) system(in *rv64.Inst, pc uint64, i machine.Icount) {
	h.at(in, pc, i)
	switch in.Op {
	case rv64.ECALL:
		h.ecall(in)
	case rv64.EBREAK:
		h.trap(rv64.Breakpoint, h.PC)
	case rv64.MRET:
		if h.Priv != rv64.MachineMode {
			h.illegal(in)
			return
		}
		h.mret()
	case rv64.SRET:
		if h.Priv == rv64.User || h.Priv == rv64.Supervisor && h.Mstatus&rv64.StatusTSR != 0 {
			h.illegal(in)
			return
		}
		h.sret()
	case rv64.WFI:
		h.wfi(in)
	default:
		h.illegal(in)
	}
}

func (h *Hart) ecall(in *rv64.Inst) {
	switch h.Priv {
	case rv64.User:
		h.trap(rv64.EcallU, 0)
	case rv64.Supervisor:
		handled := h.env.Ecall(h)
		h.attend()
		if handled {
			h.X[0] = 0
			h.retire(in)
			return
		}
		h.trap(rv64.EcallS, 0)
	default:
		h.trap(rv64.EcallM, 0)
	}
}

// The two waits of Zawrs may end at any time: they end at once, so they never
// trap, whatever TW says. See exec.

// wfi retires and waits unless an interrupt is pending that mie enables. In U
// it is illegal, in S while TW is set: this hart never completes it in bounded
// time (privileged spec 3.3.3).
func (h *Hart) wfi(in *rv64.Inst) {
	if h.Priv == rv64.User || h.Priv == rv64.Supervisor && h.Mstatus&rv64.StatusTW != 0 {
		h.illegal(in)
		return
	}
	h.retire(in)
	if h.mip()&h.Mie == 0 {
		h.Waiting = true
		h.attention = true
	}
}

// sfence checks the privilege of SFENCE.VMA and of Svinval's, which have
// nothing to do: no cached translation is ever out of date. TVM closes those
// that name addresses to S. True: go on.
func (h *Hart) sfence(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	names := in.Op == rv64.SFENCEVMA || in.Op == rv64.SINVALVMA
	if h.Priv == rv64.MachineMode || h.Priv == rv64.Supervisor && !(names && h.Mstatus&rv64.StatusTVM != 0) {
		return true
	}
	h.at(in, pc, i)
	return h.illegal(in)
}
