package hart_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

const (
	pmpR, pmpW, pmpX        = rv64.PMPR, rv64.PMPW, rv64.PMPX
	pmpTOR, pmpNA4          = rv64.PMPTOR, rv64.PMPNA4
	pmpNAPOT, pmpL          = rv64.PMPNAPOT, rv64.PMPL
	pmpAll                  = pmpR | pmpW | pmpX
	pmpPage                 = uint64(base + 0x20000) // what the tests protect
	pmpEverywhere    uint64 = 1<<54 - 1
)

// napot is pmpaddr for size bytes at a.
func napot(a, size uint64) uint64 { return a>>2 | (size/8 - 1) }

// A pmpEntry is what a test writes to an entry.
type pmpEntry struct {
	cfg  uint8
	addr uint64
}

// protect writes entries through the CSRs, in M: addresses before locks.
func (w *world) protect(t *testing.T, entries ...pmpEntry) {
	t.Helper()
	pc, x := w.PC, w.X
	for i, e := range entries {
		w.setCSR(t, asm.PMPADDR0+asm.CSR(i), e.addr)
	}
	for group := 0; group < 16; group += 8 {
		var v uint64
		for i := range 8 {
			if group+i < len(entries) {
				v |= uint64(entries[group+i].cfg) << (8 * i)
			}
		}
		w.setCSR(t, asm.PMPCFG0+asm.CSR(group/4), v)
	}
	w.PC, w.X = pc, x
}

// setCSR writes a register with an instruction in M.
func (w *world) setCSR(t *testing.T, c asm.CSR, v uint64) {
	t.Helper()
	w.put(base+0x3800, func(p *asm.Program) { p.CSRW(c, asm.A1) })
	w.PC, w.Priv, w.X[asm.A1] = base+0x3800, rv64.MachineMode, v
	w.steps(t, 1)
	if w.PC != base+0x3804 {
		t.Fatalf("writing CSR %#x trapped with cause %d", c, w.Mcause)
	}
}

// try makes one access at an address in a mode and gives the cause of the
// fault.
func (w *world) try(t *testing.T, priv uint8, a sv39Access, at uint64) rv64.Cause {
	t.Helper()
	pc := uint64(base)
	w.put(base, func(p *asm.Program) {
		switch a {
		case load:
			p.LD(asm.A0, 0, asm.A1)
		case store:
			p.SD(asm.A2, 0, asm.A1)
		case atomic:
			p.AMOADDD(asm.A0, asm.A2, asm.A1)
		}
	})
	if a == fetch {
		pc = at
		w.store64(at, 0x13) // a NOP
	}
	w.PC = pc
	w.become(priv)
	w.X[asm.A1] = at
	w.steps(t, 1)
	if w.PC != isaTrap {
		return noTrap
	}
	if w.Mtval != at || w.Mepc != pc {
		t.Errorf("mtval %#x, mepc %#x; want %#x, %#x", w.Mtval, w.Mepc, at, pc)
	}
	return rv64.Cause(w.Mcause)
}

