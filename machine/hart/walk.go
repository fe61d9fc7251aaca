package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// An access is what a translation is for.
type access uint8

const (
	accessFetch access = iota
	accessLoad
	accessStore
)

func (a access) pageFault() rv64.Cause {
	return [3]rv64.Cause{rv64.InstructionPageFault, rv64.LoadPageFault, rv64.StorePageFault}[a]
}

func (a access) accessFault() rv64.Cause {
	return [3]rv64.Cause{rv64.InstructionAccessFault, rv64.LoadAccessFault, rv64.StoreAccessFault}[a]
}

// need is what PMP must grant. An AMO is a store: W never comes without R.
func (a access) need() uint8 {
	return [3]uint8{rv64.PMPX, rv64.PMPR, rv64.PMPW}[a]
}

// Modes and fields of satp (privileged spec 12.1.11).
const (
	satpBare = 0
	satpSv39 = 8
	satpSv57 = 10
	satpASID = 0xffff << 44
	satpPPN  = 1<<44 - 1
)

// Bits of a page-table entry (privileged spec 12.4).
const (
	pteV = 1 << 0
	pteR = 1 << 1
	pteW = 1 << 2
	pteX = 1 << 3
	pteU = 1 << 4
	pteA = 1 << 6
	pteD = 1 << 7

	ptePPNShift = 10
	pteReserved = 0x3ff << 54
)

// A mapping is the result of a page walk that permits the access.
type mapping struct {
	gpa machine.GPA
	// depth is how many entries the walk went through: 0 without translation.
	depth uint8
	level uint8     // of the leaf
	ptes  [5]uint64 // offsets in RAM, from the root down
	set   uint64    // A and D bits that the access is yet to set
}

// walk translates va in a context (privileged spec 12.3.2) and asks PMP, for
// an access within one page. It changes nothing: A and D are set by commit,
// once the access is known to succeed.
//
// Page tables are read and written as S does, whatever the mode of the access.
func (h *Hart) walk(va, context uint64, a access) (m mapping, fault rv64.Cause, ok bool) {
	if context < ContextFirst {
		m.gpa = machine.GPA(va)
		return m, a.accessFault(), h.pmp.allows(m.gpa, context == contextBare, a.need())
	}
	level := uint8(h.Satp>>60-satpSv39) + 2 // of the root
	if unused := 64 - slotBits(level) - 9; int64(va)<<unused>>unused != int64(va) {
		return m, a.pageFault(), false
	}
	table := machine.GPA(h.Satp & satpPPN << mem.PageShift)
	for ; ; level-- {
		at := table + machine.GPA(va>>slotBits(level)&511<<3)
		if !h.ram.Contains(at, 8) || !h.pmp.allows(at, false, rv64.PMPR) {
			return m, a.accessFault(), false
		}
		m.ptes[m.depth] = uint64(at - mem.Base)
		pte := h.ram.At64(m.ptes[m.depth])
		m.depth++
		if pte&pteV == 0 || pte&(pteR|pteW) == pteW || pte&pteReserved != 0 {
			return m, a.pageFault(), false
		}
		table = machine.GPA(pte >> ptePPNShift & satpPPN << mem.PageShift)
		if pte&(pteR|pteX) != 0 {
			inside := uint64(1)<<slotBits(level) - 1
			if uint64(table)&inside != 0 || !permitted(pte, context, a) {
				return m, a.pageFault(), false
			}
			m.level = level
			m.gpa = table + machine.GPA(va&inside)
			m.set = pteA &^ pte
			if a == accessStore {
				m.set = (pteA | pteD) &^ pte
			}
			if m.set != 0 {
				// No cached translation derives from ADUE: there is one only
				// where nothing is left to set.
				if h.Menvcfg&rv64.EnvADUE == 0 {
					return m, a.pageFault(), false
				}
				if !h.pmp.allows(at, false, rv64.PMPW) {
					return m, a.accessFault(), false
				}
			}
			return m, a.accessFault(), h.pmp.allows(m.gpa, false, a.need())
		}
		if level == 0 || pte&(pteU|pteA|pteD) != 0 {
			return m, a.pageFault(), false
		}
	}
}

func permitted(pte, context uint64, a access) bool {
	user := context&ContextUser != 0
	if (pte&pteU != 0) != user {
		// Supervisor mode may touch user pages as data while SUM is set.
		if user || a == accessFetch || context&ContextSUM == 0 {
			return false
		}
	}
	switch a {
	case accessFetch:
		return pte&pteX != 0
	case accessLoad:
		return pte&pteR != 0 || pte&pteX != 0 && context&ContextMXR != 0
	default:
		return pte&pteW != 0
	}
}

// commit sets the A and D bits of a mapping, as an ordinary store does. No
// translation derives from those bits being clear, so none is dropped.
func (h *Hart) commit(m *mapping) {
	if m.set == 0 {
		return
	}
	pte := m.ptes[m.depth-1]
	h.committing = true
	h.ram.Touch(pte, 8)
	h.committing = false
	h.ram.Put64(pte, h.ram.At64(pte)|m.set)
}

// derivesFrom notes what a translation that is about to be cached derives from.
func (h *Hart) derivesFrom(m *mapping, va uint64, a access) {
	for i := range m.depth {
		h.derive(m.ptes[i], va, m.level+m.depth-1-i, a == accessFetch)
	}
}

// Written implements mem.Watcher.
func (h *Hart) Written(off, n uint64) {
	page := off >> mem.PageShift
	if t := h.tlb.tables[page]; t != nil && !h.committing {
		h.tableWritten(t, off, n)
	}
	if c := h.code.pages[page]; c != nil {
		h.codeWritten(c, page, off, n)
	}
}

// DMA implements mem.Watcher: a device's write to reserved bytes breaks the
// reservation (unprivileged spec, Zalrsc).
func (h *Hart) DMA(off, n uint64) {
	at := uint64(h.Reservation - mem.Base)
	if h.Reserved && off < at+8 && at < off+n {
		h.Reserved = false
	}
}
