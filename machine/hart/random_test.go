package hart_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// The contract of DESIGN section 2 on random programs: a hart without caches
// runs in one piece; another is cut at random positions, where caches are
// dropped and the whole State is saved and restored; both are in the same
// state at every cut. The programs write to their own code and page tables,
// fault in every way, and switch modes.

const (
	codeBase  = base + 0x1000
	codeSize  = 0x3000
	trapBase  = base + 0x8000
	dataBase  = base + 0x10000
	userCode  = 0x1000 // virtual, mapped to codeBase
	superCode = 0x4000 // virtual, the same without U
	userData  = 0x8000
	steps     = 20_000
)

// randomWorld is a program of its seed. What a trap handler sets up again
// keeps it from drifting into endless faults.
func randomWorld(seed uint64, opt hart.Options) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(opt)
	w.pageTables()
	for i := range uint64(3) {
		w.leaf(userCode+i<<12, codeBase+i<<12, pteV|pteR|pteX|pteW|pteU)
		w.leaf(superCode+i<<12, codeBase+i<<12, pteV|pteR|pteX|pteW)
	}
	for i := range uint64(8) {
		w.leaf(userData+i<<12, dataBase+i<<12, randomBits(r))
	}
	code := make([]byte, codeSize)
	for at := 0; at < len(code); {
		insn, n := randomInsn(r)
		at += copy(code[at:], binary.LittleEndian.AppendUint32(nil, insn)[:n])
	}
	w.ram.Write(machine.GPA(codeBase), code)
	w.put(trapBase, func(p *asm.Program) { trapHandler(p, r) })
	w.Pmpcfg[1], w.Pmpaddr[1] = w.Pmpcfg[0], w.Pmpaddr[0]
	w.Mtvec, w.Stvec = trapBase, trapBase+0x800
	w.put(trapBase+0x800, func(p *asm.Program) { p.EBREAK() })
	w.Menvcfg, w.Mcounteren, w.Scounteren = rv64.EnvSTCE|rv64.EnvADUE, 7, 7
	w.PC = trapBase
	w.SetClock(machine.Clock{Mul: r.Uint64N(1 << 33)})
	return w
}

// randomBits are the low bits of a leaf entry, mostly useful ones.
func randomBits(r *rand.Rand) uint64 {
	if r.IntN(8) == 0 {
		return r.Uint64() & 0xff
	}
	return pteV | pteR | pteW | r.Uint64()&(pteX|pteU|pteA|pteD)
}

// trapHandler goes on at a place of the code, in a mode, and with pointers
// that depend on how often it was called; S11 counts. Its constants lie behind
// it, one set for M and one each for S and U.
func trapHandler(p *asm.Program, r *rand.Rand) {
	p.ADDI(asm.S11, asm.S11, 1)
	p.LI(asm.T1, 0x9e3779b1)
	p.MUL(asm.T0, asm.S11, asm.T1)
	p.LA(asm.T6, "sets")
	p.SRLI(asm.T1, asm.T0, 28)
	p.ANDI(asm.T1, asm.T1, 7)
	p.SLLI(asm.T1, asm.T1, 6)
	p.ADD(asm.T6, asm.T6, asm.T1)
	p.LD(asm.S0, 0, asm.T6)
	p.LD(asm.S1, 8, asm.T6)
	p.LD(asm.S2, 16, asm.T6)
	p.LD(asm.S4, 24, asm.T6)
	p.LD(asm.T2, 32, asm.T6) // satp
	p.LD(asm.T3, 40, asm.T6) // mstatus
	p.LD(asm.T4, 48, asm.T6) // pmpaddr0
	p.LD(asm.T5, 56, asm.T6) // menvcfg
	p.SRLI(asm.T1, asm.T0, 9)
	p.ANDI(asm.T1, asm.T1, 0x7fe)
	p.ADD(asm.S1, asm.S1, asm.T1)
	p.CSRW(asm.CSR(rv64.MEPC), asm.S1)
	p.CSRW(asm.CSR(rv64.SATP), asm.T2)
	p.CSRW(asm.CSR(rv64.MSTATUS), asm.T3)
	p.CSRW(asm.PMPADDR0, asm.T4)
	p.CSRW(asm.MENVCFG, asm.T5)
	p.CSRW(asm.SENVCFG, asm.T5)
	p.SRLI(asm.T1, asm.T0, 20)
	p.ANDI(asm.T1, asm.T1, 7)
	p.LI(asm.T2, int64(pmpNAPOT)|int64(pmpAll|pmpNAPOT)<<8)
	p.OR(asm.T1, asm.T1, asm.T2)
	p.CSRW(asm.PMPCFG0, asm.T1)
	// Entries to store.
	p.ANDI(asm.T1, asm.T0, 7<<5)
	p.LA(asm.T6, "entries")
	p.ADD(asm.T6, asm.T6, asm.T1)
	for i := range 4 {
		p.LD(asm.A2+asm.Reg(i), int64(8*i), asm.T6)
	}
	// The upper tables as they were, now and then: it drops all translations.
	p.LA(asm.T6, "tables")
	p.LD(asm.T2, 0, asm.T6)
	p.LD(asm.T3, 8, asm.T6)
	p.LD(asm.S6, 16, asm.T6)
	p.LD(asm.S3, 24, asm.T6)
	p.SRLI(asm.T1, asm.T0, 16)
	p.ANDI(asm.T1, asm.T1, 7)
	p.BNEZ(asm.T1, "leave")
	p.SD(asm.T2, 0, asm.T3)
	p.LD(asm.T2, 32, asm.T6)
	p.SD(asm.T2, 0, asm.S6)
	p.Label("leave")
	p.LI(asm.S5, testDevice)
	p.MRET()

	p.Align(8)
	p.Label("sets")
	for i := range uint64(8) {
		data, code, status := uint64(userData), uint64(userCode), r.Uint64()&(rv64.StatusSUM|rv64.StatusMXR)
		switch {
		case i == 0: // M
			data, code, status = dataBase, codeBase, rv64.StatusMPP
		case i == 1: // M with the data of S or U
			code, status = codeBase, rv64.StatusMPP|status
		case i < 5: // S
			code, status = superCode, 1<<11|status
		}
		p.Dword(data + 0x800)
		p.Dword(code)
		p.Dword(data + 0x1ffc)
		p.Dword(code + 0x1800)
		p.Dword(8<<60 | rootTable>>12)
		p.Dword(status | r.Uint64()&(rv64.StatusMPIE|rv64.StatusSPIE) | 1<<13)
		p.Dword(randomProtection(r))
		p.Dword(allBlockOps | rv64.EnvSTCE | r.Uint64()&rv64.EnvADUE)
	}
	p.Label("entries")
	for i := range 32 {
		page := dataBase + r.Uint64N(8)<<12
		if i&3 == 0 {
			page = codeBase + r.Uint64N(3)<<12
		}
		p.Dword(page>>12<<10 | randomBits(r))
	}
	p.Label("tables")
	p.Dword(middleTable>>12<<10 | pteV)
	p.Dword(rootTable)
	p.Dword(middleTable)
	p.Dword(leafTable + userData>>12*8)
	p.Dword(leafTable>>12<<10 | pteV)
}

