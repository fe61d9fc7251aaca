package conformance

import "github.com/lockstep-vm/lockstep/machine/rv64/asm"

const (
	pmpEntries = 16
	pmpcfg2    = asm.PMPCFG0 + 2
	// lockedPerSlot entries are a program's own where they are locked; the
	// last entry opens everything.
	lockedPerSlot = 2
	lockedSlots   = (pmpEntries - 1) / lockedPerSlot
)

// Bits of a byte of pmpcfg.
const (
	pmpR = 1 << iota
	pmpW
	pmpX
	pmpTOR
	pmpNA4
	pmpL     = 1 << 7
	pmpNAPOT = pmpTOR | pmpNA4
	pmpAll   = pmpR | pmpW | pmpX
)

// A region is an entry of memory protection over pages of the slot. Regions
// are of whole pages, which is the granularity of ours and a legal one of
// QEMU's.
type region struct {
	cfg   uint8
	page  uint64 // first page of the slot; of a TOR entry the page behind it
	pages uint64 // of a NAPOT entry, a power of two
}

// address is the entry's pmpaddr, with the low bits as they read for the
// granularity.
func (e region) address(slot uint64) uint64 {
	at := slot>>2 + e.page<<10
	if e.cfg&pmpNAPOT == pmpNAPOT {
		return at | (e.pages<<9 - 1)
	}
	return at
}

// region draws one: over the window, the pages of fetch or the leaf table.
func (r *random) region() region {
	// Write without read is reserved.
	e := region{cfg: choose[uint8](r, 0, pmpR, pmpX, pmpR|pmpX, pmpR|pmpW, pmpAll)}
	e.pages = 1 << r.IntN(3)
	switch r.IntN(8) {
	case 0, 1:
		e.page = fetch>>12 + uint64(r.IntN(4))
	case 2:
		// R or nothing: whether the walker's update needs W is not drawn
		// together with A and D bits that are clear.
		e.page, e.pages = pageTables>>12+2, 1
	default:
		e.page = window>>12 + uint64(r.IntN(6))
	}
	e.page &^= e.pages - 1
	e.cfg |= choose[uint8](r, 0, pmpTOR, pmpNAPOT, pmpNAPOT, pmpNAPOT)
	return e
}

// protect draws the entries.
func (g *program) protect(r *random) {
	n := pmpEntries - 1
	if g.locked {
		n = lockedPerSlot
	}
	for i := range n {
		g.regions[i] = r.region()
		if g.locked {
			g.regions[i].cfg |= pmpL
		}
	}
	// A TOR entry begins where the entry before it points to: the first
	// begins at the window, so that none covers what a program needs.
	g.regions[0] = region{page: window >> 12}
	for i := 1; i < n; i++ {
		if low := &g.regions[i-1]; g.regions[i].cfg&pmpNAPOT == pmpTOR && low.cfg&pmpNAPOT == pmpNAPOT {
			low.cfg &^= pmpNAPOT
		}
	}
	for i := range n {
		// From the leaf table up there would be the code.
		if e := &g.regions[i]; e.page < window>>12 && (e.cfg&pmpNAPOT != pmpNAPOT) {
			e.page = window >> 12
		}
		if e := &g.regions[i]; e.page >= fetch>>12 && e.cfg&pmpNAPOT != pmpNAPOT {
			e.page = window>>12 + 5
		}
	}
	for i := range g.pages {
		g.pages[i] |= pteA | pteD
	}
	for i := range g.fetchPTEs {
		g.fetchPTEs[i] |= pteA | pteD
	}
	g.mega |= pteA | pteD
}

// protection is pmpaddr, and fills in pmpcfg. Entries that are not the
// program's own stay off, and the last permits what no other matches.
func (g *program) protection(slot uint64, cfg []byte) (addr [pmpEntries]uint64) {
	first := 0
	if g.locked {
		first = int((slot-slotBase)/slotSize) * lockedPerSlot
	}
	for i, e := range g.regions[:pmpEntries-1] {
		if g.pmp && first+i < pmpEntries-1 {
			cfg[first+i], addr[first+i] = e.cfg, e.address(slot)
		}
	}
	cfg[pmpEntries-1], addr[pmpEntries-1] = pmpNAPOT|pmpAll, 1<<54-1
	return addr
}

// reprotect changes an entry in machine mode. The fence stands between the
// change and what it changes.
func reprotect(r *random, g *program) item {
	t, v, rd := r.temp(), r.temp(), r.dst()
	for v == t {
		v = r.temp()
	}
	entry, e := 1+r.IntN(pmpEntries-2), r.region()
	if g.regions[entry+1].cfg&pmpNAPOT == pmpTOR { // begins where this one points to
		e.cfg, e.page = e.cfg&^pmpNAPOT, window>>12
	} else {
		e.cfg |= pmpNAPOT
	}
	return r.folded(item{name: "pmp", emit: func(c *scope) {
		csr := asm.PMPCFG0 + asm.CSR(entry/8*2)
		c.LI(v, ^(int64(0xff) << (entry % 8 * 8)))
		c.CSRR(t, csr)
		c.AND(t, t, v)
		c.CSRW(csr, t)
		c.LI(v, int64(e.address(c.slot)))
		c.CSRW(asm.PMPADDR0+asm.CSR(entry), v)
		c.LI(v, int64(uint64(e.cfg)<<(entry%8*8)))
		c.OR(t, t, v)
		c.CSRW(csr, t)
		// QEMU 7 looks at what a TOR entry begins with when its own
		// configuration is written.
		c.CSRR(t, pmpcfg2)
		c.CSRW(pmpcfg2, t)
		c.CSRR(rd, asm.PMPADDR0+asm.CSR(entry))
		c.CSRR(t, csr)
		c.SFENCEVMA(asm.Zero, asm.Zero)
	}}, rd, t)
}
