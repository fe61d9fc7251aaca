package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

type mode uint8

const (
	modeU mode = 0
	modeS mode = 1
	modeM mode = 3
)

// A kind is what the programs of a batch have in common.
type kind struct {
	name       string
	mode       mode
	translated bool // Sv39 or wider
	wider      int  // 1 for Sv48, 2 for Sv57
	calm       bool // nothing traps
	delegated  bool // some traps go to the supervisor's handler
	traps      bool // mstatus.TVM, TW and TSR are drawn
	counters   bool // mcounteren, scounteren, menvcfg and senvcfg are drawn
	noADUE     bool // A and D bits are not set by the hart
	pmp        bool // memory protection over the window and the pages of fetch
	locked     bool // its entries are locked
	needs      []feature
	weights    weights
	lacks      []feature // by the QEMU that the programs are for
}

// slots is how many programs of the kind a batch holds at most: locked entries
// last until the end.
func (k kind) slots() int {
	if k.locked {
		return lockedSlots
	}
	return maxSlots
}

// missing are the features that the kind needs and the QEMU lacks.
func (k kind) missing() (names []feature) {
	for _, f := range k.needs {
		if slices.Contains(k.lacks, f) {
			names = append(names, f)
		}
	}
	return names
}

// qemu7 says whether the programs are for QEMU 7, which has mistakes that later
// ones have not; it is the last without Zicond.
func (k kind) qemu7() bool { return slices.Contains(k.lacks, zicond) }

// fetchable takes out of an entry for a page of fetch what QEMU 7 gets wrong: a
// load with SUM set lets the supervisor execute a page of user mode, too.
func (k kind) fetchable(pte uint64) uint64 {
	if k.qemu7() && k.mode == modeS {
		pte &^= pteU
	}
	return pte
}

// A program is a function of its kind and seed.
type program struct {
	kind
	seed    uint64
	x, f    [32]uint64
	window  []byte
	mstatus uint64
	fcsr    uint64
	medeleg uint64
	mideleg uint64
	pages   [pagesN]uint64
	mega    uint64
	// fetched are the contents of the pages of fetch, fetchPTEs the entries
	// that map them.
	fetched   []byte
	fetchPTEs [fetchPages]uint64
	regions   [pmpEntries]region
	// Registers that open counters and extensions to lower modes.
	mcounteren, scounteren, menvcfg, senvcfg uint64
	line                                     int64 // the interrupt that the program uses
	// crossing: accesses over page borders are made under translation too;
	// then A and D bits are not compared.
	crossing bool
	items    []item
}

// An item is a few instructions that belong together.
type item struct {
	name string
	emit func(c *scope)
	// inner are the items of a loop, which may be run without it.
	inner []item
}

// folded is the item with its result folded into S8, now and then: a result
// that the next item overwrites would not show at the end.
func (r *random) folded(i item, results ...asm.Reg) item {
	if r.calm || r.one(3) {
		return i
	}
	emit := i.emit
	i.emit = func(c *scope) {
		emit(c)
		for _, x := range results {
			c.SUB(asm.S8, x, asm.S8)
		}
	}
	return i
}

func (g *program) String() string { return fmt.Sprintf("%s program, seed %#x", g.name, g.seed) }

// generate makes the program of a seed.
func generate(k kind, seed uint64, items int) *program {
	g := &program{kind: k, seed: seed, window: make([]byte, windowSize)}
	r := &random{rand.New(rand.NewPCG(seed, 0x10c457e9)), k.calm}
	g.fetched = r.fetchedPages()
	for i := range g.x {
		g.x[i] = r.integer()
		g.f[i] = r.float()
	}
	for i := range g.window {
		g.window[i] = byte(r.Uint32())
	}
	for i := 0; i+8 <= len(g.window); i += 8 {
		if r.one(8) {
			v := r.float()
			for j := range 8 {
				g.window[i+j] = byte(v >> (8 * j))
			}
		}
	}
	g.fcsr = uint64(r.IntN(5))<<5 | uint64(r.IntN(32))
	g.mstatus = 1 << 13 // FS: initial
	if k.mode != modeM || r.one(2) {
		g.mstatus |= 3 << 18 & (r.Uint64()) // SUM, MXR
	}
	if r.one(2) {
		g.mstatus |= 0xa0 // MPIE, SPIE: interrupts on in the program
	}
	if k.delegated {
		// Calls stay with the machine's handler: one of them is the end.
		// Loads and stores alike, as QEMU 7 takes an AMO for a load.
		g.medeleg = r.Uint64() & 0x303f
		g.medeleg |= g.medeleg&0x30<<2 | g.medeleg&0x2000<<2
		if g.pmp { // an AMO may have both faults
			g.medeleg = g.medeleg&^0xa0a0 | r.Uint64()&1*0xa0a0
		}
		g.mideleg = r.Uint64() & 0x222
	}
	for i := range g.pages {
		g.pages[i] = r.pte(k.mode)
	}
	for i := range g.fetchPTEs {
		g.fetchPTEs[i] = g.fetchable(r.pte(k.mode))
	}
	g.mega = r.superpage(k.mode)
	g.environment(r)
	g.crossing = r.one(3)
	g.line = choose[int64](r, 0x2, 0x20, 0x200)
	for range items {
		g.items = append(g.items, k.weights.pick(r)(r, g))
	}
	return g
}

