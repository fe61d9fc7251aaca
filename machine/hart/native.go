package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Native translates blocks into code of the host and runs it. Translated code
// works on Core alone. What it cannot do by itself it leaves for: it stores the
// number of a Site and returns, and the hart does the rest.
type Native interface {
	// Translate makes code of a block. False: there is no room left before a
	// Reset.
	Translate(s *Source) bool
	// Link makes the jump of a SiteLink lead to another block's entry.
	Link(patch, entry uint64)
	// Redirect makes an entry lead to another, which takes its place.
	Redirect(from, to uint64)
	// Enter runs translated code from entry until it leaves.
	Enter(c *Core, entry uint64)
	// Miss is code that leaves at SiteMiss with the target in State.PC.
	Miss() uint64
	// Reset forgets all code.
	Reset()
}

// Source is a block to be translated, and what came of it.
type Source struct {
	Insts []rv64.Inst
	Start uint64 // offset of the block in its page
	Bytes uint64 // its length
	// Second is the number of the code that must be found in the next page; 0
	// for most blocks, which lie in one page.
	Second uint64
	// Far has a bit for each access that does not stay in one page for long.
	Far uint64
	// First is the number of the first site; Sites are appended.
	First uint32
	Sites []Site
	Entry uint64
}

// A Site is a place where translated code leaves.
type Site struct {
	Kind  SiteKind
	Index uint8  // instruction of the block
	To    uint16 // of a SiteLink: offset in the page of the target
	// Resume is where code goes on behind a SiteStep, and what Link patches.
	Resume uint64
	block  *block
}

// SiteKind says what is left to do.
type SiteKind uint8

const (
	// SiteMiss: State.PC is the next block, which Jumps does not lead to.
	SiteMiss SiteKind = iota
	// SiteBudget: Budget does not cover the block at State.PC.
	SiteBudget
	// SiteLink: the next block lies in the same page.
	SiteLink
	// SiteStep: one instruction in the middle of the block.
	SiteStep
	// SiteFloat: an operation of F or D while Float is 0. Code does not go on
	// behind it, for it takes Float to stay as it was.
	SiteFloat
	// SiteFar: an access that Near was wrong about too often.
	SiteFar
	// SiteEnd: the last instruction of the block, which no translated code does.
	SiteEnd
)

// maxStay is how many attempts translated code makes at most before it leaves:
// the garbage collector waits for it.
const maxStay = 1 << 16

// An access may be wrong about its page nearPatience times in patience attempts.
const (
	patience     = 1 << 20
	nearPatience = 256
)

// never is the heat of blocks that are not translated.
const never = 1<<31 - 1

// translate makes native code of a block that has become hot.
func (h *Hart) translate(b *block) {
	if h.opt.Native == nil || !b.lasting {
		b.heat = never
		return
	}
	s := Source{Insts: b.insts, Start: b.start, Bytes: b.size, Second: b.second, Far: b.far, First: uint32(len(h.sites)), Sites: h.sites}
	if !h.opt.Native.Translate(&s) {
		h.dropCode()
		return
	}
	for i := int(s.First); i < len(s.Sites); i++ {
		s.Sites[i].block = b
	}
	h.sites = s.Sites
	if b.native != 0 {
		h.opt.Native.Redirect(b.native, s.Entry)
	}
	b.native = s.Entry
}

// dropNative forgets translated code. No block that has any may be found again.
func (h *Hart) dropNative() {
	if h.opt.Native == nil {
		return
	}
	h.opt.Native.Reset()
	h.sites = append(h.sites[:0], Site{Kind: SiteMiss})
	h.nativeGeneration++
}

