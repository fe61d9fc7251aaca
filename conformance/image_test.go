package conformance

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// slotAddr is the physical address of a slot.
func slotAddr(slot int) uint64 { return slotBase + uint64(slot)*slotSize }

// image lays out a batch of programs.
func image(batch []*program) []byte {
	ram := make([]byte, imageLen)
	text, strap := loader()
	copy(ram, text)
	binary.LittleEndian.PutUint64(ram[varBase+varCount-ramBase:], uint64(len(batch)))
	for i, g := range batch {
		at := slotAddr(i)
		g.place(ram[at-ramBase:][:slotSize], at, strap)
	}
	return ram
}

// place writes a program's slot.
func (g *program) place(slot []byte, at, strap uint64) {
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(slot[off:], v) }
	for i := range 32 {
		put(inX+8*i, g.x[i])
		put(inF+8*i, g.f[i])
	}
	copy(slot[window:], g.window)

	alias := uint64(0)
	if g.translated {
		alias = aliasBit
		put(inSatp, g.satp(at))
		g.placeTables(put, at)
	}
	body := g.assemble(at)
	if len(body) > codeSize {
		panic(fmt.Sprintf("conformance: BUG: %d bytes of code", len(body)))
	}
	copy(slot[code:], body)
	copy(slot[fetch:], g.fetched)

	put(inMstatus, g.mstatus|uint64(g.mode)<<11)
	put(inMedeleg, g.medeleg)
	put(inMideleg, g.mideleg)
	put(inStvec, strap+alias)
	put(inFcsr, g.fcsr)
	put(inEnd, at+code+uint64(len(body))-4)
	put(inPC, at+code)
	put(inSscr, at+saveS+alias)
	put(inMcen, g.mcounteren)
	put(inScen, g.scounteren)
	put(inMenv, g.menvcfg)
	put(inSenv, g.senvcfg)
	for i, v := range g.protection(at, slot[inPmpcfg:]) {
		put(inPmpaddr+8*i, v)
	}
	put(saveM+saveSlot, at)
	put(saveM+saveCode, at+code)
	put(saveS+saveSlot, at+alias)
	put(saveS+saveCode, at+code)
	put(saveS+saveDelta, alias)
}

// satp is the register for the program's mode of translation.
func (g *program) satp(at uint64) uint64 {
	root := [...]uint64{pageTables, root4, root5}[g.wider]
	return uint64(8+g.wider)<<60 | (at+root)>>12
}

// Bits of a page-table entry.
const (
	pteV = 1 << iota
	pteR
	pteW
	pteX
	pteU
	pteG
	pteA
	pteD
)

// placeTables maps RAM at its physical address for the program, readable and
// executable; RAM again for the supervisor; and the window as the program's
// random entries say.
func (g *program) placeTables(put func(int, uint64), at uint64) {
	const root, middle, leaf = pageTables, pageTables + 0x1000, pageTables + 0x2000
	pte := func(pa, bits uint64) uint64 { return pa>>12<<10 | bits }
	user := uint64(0)
	if g.mode == modeU {
		user = pteU
	}
	// The wider modes have more levels above, with one entry each.
	put(root4, pte(at+root, pteV))
	put(root5, pte(at+root4, pteV))
	put(root+8*(ramBase>>30), pte(ramBase, pteV|pteR|pteX|pteA|user))
	put(root+8*((ramBase|aliasBit)>>30), pte(ramBase, pteV|pteR|pteW|pteX|pteA|pteD))
	put(root+8*(pagesVA>>30), pte(at+middle, pteV))
	put(middle+8*(pagesVA>>21&511), pte(at+leaf, pteV))
	put(middle+8*(megaVA>>21&511), pte(at&^0x1fffff, g.mega))
	for i, bits := range g.pages {
		put(leaf+8*i, pte(at+window+uint64(i%4)<<12, bits))
	}
	for i, bits := range g.fetchPTEs {
		put(leaf+8*(pagesN+i), pte(at+fetch+uint64(i%4)<<12, bits))
	}
}

// assemble makes the code: the items, then the ECALL that ends the program.
func (g *program) assemble(at uint64) []byte {
	c := &scope{Program: asm.New(at + code), g: g, slot: at}
	c.items()
	c.ECALL()
	return c.Bytes()
}

// items assembles the items; what a branch skips beyond the last is nothing.
func (c *scope) items() {
	c.useWindow(false)
	for i, it := range c.g.items {
		c.Label(label(i))
		c.next = i + 1
		c.starts = append(c.starts, c.PC())
		it.emit(c)
	}
	c.starts = append(c.starts, c.PC())
	for i := range reach + 1 {
		c.Label(label(len(c.g.items) + i))
	}
	c.Align4()
}

// reach is how many items a branch skips at most.
const reach = 6

func label(item int) string { return fmt.Sprintf("i%d", item) }

// A scope is what an item is assembled in.
type scope struct {
	*asm.Program
	g    *program
	slot uint64
	next int // number of the next item
	// starts are the addresses of the items, and of what follows them.
	starts []uint64
	tmp    int
}

// after is the label of the item that lies n items ahead.
func (c *scope) after(n int) string { return label(c.next + n) }

// local is a new label within an item.
func (c *scope) local() string {
	c.tmp++
	return fmt.Sprintf("t%d", c.tmp)
}

// Align4 aligns with a C.NOP.
func (c *scope) Align4() {
	if c.PC()%4 != 0 {
		c.CNOP()
	}
}

// useWindow points S10 and S9 at the window: its address and a mask for
// offsets.
func (c *scope) useWindow(mega bool) {
	switch {
	case c.g.translated && mega:
		c.LI(asm.S10, int64(megaVA+c.slot&0x1fffff+window))
		c.LI(asm.S9, windowSize-1)
	case c.g.translated:
		c.LI(asm.S10, pagesVA)
		c.LI(asm.S9, pagesN<<12-1)
	default:
		c.LI(asm.S10, int64(c.slot+window))
		c.LI(asm.S9, windowSize-1)
	}
}
