package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

var hartOptions = hart.Options{}

// Privileged spec 3.1.8: an exception from S or U goes to S if medeleg says
// so, from M never.
func TestDelegation(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Medeleg = 1 << rv64.IllegalInstruction
		w.Stvec, w.Mtvec = base+0x1000, base+0x2000
		w.put(base+0x1000, finish)
		w.put(base+0x2000, finish)
		w.put(base, func(p *asm.Program) { p.Raw32(0) })

		w.Priv, w.Mstatus = rv64.User, rv64.StatusSIE
		w.until(t, done)
		want(t, "scause", w.Scause, uint64(rv64.IllegalInstruction))
		want(t, "sepc", w.Sepc, base)
		want(t, "stval", w.Stval, 0)
		want(t, "priv", uint64(w.Priv), uint64(rv64.Supervisor))
		want(t, "mstatus", w.Mstatus, rv64.StatusSPIE)

		w.Priv, w.PC = rv64.MachineMode, base
		w.until(t, done)
		want(t, "mcause", w.Mcause, uint64(rv64.IllegalInstruction))
		want(t, "MPP", w.Mstatus>>11&3, 3)
	})
}

// xtval: the bits of an illegal instruction, the address of a breakpoint.
func TestTrapValue(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.put(base, func(p *asm.Program) { p.Raw32(0xffffffff) })
		w.until(t, done)
		want(t, "mtval of an illegal instruction", w.Mtval, 0xffffffff)
		w.put(base, func(p *asm.Program) { p.EBREAK() })
		w.PC = base
		w.until(t, done)
		want(t, "mtval of a breakpoint", w.Mtval, base)
		want(t, "mcause of a breakpoint", w.Mcause, uint64(rv64.Breakpoint))
	})
}

// Vectored mode sends interrupts, and only them, to base + 4*cause.
func TestVectoredInterrupt(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000 | 1
		w.Mie, w.Mstatus = 1<<rv64.MSIP|1<<rv64.MEIP, rv64.StatusMIE
		w.put(base, func(p *asm.Program) { p.NOP() })
		w.put(base+0x2000+4*uint64(rv64.MEIP), finish)
		w.SetPending(rv64.MSIP, true)
		w.SetPending(rv64.MEIP, true)
		before := w.Icount
		if e := w.Run(before); e != machine.Reached || w.PC != base {
			t.Fatal("Run at its own position took an interrupt")
		}
		w.until(t, done)
		want(t, "mcause", w.Mcause, rv64.CauseInterrupt|uint64(rv64.MEIP))
		want(t, "mepc", w.Mepc, base)
	})
}

// Interrupts delegated to S are not taken in M, and are in U whatever SIE says.
func TestDelegatedInterrupt(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mideleg, w.Mie = 1<<rv64.SEIP, 1<<rv64.SEIP
		w.Mstatus = rv64.StatusMIE
		w.Mtvec, w.Stvec, w.Mepc = base+0x2000, base+0x1000, base+0x100
		w.put(base, func(p *asm.Program) { p.NOP(); p.MRET() })
		w.put(base+0x100, func(p *asm.Program) { p.NOP() })
		w.put(base+0x1000, finish)
		w.put(base+0x2000, func(p *asm.Program) { p.EBREAK() })
		w.SetPending(rv64.SEIP, true)
		w.until(t, done)
		want(t, "scause", w.Scause, rv64.CauseInterrupt|uint64(rv64.SEIP))
		want(t, "sepc", w.Sepc, base+0x100)
	})
}

// R4: WFI retires and waits; an interrupt that mie enables ends the wait even
// if mstatus keeps it from being taken.
func TestWFI(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mie = 1 << rv64.MEIP
		w.put(base, func(p *asm.Program) {
			p.WFI()
			finish(p)
		})
		if e := w.Run(100); e != machine.Idle {
			t.Fatalf("exit %v, want idle", e)
		}
		want(t, "Icount", uint64(w.Icount), 1)
		if e := w.Run(100); e != machine.Idle || w.Icount != 1 || !w.Waiting {
			t.Fatal("running again changed something")
		}
		w.SetPending(rv64.MEIP, true)
		if e := w.Run(1); e != machine.Reached || !w.Waiting {
			t.Fatal("Run at its own position changed something")
		}
		w.until(t, done)
		w.PC = base
		w.until(t, done) // pending: WFI does nothing
	})
}

