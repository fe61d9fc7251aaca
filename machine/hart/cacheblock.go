package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// BlockSize is the size of a cache block of Zicbom and Zicboz in bytes. There
// are no caches that a guest could see, so it is only what CBO.ZERO clears.
const BlockSize = 64

// blockOp executes an operation on the cache block that holds the address in
// rs1 (CMO spec, chapter 2). A fault has that address, aligned or not, in
// xtval. The block must lie in RAM, for all four operations. The result is as
// load's.
func (h *Hart) blockOp(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	h.at(in, pc, i)
	if !h.blockOpEnabled(in.Op) {
		return h.illegal(in)
	}
	va := h.X[in.Rs1&31]
	if in.Op == rv64.CBOZERO {
		return h.zeroBlock(va) && h.stay(in)
	}
	// To clean, flush or invalidate takes the permission to load or to store.
	// Whoever may store may load, in page tables and in PMP. The fault is a
	// store's in any case, and only A is set.
	m, fault, ok := h.walk(va, h.DataContext, accessLoad)
	if ok && !h.ram.Contains(m.gpa&^(BlockSize-1), BlockSize) {
		fault, ok = rv64.StoreAccessFault, false
	}
	if !ok {
		if fault == rv64.LoadPageFault {
			h.trap(rv64.StorePageFault, va)
		} else {
			h.trap(rv64.StoreAccessFault, va)
		}
		return false
	}
	h.commit(&m)
	return h.stay(in)
}

// blockOpEnabled: menvcfg rules below M and senvcfg in U as well. CBIE at 1
// makes an invalidation a flush, which is all the same here.
func (h *Hart) blockOpEnabled(op rv64.Op) bool {
	enable := rv64.EnvCBCFE
	switch op {
	case rv64.CBOINVAL:
		enable = rv64.EnvCBIE
	case rv64.CBOZERO:
		enable = rv64.EnvCBZE
	}
	return (h.Priv == rv64.MachineMode || h.Menvcfg&enable != 0) &&
		(h.Priv != rv64.User || h.Senvcfg&enable != 0)
}

// zeroBlock is a store of zeros to the whole block. False: it trapped.
func (h *Hart) zeroBlock(va uint64) bool {
	first := va &^ (BlockSize - 1)
	if e := &h.WriteTLB[first>>mem.PageShift&tlbMask]; e.Tag == first&^pageMask|h.DataContext {
		h.clearBlock(first + e.Delta)
		return true
	}
	m, fault, ok := h.walk(first, h.DataContext, accessStore)
	if ok && !h.ram.Contains(m.gpa, BlockSize) {
		fault, ok = rv64.StoreAccessFault, false
	}
	if !ok {
		h.trap(fault, va)
		return false
	}
	h.commit(&m)
	h.beforeWrite(&m, first, BlockSize)
	off := uint64(m.gpa - mem.Base)
	h.clearBlock(h.window.Origin() + off)
	h.wrote(off, BlockSize)
	return true
}

// clearBlock zeroes the block at an address of the window.
func (h *Hart) clearBlock(at uint64) {
	for i := uint64(0); i < BlockSize; i += 8 {
		h.window.Put64(at+i, 0)
	}
}
