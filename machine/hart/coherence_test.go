package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// R5: a store that changes a page-table entry in use takes effect on the next
// access, without SFENCE.VMA.
func TestEntryChangesWithoutFence(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW|pteA|pteD)
		w.store64(base+0x10000, 1)
		w.store64(base+0x11000, 2)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, int64(leafTable+5*8))
			p.LI(asm.S2, int64((base+0x11000)>>12<<10|pteV|pteR|pteW|pteA|pteD))
			p.LD(asm.A0, 0, asm.S0)
			p.SD(asm.A0, 8, asm.S0) // a write entry too
			p.SD(asm.S2, 0, asm.S1)
			p.LD(asm.A1, 0, asm.S0)
			p.SD(asm.A1, 8, asm.S0)
			// The middle entry becomes a superpage over the same addresses.
			p.LI(asm.S1, int64(middleTable))
			p.LI(asm.S2, int64((base+0x0)>>12<<10|pteV|pteR|pteA|pteD))
			p.SD(asm.S2, 0, asm.S1)
			p.LI(asm.S0, 0x10000)
			p.LD(asm.A2, 0, asm.S0)
			// And the root's takes everything away: a page fault to M.
			p.LI(asm.S1, int64(rootTable))
			p.SD(asm.Zero, 0, asm.S1)
			p.LD(asm.A3, 0, asm.S0)
		})
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "before", w.X[asm.A0], 1)
		want(t, "after", w.X[asm.A1], 2)
		want(t, "stored", w.load64(base+0x11008), 2)
		want(t, "superpage", w.X[asm.A2], 1)
		want(t, "cause", w.Mcause, uint64(rv64.LoadPageFault))
		want(t, "tval", w.Mtval, 0x10000)
	})
}

// Linux clears the accessed bit without a flush: the walker sets it again on
// the next access, and D only on a store.
func TestAccessedBitReturns(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, int64(leafTable+5*8))
			p.LD(asm.A0, 0, asm.S0)
			p.LD(asm.A1, 0, asm.S1)
			p.SD(asm.A0, 0, asm.S0)
			p.LD(asm.A2, 0, asm.S1)
			p.ANDI(asm.T0, asm.A2, ^(pteA|pteD)&0x7ff)
			p.LI(asm.T1, int64((base+0x10000)>>12<<10|pteV|pteR|pteW))
			p.SD(asm.T1, 0, asm.S1)
			p.LD(asm.A0, 0, asm.S0)
			p.LD(asm.A3, 0, asm.S1)
			finish(p)
		})
		w.leaf(0, base, pteV|pteR|pteW|pteX|pteA|pteD)
		w.store64(rootTable, middleTable>>12<<10|pteV)
		w.store64(middleTable, leafTable>>12<<10|pteV)
		w.leaf(0x10_0000, testDevice, pteV|pteR|pteW)
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "bits after load", w.X[asm.A1]&0xff, pteV|pteR|pteW|pteA)
		want(t, "bits after store", w.X[asm.A2]&0xff, pteV|pteR|pteW|pteA|pteD)
		want(t, "bits after clearing and load", w.X[asm.A3]&0xff, pteV|pteR|pteW|pteA)
	})
}

// A and D are set only by an access that succeeds: of a store that crosses
// into a page that faults, neither page's entry changes, and no byte.
func TestNothingChangesWhenThePairFaults(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW)
		w.leaf(0x6000, base+0x11000, pteV|pteR)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5ffd)
			p.LI(asm.A0, -1)
			p.SD(asm.A0, 0, asm.S0)
		})
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "cause", w.Mcause, uint64(rv64.StorePageFault))
		want(t, "tval", w.Mtval, 0x6000)
		want(t, "first entry", w.load64(leafTable+5*8)&0xff, pteV|pteR|pteW)
		want(t, "memory", w.load64(base+0x10ff8), 0)
	})
}