// Privileged specification 3.7.1: address matching. The first entry that
// matches decides; without one, S and U fail and M does not.
func TestPMPMatch(t *testing.T) {
	open := pmpEntry{pmpAll | pmpNAPOT, pmpEverywhere}
	for _, r := range []struct {
		name    string
		entries []pmpEntry
		below   bool // S may load from the page before pmpPage
		at      bool // from pmpPage
		above   bool // from the page behind it
	}{
		{"no entry matches", []pmpEntry{{pmpAll | pmpNAPOT, napot(base, 0x10000)}}, false, false, false},
		{"OFF matches nothing", []pmpEntry{{pmpL, pmpEverywhere}, open}, true, true, true},
		{"a page by NAPOT", []pmpEntry{{pmpNAPOT, napot(pmpPage, 0x1000)}, open}, true, false, true},
		{"two pages by NAPOT", []pmpEntry{{pmpNAPOT, napot(pmpPage, 0x2000)}, open}, true, false, false},
		{"all by NAPOT", []pmpEntry{{pmpNAPOT, pmpEverywhere}, open}, false, false, false},
		{"NAPOT finer than a page is a page", []pmpEntry{{pmpNAPOT, napot(pmpPage+0x400, 8)}, open}, true, false, true},
		{"TOR from zero", []pmpEntry{{pmpTOR, (pmpPage + 0x1000) >> 2}, open}, false, false, true},
		{"TOR", []pmpEntry{{0, pmpPage >> 2}, {pmpTOR, (pmpPage + 0x1000) >> 2}, open}, true, false, true},
		{"TOR above an entry by NAPOT", []pmpEntry{{pmpAll | pmpNAPOT, napot(pmpPage, 0x1000)}, {pmpTOR, (pmpPage + 0x2000) >> 2}, open}, true, true, false},
		{"TOR, empty", []pmpEntry{{0, pmpPage >> 2}, {pmpTOR, pmpPage >> 2}, open}, true, true, true},
		{"TOR, upside down", []pmpEntry{{0, (pmpPage + 0x1000) >> 2}, {pmpTOR, pmpPage >> 2}, open}, true, true, true},
		{"TOR finer than a page", []pmpEntry{{0, (pmpPage + 0xffc) >> 2}, {pmpTOR, (pmpPage + 0x1ffc) >> 2}, open}, true, false, true},
		{"the first match wins", []pmpEntry{{pmpAll | pmpNAPOT, napot(pmpPage, 0x1000)}, {pmpNAPOT, napot(pmpPage, 0x2000)}, open}, true, true, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) {})
			w.protect(t, r.entries...)
			w.put(base, func(p *asm.Program) { p.LD(asm.A0, 0, asm.A1) })
			for i, ok := range []bool{r.below, r.at, r.above} {
				at := pmpPage - 0x1000 + uint64(i)<<12
				for _, priv := range []uint8{rv64.User, rv64.Supervisor, rv64.MachineMode} {
					// By MPRV: M's fetches are closed to no entry here.
					w.PC, w.Priv, w.Mstatus, w.X[asm.A1] = base, rv64.MachineMode, rv64.StatusMPRV|uint64(priv)<<11, at
					w.steps(t, 1)
					want := noTrap
					if !ok && priv != rv64.MachineMode {
						want = rv64.LoadAccessFault
					}
					if got := w.trapped(); got != want {
						t.Errorf("load at %#x as mode %d: cause %d, want %d", at, priv, got, want)
					}
				}
			}
		})
	}
}

// What R, W, X and L grant, by mode and access.
func TestPMPPermissions(t *testing.T) {
	faults := [...]rv64.Cause{rv64.LoadAccessFault, rv64.StoreAccessFault, rv64.InstructionAccessFault, rv64.StoreAccessFault}
	needs := [...]uint8{pmpR, pmpW, pmpX, pmpW}
	for _, perm := range []uint8{0, pmpR, pmpR | pmpW, pmpX, pmpR | pmpX, pmpAll} {
		for _, lock := range []uint8{0, pmpL} {
			eachRow(t, fmt.Sprintf("%#x", perm|lock), func(t *testing.T, opt hart.Options) {
				w := isaWorld(opt, func(p *asm.Program) {})
				w.protect(t, pmpEntry{perm | lock | pmpNAPOT, napot(pmpPage, 0x1000)}, pmpEntry{pmpAll | pmpNAPOT, pmpEverywhere})
				for _, priv := range []uint8{rv64.User, rv64.Supervisor, rv64.MachineMode} {
					for a := range sv39Access(4) {
						want := noTrap
						if perm&needs[a] == 0 && (priv != rv64.MachineMode || lock != 0) {
							want = faults[a]
						}
						if got := w.try(t, priv, a, pmpPage); got != want {
							t.Errorf("access %d in mode %d: cause %d, want %d", a, priv, got, want)
						}
					}
				}
			})
		}
	}
}

