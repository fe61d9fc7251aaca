package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// crossWorld accesses the border of two pages that lie side by side in virtual
// memory alone, again and again, so that both have their entries.
func crossWorld(opt hart.Options) *world {
	w := newWorld(opt)
	w.pageTables()
	const bits = pteV | pteR | pteW | pteA | pteD
	w.leaf(userData, dataBase, bits)
	w.leaf(userData+0x1000, dataBase+0x3000, bits)
	for i := range uint64(0x4000 / 8) {
		w.store64(dataBase+8*i, i*0x0101_0101_0101_0101)
	}
	w.restart(base, rv64.Supervisor)
	w.Satp = 8<<60 | rootTable>>12
	w.put(base, func(p *asm.Program) {
		p.LI(asm.S1, 4)
		p.LI(asm.A1, userData+0xff8)
		p.Label("round")
		for i := range int64(9) {
			p.LD(asm.A0, i, asm.A1)
			p.ADD(asm.A2, asm.A2, asm.A0)
			p.LW(asm.A0, i+4, asm.A1)
			p.ADD(asm.A2, asm.A2, asm.A0)
			p.LHU(asm.A0, i+6, asm.A1)
			p.ADD(asm.A2, asm.A2, asm.A0)
			p.SD(asm.A2, i, asm.A1)
			p.SW(asm.A2, i+3, asm.A1)
			p.SH(asm.A2, i+5, asm.A1)
		}
		p.ADDI(asm.S1, asm.S1, -1)
		p.BNEZ(asm.S1, "round")
		p.Label("end")
		p.J("end")
	})
	return w
}

// An access across a border needs both entries, not the next bytes of the host.
func TestTranslatedAccessesAcrossPages(t *testing.T) {
	a, b := crossWorld(translated(t, 1)), crossWorld(hart.Options{NoCache: true})
	a.Run(1000)
	b.Run(1000)
	if b.X[asm.A2] == 0 || b.X[asm.S1] != 0 {
		t.Fatalf("a2 %#x, s1 %d, pc %#x: the program did not do its work", b.X[asm.A2], b.X[asm.S1], b.PC)
	}
	if a.state() != b.state() {
		t.Fatalf("the states differ; pages %v\n%s", differing(a.ram, b.ram), differingRegisters(a, b))
	}
}

// jump encodes j to d bytes from itself (unprivileged spec 2.5.1).
func jump(d int32) uint32 {
	u := uint32(d)
	return u>>20&1<<31 | u>>1&0x3ff<<21 | u>>11&1<<20 | u>>12&0xff<<12 | 0x6f
}

// An instruction in two pages, executed often, follows what is stored to the
// second page and what is mapped there.
func TestTranslatedInstructionAcrossPages(t *testing.T) {
	const va, first, second, other = 0x5fee, base + 0x4000, base + 0x5000, base + 0x7000
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		upper := func(to int32) uint32 { return jump(to-0xffe) >> 16 }
		for i := range int64(3) {
			w.put(first+0x100+uint64(i)*0x40, func(p *asm.Program) {
				p.ADDI(asm.A0, asm.A0, []int64{1, 30, 700}[i])
				p.RET()
			})
		}
		w.put(first+0xfee, func(p *asm.Program) {
			for range 4 { // a block that falls through to the jump
				p.ADDI(asm.A1, asm.A1, 1)
			}
			p.Half(uint16(jump(0x100 - 0xffe)))
		})
		w.put(second, func(p *asm.Program) { p.Half(uint16(upper(0x100))) })
		w.put(other, func(p *asm.Program) { p.Half(uint16(upper(0x180))) })
		w.leaf(va&^0xfff, first, pteV|pteR|pteX|pteA)
		w.leaf(0x6000, second, pteV|pteR|pteX|pteA)
		again := func(p *asm.Program, label string) {
			p.LI(asm.S1, 6)
			p.Label(label)
			p.LI(asm.T1, va)
			p.JALR(asm.RA, 0, asm.T1)
			p.ADDI(asm.S1, asm.S1, -1)
			p.BNEZ(asm.S1, label)
		}
		w.put(base+0x1000, func(p *asm.Program) {
			again(p, "as it was")
			p.LI(asm.T1, int64(second))
			p.LI(asm.T2, int64(upper(0x140)))
			p.SH(asm.T2, 0, asm.T1)
			again(p, "stored to")
			p.LI(asm.T1, int64(leafTable+0x6000>>12*8))
			p.LI(asm.T2, int64(other>>12<<10|pteV|pteR|pteX|pteA))
			p.SD(asm.T2, 0, asm.T1)
			again(p, "mapped anew")
			p.ECALL()
		})
		w.put(base+0x2000, func(p *asm.Program) { finish(p) })
		w.Mtvec = base + 0x2000
		w.Priv, w.PC = rv64.Supervisor, base+0x1000
		w.until(t, done)
		want(t, "a0", w.X[asm.A0], 6*1+6*30+6*700)
		want(t, "a1", w.X[asm.A1], 3*6*4)
	})
}
