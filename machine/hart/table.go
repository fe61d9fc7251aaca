package hart

import (
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine/mem"
)

// A tablePage is what is known of a page of RAM that page walks went through:
// which of its 512 slots cached translations derive from, and which addresses
// those slots map.
type tablePage struct {
	used  [8]uint64 // slots
	fetch [8]uint64 // slots that translations of fetches derive from
	// base is the first address that slot 0 maps and level the level of
	// the table, unless mixed: then the page serves in more than one place,
	// and a change drops everything.
	base  uint64
	level uint8
	mixed bool
}

// slotBits is the number of address bits below those that index a table of the level.
func slotBits(level uint8) uint { return uint(mem.PageShift + 9*level) }

// tableBase is the first address that the table containing va at level maps.
func tableBase(va uint64, level uint8) uint64 { return va &^ (1<<(slotBits(level)+9) - 1) }

// derive notes that a cached translation of va derives from the entry at
// offset pte in RAM.
func (h *Hart) derive(pte, va uint64, level uint8, fetch bool) {
	page := pte >> mem.PageShift
	t := h.tlb.tables[page]
	if t == nil {
		t = &tablePage{base: tableBase(va, level), level: level}
		h.tlb.tables[page] = t
		h.watch(page, mem.IsPageTable)
	} else if t.base != tableBase(va, level) || t.level != level {
		t.mixed = true
	}
	slot := pte & pageMask >> 3
	t.used[slot>>6] |= 1 << (slot & 63)
	if fetch {
		t.fetch[slot>>6] |= 1 << (slot & 63)
	}
}

// tableWritten drops what derives from the entries in n bytes at offset off,
// within one page.
func (h *Hart) tableWritten(t *tablePage, off, n uint64) {
	first, last := off&pageMask>>3, (off+n-1)&pageMask>>3
	for word := first >> 6; word <= last>>6; word++ {
		mask := ^uint64(0)
		if word == first>>6 {
			mask <<= first & 63
		}
		if word == last>>6 {
			mask &= ^uint64(0) >> (63 - last&63)
		}
		hit := t.used[word] & mask
		if hit == 0 {
			continue
		}
		t.used[word] &^= hit
		fetches := t.fetch[word] & hit
		t.fetch[word] &^= hit
		if fetches != 0 {
			h.leave = true
		}
		for ; hit != 0; hit &= hit - 1 {
			bit := uint64(bits.TrailingZeros64(hit))
			h.dropSlot(t, word<<6|bit, fetches>>bit&1 != 0)
		}
	}
	if t.used == ([8]uint64{}) {
		page := off >> mem.PageShift
		h.tlb.tables[page] = nil
		h.ram.ClearFlags(page, mem.IsPageTable)
	}
}

func (h *Hart) dropSlot(t *tablePage, slot uint64, fetches bool) {
	if t.mixed {
		h.dropTranslations()
		return
	}
	h.dropRange(t.base+slot<<slotBits(t.level), slotBits(t.level), fetches)
}
