package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

var blockOps = []struct {
	name   string
	insn   func(p *asm.Program, addr asm.Reg)
	enable uint64 // the field of menvcfg and senvcfg
	zero   bool
}{
	{"cbo.inval", (*asm.Program).CBOINVAL, rv64.EnvCBIE, false},
	{"cbo.clean", (*asm.Program).CBOCLEAN, rv64.EnvCBCFE, false},
	{"cbo.flush", (*asm.Program).CBOFLUSH, rv64.EnvCBCFE, false},
	{"cbo.zero", (*asm.Program).CBOZERO, rv64.EnvCBZE, true},
}

const allBlockOps = rv64.EnvCBIE | rv64.EnvCBCFE | rv64.EnvCBZE

// CMO specification, chapter 2: menvcfg enables the operations below M, senvcfg
// in U as well; where they are not enabled they are illegal.
func TestBlockOpsAreEnabled(t *testing.T) {
	const u, s, m = rv64.User, rv64.Supervisor, rv64.MachineMode
	for _, op := range blockOps {
		others := allBlockOps &^ op.enable
		for _, r := range []struct {
			name             string
			priv             uint8
			menvcfg, senvcfg uint64
			legal            bool
		}{
			{"M needs nothing", m, 0, 0, true},
			{"S without menvcfg", s, others, allBlockOps, false},
			{"S", s, op.enable, 0, true},
			{"U without menvcfg", u, others, allBlockOps, false},
			{"U without senvcfg", u, allBlockOps, others, false},
			{"U", u, op.enable, op.enable, true},
			{"S, the lowest value", s, op.enable & -op.enable, 0, true},
		} {
			eachRow(t, op.name+": "+r.name, func(t *testing.T, opt hart.Options) {
				w := isaWorld(opt, func(p *asm.Program) { op.insn(p, asm.A1) })
				w.become(r.priv)
				w.Menvcfg, w.Senvcfg = r.menvcfg, r.senvcfg
				w.X[asm.A1] = isaData
				w.steps(t, 1)
				if got := w.trapped(); r.legal && got != noTrap || !r.legal && got != rv64.IllegalInstruction {
					t.Errorf("cause %d", got)
				}
			})
		}
	}
}

// cbo.zero clears the block that holds the address, and the others change
// nothing.
func TestBlockOpsOnMemory(t *testing.T) {
	for _, op := range blockOps {
		for _, at := range []uint64{0, 1, 63} {
			eachRow(t, op.name, func(t *testing.T, opt hart.Options) {
				w := isaWorld(opt, func(p *asm.Program) {
					p.SD(asm.A2, -8, asm.A1) // for the second row of tests: the page is in the TLB
					op.insn(p, asm.A3)
					op.insn(p, asm.A3)
				})
				for i := uint64(0); i < 192; i += 8 {
					w.store64(isaData-64+i, ones)
				}
				w.X[asm.A1], w.X[asm.A2], w.X[asm.A3] = isaData, ones, isaData+at
				w.steps(t, 3)
				for i := uint64(0); i < 192; i += 8 {
					want := uint64(ones)
					if op.zero && i >= 64 && i < 128 {
						want = 0
					}
					if got := w.load64(isaData - 64 + i); got != want {
						t.Errorf("at %d: %#x, want %#x", int64(i)-64, got, want)
					}
				}
				if w.trapped() != noTrap {
					t.Errorf("cause %d", w.trapped())
				}
			})
		}
	}
}

