package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Pages of a superpage that were never walked for follow its entry at once, for
// loads and for fetches.
func TestSuperpageChangesAtOnce(t *testing.T) {
	const (
		window = 0x4000_0000 // the gigabyte below RAM, mapped to RAM
		bits   = pteV | pteR | pteX | pteA
		slot   = rootTable + 8*1
	)
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.store64(slot, base>>12<<10|bits)
		for i := range uint64(8) {
			w.store64(base+0x20000+i<<12, 1)
			w.put(base+0x30000+i<<12, func(p *asm.Program) {
				p.ADDI(asm.S2, asm.S2, 1)
				p.RET()
			})
		}
		touch := func(p *asm.Program, first int64) {
			for i := first; i < first+4; i++ {
				p.LI(asm.T1, window+0x20000+i<<12)
				p.LD(asm.T2, 0, asm.T1)
				p.ADD(asm.A0, asm.A0, asm.T2)
				p.LI(asm.T1, window+0x30000+i<<12)
				p.JALR(asm.RA, 0, asm.T1)
			}
		}
		w.put(base+0x1000, func(p *asm.Program) {
			for range 3 {
				touch(p, 0)
			}
			p.LI(asm.T1, int64(slot))
			p.SD(asm.Zero, 0, asm.T1)
			touch(p, 4) // all of these trap
			p.ECALL()
		})
		w.put(base+0x2000, func(p *asm.Program) {
			p.CSRR(asm.T0, asm.MCAUSE)
			p.ADDI(asm.T0, asm.T0, -int64(rv64.LoadPageFault))
			p.BEQZ(asm.T0, "load")
			p.ADDI(asm.T0, asm.T0, int64(rv64.LoadPageFault)-int64(rv64.InstructionPageFault))
			p.BEQZ(asm.T0, "fetch")
			finish(p)
			p.Label("load")
			p.ADDI(asm.A1, asm.A1, 1)
			p.CSRR(asm.T0, asm.MEPC)
			p.ADDI(asm.T0, asm.T0, 4)
			p.CSRW(asm.MEPC, asm.T0)
			p.LI(asm.T2, 0)
			p.MRET()
			p.Label("fetch")
			p.ADDI(asm.A2, asm.A2, 1)
			p.CSRW(asm.MEPC, asm.RA)
			p.MRET()
		})
		w.Mtvec = base + 0x2000
		w.Priv, w.PC = rv64.Supervisor, base+0x1000
		w.until(t, done)
		want(t, "loads", w.X[asm.A0], 12)
		want(t, "calls", w.X[asm.S2], 12)
		want(t, "loads that trapped", w.X[asm.A1], 4)
		want(t, "fetches that trapped", w.X[asm.A2], 4)
	})
}
