package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// The functions in this file are the long way of loads and stores: a miss in
// the TLB, a flagged page, a device, two pages. Misaligned accesses to RAM are
// performed; to a device they are access faults.

// at makes PC and Icount exact for the instruction in of the block at pc.
func (h *Hart) at(in *rv64.Inst, pc uint64, i machine.Icount) {
	h.PC, h.Icount = pc+uint64(in.Off), i
}

// retire moves behind the instruction that PC points to.
func (h *Hart) retire(in *rv64.Inst) {
	h.PC += uint64(in.Len)
	h.Icount++
}

// stay is how a slow operation ends that has succeeded: true if execution may
// go on in the block. Otherwise State is exact behind the instruction.
func (h *Hart) stay(in *rv64.Inst) bool {
	if !h.leave && !h.attention {
		return true
	}
	h.leave = false
	h.retire(in)
	return false
}

// attend follows every Env call, which may have changed anything in State.
func (h *Hart) attend() { h.attention, h.timersStale = true, true }

// sizes of loads and stores, from LB to FSD.
var sizes = [...]uint8{
	rv64.LB: 1, rv64.LH: 2, rv64.LW: 4, rv64.LD: 8, rv64.LBU: 1, rv64.LHU: 2, rv64.LWU: 4,
	rv64.SB: 1, rv64.SH: 2, rv64.SW: 4, rv64.SD: 8,
	rv64.FLW: 4, rv64.FLD: 8, rv64.FSW: 4, rv64.FSD: 8,
}

// load executes any load the long way. False: State is exact (behind the
// instruction or in a trap) and the block must be left.
func (h *Hart) load(in *rv64.Inst, va, pc uint64, i machine.Icount) bool {
	h.at(in, pc, i)
	v, ok := h.readVirtual(va, sizes[in.Op])
	if !ok {
		return false
	}
	switch in.Op {
	case rv64.LB:
		v = uint64(int8(v))
	case rv64.LH:
		v = uint64(int16(v))
	case rv64.LW:
		v = uint64(int32(v))
	case rv64.FLW:
		v |= 0xffffffff << 32
	}
	if in.Op == rv64.FLW || in.Op == rv64.FLD {
		h.setF(in.Rd, v)
	} else {
		h.setX(in.Rd, v)
	}
	return h.stay(in)
}

// store executes any store the long way; the result is as load's.
func (h *Hart) store(in *rv64.Inst, va, pc uint64, i machine.Icount) bool {
	h.at(in, pc, i)
	v := h.X[in.Rs2&31]
	if in.Op == rv64.FSW || in.Op == rv64.FSD {
		v = h.F[in.Rs2&31]
	}
	return h.writeVirtual(va, sizes[in.Op], v) && h.stay(in)
}

func (h *Hart) setX(rd uint8, v uint64) {
	if rd != 0 {
		h.X[rd&31] = v
	}
}

// readVirtual reads size bytes. False: it trapped.
func (h *Hart) readVirtual(va uint64, size uint8) (uint64, bool) {
	if va&pageMask+uint64(size) > mem.PageSize {
		return h.readCrossing(va, size)
	}
	if gpa, ok := h.inSuperpage(va, h.DataContext, accessLoad); ok && h.ram.Contains(gpa, uint64(size)) {
		off := uint64(gpa - mem.Base)
		h.ReadTLB[va>>mem.PageShift&tlbMask] = h.entry(va, off)
		return h.readRAM(off, size), true
	}
	m, fault, ok := h.walk(va, h.DataContext, accessLoad)
	if !ok {
		h.trap(fault, va)
		return 0, false
	}
	if h.ram.Contains(m.gpa, uint64(size)) {
		h.commit(&m)
		off := uint64(m.gpa - mem.Base)
		h.cacheRead(&m, va, off)
		return h.readRAM(off, size), true
	}
	if va&uint64(size-1) == 0 {
		h.commit(&m)
		v, ok := h.env.Load(m.gpa, size)
		h.attend()
		if ok {
			return v, true
		}
	}
	h.trap(rv64.LoadAccessFault, va)
	return 0, false
}

func (h *Hart) cacheRead(m *mapping, va, off uint64) {
	if h.opt.NoCache {
		return
	}
	h.derivesFrom(m, va, accessLoad)
	h.keepSuperpage(m, va, h.DataContext, accessLoad)
	h.ReadTLB[va>>mem.PageShift&tlbMask] = h.entry(va, off)
}

func (h *Hart) readRAM(off uint64, size uint8) uint64 {
	switch size {
	case 1:
		return uint64(h.ram.At8(off))
	case 2:
		return uint64(h.ram.At16(off))
	case 4:
		return uint64(h.ram.At32(off))
	default:
		return h.ram.At64(off)
	}
}

