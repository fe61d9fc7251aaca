package hart

import "github.com/lockstep-vm/lockstep/machine"

const (
	superBits = 21 // of an address inside a superpage of the lowest level
	superMask = 1<<superBits - 1
	superSize = 64 // entries for each kind of access
)

// A superpage maps 2 MiB that lie in one leaf above the lowest level, for loads
// or fetches: their pages come into the TLBs without a walk. There is none for
// stores, which would cover pages that must be watched.
type superpage struct {
	tag uint64 // as TLBEntry's
	gpa machine.GPA
}

// superpages has them by kind of access: fetches and loads.
type superpages [2][superSize]superpage

// inSuperpage finds va in a superpage. False: it must be walked for.
func (h *Hart) inSuperpage(va, context uint64, a access) (machine.GPA, bool) {
	e := &h.tlb.super[a][va>>superBits&(superSize-1)]
	if e.tag != va&^superMask|context {
		return 0, false
	}
	gpa := e.gpa + machine.GPA(va&superMask)
	return gpa, h.pmp.allows(gpa, false, a.need())
}

// keepSuperpage notes the leaf of a walk if it is a superpage.
func (h *Hart) keepSuperpage(m *mapping, va, context uint64, a access) {
	if m.level > 0 {
		h.tlb.super[a][va>>superBits&(superSize-1)] = superpage{va&^superMask | context, m.gpa &^ superMask}
	}
}

// dropSuperpages forgets those in or around the 2^bits bytes at va.
func (h *Hart) dropSuperpages(va uint64, bits uint) {
	for a := range h.tlb.super {
		s := &h.tlb.super[a]
		if bits <= superBits {
			s[va>>superBits&(superSize-1)].tag = 0
			continue
		}
		for i := range s {
			if s[i].tag>>bits == va>>bits {
				s[i].tag = 0
			}
		}
	}
}
