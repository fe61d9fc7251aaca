package conformance

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// A final is the end state of one slot.
type final []byte

func (s final) at(off int) uint64 { return binary.LittleEndian.Uint64(s[off:]) }

// normalize takes out of a slot what the specification leaves open.
func (g *program) normalize(slot final) {
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(slot[off:], v) }
	for i := 0; i < saveSlot; i += 8 {
		put(saveM+i, 0)
		put(saveS+i, 0)
	}
	for i := range min(slot.at(outTraps), maxTraps) {
		e := trapLog + 32*int(i)
		if slot.isAMO(slot.at(e + 8)) {
			put(e, amoCause(slot.at(e)))
			put(e+16, slot.at(e+16)&^7)
		}
		if slot.isBlockOp(slot.at(e + 8)) {
			put(e+16, slot.at(e+16)&^63)
		}
		put(e+16, tval(slot.at(e), slot.at(e+16)))
		if g.translated && g.mode == modeM { // MPRV
			put(e+16, slot.at(e+16)&^7)
		}
	}
	for off := pageTables; g.translated && off < pageTables+0x3000; off += 8 {
		put(off, slot.at(off)&^uint64(g.looseBits(slot.at(off))))
	}
	for i, csr := range csrsOut {
		at := outCSRs + 8*i
		switch csr {
		case asm.SSTATUS:
			put(at, slot.at(at)&(1<<18|1<<19|0x122)) // SUM, MXR, SPP, SPIE, SIE
		case asm.MIDELEG, asm.MIE, asm.MIP:
			put(at, slot.at(at)&0x222)
		case asm.MEDELEG:
			put(at, slot.at(at)&0xb0ff)
		}
	}
}

// instruction is the one at epc, or 0 where that is none of the program's.
func (s final) instruction(epc uint64) uint32 {
	off := epc & (slotSize - 1)
	if off < code || off > slotSize-4 {
		return 0
	}
	return binary.LittleEndian.Uint32(s[off:])
}

// isAMO says whether an AMO or SC lies at epc.
func (s final) isAMO(epc uint64) bool {
	insn := s.instruction(epc)
	return insn&0x7f == 0x2f && insn>>27 != 2
}

// isBlockOp says whether an operation on a cache block lies at epc.
func (s final) isBlockOp(epc uint64) bool { return s.instruction(epc)&0x707f == 0x200f }

// amoCause is xcause of an AMO, but one value for all its faults other than
// misalignment: QEMU 7 gives those of loads, and QEMU looks for memory before
// it looks at the permission to write.
func amoCause(cause uint64) uint64 {
	switch cause {
	case 4:
		return 6
	case 5, 7, 13:
		return 15
	}
	return cause
}

// looseBits are the bits of a page-table entry that may differ: A where an AMO
// may have failed for want of W, and A and D where an access over a page border
// may have failed at its second page.
func (g *program) looseBits(pte uint64) int64 {
	switch {
	case g.crossing:
		return pteA | pteD
	case pte&pteW == 0 && pte&(pteR|pteX) != 0:
		return pteA
	}
	return 0
}

// tval is xtval where it is the same on every implementation.
func tval(cause, v uint64) uint64 {
	switch cause {
	case 2, 3: // illegal instruction, breakpoint
		return 0
	case 5, 7: // QEMU splits misaligned accesses to what is not RAM
		return v &^ 7
	}
	return v
}

// difference describes the first differences of two final states; "" if they
// are the same.
func (g *program) difference(ours, theirs final) string {
	g.normalize(ours)
	g.normalize(theirs)
	var out strings.Builder
	n := 0
	for off := 0; off < slotSize && n < 12; off += 8 {
		if a, b := ours.at(off), theirs.at(off); a != b {
			fmt.Fprintf(&out, "%-24s ours %016x  qemu %016x\n", place(off), a, b)
			n++
		}
	}
	return out.String()
}

// place names an offset in a slot.
func place(off int) string {
	switch {
	case off >= outX && off < outX+256:
		return fmt.Sprintf("x%d", (off-outX)/8)
	case off >= outF && off < outF+256:
		return fmt.Sprintf("f%d", (off-outF)/8)
	case off >= outCSRs && off < outCSRs+8*len(csrsOut):
		return fmt.Sprintf("csr %#03x", uint16(csrsOut[(off-outCSRs)/8]))
	case off == outTraps:
		return "number of traps"
	case off >= trapLog && off < trapLog+32*maxTraps:
		return fmt.Sprintf("trap %d %s", (off-trapLog)/32, [...]string{"cause", "epc", "tval", "status"}[off%32/8])
	case off >= pageTables && off < pageTables+0x3000:
		return fmt.Sprintf("page table %d entry %d", (off-pageTables)>>12, off&0xfff/8)
	case off >= window && off < code:
		return fmt.Sprintf("window + %#x", off-window)
	}
	return fmt.Sprintf("slot + %#x", off)
}
