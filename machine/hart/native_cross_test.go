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