// Loads and stores across a page border use both translations.
func TestAccessAcrossPages(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x12000, pteV|pteR|pteW)
		w.leaf(0x6000, base+0x10000, pteV|pteR|pteW)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5ffb)
			p.LI(asm.A0, 0x1122334455667788)
			p.SD(asm.A0, 0, asm.S0)
			p.LD(asm.A1, 0, asm.S0)
			p.LW(asm.A2, 3, asm.S0)
			finish(p)
		})
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.leaf(0x10_0000, testDevice, pteV|pteR|pteW)
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "load", w.X[asm.A1], 0x1122334455667788)
		want(t, "load of a word", w.X[asm.A2], 0x22334455)
		want(t, "first piece", w.load64(base+0x12ff8)>>24, 0x4455667788)
		want(t, "second piece", w.load64(base+0x10000), 0x112233)
	})
}

// R5: code is coherent without FENCE.I, even for the next instruction of the
// block that is being executed.
func TestCodeChangesInItsOwnBlock(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		patch := uint32(0x00700513) // li a0, 7
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S3, 3)
			p.Label("again")
			p.LA(asm.S0, "patched")
			p.LI(asm.S1, int64(patch))
			p.SW(asm.S1, 0, asm.S0)
			p.Label("patched")
			p.LI(asm.A0, 1)
			p.ADD(asm.A1, asm.A1, asm.A0)
			p.LI(asm.S1, 0x00100513) // li a0, 1
			p.SW(asm.S1, 0, asm.S0)
			p.ADDI(asm.S3, asm.S3, -1)
			p.BNEZ(asm.S3, "again")
			finish(p)
		})
		w.until(t, done)
		want(t, "sum of the patched loads", w.X[asm.A1], 3*7)
	})
}

// A device's DMA onto code and onto page tables is seen at once.
func TestDMAOntoCodeAndTables(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW|pteA|pteD)
		w.leaf(0x7000, testDevice, pteV|pteR|pteW|pteA|pteD)
		w.store64(base+0x10000, 1)
		w.store64(base+0x11000, 2)
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, 0x5000)
			p.LI(asm.S1, 0x7000)
			p.LI(asm.S2, int64(base+0xff000))
			p.CALL("f")
			p.MV(asm.A1, asm.A0)
			p.LI(asm.T0, 0x0000_8067_0070_0513) // li a0, 7; ret
			p.SD(asm.T0, 0, asm.S2)
			p.LA(asm.T1, "f")
			p.SD(asm.T1, 0x10, asm.S1)
			p.CALL("f")
			p.LD(asm.A2, 0, asm.S0)
			p.LI(asm.T0, int64((base+0x11000)>>12<<10|pteV|pteR|pteW|pteA|pteD))
			p.SD(asm.T0, 0, asm.S2)
			p.LI(asm.T1, int64(leafTable+5*8))
			p.SD(asm.T1, 0x10, asm.S1)
			p.LD(asm.A3, 0, asm.S0)
			p.LI(asm.T0, int64(done))
			p.SD(asm.T0, 8, asm.S1)
			p.Align(8)
			p.Label("f")
			p.LI(asm.A0, 1)
			p.RET()
		})
		w.Priv = rv64.Supervisor
		w.until(t, done)
		want(t, "code before", w.X[asm.A1], 1)
		want(t, "code after", w.X[asm.A0], 7)
		want(t, "page before", w.X[asm.A2], 1)
		want(t, "page after", w.X[asm.A3], 2)
	})
}

// An instruction may lie in two pages; each half follows its own page's
// mapping and content, and the second half's fault reports its address.
func TestInstructionAcrossPages(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.put(base+0x3ffe, func(p *asm.Program) {
			p.LI(asm.A0, 5)
			p.RET()
		})
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, int64(base+0x3ffe))
			p.JALR(asm.RA, 0, asm.S0)
			p.MV(asm.A1, asm.A0)
			p.LI(asm.S1, 0x0090) // the upper half of li a0, 9
			p.SH(asm.S1, 2, asm.S0)
			p.JALR(asm.RA, 0, asm.S0)
			finish(p)
		})
		w.until(t, done)
		want(t, "first", w.X[asm.A1], 5)
		want(t, "patched", w.X[asm.A0], 9)

		w.restart(0x5ffe, rv64.Supervisor)
		w.pageTables()
		w.Mtvec = base + 0x2000
		w.put(base+0x2000, finish)
		w.leaf(0x5000, base+0x3000, pteV|pteX)
		w.until(t, done)
		want(t, "cause", w.Mcause, uint64(rv64.InstructionPageFault))
		want(t, "epc", w.Mepc, 0x5ffe)
		want(t, "tval", w.Mtval, 0x6000)
	})
}