// An access across pages is checked for each page, and changes nothing if one
// of them is closed.
func TestPMPAcrossPages(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = isaTrap
		w.protect(t, pmpEntry{pmpR | pmpNAPOT, napot(pmpPage+0x1000, 0x1000)}, pmpEntry{pmpAll | pmpNAPOT, pmpEverywhere})
		w.put(base, func(p *asm.Program) { p.SD(asm.A0, -3, asm.A1) })
		w.PC = base
		w.become(rv64.Supervisor)
		w.X[asm.A0], w.X[asm.A1] = ones, pmpPage+0x1000
		w.steps(t, 1)
		want(t, "PC", w.PC, isaTrap)
		want(t, "mcause", w.Mcause, uint64(rv64.StoreAccessFault))
		want(t, "mtval", w.Mtval, pmpPage+0x1000)
		want(t, "memory", w.load64(pmpPage+0xff8), 0)
	})
}

// MPRV: M's loads and stores are checked as those of MPP, its fetches are not.
func TestPMPAndMPRV(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = isaTrap
		w.protect(t, pmpEntry{pmpNAPOT, napot(base, 0x40000)}, pmpEntry{pmpAll | pmpNAPOT, pmpEverywhere})
		w.put(base, func(p *asm.Program) {
			p.LD(asm.A0, 0, asm.A1) // M itself
			p.CSRRS(asm.Zero, asm.MSTATUS, asm.A2)
			p.LD(asm.A0, 0, asm.A1)
		})
		w.PC, w.Mstatus = base, 1<<11
		w.X[asm.A1], w.X[asm.A2] = pmpPage, rv64.StatusMPRV
		w.steps(t, 3)
		want(t, "PC", w.PC, isaTrap)
		want(t, "mcause", w.Mcause, uint64(rv64.LoadAccessFault))
		want(t, "mepc", w.Mepc, base+8)
	})
}

// Page tables are read and written as S does, and a fault is of the access's
// kind; the entry is as it was.
func TestPMPAndPageTables(t *testing.T) {
	const leaf = bitV | bitR | bitW | bitX
	for _, r := range []struct {
		name  string
		table uint64
		perm  uint8
		pte   uint64
		a     sv39Access
		cause rv64.Cause
	}{
		{"root closed, fetch", sv39Root, 0, leaf, fetch, rv64.InstructionAccessFault},
		{"middle closed, X is not R", sv39Middle, pmpX, leaf, load, rv64.LoadAccessFault},
		{"leaf closed, atomic", sv39Leaf, 0, leaf | bitA | bitD, atomic, rv64.StoreAccessFault},
		{"leaf read-only, A to set", sv39Leaf, pmpR, leaf, load, rv64.LoadAccessFault},
		{"leaf read-only, D to set", sv39Leaf, pmpR, leaf | bitA, store, rv64.StoreAccessFault},
		{"leaf read-only, nothing to set", sv39Leaf, pmpR, leaf | bitA, load, noTrap},
		{"leaf read-only, nothing to set for the store", sv39Leaf, pmpR, leaf | bitA | bitD, store, noTrap},
		{"the page itself closed", sv39Page, 0, leaf, load, rv64.LoadAccessFault},
		{"the page itself read-only", sv39Page, pmpR, leaf, store, rv64.StoreAccessFault},
		{"a page fault comes first", sv39Page, 0, bitV | bitX, load, rv64.LoadPageFault},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := sv39World(opt, rv64.Supervisor, r.a, 0, sv39VA)
			pc := w.PC
			w.store64(sv39Leaf+8*7, sv39Page>>12<<10|r.pte)
			w.protect(t, pmpEntry{r.perm | pmpNAPOT, napot(r.table, 0x1000)}, pmpEntry{pmpAll | pmpNAPOT, pmpEverywhere})
			w.PC = pc
			w.become(rv64.Supervisor)
			w.X[asm.A1] = sv39VA
			w.steps(t, 1)
			if w.trapped() != r.cause || r.cause != noTrap && w.Mtval != sv39VA {
				t.Fatalf("cause %d, mtval %#x; want %d", w.trapped(), w.Mtval, r.cause)
			}
			if got := w.load64(sv39Leaf + 8*7); r.cause != noTrap && got != sv39Page>>12<<10|r.pte {
				t.Errorf("the entry became %#x", got)
			}
		})
	}
}