// execNative executes translated blocks, beginning with b at PC, up to limit at
// most. State is exact afterwards.
func (h *Hart) execNative(b *block, limit machine.Icount) {
	h.leave = false
	limit = min(limit, h.Icount+maxStay)
	h.Page = h.PC &^ pageMask
	h.Budget = int64(limit - h.Icount)
	entry := b.native
	h.enterFloat()
	h.Pending = h.mip() & h.Mie
	if h.Icount >= h.patient {
		h.patient = h.Icount + patience
		for i := range h.NearPatience {
			h.NearPatience[i] = nearPatience
		}
	}
	for {
		h.opt.Native.Enter(&h.Core, entry)
		h.leaveFloat()
		h.Icount = limit - machine.Icount(h.Budget)
		s := &h.sites[h.Site]
		switch s.Kind {
		case SiteMiss:
			if h.Budget == 0 {
				return // the fetch would be one attempt too many if it trapped
			}
			b = h.lookup()
			if b == nil || b.native == 0 {
				return
			}
			h.Jumps[h.PC>>1&jumpMask].Native = b.native
			h.Page = h.PC &^ pageMask
			entry = b.native
		case SiteLink:
			h.PC = h.Page + uint64(s.To)
			if h.Budget == 0 {
				return
			}
			// A look-up that forgets all code finds a block without any.
			b = h.lookup()
			if b == nil || b.native == 0 {
				return
			}
			h.opt.Native.Link(s.Resume, b.native)
			entry = b.native
		case SiteStep, SiteFloat, SiteFar:
			pc := h.Page + s.block.start
			in := &s.block.insts[s.Index]
			i := h.Icount - machine.Icount(s.block.length) + machine.Icount(s.Index)
			entry = s.Resume
			if !h.step(in, pc, i) {
				return
			}
			if s.Kind == SiteFar {
				generation := h.nativeGeneration
				s.block.far |= 1 << s.Index
				h.translate(s.block)
				if h.nativeGeneration != generation {
					h.at(in, pc, i)
					h.retire(in)
					return
				}
			}
			if s.Kind == SiteFloat {
				h.at(in, pc, i)
				h.retire(in)
				return
			}
		case SiteEnd:
			pc := h.Page + s.block.start
			in := &s.block.insts[s.Index]
			if in.Op >= rv64.CSRRW && in.Op <= rv64.CSRRCI {
				h.csr(in, pc, h.Icount-1)
			} else {
				h.system(in, pc, h.Icount-1)
			}
			h.Budget = int64(limit - h.Icount)
			if h.attention || h.Budget == 0 {
				return
			}
			b = h.lookup()
			if b == nil || b.native == 0 {
				return
			}
			h.leave = false
			h.Page = h.PC &^ pageMask
			h.Pending = h.mip() & h.Mie
			h.enterFloat()
			entry = b.native
		default: // SiteBudget
			return
		}
	}
}

// entryOf is where a jump to a block leads.
func (h *Hart) entryOf(b *block) uint64 {
	if b.native == 0 {
		return h.miss
	}
	return b.native
}

// enterFloat prepares the host's floating-point unit: rounding as frm says,
// exceptions masked, flags clear. Operations run there only while FS is dirty
// and the rounding mode is one that the host has.
func (h *Hart) enterFloat() {
	h.Float = 0
	if h.Mstatus&rv64.StatusFS == rv64.StatusFS && h.Frm < 4 {
		h.Float = 1
		h.MXCSR = 0x1f80 | [4]uint32{0, 3, 1, 2}[h.Frm]<<13
	}
}

// leaveFloat accrues the flags that the host's unit has raised.
func (h *Hart) leaveFloat() {
	if h.Float == 0 {
		return
	}
	h.Fflags |= h.FlagsOf[h.MXCSR&0x3f]
	h.MXCSR &^= 0x3f
}

// flagsOf are IE, DE, ZE, OE, UE and PE of MXCSR as NV, DZ, OF, UF and NX.
// RISC-V has no flag for operands that are subnormal, which DE is.
func flagsOf() (out [64]uint8) {
	for f := range uint8(64) {
		out[f] = f&1<<4 | f>>2&1<<3 | f>>3&1<<2 | f>>4&1<<1 | f>>5&1
	}
	return out
}