// Which translations permit the operations, what they set in the entry, and
// the fault: a store's, with the address in rs1.
func TestBlockOpsTranslate(t *testing.T) {
	const rw = bitV | bitR | bitW
	for _, r := range []struct {
		name       string
		pte        uint64
		status     uint64
		manage     uint64 // the bits that inval, clean and flush set
		zero       uint64 // the bits that zero sets
		manageFail bool
		zeroFail   bool
	}{
		{"writable", rw, 0, bitA, bitA | bitD, false, false},
		{"readable", bitV | bitR, 0, bitA, 0, false, true},
		{"executable", bitV | bitX, 0, 0, 0, true, true},
		{"executable with MXR", bitV | bitX, rv64.StatusMXR, bitA, 0, false, true},
		{"not valid", 0, 0, 0, 0, true, true},
		{"of users", rw | bitU, 0, 0, 0, true, true},
		{"of users with SUM", rw | bitU, rv64.StatusSUM, bitA, bitA | bitD, false, false},
	} {
		for _, op := range blockOps {
			eachRow(t, op.name+": "+r.name, func(t *testing.T, opt hart.Options) {
				w := sv39World(opt, rv64.Supervisor, load, r.status, sv39VA+3)
				w.put(base, func(p *asm.Program) { op.insn(p, asm.A1) })
				w.Menvcfg |= allBlockOps
				entry, pte := uint64(sv39Leaf+8*7), sv39Page>>12<<10|r.pte
				w.store64(entry, pte)
				w.steps(t, 1)
				set, fail := r.manage, r.manageFail
				if op.zero {
					set, fail = r.zero, r.zeroFail
				}
				cause := noTrap
				if fail {
					cause = rv64.StorePageFault
				}
				if w.trapped() != cause || fail && w.Mtval != sv39VA+3 {
					t.Fatalf("cause %d, mtval %#x; want %d", w.trapped(), w.Mtval, cause)
				}
				if got := w.load64(entry); got != pte|set {
					t.Errorf("the entry is %#x, want %#x", got, pte|set)
				}
				zeroed := op.zero && !fail
				if got := w.load64(sv39Page + 0x238); zeroed != (got == 0) {
					t.Errorf("memory %#x", got)
				}
			})
		}
	}
}

// Outside RAM every one of them is a store access fault.
func TestBlockOpsOutsideRAM(t *testing.T) {
	for _, op := range blockOps {
		for _, at := range []uint64{testDevice + 5, 0x2000_0000, base + ramSize, base - 1} {
			eachRow(t, op.name, func(t *testing.T, opt hart.Options) {
				w := isaWorld(opt, func(p *asm.Program) { op.insn(p, asm.A1) })
				w.X[asm.A1] = at
				w.steps(t, 1)
				if w.trapped() != rv64.StoreAccessFault || w.Mtval != at || w.count != 0 {
					t.Errorf("%#x: cause %d, mtval %#x, accesses of the device %d", at, w.trapped(), w.Mtval, w.count)
				}
			})
		}
	}
}

// R5: zeroing a page table takes effect on the next access, even when the
// table maps itself.
func TestZeroingAPageTable(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, leafTable, pteV|pteR|pteW|pteA|pteD)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LD(asm.A0, 0, asm.S0)
			p.SD(asm.A0, 0x100, asm.S0)
			p.CBOZERO(asm.S0)
			p.SD(asm.A0, 0x100, asm.S0)
		})
		w.Mtvec, w.Menvcfg = base+0x2000, rv64.EnvCBZE
		w.put(base+0x2000, finish)
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "cause", w.Mcause, uint64(rv64.StorePageFault))
		want(t, "tval", w.Mtval, 0x5100)
		want(t, "entry", w.load64(leafTable+5*8), 0)
	})
}

// R5: zeroing code takes effect on the next instruction.
func TestZeroingCode(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.put(base+0x38, func(p *asm.Program) {
			p.CBOZERO(asm.S0)
			p.NOP()
			p.LI(asm.A0, 1)
		})
		w.PC, w.X[asm.S0] = base+0x38, base+0x40
		w.until(t, done)
		want(t, "cause", w.Mcause, uint64(rv64.IllegalInstruction))
		want(t, "mepc", w.Mepc, base+0x40)
		want(t, "a0", w.X[asm.A0], 0)
	})
}
