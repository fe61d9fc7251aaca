package board

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
)

// registers are the hart's by name: those that a program sees first.
func (b *Board) registers() []machine.Register {
	s := &b.hart.State
	regs := []machine.Register{{Name: "icount", Value: uint64(s.Icount)}, {Name: "pc", Value: s.PC}, {Name: "priv", Value: uint64(s.Priv)}}
	add := func(name string, v uint64) { regs = append(regs, machine.Register{Name: name, Value: v}) }
	for i, v := range s.X[1:] {
		add(xNames[i], v)
	}
	for i, v := range s.F {
		add(fmt.Sprintf("f%d", i), v)
	}
	flag := func(name string, v bool) {
		n := uint64(0)
		if v {
			n = 1
		}
		add(name, n)
	}
	add("fcsr", uint64(s.Frm)<<5|uint64(s.Fflags))
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
	add("mcycle offset", s.Cycle)
	add("minstret offset", s.Instret)
	flag("waiting", s.Waiting)
	flag("reserved", s.Reserved)
	add("reservation", uint64(s.Reservation))
	add("clock T0", uint64(s.Clock.T0))
	add("clock I0", uint64(s.Clock.I0))
	add("clock slope", s.Clock.Mul)
	add("mtimecmp", uint64(s.Mtimecmp))
	add("stimecmp", uint64(s.Stimecmp))
	return regs
}

var xNames = [...]string{"ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
	"a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"}