// randomProtection is pmpaddr0: some pages of data, code or page tables, which
// the entry opens less than the one behind it does; mostly none that matter.
func randomProtection(r *rand.Rand) uint64 {
	at := []uint64{0, 0, 0, dataBase, dataBase + 0x1000, codeBase, leafTable, middleTable}[r.IntN(8)]
	return napot(at, 0x1000<<r.IntN(2))
}

// randomInsn is an encoding and its length.
func randomInsn(r *rand.Rand) (uint32, int) {
	reg := func() uint32 { return uint32(r.IntN(16)) } // x0..x15
	// Pointers: s0 data, s1 code, s2 border, s3 leaf table, s4 code, s6 middle table.
	base := []uint32{8, 8, 8, 9, 18, 18, 19, 20, 22}[r.IntN(9)]
	off := uint32(r.IntN(64)-32) &^ uint32(r.IntN(8)) & 0xfff
	imm := uint32(r.IntN(1 << 12))
	switch r.IntN(16) {
	case 0, 1: // load
		return off<<20 | base<<15 | uint32(r.IntN(7))<<12 | reg()<<7 | 0x03, 4
	case 2, 3: // store of an entry or anything
		return off>>5<<25 | reg()<<20 | base<<15 | uint32(r.IntN(4))<<12 | off&31<<7 | 0x23, 4
	case 4: // store of an entry
		rs2 := uint32(12 + r.IntN(4))
		return rs2<<20 | 19<<15 | 3<<12 | uint32(r.IntN(4))*8<<7 | 0x23, 4
	case 5: // branch forward
		return reg()<<20 | reg()<<15 | []uint32{0, 1, 4, 5, 6, 7}[r.IntN(6)]<<12 | uint32(r.IntN(15)+1)<<8 | 0x63, 4
	case 6: // jal forward, sometimes far
		d := uint32(r.IntN(0x300)) * 2
		return d&0x7fe<<20 | d>>11&1<<20 | reg()<<7 | 0x6f, 4
	case 7: // atomic
		return []uint32{0, 1, 2, 3, 4, 8, 12, 16, 20, 24, 28}[r.IntN(11)]<<27 | reg()<<20 | base<<15 |
			uint32(2+r.IntN(2))<<12 | reg()<<7 | 0x2f, 4
	case 8: // CSR, mostly of SUM and MXR
		if r.IntN(2) == 0 {
			return uint32(rv64.SSTATUS)<<20 | uint32(12+r.IntN(4))<<15 | uint32(1+r.IntN(3))<<12 | reg()<<7 | 0x73, 4
		}
		csrs := []rv64.CSR{rv64.SSTATUS, rv64.MSTATUS, rv64.SATP, rv64.SIE, rv64.MIE, rv64.SIP, rv64.MIP, rv64.FCSR,
			rv64.FRM, rv64.TIME, rv64.CYCLE, rv64.MINSTRET, rv64.SSCRATCH, rv64.STIMECMP, rv64.MEDELEG,
			rv64.MIDELEG, rv64.SCAUSE, rv64.MCOUNTINHIBIT, rv64.MEPC, rv64.PMPADDR0, rv64.MENVCFG, rv64.SENVCFG}
		return uint32(csrs[r.IntN(len(csrs))])<<20 | reg()<<15 | uint32(r.IntN(8))<<12 | reg()<<7 | 0x73, 4
	case 9: // floating point
		return uint32(r.IntN(2))<<25 | uint32(r.IntN(32))<<27 | reg()<<20 | reg()<<15 | uint32(r.IntN(8))<<12 | reg()<<7 |
			[]uint32{0x53, 0x43, 0x47, 0x4b, 0x4f}[r.IntN(5)], 4
	case 10: // system
		if r.IntN(4) != 0 {
			return 0x12000073, 4 // SFENCE.VMA, which traps in U only
		}
		if r.IntN(2) == 0 { // on a cache block
			return uint32(r.IntN(5))<<20 | base<<15 | 2<<12 | 0x0f, 4
		}
		return []uint32{0x73, 0x100073, 0x30200073, 0x10200073, 0x10500073, 0x12000073, 0x100f, 0x0f}[r.IntN(8)], 4
	case 11: // anything
		if r.IntN(16) == 0 {
			return r.Uint32() | 3, 4
		}
		fallthrough
	case 12: // compressed
		return r.Uint32()&0xffff&^2 | uint32(r.IntN(2)), 2
	case 13: // with immediate
		return imm<<20 | reg()<<15 | uint32(r.IntN(8))<<12 | reg()<<7 | []uint32{0x13, 0x1b}[r.IntN(2)], 4
	case 14: // floating-point memory, devices
		if r.IntN(2) == 0 {
			return off<<20 | base<<15 | uint32(2+r.IntN(2))<<12 | reg()<<7 | 0x07, 4
		}
		return uint32(r.IntN(4))*8<<20 | 21<<15 | uint32(2+r.IntN(2))<<12 | reg()<<7 | 0x03, 4
	default: // between registers
		return []uint32{0, 1, 32}[r.IntN(3)]<<25 | reg()<<20 | reg()<<15 | uint32(r.IntN(8))<<12 | reg()<<7 |
			[]uint32{0x33, 0x3b}[r.IntN(2)], 4
	}
}

