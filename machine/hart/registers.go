package hart

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
)

var xNames = [32]string{
	"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
	"a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
}

// Registers are all of State but the position, in a fixed order, for reports.
// A CSR is what State holds of it, which need not be what the guest reads: mip
// is without lines and timers, mcycle and minstret are what is added to the
// position.
func (h *Hart) Registers() []machine.Register {
	s := &h.State
	var regs []machine.Register
	add := func(name string, v uint64) { regs = append(regs, machine.Register{Name: name, Value: v}) }
	add("pc", s.PC)
	add("priv", uint64(s.Priv))
	for i, v := range s.X {
		add(xNames[i], v)
	}
	for i, v := range s.F {
		add(fmt.Sprintf("f%d", i), v)
	}
	add("fflags", uint64(s.Fflags))
	add("frm", uint64(s.Frm))
	add("mstatus", s.Mstatus)
	add("medeleg", s.Medeleg)
	add("mideleg", s.Mideleg)
	add("mie", s.Mie)
	add("mip", s.Mip)
	add("interrupt lines", s.Lines)
	add("mtvec", s.Mtvec)
	add("mscratch", s.Mscratch)
	add("mepc", s.Mepc)
	add("mcause", s.Mcause)
	add("mtval", s.Mtval)
	add("mcounteren", s.Mcounteren)
	add("mcountinhibit", s.Mcountinhibit)
	add("menvcfg", s.Menvcfg)
	add("stvec", s.Stvec)
	add("scounteren", s.Scounteren)
	add("senvcfg", s.Senvcfg)
	add("sscratch", s.Sscratch)
	add("sepc", s.Sepc)
	add("scause", s.Scause)
	add("stval", s.Stval)
	add("satp", s.Satp)
	for i, v := range s.Pmpcfg {
		add(fmt.Sprintf("pmp%dcfg", i), uint64(v))
	}
	for i, v := range s.Pmpaddr {
		add(fmt.Sprintf("pmpaddr%d", i), v)
	}
	add("mcycle offset", s.Cycle)
	add("minstret offset", s.Instret)
	add("waiting", bit(s.Waiting))
	add("reserved", bit(s.Reserved))
	add("reservation", uint64(s.Reservation))
	add("clock T0", uint64(s.Clock.T0))
	add("clock I0", uint64(s.Clock.I0))
	add("clock slope", s.Clock.Mul)
	add("mtimecmp", uint64(s.Mtimecmp))
	add("stimecmp", uint64(s.Stimecmp))
	return regs
}