// The registers: what a write gives, and what a lock keeps.
func TestPMPRegisters(t *testing.T) {
	const fine = 1<<9 - 1
	eachRow(t, "fields", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) {})
		for _, r := range []struct {
			name        string
			csr         asm.CSR
			write, want uint64
		}{
			{"reserved bits are zero", asm.PMPCFG0, 0x60, 0},
			{"W without R loses W", asm.PMPCFG0, uint64(pmpW | pmpX | pmpNAPOT), uint64(pmpX | pmpNAPOT)},
			{"NA4 is not selectable", asm.PMPCFG0, uint64(pmpAll | pmpNA4), uint64(pmpAll)},
			{"eight entries", asm.PMPCFG0, 0x1f0f1f0f1f0f1f0f, 0x1f0f1f0f1f0f1f0f},
			{"the other eight", asm.PMPCFG0 + 2, 0x0f1f0f1f0f1f0f1f, 0x0f1f0f1f0f1f0f1f},
			{"no more entries", asm.PMPCFG0 + 4, ones, 0},
			{"no more entries", asm.PMPCFG0 + 14, ones, 0},
			{"address of NAPOT", asm.PMPADDR0 + 1, ones, 1<<54 - 1},
			{"address of NAPOT: bits below are ones", asm.PMPADDR0 + 1, 0, fine},
			{"address of TOR: bits below are zeros", asm.PMPADDR0, ones, (1<<54 - 1) &^ (1<<10 - 1)},
			{"the last address", asm.PMPADDR0 + 15, 1 << 20, 1 << 20},
			{"no address", asm.PMPADDR0 + 16, ones, 0},
			{"no address", asm.PMPADDR0 + 63, ones, 0},
		} {
			w.setCSR(t, r.csr, r.write)
			if got := w.readCSR(t, r.csr); got != r.want {
				t.Errorf("%s: %#x reads as %#x, want %#x", r.name, r.write, got, r.want)
			}
		}
		// 3.7.1: what TOR does not show is kept for NAPOT.
		w.setCSR(t, asm.PMPCFG0, uint64(pmpNAPOT))
		w.setCSR(t, asm.PMPADDR0, 1<<9)
		w.setCSR(t, asm.PMPCFG0, uint64(pmpTOR))
		want(t, "while TOR", w.readCSR(t, asm.PMPADDR0), 0)
		w.setCSR(t, asm.PMPCFG0, uint64(pmpNAPOT))
		want(t, "NAPOT again", w.readCSR(t, asm.PMPADDR0), 1<<9|fine)
	})
	eachRow(t, "locks", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) {})
		for i := range asm.CSR(5) {
			w.setCSR(t, asm.PMPADDR0+i, 1<<20)
		}
		locked := uint64(pmpL|pmpR)<<8 | uint64(pmpL|pmpTOR|pmpAll)<<24
		w.setCSR(t, asm.PMPCFG0, locked)
		w.setCSR(t, asm.PMPCFG0, ones)
		rest := uint64(pmpAll | pmpNAPOT | pmpL)
		want(t, "pmpcfg0", w.readCSR(t, asm.PMPCFG0), rest|rest<<16|rest<<32|rest<<40|rest<<48|rest<<56|locked)
		w.Reset(base, rv64.MachineMode, 0, 0)
		want(t, "after a reset", w.readCSR(t, asm.PMPCFG0), 0)

		for i := range asm.CSR(5) {
			w.setCSR(t, asm.PMPADDR0+i, 1<<20)
		}
		w.setCSR(t, asm.PMPCFG0, locked)
		for i := range asm.CSR(5) {
			w.setCSR(t, asm.PMPADDR0+i, 1<<21)
		}
		for i, v := range []uint64{1 << 21, 1 << 20, 1 << 20, 1 << 20, 1 << 21} {
			want(t, fmt.Sprintf("pmpaddr%d", i), w.readCSR(t, asm.PMPADDR0+asm.CSR(i)), v)
		}
	})
	eachRow(t, "odd numbers are RV32's", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.CSRR(asm.A0, asm.PMPCFG0+1) })
		w.steps(t, 1)
		want(t, "mcause", uint64(w.trapped()), uint64(rv64.IllegalInstruction))
	})
}

