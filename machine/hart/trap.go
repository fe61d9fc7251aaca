package hart

import (
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// trap takes an exception at PC. The attempt counts, but for minstret: the
// instruction has not retired (privileged spec 3.1.10). xtval is the address
// that faulted, the instruction's bits for an illegal instruction, the PC for
// a breakpoint, and zero for an ecall.
func (h *Hart) trap(cause rv64.Cause, tval uint64) {
	h.Icount++
	if h.Mcountinhibit&InhibitInstret == 0 {
		h.Instret--
	}
	h.enter(uint64(cause), tval, h.Medeleg)
}

// enter goes to the trap handler, in S if deleg has the cause's bit and the
// hart is not in M (privileged spec 3.1.8).
func (h *Hart) enter(cause, tval, deleg uint64) {
	h.Reserved = false
	s := &h.Mstatus
	if h.Priv != rv64.MachineMode && deleg>>(cause&63)&1 != 0 {
		h.Sepc, h.Scause, h.Stval = h.PC, cause, tval
		*s = moveBit(*s, rv64.StatusSIE, rv64.StatusSPIE) &^ (rv64.StatusSIE | rv64.StatusSPP)
		if h.Priv == rv64.Supervisor {
			*s |= rv64.StatusSPP
		}
		h.Priv = rv64.Supervisor
		h.PC = vector(h.Stvec, cause)
	} else {
		h.Mepc, h.Mcause, h.Mtval = h.PC, cause, tval
		*s = moveBit(*s, rv64.StatusMIE, rv64.StatusMPIE) &^ (rv64.StatusMIE | rv64.StatusMPP)
		*s |= uint64(h.Priv) << 11
		h.Priv = rv64.MachineMode
		h.PC = vector(h.Mtvec, cause)
	}
	h.refreshContext()
}

// moveBit copies the bit from to the bit to.
func moveBit(v, from, to uint64) uint64 {
	if v&from != 0 {
		return v | to
	}
	return v &^ to
}

// vector is the handler's address: vectored mode applies to interrupts only.
func vector(tvec, cause uint64) uint64 {
	base := tvec &^ 3
	if tvec&1 != 0 && cause&rv64.CauseInterrupt != 0 {
		base += 4 * (cause &^ rv64.CauseInterrupt)
	}
	return base
}

func (h *Hart) mpp() uint8 { return uint8(h.Mstatus>>11) & 3 }

// mret and sret return from a trap handler (privileged spec 3.1.6.1).
func (h *Hart) mret() {
	to := h.mpp()
	s := moveBit(h.Mstatus, rv64.StatusMPIE, rv64.StatusMIE) | rv64.StatusMPIE
	s &^= rv64.StatusMPP
	if to != rv64.MachineMode {
		s &^= rv64.StatusMPRV
	}
	h.Mstatus = s
	h.returnTo(h.Mepc, to)
}

func (h *Hart) sret() {
	to := rv64.User
	if h.Mstatus&rv64.StatusSPP != 0 {
		to = rv64.Supervisor
	}
	s := moveBit(h.Mstatus, rv64.StatusSPIE, rv64.StatusSIE) | rv64.StatusSPIE
	h.Mstatus = s &^ (rv64.StatusSPP | rv64.StatusMPRV)
	h.returnTo(h.Sepc, to)
}

func (h *Hart) returnTo(pc uint64, priv uint8) {
	h.Icount++
	h.PC, h.Priv = pc, priv
	h.Reserved = false
	h.refreshContext()
	h.attendInterrupts()
}

// mip is the register as a read shows it: what software wrote, the lines and
// the timers.
func (h *Hart) mip() uint64 {
	sw := h.Mip
	if h.Menvcfg&rv64.EnvSTCE != 0 {
		sw &^= 1 << rv64.STIP
	}
	return sw | h.Lines | h.timers
}

// deliverable are the interrupts that would be taken now. Those to M come
// before those to S.
func (h *Hart) deliverable() uint64 {
	pending := h.mip() & h.Mie
	if pending == 0 {
		return 0
	}
	if toM := pending &^ h.Mideleg; toM != 0 && (h.Priv < rv64.MachineMode || h.Mstatus&rv64.StatusMIE != 0) {
		return toM
	}
	toS := pending & h.Mideleg
	if h.Priv < rv64.Supervisor || h.Priv == rv64.Supervisor && h.Mstatus&rv64.StatusSIE != 0 {
		return toS
	}
	return 0
}

// attendInterrupts asks Run to take an interrupt before the next attempt if
// one is deliverable.
func (h *Hart) attendInterrupts() {
	if h.deliverable() != 0 {
		h.attention = true
	}
}

// priority is the order within one privilege mode (privileged spec 3.1.9).
var priority = [...]uint{rv64.MEIP, rv64.MSIP, rv64.MTIP, rv64.SEIP, rv64.SSIP, rv64.STIP}

// takeInterrupt enters the handler of the first deliverable interrupt. It does
// not count as an attempt (R4).
func (h *Hart) takeInterrupt() {
	ready := h.deliverable()
	if ready == 0 {
		return
	}
	first := uint(bits.TrailingZeros64(ready))
	for _, p := range priority {
		if ready>>p&1 != 0 {
			first = p
			break
		}
	}
	h.enter(rv64.CauseInterrupt|uint64(first), 0, h.Mideleg)
}
