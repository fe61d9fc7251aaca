package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// BenchmarkLoop is a loop of loads, stores, arithmetic and branches with a call, in
// supervisor mode with translation. The figure is millions of instructions per
// second of the host.
func BenchmarkLoop(b *testing.B) {
	w := newWorld(hart.Options{})
	w.pageTables()
	w.Priv = rv64.Supervisor
	w.put(base, func(p *asm.Program) {
		p.LI(asm.S0, int64(base+0x10000))
		p.Label("outer")
		p.MV(asm.A0, asm.S0)
		p.LI(asm.A1, 500)
		p.Label("inner")
		p.LD(asm.A2, 0, asm.A0)
		p.ADD(asm.A3, asm.A3, asm.A2)
		p.XORI(asm.A4, asm.A3, 0x55)
		p.ANDI(asm.A5, asm.A4, 7)
		p.BEQZ(asm.A5, "skip")
		p.SD(asm.A4, 0, asm.A0)
		p.LBU(asm.A6, 3, asm.A0)
		p.SLLI(asm.A6, asm.A6, 3)
		p.Label("skip")
		p.ADDI(asm.A0, asm.A0, 8)
		p.ADDI(asm.A1, asm.A1, -1)
		p.CALL("leaf")
		p.BNEZ(asm.A1, "inner")
		p.J("outer")
		p.Label("leaf")
		p.ADDIW(asm.T0, asm.A4, 1)
		p.RET()
	})
	w.Run(100_000)
	b.ResetTimer()
	start := w.Icount
	const slice = 100_000
	for range b.N {
		w.Run(w.Icount + slice)
	}
	b.ReportMetric(float64(w.Icount-start)/b.Elapsed().Seconds()/1e6, "Minstr/s")
}

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