func (w *world) readCSR(t *testing.T, c asm.CSR) uint64 {
	t.Helper()
	w.put(base+0x3800, func(p *asm.Program) { p.CSRR(asm.A0, c) })
	w.PC, w.Priv = base+0x3800, rv64.MachineMode
	w.steps(t, 1)
	return w.X[asm.A0]
}

// At reset nothing below M runs.
func TestPMPAtReset(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Reset(base, rv64.Supervisor, 0, 0)
		w.Mtvec = isaTrap
		w.put(base, func(p *asm.Program) { p.NOP() })
		w.steps(t, 1)
		want(t, "mcause", w.Mcause, uint64(rv64.InstructionAccessFault))
		want(t, "mtval", w.Mtval, base)
	})
}

// specAllows is the text of 3.7.1 word for word, byte by byte, on what the
// registers show: may the eight bytes at a be loaded?
func specAllows(cfg [16]uint8, addr [16]uint64, a uint64, machineMode bool) bool {
	for i, c := range cfg {
		matches := func(a uint64) bool {
			switch c & rv64.PMPA {
			case pmpTOR:
				bottom := uint64(0)
				if i > 0 {
					bottom = addr[i-1] >> 10 << 10 << 2
				}
				return bottom <= a && a < addr[i]<<2
			case pmpNAPOT:
				// yyy...0111: as many ones, as many powers of two above eight.
				size := uint64(8)
				for y := addr[i]; y&1 == 1; y >>= 1 {
					size *= 2
				}
				return a/size == addr[i]<<2/size
			}
			return false
		}
		if matches(a) != matches(a+7) {
			return false
		}
		if matches(a) {
			return machineMode && c&pmpL == 0 || c&pmpR != 0
		}
	}
	return machineMode
}

// Random entries, as the CSRs take them, decide as the specification's text.
func TestPMPAgainstTheText(t *testing.T) {
	w := newWorld(hart.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		w.restart(base, rv64.MachineMode)
		w.Mtvec = isaTrap
		page := rapid.Custom(func(t *rapid.T) uint64 { return base + rapid.Uint64Range(8, 255).Draw(t, "page")<<12 })
		for i := range asm.CSR(16) {
			a := page.Draw(rt, "address") >> 2
			switch rapid.IntRange(0, 9).Draw(rt, "shape") {
			case 0:
				a = rapid.Uint64().Draw(rt, "any")
			case 1, 2, 3, 4:
				a |= 1<<rapid.IntRange(0, 20).Draw(rt, "size") - 1
			}
			w.setCSR(t, asm.PMPADDR0+i, a)
		}
		var cfg [16]uint8
		var addr [16]uint64
		for _, c := range []asm.CSR{0, 2} {
			v := rapid.Uint64().Draw(rt, "cfg")
			if rapid.Bool().Draw(rt, "unlocked") {
				v &^= 0x8080808080808080
			}
			if c == 0 {
				v = v&^0xff | uint64(pmpX|pmpR|pmpNAPOT) // what the test itself lies in
				w.setCSR(t, asm.PMPADDR0, napot(base, 0x8000))
			}
			w.setCSR(t, asm.PMPCFG0+c, v)
			v = w.readCSR(t, asm.PMPCFG0+c)
			for i := range 8 {
				cfg[int(c)*4+i] = uint8(v >> (8 * i))
			}
		}
		for i := range asm.CSR(16) {
			addr[i] = w.readCSR(t, asm.PMPADDR0+i)
		}
		w.put(base, func(p *asm.Program) { p.LD(asm.A0, 0, asm.A1) })
		for range 20 {
			at, priv := page.Draw(rt, "at"), rapid.SampledFrom([]uint8{rv64.User, rv64.MachineMode}).Draw(rt, "mode")
			w.PC, w.Priv, w.Mstatus, w.X[asm.A1] = base, rv64.MachineMode, rv64.StatusMPRV|uint64(priv)<<11, at
			w.steps(t, 1)
			if got, want := w.trapped() == noTrap, specAllows(cfg, addr, at, priv == rv64.MachineMode); got != want {
				rt.Fatalf("load at %#x as mode %d: %v, want %v; cfg %x, addr %x", at, priv, got, want, cfg, addr)
			}
		}
	})
}
