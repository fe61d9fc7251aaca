package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// What an access may do follows mode, SUM, MXR and satp at once, whatever
// accesses before it have left in the TLB.
func TestPermissionsFollowTheContext(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW|pteU|pteA|pteD)
		w.leaf(0x6000, base+0x10000, pteV|pteX|pteA)
		w.leaf(0x7000, base+0x10000, pteV|pteR|pteW|pteA|pteD)
		// The handler skips what faults and counts it in S11.
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, func(p *asm.Program) {
			p.ADDI(asm.S11, asm.S11, 1)
			p.CSRR(asm.T0, asm.CSR(rv64.MEPC))
			p.ADDI(asm.T0, asm.T0, 4)
			p.CSRW(asm.CSR(rv64.MEPC), asm.T0)
			p.MRET()
		})
		status := asm.CSR(rv64.SSTATUS)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, 0x6000)
			p.LI(asm.S2, int64(rv64.StatusSUM))
			p.LI(asm.S3, int64(rv64.StatusMXR))
			p.CSRRS(asm.Zero, status, asm.S2)
			p.LD(asm.A0, 0, asm.S0)
			p.SD(asm.A0, 0, asm.S0)
			p.CSRRC(asm.Zero, status, asm.S2)
			p.LD(asm.A0, 0, asm.S0) // faults: 1
			p.SD(asm.A0, 0, asm.S0) // faults: 2
			p.CSRRS(asm.Zero, status, asm.S3)
			p.LD(asm.A0, 0, asm.S1)
			p.CSRRC(asm.Zero, status, asm.S3)
			p.LD(asm.A0, 0, asm.S1) // faults: 3
			p.LI(asm.S0, 0x7000)
			p.LD(asm.A0, 0, asm.S0)
			p.EBREAK()
		})
		w.Priv = rv64.Supervisor
		w.Run(w.Icount + 16 + 3*5)
		want(t, "faults in S", w.X[asm.S11], 3)

		// The same supervisor page from U.
		w.leaf(0x4000, base+0x3000, pteV|pteX|pteU|pteA)
		w.put(base+0x3000, func(p *asm.Program) {
			p.LD(asm.A0, 0, asm.S0)
			p.NOP()
		})
		w.PC, w.Priv, w.X[asm.S11] = 0x4000, rv64.User, 0
		w.Run(w.Icount + 6)
		want(t, "faults in U", w.X[asm.S11], 1)
		want(t, "mcause", w.Mcause, uint64(rv64.LoadPageFault))
	})
}

// MPRV makes M's data accesses those of MPP, but not its fetches.
func TestMPRV(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW|pteA|pteD)
		w.store64(base+0x10000, 77)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, int64(rv64.StatusMPRV))
			p.CSRRS(asm.Zero, asm.CSR(rv64.MSTATUS), asm.S1)
			p.LD(asm.A0, 0, asm.S0)
			p.CSRRC(asm.Zero, asm.CSR(rv64.MSTATUS), asm.S1)
			finish(p)
		})
		w.Mstatus = uint64(rv64.Supervisor) << 11
		w.until(t, done)
		want(t, "load", w.X[asm.A0], 77)
	})
}

// One page may serve as a table in several places; a change of an entry is
// seen through all of them.
func TestTableUsedTwice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.store64(middleTable+8, leafTable>>12<<10|pteV) // the leaf table again, at 2 MiB
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteA)
		w.store64(base+0x10000, 1)
		w.store64(base+0x11000, 2)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, 0x205000)
			p.LI(asm.S2, int64(leafTable+5*8))
			p.LI(asm.S3, int64((base+0x11000)>>12<<10|pteV|pteR|pteA))
			p.LD(asm.A0, 0, asm.S0)
			p.LD(asm.A1, 0, asm.S1)
			p.SD(asm.S3, 0, asm.S2)
			p.LD(asm.A2, 0, asm.S0)
			p.LD(asm.A3, 0, asm.S1)
			p.EBREAK()
		})
		w.Priv, w.Mtvec = rv64.Supervisor, base+0x2000
		w.put(base+0x2000, finish)
		w.until(t, done)
		for i, v := range []uint64{1, 1, 2, 2} {
			want(t, "load", w.X[asm.A0+asm.Reg(i)], v)
		}
	})
}

// Switching satp to and fro uses the tables of the moment, for more address
// spaces than the tags of the TLB can tell apart.
func TestAddressSpaces(t *testing.T) {
	const spaces = 600
	w := newLargeWorld(hartOptions, 8<<20)
	table := func(i uint64) uint64 { return base + 4<<20 + i<<12 }
	w.put(base, func(p *asm.Program) {
		p.CSRW(asm.CSR(rv64.SATP), asm.S0)
		p.LD(asm.A0, 0, asm.S1)
		finish(p)
	})
	w.Mtvec = base + 0x2000
	w.put(base+0x2000, finish)
	for i := range uint64(spaces) {
		// Every root maps RAM onto itself; every fourth one also at 1 GiB.
		w.store64(table(i)+8*2, base>>12<<10|pteV|pteR|pteW|pteX|pteA|pteD)
		if i%4 == 0 {
			w.store64(table(i)+8, base>>12<<10|pteV|pteR|pteA)
		}
	}
	// Each looks at another page, so that old entries stay in the TLB.
	page := func(i uint64) uint64 { return 0x10000 + i%510<<12 }
	for i := range uint64(510) {
		w.store64(base+page(i)+8, 99)
	}
	for i := range uint64(2 * spaces) {
		i %= spaces
		w.PC, w.Priv = base, rv64.Supervisor
		w.X[asm.S0], w.X[asm.S1] = 8<<60|i<<44|table(i)>>12, 1<<30+page(i)+8
		w.X[asm.A0], w.Mcause = 0, 0
		w.until(t, done) // the exit is behind a page fault: M reaches the device
		if mapped := w.X[asm.A0] == 99; mapped != (i%4 == 0) {
			t.Fatalf("address space %d: the load gave %d", i, w.X[asm.A0])
		}
	}
}

// A trap and a return break the reservation.
func TestReservationEnds(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, func(p *asm.Program) {
			p.CSRR(asm.T0, asm.CSR(rv64.MEPC))
			p.ADDI(asm.T0, asm.T0, 4)
			p.CSRW(asm.CSR(rv64.MEPC), asm.T0)
			p.LRD(asm.A0, asm.S0)
			p.MRET()
		})
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, int64(base+0x10000))
			p.LRD(asm.A0, asm.S0)
			p.SCD(asm.A1, asm.Zero, asm.S0) // succeeds
			p.SCD(asm.A2, asm.Zero, asm.S0) // fails
			p.LRD(asm.A0, asm.S0)
			p.Raw32(0) // traps to where MRET breaks the new one
			p.SCD(asm.A3, asm.Zero, asm.S0)
			p.LRD(asm.A0, asm.S0)
			p.ADDI(asm.S0, asm.S0, 8)
			p.SCD(asm.A4, asm.Zero, asm.S0) // another address
			finish(p)
		})
		w.until(t, done)
		for i, v := range []uint64{0, 1, 1, 1} {
			want(t, "sc", w.X[asm.A1+asm.Reg(i)], v)
		}
	})
}