// Code and data in one page: stores beside the code are seen and do not harm.
func TestDataBesideCode(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.put(base, func(p *asm.Program) {
			p.LI(asm.S0, int64(base+0xf00))
			p.LI(asm.A0, 1000)
			p.Label("again")
			p.LD(asm.A1, 0, asm.S0)
			p.ADDI(asm.A1, asm.A1, 3)
			p.SD(asm.A1, 0, asm.S0)
			p.ADDI(asm.A0, asm.A0, -1)
			p.BNEZ(asm.A0, "again")
			finish(p)
		})
		w.until(t, done)
		want(t, "sum", w.load64(base+0xf00), 3000)
	})
}

// The digest that goes by dirty pages equals one taken over a fresh copy.
func TestDigestIsIncremental(t *testing.T) {
	w := newWorld(hartOptions)
	w.put(base, func(p *asm.Program) {
		p.LI(asm.S0, int64(base+0x10000))
		p.Label("again")
		p.SD(asm.S0, 0, asm.S0)
		p.LI(asm.T0, 0x738)
		p.ADD(asm.S0, asm.S0, asm.T0)
		p.J("again")
	})
	for range 20 {
		w.Run(w.Icount + 33)
		copied := mem.New(ramSize)
		b := make([]byte, ramSize)
		w.ram.Read(mem.Base, b)
		copied.Write(mem.Base, b)
		if got, want := w.ram.Digest(), copied.Digest(); got != want {
			t.Fatalf("at %d the digest is %x, over everything it is %x", w.Icount, got, want)
		}
	}
}

// A device's write to reserved bytes breaks the reservation.
func TestDMABreaksReservation(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.Reserved, w.Reservation = true, mem.Base+0x10000
		w.ram.Write(mem.Base+0x10008, []byte{1})
		if !w.Reserved {
			t.Error("a write beside the reservation broke it")
		}
		w.ram.Write(mem.Base+0xfff8, make([]byte, 9))
		if w.Reserved {
			t.Error("the reservation outlived a write to its bytes")
		}
	})
}

// skipper is a trap handler in M that counts faults in S11 and goes on behind
// them, behind the call if the fault is a fetch's. An ecall swaps S10 with a
// register and an ebreak ends the test.
func skipper(register asm.CSR) func(p *asm.Program) {
	return func(p *asm.Program) {
		p.CSRR(asm.T0, asm.MCAUSE)
		p.ADDI(asm.T1, asm.T0, -int64(rv64.Breakpoint))
		p.BEQZ(asm.T1, "end")
		p.CSRR(asm.T2, asm.MEPC)
		p.ADDI(asm.T2, asm.T2, 4)
		p.ANDI(asm.T1, asm.T0, ^3) // 9 and 11 are ecalls of S and M
		p.ADDI(asm.T1, asm.T1, -8)
		p.BNEZ(asm.T1, "fault")
		p.CSRRW(asm.S10, register, asm.S10)
		p.J("on")
		p.Label("fault")
		p.ADDI(asm.S11, asm.S11, 1)
		p.ADDI(asm.T1, asm.T0, -int64(rv64.InstructionAccessFault))
		p.BNEZ(asm.T1, "on")
		p.MV(asm.T2, asm.RA)
		p.Label("on")
		p.CSRW(asm.MEPC, asm.T2)
		p.MRET()
		p.Label("end")
		finish(p)
	}
}