// advance runs to a position, waking the hart in a way that depends on the
// position only.
func (w *world) advance(until machine.Icount) {
	for w.Icount < until {
		if w.Run(until) == machine.Idle {
			w.SetPending(rv64.MEIP, w.Icount&1 == 0)
			w.Waiting = false
		}
	}
}

// moved is the same world in a new place.
func (w *world) moved(t *testing.T) *world {
	t.Helper()
	n := newWorld(hartOptions)
	e := snapshot.NewEncoder(nil)
	w.Save(e)
	if err := n.Hart.Load(snapshot.NewDecoder(e.Bytes())); err != nil {
		t.Fatal(err)
	}
	err := w.ram.EachNonZero(func(page uint64, b []byte) error { return n.ram.SetPage(page, b) })
	if err != nil {
		t.Fatal(err)
	}
	n.count = w.count
	return n
}

func TestCachesAndCutsAreInvisible(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		whole := randomWorld(seed, hart.Options{NoCache: true})
		cut := randomWorld(seed, hartOptions)
		ref := randomWorld(seed, hart.Options{NoCache: true})
		r := rand.New(rand.NewPCG(seed, 2))
		if seed%4 == 0 {
			cut.SetCodeLimit(1000) // drops itself again and again
		}
		for cut.Icount < steps {
			next := cut.Icount + 1 + machine.Icount(r.IntN(1<<r.IntN(13)))
			cut.advance(next)
			ref.advance(next)
			if a, b := cut.state(), ref.state(); a != b {
				t.Fatalf("seed %d: at position %d the states differ; pc %#x and %#x, pages %v",
					seed, next, cut.PC, ref.PC, differing(cut.ram, ref.ram))
			}
			switch r.IntN(8) {
			case 0:
				cut.DropCaches()
			case 1:
				cut = cut.moved(t)
			}
		}
		whole.advance(cut.Icount)
		if whole.state() != cut.state() {
			t.Fatalf("seed %d: the run in one piece ends in another state", seed)
		}
	}
}

func differing(a, b *mem.RAM) (pages []uint64) {
	for p := range a.Pages() {
		if a.PageDigest(p) != b.PageDigest(p) {
			pages = append(pages, p)
		}
	}
	return pages
}
