package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Masks of WARL and WPRI fields: the bits that a write can change.
const (
	mstatusMask = rv64.StatusSIE | rv64.StatusMIE | rv64.StatusSPIE | rv64.StatusMPIE | rv64.StatusSPP |
		rv64.StatusMPP | rv64.StatusFS | rv64.StatusMPRV | rv64.StatusSUM | rv64.StatusMXR |
		rv64.StatusTVM | rv64.StatusTW | rv64.StatusTSR
	// SstatusMask are the bits of mstatus that sstatus shows and writes.
	SstatusMask = rv64.StatusSIE | rv64.StatusSPIE | rv64.StatusSPP | rv64.StatusFS | rv64.StatusSUM | rv64.StatusMXR
	// statusXL: S and U are 64 bits wide, always.
	statusXL = 2<<32 | 2<<34

	// medelegMask: every exception of S and U can be delegated.
	medelegMask = 0xb3ff
	midelegMask = 1<<rv64.SSIP | 1<<rv64.STIP | 1<<rv64.SEIP
	mieMask     = midelegMask | 1<<rv64.MSIP | 1<<rv64.MTIP | 1<<rv64.MEIP

	counterMask = 7 // cycle, time, instret
	// InhibitInstret is the bit of mcountinhibit that stops minstret.
	InhibitInstret = 4
	inhibitMask    = 1 | InhibitInstret
	senvcfgMask    = rv64.EnvFIOM | rv64.EnvCBIE | rv64.EnvCBCFE | rv64.EnvCBZE
	menvcfgMask    = senvcfgMask | rv64.EnvADUE | rv64.EnvSTCE

	misaValue = 2<<62 | 1<<0 /* A */ | 1<<('B'-'A') | 1<<('C'-'A') | 1<<('D'-'A') | 1<<('F'-'A') |
		1<<('I'-'A') | 1<<('M'-'A') | 1<<('S'-'A') | 1<<('U'-'A')
)

// csr executes a Zicsr operation. The result is as load's.
func (h *Hart) csr(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	h.at(in, pc, i)
	c := in.CSR()
	src := uint64(in.Rs1)
	if in.Op <= rv64.CSRRC {
		src = h.X[in.Rs1&31]
	}
	writes := in.Rs1 != 0 || in.Op == rv64.CSRRW || in.Op == rv64.CSRRWI
	if uint8(c>>8&3) > h.Priv || writes && c>>10 == 3 {
		return h.illegal(in)
	}
	old, ok := h.readCSR(c)
	if !ok {
		return h.illegal(in)
	}
	if writes {
		// Of mip, the level of a line is not read back into the software bit.
		base := old
		if c == rv64.MIP {
			base = base&^(1<<rv64.SEIP) | h.Mip&(1<<rv64.SEIP)
		}
		switch in.Op {
		case rv64.CSRRS, rv64.CSRRSI:
			src |= base
		case rv64.CSRRC, rv64.CSRRCI:
			src = base &^ src
		}
		h.writeCSR(c, src)
	}
	h.setX(in.Rd, old)
	h.retire(in)
	return false
}

// illegal traps with the instruction's bits in xtval.
func (h *Hart) illegal(in *rv64.Inst) bool {
	h.trap(rv64.IllegalInstruction, uint64(in.Raw))
	return false
}

// readCSR is false for a register that does not exist or is closed to the
// present mode; the privilege that the number itself asks for is checked.
func (h *Hart) readCSR(c rv64.CSR) (v uint64, ok bool) {
	switch c {
	case rv64.FFLAGS:
		return uint64(h.Fflags), h.floatOn()
	case rv64.FRM:
		return uint64(h.Frm), h.floatOn()
	case rv64.FCSR:
		return uint64(h.Frm)<<5 | uint64(h.Fflags), h.floatOn()
	case rv64.CYCLE:
		return h.counter(h.Cycle, 0), h.counterOpen(0)
	case rv64.TIME:
		return uint64(h.Time()), h.counterOpen(1)
	case rv64.INSTRET:
		return h.counter(h.Instret, 2), h.counterOpen(2)
	case rv64.SSTATUS:
		return h.readStatus() & (SstatusMask | rv64.StatusUXL | rv64.StatusSD), true
	case rv64.SIE:
		return h.Mie & h.Mideleg, true
	case rv64.STVEC:
		return h.Stvec, true
	case rv64.SCOUNTEREN:
		return h.Scounteren, true
	case rv64.SENVCFG:
		return h.Senvcfg, true
	case rv64.SSCRATCH:
		return h.Sscratch, true
	case rv64.SEPC:
		return h.Sepc, true
	case rv64.SCAUSE:
		return h.Scause, true
	case rv64.STVAL:
		return h.Stval, true
	case rv64.SIP:
		return h.mip() & h.Mideleg, true
	case rv64.STIMECMP:
		return uint64(h.Stimecmp), h.stimecmpOpen()
	case rv64.SATP:
		return h.Satp, h.Priv == rv64.MachineMode || h.Mstatus&rv64.StatusTVM == 0
	}
	return h.readMachineCSR(c)
}