func TestWFITraps(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.put(base, func(p *asm.Program) { p.WFI() })
		w.Priv, w.Mstatus = rv64.Supervisor, rv64.StatusTW
		w.until(t, done)
		want(t, "mcause", w.Mcause, uint64(rv64.IllegalInstruction))
	})
}

// A timer's interrupt is taken at the exact position at which the clock
// reaches it, however Run is sliced.
func TestTimerIsExact(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		start := func() {
			w.restart(base, rv64.Supervisor)
			w.Icount = 0
			w.Menvcfg, w.Mideleg, w.Mie = rv64.EnvSTCE, 1<<rv64.STIP, 1<<rv64.STIP
			w.Mcounteren = 7
			w.Mstatus = rv64.StatusSIE
			w.Stvec = base + 0x1000
			w.SetClock(machine.Clock{Mul: 1 << 31}) // a tick in two instructions
		}
		w.put(base, func(p *asm.Program) {
			p.LI(asm.A0, 40)
			p.CSRW(0x14D, asm.A0) // stimecmp: position 80
			p.Label("again")
			for range 30 {
				p.ADDI(asm.A1, asm.A1, 1)
			}
			p.J("again")
		})
		w.put(base+0x1000, func(p *asm.Program) {
			p.CSRR(asm.A2, 0xC01)
			p.CSRR(asm.A3, 0x141)
			finish(p)
		})
		start()
		w.until(t, done)
		want(t, "time at the first instruction of the handler", w.X[asm.A2], 40)
		want(t, "sepc", w.X[asm.A3], base+4*(2+78%31)) // the loop is 31 long
		whole := w.state()
		for slice := machine.Icount(1); slice < 40; slice++ {
			start()
			w.count--
			for w.Run(w.Icount+slice) == machine.Reached {
			}
			if w.state() != whole {
				t.Fatalf("slices of %d lead to another state", slice)
			}
		}
	})
}

// The machine's own SBI sees ecalls from S; what it does not handle traps.
func TestEcall(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.sbi = true
		w.Priv = rv64.Supervisor
		w.put(base, func(p *asm.Program) {
			p.LI(asm.A7, 0x10)
			p.ECALL()
			p.MV(asm.S0, asm.A1)
			finish(p)
		})
		w.until(t, done)
		want(t, "position seen", w.X[asm.S0], 1)
		if len(w.ecalls) != 1 || w.ecalls[0] != 0x10 {
			t.Errorf("ecalls %x", w.ecalls)
		}
		w.sbi = false
		w.PC, w.Mtvec = base, base+0x2000
		w.put(base+0x2000, finish)
		w.until(t, done)
		want(t, "mcause", w.Mcause, uint64(rv64.EcallS))
		want(t, "mepc", w.Mepc, base+4)
	})
}

// Misaligned atomics trap; misaligned accesses to devices are access faults.
func TestMisaligned(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		cases := []struct {
			name  string
			insn  func(p *asm.Program)
			addr  uint64
			cause rv64.Cause
		}{
			{"lr", func(p *asm.Program) { p.LRW(asm.A0, asm.S0) }, base + 0x10002, rv64.LoadMisaligned},
			{"sc", func(p *asm.Program) { p.SCD(asm.A0, asm.A1, asm.S0) }, base + 0x10004, rv64.StoreMisaligned},
			{"amo", func(p *asm.Program) { p.AMOADDD(asm.A0, asm.A1, asm.S0) }, base + 0x10001, rv64.StoreMisaligned},
			{"device load", func(p *asm.Program) { p.LW(asm.A0, 0, asm.S0) }, testDevice + 2, rv64.LoadAccessFault},
			{"device store", func(p *asm.Program) { p.SD(asm.A0, 0, asm.S0) }, testDevice + 4, rv64.StoreAccessFault},
			{"device atomic", func(p *asm.Program) { p.AMOADDW(asm.A0, asm.A1, asm.S0) }, testDevice, rv64.StoreAccessFault},
			{"nothing there", func(p *asm.Program) { p.LW(asm.A0, 0, asm.S0) }, 0x2000_0000, rv64.LoadAccessFault},
			{"past the end", func(p *asm.Program) { p.LD(asm.A0, 0, asm.S0) }, base + ramSize - 4, rv64.LoadAccessFault},
		}
		for _, c := range cases {
			w.put(base, c.insn)
			w.PC, w.X[asm.S0] = base, c.addr
			w.until(t, done)
			want(t, c.name+": mcause", w.Mcause, uint64(c.cause))
		}
	})
}

