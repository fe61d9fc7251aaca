package hart

import (
	"math/bits"
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Physical memory protection (privileged spec 3.7). There are 16 entries whose
// granularity is a page (G is 10), so that a translation of a page may carry
// the result of the check: whatever changes an entry drops all translations.

const (
	pmpEntries = 16
	// pmpAddrMask: the bits of pmpaddr that are kept. Those below G-1 are
	// fixed by the mode when they are read.
	pmpAddrMask = (1<<54 - 1) &^ pmpFine
	pmpFine     = 1<<9 - 1 // bits G-2 to 0, ones in NAPOT mode
	pmpGrain    = 10       // bits G-1 to 0 are zeros in the other modes
	pmpCfgMask  = rv64.PMPR | rv64.PMPW | rv64.PMPX | rv64.PMPA | rv64.PMPL
)

// A span is a range of physical pages under one rule: what S and U may do and
// what M may do, in the bits R, W and X of pmpcfg.
type span struct {
	first, end   uint64
	lower, upper uint8
}

// protection is the registers of PMP in a form that is quick to ask. It
// derives from State.
type protection struct {
	cfg   [pmpEntries]uint8
	addr  [pmpEntries]uint64
	spans []span // ascending, all pages
	last  int    // the span that was asked for last
}

// OpenPMP lets supervisor and user mode reach every address, as firmware does
// that protects nothing. Without it nothing below machine mode can run: the
// reset state denies all.
func (h *Hart) OpenPMP() {
	h.Pmpcfg = [pmpEntries]uint8{rv64.PMPR | rv64.PMPW | rv64.PMPX | rv64.PMPNAPOT}
	h.Pmpaddr = [pmpEntries]uint64{pmpAddrMask}
	h.refreshPMP()
}

// refreshPMP follows every change of the registers of PMP.
func (h *Hart) refreshPMP() {
	p := &h.pmp
	if p.cfg == h.Pmpcfg && p.addr == h.Pmpaddr && p.spans != nil {
		return
	}
	p.cfg, p.addr = h.Pmpcfg, h.Pmpaddr
	p.build()
	h.dropTranslations()
}

// lastPage is one more than any physical page, even of an address that is not
// translated and has all of its 64 bits.
const lastPage = 1 << (64 - mem.PageShift)

func (p *protection) build() {
	edges := []uint64{0, lastPage}
	for i := range p.cfg {
		if first, end := p.region(i); first < end {
			edges = append(edges, first, end)
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	p.spans, p.last = p.spans[:0], 0
	for i, first := range edges[:len(edges)-1] {
		s := p.rule(first)
		s.first, s.end = first, edges[i+1]
		if n := len(p.spans); n > 0 && p.spans[n-1].lower == s.lower && p.spans[n-1].upper == s.upper {
			p.spans[n-1].end = s.end
			continue
		}
		p.spans = append(p.spans, s)
	}
}

// region is the pages that entry i matches, none if first is not below end.
func (p *protection) region(i int) (first, end uint64) {
	switch p.cfg[i] & rv64.PMPA {
	case rv64.PMPTOR:
		if i > 0 {
			first = p.addr[i-1] >> pmpGrain
		}
		return first, p.addr[i] >> pmpGrain
	case rv64.PMPNAPOT:
		ones := bits.TrailingZeros64(^(p.addr[i] | pmpFine))
		return p.addr[i] >> (ones + 1) << (ones + 1) >> pmpGrain, (p.addr[i]>>(ones+1) + 1) << (ones + 1) >> pmpGrain
	}
	return 0, 0
}

// rule is that of the first entry that matches a page. Where none does, M may
// do everything and nobody else anything.
func (p *protection) rule(page uint64) span {
	const all = rv64.PMPR | rv64.PMPW | rv64.PMPX
	for i, cfg := range p.cfg {
		if first, end := p.region(i); page < first || page >= end {
			continue
		}
		s := span{lower: cfg & all, upper: all}
		if cfg&rv64.PMPL != 0 {
			s.upper = s.lower
		}
		return s
	}
	return span{upper: all}
}

// allows says whether an access of the bits need may be made to a page, by M
// (upper) or in a lower mode. An access across pages is two.
func (p *protection) allows(gpa machine.GPA, upper bool, need uint8) bool {
	page := uint64(gpa) >> mem.PageShift
	s := &p.spans[p.last]
	if page < s.first || page >= s.end {
		s = p.find(page)
	}
	if upper {
		return s.upper&need != 0
	}
	return s.lower&need != 0
}

func (p *protection) find(page uint64) *span {
	for i := range p.spans {
		if page < p.spans[i].end {
			p.last = i
			return &p.spans[i]
		}
	}
	panic("hart: BUG: the rules of PMP do not cover a page")
}

// readPMP is false for what is no register of PMP. Entries from 16 on do not
// exist: theirs are zero.
func (h *Hart) readPMP(c rv64.CSR) (v uint64, ok bool) {
	switch {
	case c == rv64.PMPCFG0 || c == rv64.PMPCFG2:
		for i := range 8 {
			v |= uint64(h.Pmpcfg[int(c-rv64.PMPCFG0)*4+i]) << (8 * i)
		}
		return v, true
	case c >= rv64.PMPADDR0 && c < rv64.PMPADDR0+pmpEntries:
		i := c - rv64.PMPADDR0
		if h.Pmpcfg[i]&rv64.PMPA == rv64.PMPNAPOT {
			return h.Pmpaddr[i] | pmpFine, true
		}
		return h.Pmpaddr[i] >> pmpGrain << pmpGrain, true
	case c > rv64.PMPCFG0 && c <= rv64.PMPCFG15:
		return 0, c&1 == 0 // odd ones exist for RV32 only
	}
	return 0, c >= rv64.PMPADDR0 && c <= rv64.PMPADDR63
}

func (h *Hart) writePMP(c rv64.CSR, v uint64) {
	switch {
	case c == rv64.PMPCFG0 || c == rv64.PMPCFG2:
		for i := range 8 {
			cfg := &h.Pmpcfg[int(c-rv64.PMPCFG0)*4+i]
			if *cfg&rv64.PMPL == 0 {
				*cfg = legalPMP(uint8(v >> (8 * i)))
			}
		}
	case c >= rv64.PMPADDR0 && c < rv64.PMPADDR0+pmpEntries:
		if i := int(c - rv64.PMPADDR0); !h.pmpAddrLocked(i) {
			h.Pmpaddr[i] = v & pmpAddrMask
		}
	}
	h.refreshPMP()
}

// legalPMP makes a pmpcfg byte legal: the reserved W without R loses W, and
// the mode NA4, which is too fine, becomes OFF.
func legalPMP(cfg uint8) uint8 {
	cfg &= pmpCfgMask
	if cfg&rv64.PMPR == 0 {
		cfg &^= rv64.PMPW
	}
	if cfg&rv64.PMPA == rv64.PMPNA4 {
		cfg &^= rv64.PMPA
	}
	return cfg
}

// pmpAddrLocked: by its own entry or as the bottom of the next one's range.
func (h *Hart) pmpAddrLocked(i int) bool {
	if h.Pmpcfg[i]&rv64.PMPL != 0 {
		return true
	}
	return i+1 < pmpEntries && h.Pmpcfg[i+1]&(rv64.PMPL|rv64.PMPA) == rv64.PMPL|rv64.PMPTOR
}