func (h *Hart) readMachineCSR(c rv64.CSR) (v uint64, ok bool) {
	switch c {
	case rv64.MVENDORID, rv64.MARCHID, rv64.MIMPID, rv64.MHARTID, rv64.MCONFIGPTR:
		return 0, true
	case rv64.MSTATUS:
		return h.readStatus(), true
	case rv64.MISA:
		return misaValue, true
	case rv64.MEDELEG:
		return h.Medeleg, true
	case rv64.MIDELEG:
		return h.Mideleg, true
	case rv64.MIE:
		return h.Mie, true
	case rv64.MTVEC:
		return h.Mtvec, true
	case rv64.MCOUNTEREN:
		return h.Mcounteren, true
	case rv64.MENVCFG:
		return h.Menvcfg, true
	case rv64.MCOUNTINHIBIT:
		return h.Mcountinhibit, true
	case rv64.MSCRATCH:
		return h.Mscratch, true
	case rv64.MEPC:
		return h.Mepc, true
	case rv64.MCAUSE:
		return h.Mcause, true
	case rv64.MTVAL:
		return h.Mtval, true
	case rv64.MIP:
		return h.mip(), true
	case rv64.MCYCLE:
		return h.counter(h.Cycle, 0), true
	case rv64.MINSTRET:
		return h.counter(h.Instret, 2), true
	}
	if v, ok := h.readPMP(c); ok {
		return v, true
	}
	return 0, readsZero(c, h.Priv)
}

// readsZero: registers that exist and are fixed at zero. No event counter
// counts.
func readsZero(c rv64.CSR, priv uint8) bool {
	if c >= rv64.HPMCOUNTER3 && c <= rv64.HPMCOUNTER31 {
		return priv == rv64.MachineMode // never enabled below
	}
	return c >= rv64.MHPMEVENT3 && c <= rv64.MHPMEVENT31 ||
		c >= rv64.MHPMCOUNTER3 && c <= rv64.MHPMCOUNTER31
}

// writeCSR writes a register that readCSR has found.
func (h *Hart) writeCSR(c rv64.CSR, v uint64) {
	switch c {
	case rv64.FFLAGS:
		h.Fflags = uint8(v) & 31
		h.dirtyFloat()
	case rv64.FRM:
		h.Frm = uint8(v) & 7
		h.dirtyFloat()
	case rv64.FCSR:
		h.Fflags, h.Frm = uint8(v)&31, uint8(v>>5)&7
		h.dirtyFloat()
	case rv64.SSTATUS:
		h.writeStatus(h.Mstatus&^uint64(SstatusMask) | v&SstatusMask)
	case rv64.SIE:
		h.Mie = h.Mie&^h.Mideleg | v&h.Mideleg
		h.attendInterrupts()
	case rv64.STVEC:
		h.Stvec = v &^ 2
	case rv64.SCOUNTEREN:
		h.Scounteren = v & counterMask
	case rv64.SENVCFG:
		h.Senvcfg = legalCBIE(v, h.Senvcfg) & senvcfgMask
	case rv64.SSCRATCH:
		h.Sscratch = v
	case rv64.SEPC:
		h.Sepc = v &^ 1
	case rv64.SCAUSE:
		h.Scause = v
	case rv64.STVAL:
		h.Stval = v
	case rv64.SIP:
		mask := h.Mideleg & (1 << rv64.SSIP)
		h.Mip = h.Mip&^mask | v&mask
		h.attendInterrupts()
	case rv64.STIMECMP:
		h.SetStimecmp(machine.VTime(v))
		h.attention = true
	case rv64.SATP:
		// A mode that is not there makes the whole write void.
		if mode := v >> 60; mode == satpBare || mode >= satpSv39 && mode <= h.maxMode {
			h.Satp = v
			h.refreshContext()
		}
	default:
		h.writeMachineCSR(c, v)
	}
}

