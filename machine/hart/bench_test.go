package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// BenchmarkReference is what decoding and translating afresh costs.
func BenchmarkReference(b *testing.B) {
	w := newWorld(hart.Options{NoCache: true})
	w.put(base, func(p *asm.Program) {
		p.Label("again")
		p.ADDI(asm.A0, asm.A0, 1)
		p.J("again")
	})
	b.ResetTimer()
	w.Run(machine.Icount(b.N))
}