// satp: a write of a mode that is not there is void (WARL).
func TestSatpModes(t *testing.T) {
	for _, c := range []struct {
		max   uint8
		write uint64
		want  uint64
	}{{0, 8, 8}, {0, 9, 0}, {0, 10, 0}, {9, 9, 9}, {9, 10, 0}, {10, 10, 10}, {10, 1, 0}} {
		w := newWorld(hart.Options{MaxMode: c.max})
		w.put(base, func(p *asm.Program) {
			p.CSRW(0x180, asm.A0)
			p.CSRR(asm.A1, 0x180)
			finish(p)
		})
		w.X[asm.A0] = c.write<<60 | 5
		w.until(t, done)
		want(t, "mode", w.X[asm.A1]>>60, c.want)
		if c.want == 0 {
			want(t, "satp", w.X[asm.A1], 0)
		}
	}
}

// cycle and instret follow the position, with what software wrote.
func TestCounters(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.put(base, func(p *asm.Program) {
			p.CSRR(asm.A0, 0xC00) // position 0
			p.CSRR(asm.A1, 0xC02) // position 1
			p.LI(asm.T0, 1000)
			p.CSRW(0xB02, asm.T0) // minstret
			p.CSRR(asm.A2, 0xC02)
			p.LI(asm.T0, 4)
			p.CSRW(0x320, asm.T0) // mcountinhibit: instret stops
			p.CSRR(asm.A3, 0xC02)
			p.CSRR(asm.A4, 0xC02)
			p.CSRW(0x320, asm.Zero)
			p.CSRR(asm.A5, 0xC02)
			finish(p)
		})
		w.until(t, done)
		want(t, "cycle", w.X[asm.A0], 0)
		want(t, "instret", w.X[asm.A1], 1)
		want(t, "instret written", w.X[asm.A2], 1000)
		want(t, "instret stopped", w.X[asm.A3], 1003)
		want(t, "instret stopped", w.X[asm.A4], 1003)
		want(t, "instret goes on", w.X[asm.A5], 1003)
	})
}

// An instruction that traps counts as a cycle but does not retire (privileged
// spec 3.1.10).
func TestInstretCountsWhatRetires(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base, func(p *asm.Program) {
			p.NOP()
			p.ECALL()
		})
		w.put(base+0x2000, func(p *asm.Program) {
			p.CSRR(asm.A0, asm.CYCLE)
			p.CSRR(asm.A1, asm.INSTRET)
			p.LI(asm.T0, 4)
			p.CSRW(asm.MCOUNTINHIBIT, asm.T0)
			p.LA(asm.T0, "stopped")
			p.CSRW(asm.MTVEC, asm.T0)
			p.ECALL()
			p.Align(4)
			p.Label("stopped")
			p.CSRR(asm.A2, asm.INSTRET)
			p.CSRW(asm.MCOUNTINHIBIT, asm.Zero)
			p.CSRR(asm.A3, asm.INSTRET)
			finish(p)
		})
		w.until(t, done)
		want(t, "cycle", w.X[asm.A0], 2)
		want(t, "instret", w.X[asm.A1], 2) // the NOP and the handler's first
		want(t, "instret stopped", w.X[asm.A2], 5)
		want(t, "instret goes on", w.X[asm.A3], 5)
	})
}