// R5: a change of PMP takes effect on the next access, whatever the accesses
// before it have left in the TLB.
func TestPMPChangesAtOnce(t *testing.T) {
	const page, code = base + 0x10000, base + 0x11000
	const closed = uint64(pmpAll|pmpNAPOT)<<8 | uint64(pmpNAPOT)
	for _, c := range []struct {
		name       string
		priv       uint8
		translated bool
		lock       uint64
		calls      uint64 // that were not closed
	}{
		{"S", rv64.Supervisor, false, 0, 2},
		{"S, translated", rv64.Supervisor, true, 0, 2},
		{"M does not care", rv64.MachineMode, false, 0, 3},
		{"M, locked for ever", rv64.MachineMode, false, uint64(pmpL), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				w.put(base+0x2000, skipper(asm.PMPCFG0))
				w.put(code, func(p *asm.Program) {
					p.ADDI(asm.A1, asm.A1, 1)
					p.RET()
				})
				w.put(base, func(p *asm.Program) {
					for i := range int64(3) {
						p.LD(asm.A0, 0, asm.S0)
						p.SD(asm.S1, 8+8*i, asm.S0)
						p.JALR(asm.RA, 0, asm.S1)
						p.ECALL()
					}
					p.EBREAK()
				})
				if c.translated {
					w.pageTables()
				}
				w.Pmpcfg[1], w.Pmpaddr[1] = w.Pmpcfg[0], w.Pmpaddr[0]
				w.Pmpcfg[0], w.Pmpaddr[0] = 0, napot(page, 0x2000)&^0x1ff
				w.X[asm.S0], w.X[asm.S1], w.X[asm.S10] = page, code, closed|c.lock
				w.Mtvec, w.Priv = base+0x2000, c.priv
				w.until(t, done)
				want(t, "calls", w.X[asm.A1], c.calls)
				want(t, "faults", w.X[asm.S11], 3*(3-c.calls))
				for i := range uint64(3) {
					stored := uint64(0)
					if c.calls == 3 || i == 0 || i == 2 && c.calls == 2 {
						stored = code
					}
					want(t, "stored", w.load64(page+8+8*i), stored)
				}
			})
		})
	}
}

// R5: so does a change of ADUE, for a page that was accessed under the other
// value, also when the bits are cleared in between.
func TestADUEChangesAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		const clean = (base+0x10000)>>12<<10 | pteV | pteR | pteW
		w.pageTables()
		w.leaf(0x5000, base+0x10000, pteV|pteR|pteW)
		w.put(base+0x2000, skipper(asm.MENVCFG))
		w.put(base, func(p *asm.Program) {
			p.LD(asm.A0, 0, asm.S0) // sets A
			p.ECALL()
			p.LD(asm.A0, 0, asm.S0)
			p.SD(asm.S0, 0, asm.S0) // fault: no D
			p.SD(asm.S2, 0, asm.S1) // clears A
			p.LD(asm.A0, 0, asm.S0) // fault: no A
			p.SD(asm.S0, 0, asm.S0) // fault
			p.LD(asm.A2, 0, asm.S1) // the entry
			p.ECALL()
			p.SD(asm.S0, 0, asm.S0) // sets both
			p.ECALL()
			p.SD(asm.S0, 8, asm.S0)    // has both
			p.LD(asm.A3, 0, asm.S1)    // the entry
			p.SD(asm.S2, 0, asm.S1)    // clears both
			p.SD(asm.S0, 0x10, asm.S0) // fault
			p.EBREAK()
		})
		w.X[asm.S0], w.X[asm.S1], w.X[asm.S2] = 0x5000, leafTable+5*8, clean
		w.Mtvec, w.Priv = base+0x2000, rv64.Supervisor
		w.until(t, done)
		want(t, "faults", w.X[asm.S11], 4)
		want(t, "entry without ADUE", w.X[asm.A2], clean)
		want(t, "entry with ADUE", w.X[asm.A3], clean|pteA|pteD)
		want(t, "memory", w.load64(base+0x10000), 0x5000)
		want(t, "memory", w.load64(base+0x10008), 0x5000)
		want(t, "memory", w.load64(base+0x10010), 0)
	})
}