// environment draws what the kind says of counters, extensions and protection.
func (g *program) environment(r *random) {
	if g.traps {
		g.mstatus |= r.Uint64() & (7 << 20) // TVM, TW, TSR
		if g.mstatus&(1<<22) != 0 {         // the supervisor's handler could not return
			g.medeleg, g.mideleg = 0, 0
		}
	}
	g.menvcfg = envSTCE | envADUE
	if g.counters {
		g.mcounteren, g.scounteren = r.Uint64()&7, r.Uint64()&7
		g.menvcfg, g.senvcfg = r.envcfg(g.kind)|r.Uint64()&envSTCE|envADUE, r.envcfg(g.kind)
	}
	if g.noADUE {
		g.menvcfg &^= envADUE
	}
	if g.pmp {
		g.protect(r)
	}
}

// Bits of menvcfg.
const (
	envFIOM  = 1 << 0
	envCBCFE = 1 << 6
	envCBZE  = 1 << 7
	envADUE  = 1 << 61
	envSTCE  = 1 << 63
)

// envcfg draws what menvcfg and senvcfg have in common: FIOM, and what cache
// block operations may do.
func (r *random) envcfg(k kind) uint64 {
	v := r.Uint64() & envFIOM
	if !slices.Contains(k.lacks, zicbom) {
		v |= choose[uint64](r, 0, 1, 3)<<4 | r.Uint64()&envCBCFE
	}
	if !slices.Contains(k.lacks, zicboz) {
		v |= r.Uint64() & envCBZE
	}
	return v
}

// prefix is the program with its first n items.
func (g *program) prefix(n int) *program {
	p := *g
	p.items = g.items[:n]
	return &p
}

// random draws operands that find corners.
type random struct {
	*rand.Rand
	calm bool // of the kind
}

// one is true once in n times.
func (r *random) one(n int) bool { return r.IntN(n) == 0 }

func choose[T any](r *random, from ...T) T { return from[r.IntN(len(from))] }

// integer draws corners, small numbers, single bits and noise.
func (r *random) integer() uint64 {
	switch r.IntN(6) {
	case 0:
		return choose[uint64](r, 0, 1, 2, ^uint64(0), 1<<63, 1<<63-1, 1<<31, 1<<31-1, 1<<32, 1<<32-1,
			0xffffffff80000000, 0xffffffff7fffffff, 0x8000000080000000, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa)
	case 1:
		return uint64(r.IntN(256) - 128)
	case 2:
		return 1<<r.IntN(64) + uint64(r.IntN(3)-1)
	case 3:
		return uint64(int32(r.Uint32()))
	}
	return r.Uint64()
}

// float draws a binary64, or a binary32 in its box (and now and then badly
// boxed), special values often.
func (r *random) float() uint64 {
	if r.one(2) {
		v := uint64(r.single())
		if !r.one(16) {
			v |= 0xffffffff << 32
		}
		return v
	}
	sign := uint64(r.IntN(2)) << 63
	frac := choose(r, 0, 1, 1<<51, 1<<52-1, r.Uint64()&(1<<52-1), r.Uint64()&(1<<52-1), r.Uint64()>>35<<29&(1<<52-1))
	exp := choose(r, 0, 1, 0x7ff, 0x7fe, 1023, uint64(1023-30+r.IntN(100)), uint64(1023-30+r.IntN(100)), uint64(r.IntN(2048)), uint64(874+r.IntN(300)))
	return sign | exp<<52 | frac
}

func (r *random) single() uint32 {
	sign := uint32(r.IntN(2)) << 31
	frac := choose(r, 0, 1, 1<<22, 1<<23-1, r.Uint32()&(1<<23-1), r.Uint32()&(1<<23-1))
	exp := choose(r, 0, 1, 0xff, 0xfe, 127, uint32(117+r.IntN(60)), uint32(117+r.IntN(60)), uint32(r.IntN(256)))
	return sign | exp<<23 | frac
}

// pte draws the low bits of a leaf: usually right for the mode.
func (r *random) pte(m mode) uint64 {
	bits := uint64(pteV | pteR | pteW | pteX)
	if m == modeU {
		bits |= pteU
	}
	if r.one(3) {
		bits &^= choose[uint64](r, pteV, pteR, pteW, pteX, pteW|pteX, pteR|pteW, pteR|pteW|pteX)
	}
	if r.one(4) {
		bits ^= pteU
	}
	if r.one(40) { // reserved
		bits |= 1 << (54 + r.IntN(10))
	}
	return bits | r.Uint64()&(pteA|pteD|pteG|3<<8)
}

// superpage is pte, but never a pointer: there would be no table. Now and then
// it is not aligned to its size.
func (r *random) superpage(m mode) uint64 {
	bits := r.pte(m)
	if r.one(12) {
		bits |= 1 << (10 + r.IntN(9))
	}
	if bits&(pteR|pteW|pteX) == 0 {
		bits &^= pteV
	}
	return bits
}
