package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Privileged specification 3.1.6.1: the stacks of modes and interrupt enables.
func TestReturns(t *testing.T) {
	const mie, mpie, sie, spie = rv64.StatusMIE, rv64.StatusMPIE, rv64.StatusSIE, rv64.StatusSPIE
	for _, r := range []struct {
		name         string
		priv         uint8
		sret         bool
		before, want uint64 // mstatus without FS
		to           uint8
	}{
		{"mret to U", rv64.MachineMode, false, mpie, mie | mpie, rv64.User},
		{"mret to S", rv64.MachineMode, false, 1 << 11, mpie, rv64.Supervisor},
		{"mret to M keeps MPRV", rv64.MachineMode, false, 3<<11 | rv64.StatusMPRV, mpie | rv64.StatusMPRV, rv64.MachineMode},
		{"mret to S clears MPRV", rv64.MachineMode, false, 1<<11 | rv64.StatusMPRV, mpie, rv64.Supervisor},
		{"sret to U", rv64.Supervisor, true, spie, sie | spie, rv64.User},
		{"sret to S", rv64.Supervisor, true, rv64.StatusSPP | sie, spie, rv64.Supervisor},
		{"sret in M", rv64.MachineMode, true, rv64.StatusSPP | rv64.StatusMPRV | 3<<11, spie | 3<<11, rv64.Supervisor},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) {
				if r.sret {
					p.SRET()
				} else {
					p.MRET()
				}
			})
			w.become(r.priv)
			// From here on as if the hart had got there by itself.
			w.Mepc, w.Sepc = base+0x100, base+0x100
			w.Mstatus = r.before
			w.DropCaches()
			w.steps(t, 1)
			if w.Mstatus != r.want || w.Priv != r.to || w.PC != base+0x100 {
				t.Errorf("mstatus %#x, priv %d, PC %#x; want %#x, %d", w.Mstatus, w.Priv, w.PC, r.want, r.to)
			}
		})
	}
}

// Privileged specification 3.1.6.1 and 3.1.8: entering a trap, by mode and
// delegation.
func TestTrapEntry(t *testing.T) {
	const mie, mpie, sie, spie, spp = rv64.StatusMIE, rv64.StatusMPIE, rv64.StatusSIE, rv64.StatusSPIE, rv64.StatusSPP
	for _, r := range []struct {
		name         string
		priv         uint8
		delegate     bool
		before, want uint64
		to           uint8
	}{
		{"from U to M", rv64.User, false, mie | sie, mpie | sie, rv64.MachineMode},
		{"from S to M", rv64.Supervisor, false, mie, mpie | 1<<11, rv64.MachineMode},
		{"from M to M", rv64.MachineMode, false, mpie, 3 << 11, rv64.MachineMode},
		{"from U to S", rv64.User, true, sie | mie, spie | mie, rv64.Supervisor},
		{"from S to S", rv64.Supervisor, true, spie, spp, rv64.Supervisor},
		{"from M delegation does not apply", rv64.MachineMode, true, mie, mpie | 3<<11, rv64.MachineMode},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { p.EBREAK() })
			w.become(r.priv)
			w.Mstatus = r.before
			w.Stvec = base + 0x5000
			if r.delegate {
				w.Medeleg = 1 << rv64.Breakpoint
			}
			w.steps(t, 1)
			epc, cause, tval, pc := w.Mepc, w.Mcause, w.Mtval, uint64(isaTrap)
			if r.to == rv64.Supervisor {
				epc, cause, tval, pc = w.Sepc, w.Scause, w.Stval, base+0x5000
			}
			if w.Mstatus != r.want || w.Priv != r.to || w.PC != pc || epc != base || cause != uint64(rv64.Breakpoint) || tval != base {
				t.Errorf("mstatus %#x, priv %d, PC %#x, epc %#x, cause %d, tval %#x; want mstatus %#x", w.Mstatus, w.Priv, w.PC, epc, cause, tval, r.want)
			}
		})
	}
}