// A pair is the two pieces of RAM that an access across a page border touches.
type pair struct {
	m     [2]mapping
	off   [2]uint64
	first uint8 // bytes in the first piece
}

// translatePair translates both pieces before anything changes. False: it
// trapped, with tval the first address of the piece that faults.
func (h *Hart) translatePair(va uint64, size uint8, a access) (p pair, ok bool) {
	p.first = uint8(mem.PageSize - va&pageMask)
	at := [2]uint64{va, va + uint64(p.first)}
	n := [2]uint8{p.first, size - p.first}
	for i := range p.m {
		m, fault, ok := h.walk(at[i], h.DataContext, a)
		if ok && !h.ram.Contains(m.gpa, uint64(n[i])) {
			fault, ok = a.accessFault(), false
		}
		if !ok {
			h.trap(fault, at[i])
			return p, false
		}
		p.m[i], p.off[i] = m, uint64(m.gpa-mem.Base)
	}
	h.commit(&p.m[0])
	h.commit(&p.m[1])
	return p, true
}

func (h *Hart) readCrossing(va uint64, size uint8) (v uint64, ok bool) {
	p, ok := h.translatePair(va, size, accessLoad)
	if !ok {
		return 0, false
	}
	for i := range uint64(size) {
		v |= uint64(h.ram.At8(p.at(i))) << (8 * i)
	}
	return v, true
}

// at is the offset in RAM of byte i of the access.
func (p *pair) at(i uint64) uint64 {
	if first := uint64(p.first); i >= first {
		return p.off[1] + i - first
	}
	return p.off[0] + i
}

// writeVirtual writes size bytes. False: it trapped and nothing was written.
func (h *Hart) writeVirtual(va uint64, size uint8, v uint64) bool {
	if va&pageMask+uint64(size) > mem.PageSize {
		return h.writeCrossing(va, size, v)
	}
	m, fault, ok := h.walk(va, h.DataContext, accessStore)
	if !ok {
		h.trap(fault, va)
		return false
	}
	if h.ram.Contains(m.gpa, uint64(size)) {
		h.commit(&m)
		h.writeRAM(&m, va, size, v)
		return true
	}
	if va&uint64(size-1) == 0 {
		h.commit(&m)
		ok := h.env.Store(m.gpa, size, v&(^uint64(0)>>(64-8*size)))
		h.attend()
		if ok {
			return true
		}
	}
	h.trap(rv64.StoreAccessFault, va)
	return false
}

// beforeWrite precedes a store of n bytes within one page, and caches the
// translation if stores to the page need not be watched.
func (h *Hart) beforeWrite(m *mapping, va, n uint64) {
	off := uint64(m.gpa - mem.Base)
	if !h.opt.NoCache {
		// First, so that a store to one of its own page tables drops it.
		h.derivesFrom(m, va, accessStore)
		h.WriteTLB[va>>mem.PageShift&tlbMask] = h.entry(va, off)
	}
	page := off >> mem.PageShift
	h.ram.Touch(off, n)
	if h.ram.PageFlags(page)&mem.Watched != 0 {
		h.WriteTLB[va>>mem.PageShift&tlbMask].Tag = 0
	} else {
		h.ram.SetFlags(page, mem.WriteEntry)
	}
}

// wrote follows a store to n bytes at offset off, once all that the instruction
// changes is in place.
func (h *Hart) wrote(off, n uint64) {
	if h.watches(off, n) {
		h.env.Stored(h)
		h.attend()
	}
}

func (h *Hart) watches(off, n uint64) bool {
	at := uint64(h.opt.Watch - mem.Base)
	return h.opt.Watch != 0 && off < at+8 && at < off+n
}

// writeRAM writes within one page.
func (h *Hart) writeRAM(m *mapping, va uint64, size uint8, v uint64) {
	h.beforeWrite(m, va, uint64(size))
	off := uint64(m.gpa - mem.Base)
	switch size {
	case 1:
		h.ram.Put8(off, uint8(v))
	case 2:
		h.ram.Put16(off, uint16(v))
	case 4:
		h.ram.Put32(off, uint32(v))
	default:
		h.ram.Put64(off, v)
	}
	h.wrote(off, uint64(size))
}

func (h *Hart) writeCrossing(va uint64, size uint8, v uint64) bool {
	p, ok := h.translatePair(va, size, accessStore)
	if !ok {
		return false
	}
	for i := range uint64(size) {
		at := p.at(i)
		h.ram.Touch(at, 1)
		h.ram.Put8(at, uint8(v>>(8*i)))
	}
	if first := uint64(p.first); h.watches(p.off[0], first) {
		h.wrote(p.off[0], first)
	} else {
		h.wrote(p.off[1], uint64(size)-first)
	}
	return true
}
