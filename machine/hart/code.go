package hart

import (
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

const (
	maxBlock = 64 // instructions; Inst.Off must hold 63*4
	// What a block and a page cost beside their instructions, in units of an
	// instruction's 16 bytes.
	blockCost = 10
	pageCost  = mem.PageSize/16 + 16
)

// A block is a run of instructions within one page that is entered at the top
// only. Blocks hold nothing that depends on virtual addresses or modes.
type block struct {
	insts  []rv64.Inst // all of them
	body   []rv64.Inst // those that execution passes through
	end    rv64.Inst   // the last one if it ends the block, or else a NOP
	length uint64      // instructions
	size   uint64      // bytes
	// next and taken are the blocks that follow by falling through or by a
	// direct jump, if they lie in the same page. They need no check: the page
	// is mapped as it was for this block, and is dropped as a whole.
	next, taken *block
	// lasting: the block may be found again.
	lasting bool
	// second is the number of the code in the next page that the block's one
	// instruction reaches into, 0 for all others. Who enters such a block must
	// find that code there, so nothing remembers the way to it.
	second uint64
	start  uint64 // offset in the page
	// heat counts down the times that the block is interpreted before it is
	// translated; native is where its translation begins, 0 without.
	heat   int32
	native uint64
	far    uint64 // accesses that translated code looks up the long way
}

func newBlock(insts []rv64.Inst, size uint64) block {
	n := len(insts)
	b := block{insts: insts, body: insts, length: uint64(n), size: size, heat: never}
	if insts[n-1].Op.EndsBlock() {
		b.body, b.end = insts[:n-1], insts[n-1]
	} else {
		b.end.Op = rv64.NOP
	}
	return b
}

// A codePage holds the blocks that were decoded from one page of RAM.
type codePage struct {
	blocks []*block
	slots  [mem.PageSize / 2]uint16 // index in blocks plus one, by halfword
	// granules are the 64-byte pieces that blocks derive from. A store to
	// another piece of the page drops nothing.
	granules uint64
	// crossing is the newest block that reaches into the next page.
	crossing *block
	off      uint64 // of the page in RAM
	id       uint64 // the number of this code, never used again
}

type codeCache struct {
	pages  []*codePage // by page of RAM
	newest uint64      // id of a codePage
	arena  []rv64.Inst // unused room for instructions of new blocks
	// cost is what all blocks and pages take, and limit where they are all
	// dropped, in units of 16 bytes.
	cost, limit uint64
	// single is the one block without caches, and of what it consists.
	single block
	inst   [1]rv64.Inst
}

// find returns the block at h.PC. Nil: the fetch trapped.
func (h *Hart) find() *block {
	pc := h.PC
	if h.opt.NoCache {
		return h.findAfresh(pc)
	}
	if h.code.cost > h.code.limit {
		h.dropCode()
	}
	page := h.fetchPage(pc)
	if page == nil {
		return nil
	}
	in := pc & pageMask
	var b *block
	if slot := page.slots[in>>1]; slot != 0 {
		b = page.blocks[slot-1]
	} else {
		low := h.ram.At16(page.off + in)
		if in == mem.PageSize-2 && rv64.Length(low) == 4 {
			return h.findCrossing(page, pc, low)
		}
		b = h.decode(page, in)
	}
	h.Jumps[pc>>1&jumpMask] = Jump{PC: pc, Code: page.id, Native: h.entryOf(b), block: b}
	return b
}

// fetchPage translates pc for a fetch. Nil: it trapped, with tval the address
// of the part of the instruction that faults.
func (h *Hart) fetchPage(va uint64) *codePage {
	e := h.fetchIndex(va)
	tag := va&^uint64(pageMask) | h.FetchContext
	if h.FetchTLB[e].Tag == tag {
		return h.tlb.code[e]
	}
	gpa, ok := h.inSuperpage(va, h.FetchContext, accessFetch)
	off := uint64(gpa - mem.Base)
	if !ok || !h.ram.Contains(gpa, 2) {
		var m mapping
		if m, off, ok = h.fetch(va); !ok {
			return nil
		}
		h.derivesFrom(&m, va, accessFetch)
		h.keepSuperpage(&m, va, h.FetchContext, accessFetch)
	}
	page := off >> mem.PageShift
	c := h.code.pages[page]
	if c == nil {
		c = h.newCodePage(page << mem.PageShift)
		h.code.pages[page] = c
		h.code.cost += pageCost
	}
	h.FetchTLB[e], h.tlb.code[e] = FetchEntry{tag, c.id}, c
	return c
}

// fetch walks for a fetch of the halfword at va and gives its offset in RAM.
func (h *Hart) fetch(va uint64) (m mapping, off uint64, ok bool) {
	m, fault, ok := h.walk(va, h.FetchContext, accessFetch)
	if ok && !h.ram.Contains(m.gpa, 2) {
		fault, ok = rv64.InstructionAccessFault, false
	}
	if !ok {
		h.trap(fault, va)
		return m, 0, false
	}
	h.commit(&m)
	return m, uint64(m.gpa - mem.Base), true
}

// findAfresh decodes one instruction without any cache.
func (h *Hart) findAfresh(pc uint64) *block {
	_, off, ok := h.fetch(pc)
	if !ok {
		return nil
	}
	low := h.ram.At16(off)
	if rv64.Length(low) == 2 {
		return h.one(uint32(low))
	}
	if pc&pageMask != mem.PageSize-2 {
		return h.one(uint32(low) | uint32(h.ram.At16(off+2))<<16)
	}
	_, off, ok = h.fetch(pc + 2)
	if !ok {
		return nil
	}
	return h.one(uint32(low) | uint32(h.ram.At16(off))<<16)
}

// findCrossing is the block of the instruction at pc, of a page's last halfword
// and the next page's first. Nil: the fetch of the second trapped.
func (h *Hart) findCrossing(page *codePage, pc uint64, low uint16) *block {
	next := h.fetchPage(pc + 2)
	if next == nil {
		return nil
	}
	b := page.crossing
	if b == nil || b.second != next.id {
		in := rv64.Decode(uint32(low) | uint32(h.ram.At16(next.off))<<16)
		b = h.keepBlock([]rv64.Inst{in}, mem.PageSize-2, 4)
		b.second = next.id
		page.crossing = b
		h.derivesCode(page, 1<<63)
		h.derivesCode(next, 1)
	}
	h.Jumps[pc>>1&jumpMask] = Jump{PC: pc, Code: page.id, Native: h.entryOf(b)}
	return b
}

func (h *Hart) one(raw uint32) *block {
	in := rv64.Decode(raw)
	h.code.inst[0] = in
	h.code.single = newBlock(h.code.inst[:], uint64(in.Len))
	return &h.code.single
}

// decode makes the block that starts at offset in of a page.
func (h *Hart) decode(page *codePage, in uint64) *block {
	var insts [maxBlock]rv64.Inst
	n, at := 0, in
	for n < maxBlock && at < mem.PageSize {
		raw := uint32(h.ram.At16(page.off + at))
		if rv64.Length(uint16(raw)) == 4 {
			if at == mem.PageSize-2 {
				break
			}
			raw |= uint32(h.ram.At16(page.off+at+2)) << 16
		}
		i := rv64.Decode(raw)
		i.Off = uint8(at - in)
		if i.Op.Relative() {
			i.Imm += int32(i.Off) // relative to the block from here on
		}
		insts[n] = i
		n++
		at += uint64(i.Len)
		if i.Op.EndsBlock() {
			break
		}
	}
	h.derivesCode(page, ^uint64(0)<<(in>>6)&(^uint64(0)>>(63-(at-1)>>6)))
	b := h.keepBlock(insts[:n], in, at-in)
	page.blocks = append(page.blocks, b)
	page.slots[in>>1] = uint16(len(page.blocks))
	return b
}

// keepBlock makes a block that lasts, of so many bytes at an offset in its page.
func (h *Hart) keepBlock(insts []rv64.Inst, start, size uint64) *block {
	b := new(block)
	*b = newBlock(h.code.keep(insts), size)
	b.lasting, b.start = true, start
	if h.opt.Native != nil {
		b.heat = h.opt.Threshold
	}
	return b
}

// derivesCode notes that blocks derive from granules of a page.
func (h *Hart) derivesCode(page *codePage, granules uint64) {
	if page.granules == 0 {
		h.watch(page.off>>mem.PageShift, mem.HasCode)
	}
	page.granules |= granules
}

func (c *codeCache) keep(insts []rv64.Inst) []rv64.Inst {
	n := len(insts)
	if len(c.arena) < n {
		c.arena = make([]rv64.Inst, 4096)
	}
	kept := c.arena[:n:n]
	c.arena = c.arena[n:]
	c.cost += uint64(n + blockCost)
	copy(kept, insts)
	return kept
}

// codeWritten drops the blocks of a page if n bytes at offset off may hold
// code that they derive from.
func (h *Hart) codeWritten(c *codePage, page, off, n uint64) {
	first, last := off&pageMask>>6, (off+n-1)&pageMask>>6
	if mask := ^uint64(0) << first & (^uint64(0) >> (63 - last)); c.granules&mask != 0 {
		h.dropPage(c, page)
	}
}

// dropPage forgets the blocks of a page. The codePage itself stays, since
// fetch entries point to it.
func (h *Hart) dropPage(c *codePage, page uint64) {
	if c.granules == 0 {
		return
	}
	for i := range h.FetchTLB {
		if h.FetchTLB[i].Code == c.id {
			h.FetchTLB[i].Tag = 0
		}
	}
	*c = *h.newCodePage(c.off)
	h.ram.ClearFlags(page, mem.HasCode)
	h.leave = true
}

func (h *Hart) newCodePage(off uint64) *codePage {
	h.code.newest++
	return &codePage{off: off, id: h.code.newest}
}

// dropCode forgets every block.
func (h *Hart) dropCode() {
	for page, c := range h.code.pages {
		if c != nil {
			h.dropPage(c, uint64(page))
		}
	}
	clear(h.code.pages)
	clear(h.Jumps[:])
	clear(h.FetchTLB[:])
	h.code.cost = 0
	h.dropNative()
	h.leave = true
}
