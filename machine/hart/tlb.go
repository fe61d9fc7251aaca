package hart

import (
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

const (
	// maxSpaces is how many address spaces the tags of TLB entries can tell
	// apart before all are forgotten.
	maxSpaces = 1 << 9

	pageMask = mem.PageSize - 1
)

// tlb holds, beside the translations in Core, all that is needed to forget exactly those that
// a store to a page table changes.
type tlb struct {
	// code has the pages of the entries in FetchTLB.
	code [TLBSize]*codePage
	// tables has, per page of RAM, what is known of it as a page table.
	tables []*tablePage
	super  superpages
	// spaces numbers the root page tables seen, by satp without ASID.
	spaces map[uint64]uint64
	root   uint64 // the newest, whose number is space
	space  uint64
}

// A translation context is the part of the state that decides, beside the page
// tables and PMP, what an access may do: address space, then three bits.
const (
	// ContextMXR, ContextSUM and ContextUser are the three bits.
	ContextMXR   = 1
	ContextSUM   = 2
	ContextUser  = 4
	contextShift = 3
	// contextBare is the context of M, without translation, and contextLower
	// that of lower modes without it: PMP tells them apart. Their space is 1,
	// so that no tag is 0; those of page tables follow.
	contextBare  = 1 << contextShift
	contextLower = contextBare | ContextUser
	// ContextFirst is the first context in which page tables translate.
	ContextFirst = 2 << contextShift
)

// refreshContext works out the contexts of fetches and of data accesses. It
// follows every change of Priv, mstatus or satp.
func (h *Hart) refreshContext() {
	h.FetchContext = h.contextOf(h.Priv)
	h.FetchHash = h.FetchContext >> contextShift * 0x9d3 & tlbMask << fetchShift
	priv := h.Priv
	if priv == rv64.MachineMode && h.Mstatus&rv64.StatusMPRV != 0 {
		priv = h.mpp()
	}
	h.DataContext = h.contextOf(priv)
	if h.DataContext >= ContextFirst {
		if h.Mstatus&rv64.StatusSUM != 0 {
			h.DataContext |= ContextSUM
		}
		if h.Mstatus&rv64.StatusMXR != 0 {
			h.DataContext |= ContextMXR
		}
	}
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
		c |= ContextUser
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
	clear(h.ReadTLB[:])
	clear(h.WriteTLB[:])
	clear(h.FetchTLB[:])
	h.tlb.super = superpages{}
	h.dropNear()
	h.leave = true
}

// dropRange forgets the translations of the 2^bits bytes around va, in every
// context; those of fetches only if there may be any.
func (h *Hart) dropRange(va uint64, bits uint, fetches bool) {
	h.dropNear()
	h.dropSuperpages(va, bits)
	if fetches {
		for i := range h.FetchTLB {
			if e := &h.FetchTLB[i]; e.Tag>>bits == va>>bits {
				e.Tag = 0
			}
		}
	}
	first, n := va>>mem.PageShift, uint64(1)<<(bits-mem.PageShift)
	if n > TLBSize {
		clear(h.ReadTLB[:])
		clear(h.WriteTLB[:])
		return
	}
	va >>= bits
	for i := first; i < first+n; i++ {
		if e := &h.ReadTLB[i&tlbMask]; e.Tag>>bits == va {
			e.Tag = 0
		}
		if e := &h.WriteTLB[i&tlbMask]; e.Tag>>bits == va {
			e.Tag = 0
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
	h.dropNear()
	for i := range h.WriteTLB {
		e := &h.WriteTLB[i]
		if e.Tag != 0 && h.offset(e)>>mem.PageShift == page {
			e.Tag = 0
		}
	}
}

// AllWatched implements mem.Watcher.
func (h *Hart) AllWatched() {
	clear(h.WriteTLB[:])
	h.dropNear()
}

// dropNear forgets the entries of places in translated code.
func (h *Hart) dropNear() {
	if h.NearUsed != 0 {
		h.NearUsed = 0
		clear(h.Near[:])
	}
}