func (h *Hart) writeMachineCSR(c rv64.CSR, v uint64) {
	switch c {
	case rv64.MSTATUS:
		h.writeStatus(v & mstatusMask)
	case rv64.MEDELEG:
		h.Medeleg = v & medelegMask
	case rv64.MIDELEG:
		h.Mideleg = v & midelegMask
		h.attendInterrupts()
	case rv64.MIE:
		h.Mie = v & mieMask
		h.attendInterrupts()
	case rv64.MTVEC:
		h.Mtvec = v &^ 2
	case rv64.MCOUNTEREN:
		h.Mcounteren = v & counterMask
	case rv64.MENVCFG:
		h.Menvcfg = legalCBIE(v, h.Menvcfg) & menvcfgMask
		h.timersStale, h.attention = true, true
	case rv64.MCOUNTINHIBIT:
		h.inhibit(v & inhibitMask)
	case rv64.MSCRATCH:
		h.Mscratch = v
	case rv64.MEPC:
		h.Mepc = v &^ 1
	case rv64.MCAUSE:
		h.Mcause = v
	case rv64.MTVAL:
		h.Mtval = v
	case rv64.MIP:
		mask := uint64(midelegMask)
		if h.Menvcfg&rv64.EnvSTCE != 0 {
			mask &^= 1 << rv64.STIP
		}
		h.Mip = h.Mip&^mask | v&mask
		h.attendInterrupts()
	case rv64.MCYCLE:
		h.Cycle = h.counterBase(v, 0)
	case rv64.MINSTRET:
		h.Instret = h.counterBase(v, 2)
	default:
		h.writePMP(c, v)
	}
}

func (h *Hart) readStatus() uint64 {
	v := h.Mstatus | statusXL
	if v&rv64.StatusFS == rv64.StatusFS {
		v |= rv64.StatusSD
	}
	return v
}

func (h *Hart) writeStatus(v uint64) {
	if v&rv64.StatusMPP == 2<<11 { // no such mode: MPP stays
		v = v&^rv64.StatusMPP | h.Mstatus&rv64.StatusMPP
	}
	h.Mstatus = v
	h.refreshContext()
	h.attendInterrupts()
}

// legalCBIE keeps the field as it was where v has the reserved value.
func legalCBIE(v, old uint64) uint64 {
	if v&rv64.EnvCBIE == 2<<4 {
		return v&^rv64.EnvCBIE | old&rv64.EnvCBIE
	}
	return v
}

// stimecmpOpen: below M, menvcfg.STCE and mcounteren.TM must be set (Sstc).
func (h *Hart) stimecmpOpen() bool {
	return h.Priv == rv64.MachineMode || h.Menvcfg&rv64.EnvSTCE != 0 && h.Mcounteren&2 != 0
}

// counterOpen says whether the present mode may read cycle (0), time (1) or
// instret (2).
func (h *Hart) counterOpen(bit uint) bool {
	return h.Priv == rv64.MachineMode ||
		h.Mcounteren>>bit&1 != 0 && (h.Priv == rv64.Supervisor || h.Scounteren>>bit&1 != 0)
}

// counter is the value of cycle or instret before the current attempt. cycle
// counts attempts; of instret trap takes back those that do not retire.
func (h *Hart) counter(base uint64, bit uint) uint64 {
	if h.Mcountinhibit>>bit&1 != 0 {
		return base
	}
	return base + uint64(h.Icount)
}

// counterBase makes the next instruction read v.
func (h *Hart) counterBase(v uint64, bit uint) uint64 {
	if h.Mcountinhibit>>bit&1 != 0 {
		return v
	}
	return v - uint64(h.Icount) - 1
}

// inhibit stops and starts counters behind the current instruction.
func (h *Hart) inhibit(v uint64) {
	next := uint64(h.Icount) + 1
	for _, c := range []struct {
		bit  uint
		base *uint64
	}{{0, &h.Cycle}, {2, &h.Instret}} {
		was, is := h.Mcountinhibit>>c.bit&1, v>>c.bit&1
		if was == 0 && is == 1 {
			*c.base += next
		}
		if was == 1 && is == 0 {
			*c.base -= next
		}
	}
	h.Mcountinhibit = v
}
