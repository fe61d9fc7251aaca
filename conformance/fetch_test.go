package conformance

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Where the pieces of code lie in each page of fetch. Two of them run over the
// border into the next page, whichever that is.
const (
	pieceShort  = 4092 // two bytes, then the instruction that crosses
	pieceCross  = 4094
	pieceWithin = 0x102
	pieceTrap   = 0x200
	pieceData   = 0x300
)

// fetchedPages draws the pages. A four-byte instruction lies over each border;
// its halves are those of any ALU operation with an immediate, so that any
// first half goes with any second. Each piece returns to RA, and a fault
// returns there too.
func (r *random) fetchedPages() []byte {
	out := make([]byte, fetchSize)
	link := func() asm.Reg { // not RA
		for {
			if x := r.temp(); x != asm.RA {
				return x
			}
		}
	}
	for at := 0; at < fetchSize; at += 4096 {
		put := func(off int, f func(p *asm.Program)) {
			p := asm.New(0)
			f(p)
			p.CJR(asm.RA)
			copy(out[at+off:at+4096], p.Bytes())
		}
		rd, rs1, half := link(), uint16(r.Uint32())&1, uint16(r.Uint32())
		put(0, func(p *asm.Program) { p.Raw16(half) })
		put(pieceWithin, func(p *asm.Program) { p.XORI(link(), r.src(), r.imm()) })
		put(pieceTrap, func(p *asm.Program) {
			switch r.IntN(3) {
			case 0:
				p.EBREAK()
			case 1:
				p.CEBREAK()
			default:
				p.Raw32(0xffffffff)
			}
		})
		put(pieceData, func(p *asm.Program) { p.LW(link(), int64(r.IntN(512)*4-1024)+1024, asm.S10) })
		put(pieceShort, func(p *asm.Program) { p.CADDI(link(), int64(1+r.IntN(31))) })
		first := choose[uint16](r, 0, 2, 3, 4, 6, 7)<<12 | rs1<<15 | uint16(rd)<<7 | 0x13
		binary.LittleEndian.PutUint16(out[at+pieceCross:], first)
	}
	return out
}

// fetched jumps into a page of fetch.
func fetched(r *random, g *program) item {
	t, low := r.temp(), int64(r.IntN(2))
	page, piece := uint64(r.IntN(fetchPages)), choose[uint64](r, pieceCross, pieceCross, pieceShort, pieceWithin, pieceTrap, pieceData)
	return item{name: "fetch", emit: func(c *scope) {
		to := fetchVA + page<<12 + piece
		if !g.translated || g.mode == modeM {
			to = c.slot + fetch + page%4<<12 + piece
			if page%4 == 3 && piece >= pieceShort {
				to -= 1 << 12 // nothing follows the last page
			}
		}
		c.LI(t, int64(to))
		c.JALR(asm.RA, low, t)
	}}
}