// Privileged specification 3.1.9: which interrupt is taken, if any.
func TestInterruptIsTaken(t *testing.T) {
	const ssi, msi, sti, mti, sei, mei = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 9, 1 << 11
	for _, r := range []struct {
		name             string
		priv             uint8
		status           uint64
		pending, enabled uint64
		delegated        uint64
		interrupt        uint64 // expected number; 99 for none
		to               uint8
	}{
		{"none enabled", rv64.MachineMode, rv64.StatusMIE, mei, 0, 0, 99, 0},
		{"M with MIE", rv64.MachineMode, rv64.StatusMIE, mei, mei, 0, 11, rv64.MachineMode},
		{"M without MIE", rv64.MachineMode, rv64.StatusSIE, mei, mei, 0, 99, 0},
		{"S without MIE: M's come all the same", rv64.Supervisor, 0, mei, mei, 0, 11, rv64.MachineMode},
		{"delegated in M: never", rv64.MachineMode, rv64.StatusMIE | rv64.StatusSIE, ssi, ssi, ssi, 99, 0},
		{"delegated in S with SIE", rv64.Supervisor, rv64.StatusSIE, ssi, ssi, ssi, 1, rv64.Supervisor},
		{"delegated in S without SIE", rv64.Supervisor, rv64.StatusMIE, ssi, ssi, ssi, 99, 0},
		{"delegated in U without SIE", rv64.User, 0, sei, sei, sei, 9, rv64.Supervisor},
		{"external before software before timer", rv64.MachineMode, rv64.StatusMIE, msi | mei | mti, mei | msi | mti, 0, 11, rv64.MachineMode},
		{"software before timer", rv64.MachineMode, rv64.StatusMIE, msi | mti, msi | mti, 0, 3, rv64.MachineMode},
		{"machine's before supervisor's", rv64.MachineMode, rv64.StatusMIE, mti | sei, mti | sei, 0, 7, rv64.MachineMode},
		{"supervisor's order", rv64.Supervisor, rv64.StatusSIE, ssi | sti | sei, ssi | sti | sei, ssi | sti | sei, 9, rv64.Supervisor},
		{"supervisor's order without external", rv64.Supervisor, rv64.StatusSIE, ssi | sti, ssi | sti, ssi | sti, 1, rv64.Supervisor},
		{"to M before to S, whatever the number", rv64.Supervisor, rv64.StatusSIE, sei | sti, sei | sti, sei, 5, rv64.MachineMode},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { p.NOP(); p.NOP() })
			w.become(r.priv)
			w.Mstatus = r.status
			w.Stvec = base + 0x5000
			w.Mie, w.Mideleg = r.enabled, r.delegated
			w.Mip = r.pending & (ssi | sti)
			for _, bit := range []uint{rv64.MSIP, rv64.SEIP, rv64.MEIP} {
				w.SetPending(bit, r.pending>>bit&1 != 0)
			}
			w.SetMtimecmp(^w.Time() | 1<<63)
			if r.pending&mti != 0 {
				w.SetMtimecmp(0)
			}
			w.DropCaches()
			before := w.Icount
			if w.Run(before); w.PC != base {
				t.Fatal("an interrupt was taken at Icount == until (R4)")
			}
			w.put(isaTrap, func(p *asm.Program) { p.NOP() })
			w.put(base+0x5000, func(p *asm.Program) { p.NOP() })
			w.steps(t, 1)
			var cause, epc, pc uint64
			switch w.Priv {
			case rv64.MachineMode:
				cause, epc, pc = w.Mcause, w.Mepc, isaTrap
			case rv64.Supervisor:
				cause, epc, pc = w.Scause, w.Sepc, base+0x5000
			}
			if r.interrupt == 99 {
				if w.PC != base+4 || w.Priv != r.priv {
					t.Errorf("PC %#x in mode %d; no interrupt was due", w.PC, w.Priv)
				}
				return
			}
			// The attempt is the handler's first instruction.
			if w.Priv != r.to || cause != rv64.CauseInterrupt|r.interrupt || epc != base || w.PC != pc+4 {
				t.Errorf("mode %d, cause %#x, epc %#x, PC %#x; want interrupt %d to mode %d", w.Priv, cause, epc, w.PC, r.interrupt, r.to)
			}
		})
	}
}
