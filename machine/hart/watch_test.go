package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Every store that touches the watched bytes is told of, after it is made, and
// a requested exit stops the run behind that very instruction.
func TestWatchedStores(t *testing.T) {
	const watch = base + 0x10010
	for _, r := range []struct {
		name string
		at   uint64 // in A1
		code func(p *asm.Program)
		told bool
	}{
		{"sd", watch, func(p *asm.Program) { p.SD(asm.A2, 0, asm.A1) }, true},
		{"sb, first byte", watch, func(p *asm.Program) { p.SB(asm.A2, 0, asm.A1) }, true},
		{"sb, last byte", watch + 7, func(p *asm.Program) { p.SB(asm.A2, 0, asm.A1) }, true},
		{"sb before", watch - 1, func(p *asm.Program) { p.SB(asm.A2, 0, asm.A1) }, false},
		{"sb behind", watch + 8, func(p *asm.Program) { p.SB(asm.A2, 0, asm.A1) }, false},
		{"sh across its start", watch - 1, func(p *asm.Program) { p.SH(asm.A2, 0, asm.A1) }, true},
		{"sw across its end", watch + 7, func(p *asm.Program) { p.SW(asm.A2, 0, asm.A1) }, true},
		{"c.sd", watch, func(p *asm.Program) { p.CSD(asm.A2, 0, asm.A1) }, true},
		{"fsd", watch, func(p *asm.Program) { p.FSD(asm.FA0, 0, asm.A1) }, true},
		{"fsw", watch + 4, func(p *asm.Program) { p.FSW(asm.FA0, 0, asm.A1) }, true},
		{"fsw before", watch - 4, func(p *asm.Program) { p.FSW(asm.FA0, 0, asm.A1) }, false},
		{"amo", watch, func(p *asm.Program) { p.AMOADDD(asm.A0, asm.A2, asm.A1) }, true},
		{"amo behind", watch + 8, func(p *asm.Program) { p.AMOADDD(asm.A0, asm.A2, asm.A1) }, false},
		{"sc that fails", watch, func(p *asm.Program) { p.SCD(asm.A0, asm.A2, asm.A1) }, false},
		{"cbo.zero", watch + 0x20, func(p *asm.Program) { p.CBOZERO(asm.A1) }, true},
		{"cbo.zero of the block before", watch - 0x11, func(p *asm.Program) { p.CBOZERO(asm.A1) }, false},
		{"cbo.clean", watch, func(p *asm.Program) { p.CBOCLEAN(asm.A1) }, false},
		{"ld", watch, func(p *asm.Program) { p.LD(asm.A0, 0, asm.A1) }, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			opt.Watch = machine.GPA(watch)
			w := isaWorld(opt, func(p *asm.Program) {
				p.SD(asm.A2, 0, asm.A3) // brings the page's translation, if it could
				r.code(p)
				p.NOP()
			})
			w.exitOnStore = true
			w.X[asm.A1], w.X[asm.A2], w.X[asm.A3] = r.at, 5, base+0x10800
			w.F[asm.FA0] = 5
			before := w.Icount
			exit := w.Run(before + 3)
			if !r.told {
				if exit != machine.Reached || w.stored != 0 || w.trapped() != noTrap {
					t.Errorf("exit %v, told %d times, cause %d", exit, w.stored, w.trapped())
				}
				return
			}
			if exit != done || w.stored != 1 || w.Icount != before+2 || w.seen != before+1 {
				t.Errorf("exit %v at %d, told %d times at %d", exit, w.Icount-before, w.stored, w.seen-before)
			}
			length := uint64(4)
			if r.name == "c.sd" {
				length = 2
			}
			want(t, "PC", w.PC, base+4+length)
			want(t, "PC when told", w.seenPC, base+4)
			if r.name == "sd" || r.name == "amo" {
				want(t, "memory when told", w.seenValue, 5)
			}
		})
	}
}

// One store onto the border of two pages, of which either may hold the bytes,
// or both; and a store-conditional.
func TestWatchedStoresAtBorders(t *testing.T) {
	const border = base + 0x11000
	for _, nocache := range []bool{false, true} {
		for _, watch := range []uint64{border - 8, border - 4, border} {
			w := newWorld(hart.Options{NoCache: nocache, Watch: machine.GPA(watch)})
			w.exitOnStore = true
			w.put(base, func(p *asm.Program) {
				p.SD(asm.A2, -16, asm.A1)
				p.SD(asm.A2, 16, asm.A1)
				p.SD(asm.A2, -4, asm.A1)
				p.NOP()
			})
			w.X[asm.A1] = border
			if exit := w.Run(w.Icount + 4); exit != done || w.PC != base+12 || w.stored != 1 {
				t.Errorf("%#x: exit %v at %#x, told %d times", watch, exit, w.PC, w.stored)
			}
		}
		w := newWorld(hart.Options{NoCache: nocache, Watch: machine.GPA(border)})
		w.exitOnStore = true
		w.put(base, func(p *asm.Program) {
			p.LRD(asm.A0, asm.A1)
			p.SCD(asm.A0, asm.A2, asm.A1)
			p.NOP()
		})
		w.X[asm.A0], w.X[asm.A1] = 42, border
		if exit := w.Run(w.Icount + 3); exit != done || w.PC != base+8 || w.X[asm.A0] != 0 {
			t.Errorf("sc: exit %v at %#x", exit, w.PC)
		}
	}
}

// In a loop that stores to the page again and again, the first store to the
// bytes is told of, also after the digest has gone over the page.
func TestWatchedStoreInALoop(t *testing.T) {
	const watch = base + 0x10800
	w := newWorld(hart.Options{Watch: machine.GPA(watch)})
	w.exitOnStore = true
	w.put(base, func(p *asm.Program) {
		p.Label("again")
		p.SD(asm.A1, 0, asm.A1)
		p.ADDI(asm.A1, asm.A1, 8)
		p.J("again")
	})
	w.X[asm.A1] = base + 0x10000
	for w.Run(w.Icount+100) == machine.Reached {
		w.ram.Digest()
	}
	want(t, "stores", uint64(w.stored), 1)
	want(t, "A1", w.X[asm.A1], watch)
	want(t, "PC", w.PC, base+4)
}

// What a device writes does not count.
func TestDMAIsNotWatched(t *testing.T) {
	w := newWorld(hart.Options{Watch: machine.GPA(base + 0x10000)})
	w.store64(base+0x10000, 1)
	want(t, "told", uint64(w.stored), 0)
}
