package hart

import (
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

const (
	tlbSize = 2048
	tlbMask = tlbSize - 1
	// maxSpaces is how many address spaces the tags of TLB entries can tell
	// apart before all are forgotten.
	maxSpaces = 1 << 9

	pageMask = mem.PageSize - 1
)

// A tlbEntry maps one page of 4 KiB for one kind of access. Its tag is the
// page's address with the translation context in the low twelve bits; 0 is no
// entry. Adding delta to a virtual address gives the offset in RAM.
type tlbEntry struct {
	tag   uint64
	delta uint64
}

// A fetchEntry is the same for instructions.
type fetchEntry struct {
	tag  uint64
	page *codePage
}

// tlb holds translations and all that is needed to forget exactly those that
// a store to a page table changes.
type tlb struct {
	read  [tlbSize]tlbEntry
	write [tlbSize]tlbEntry
	fetch [tlbSize]fetchEntry
	// tables has, per page of RAM, what is known of it as a page table.
	tables []*tablePage
	// spaces numbers the root page tables seen, by satp without ASID.
	spaces map[uint64]uint64
	root   uint64 // the newest, whose number is space
	space  uint64
}

// A translation context is the part of the state that decides, beside the page
// tables and PMP, what an access may do: address space, then three bits.
const (
	contextMXR   = 1
	contextSUM   = 2
	contextUser  = 4
	contextShift = 3
	// contextBare is the context of M, without translation, and contextLower
	// that of lower modes without it: PMP tells them apart. Their space is 1,
	// so that no tag is 0; those of page tables follow.
	contextBare  = 1 << contextShift
	contextLower = contextBare | contextUser
	contextFirst = 2 << contextShift
)

// refreshContext works out the contexts of fetches and of data accesses. It
// follows every change of Priv, mstatus or satp.
func (h *Hart) refreshContext() {
	h.fetchContext = h.contextOf(h.Priv)
	priv := h.Priv
	if priv == rv64.MachineMode && h.Mstatus&rv64.StatusMPRV != 0 {
		priv = h.mpp()
	}
	h.dataContext = h.contextOf(priv)
	if h.dataContext >= contextFirst {
		if h.Mstatus&rv64.StatusSUM != 0 {
			h.dataContext |= contextSUM
		}
		if h.Mstatus&rv64.StatusMXR != 0 {
			h.dataContext |= contextMXR
		}
	}
	h.fetchKey = h.fetchGeneration<<12 | h.fetchContext
}

func (h *Hart) contextOf(priv uint8) uint64 {
	if priv == rv64.MachineMode {
		return contextBare
	}
	if h.Satp>>60 == satpBare {
		return contextLower
	}
	if root := h.Satp &^ satpASID; root != h.tlb.root {
		h.tlb.root, h.tlb.space = root, h.spaceOf(root)
	}
	c := h.tlb.space << contextShift
	if priv == rv64.User {
		c |= contextUser
	}
	return c
}

func (h *Hart) spaceOf(root uint64) uint64 {
	if s, ok := h.tlb.spaces[root]; ok {
		return s
	}
	if len(h.tlb.spaces) == maxSpaces-2 {
		h.dropTranslations()
		clear(h.tlb.spaces)
	}
	s := uint64(len(h.tlb.spaces)) + 2
	h.tlb.spaces[root] = s
	return s
}

// dropTranslations forgets every translation. What is known of page tables
// may stay: it only says where a store might change something.
func (h *Hart) dropTranslations() {
	clear(h.tlb.read[:])
	clear(h.tlb.write[:])
	clear(h.tlb.fetch[:])
	h.dropJumps()
}

// dropJumps forgets which block lies at which virtual address.
func (h *Hart) dropJumps() {
	h.fetchGeneration++
	h.fetchKey = h.fetchGeneration<<12 | h.fetchContext
	h.leave = true
}

// dropRange forgets the translations of the 2^bits bytes around va, in every
// context.
func (h *Hart) dropRange(va uint64, bits uint) {
	first, n := va>>mem.PageShift, uint64(1)<<(bits-mem.PageShift)
	if n > tlbSize {
		clear(h.tlb.read[:])
		clear(h.tlb.write[:])
		clear(h.tlb.fetch[:])
		return
	}
	va >>= bits
	for i := first; i < first+n; i++ {
		if e := &h.tlb.read[i&tlbMask]; e.tag>>bits == va {
			e.tag = 0
		}
		if e := &h.tlb.write[i&tlbMask]; e.tag>>bits == va {
			e.tag = 0
		}
		if e := &h.tlb.fetch[i&tlbMask]; e.tag>>bits == va {
			e.tag = 0
		}
	}
}

// watch flags a page and drops the write entries that lead to it, so that
// stores to it leave the fast path.
func (h *Hart) watch(page uint64, f mem.Flag) {
	had := h.ram.PageFlags(page)
	h.ram.SetFlags(page, f)
	if had&mem.WriteEntry == 0 {
		return
	}
	h.ram.ClearFlags(page, mem.WriteEntry)
	for i := range h.tlb.write {
		e := &h.tlb.write[i]
		if e.tag != 0 && (e.tag&^uint64(pageMask)+e.delta)>>mem.PageShift == page {
			e.tag = 0
		}
	}
}

// AllWatched implements mem.Watcher.
func (h *Hart) AllWatched() { clear(h.tlb.write[:]) }
