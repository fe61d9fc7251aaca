package hart

import (
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// exec executes blocks until Icount is limit or something asks for attention.
//
// Inside a chain of blocks PC and Icount live in locals: pc is the address of
// the current block and done the position at its start. Whatever may trap,
// reach a device or drop caches is a call that makes State exact first; if it
// returns false, State tells where to go on, and the chain is left.
//
// A block runs whole only if limit leaves room for all of it; otherwise just
// its first instructions do (R4).
func (h *Hart) exec(limit machine.Icount) {
	x, ram := &h.X, h.window
	for !h.attention && h.Icount < limit {
		b := h.lookup()
		if b == nil {
			continue // the fetch has trapped
		}
		if b.heat <= 0 {
			if b.native == 0 {
				h.translate(b)
				continue
			}
			if uint64(limit-h.Icount) >= b.length {
				h.execNative(b, limit)
				continue
			}
		}
		pc, done, context := h.PC, h.Icount, h.DataContext
		h.leave = false
	chain:
		for {
			body := b.body
			room := uint64(limit - done)
			if room < b.length {
				body = b.insts[:room]
			} else if b.heat--; b.heat <= 0 {
				h.PC, h.Icount = pc, done
				break chain
			}
			for i := range body {
				in := &body[i]
				switch in.Op {
				case rv64.NOP, rv64.FENCE, rv64.WRSNTO, rv64.WRSSTO:
				case rv64.LI:
					x[in.Rd&31] = uint64(in.Imm)
				case rv64.MV:
					x[in.Rd&31] = x[in.Rs1&31]
				case rv64.AUIPC:
					x[in.Rd&31] = pc + uint64(in.Imm)
				case rv64.ADDI:
					x[in.Rd&31] = x[in.Rs1&31] + uint64(in.Imm)
				case rv64.SLTI:
					x[in.Rd&31] = bit(int64(x[in.Rs1&31]) < int64(in.Imm))
				case rv64.SLTIU:
					x[in.Rd&31] = bit(x[in.Rs1&31] < uint64(in.Imm))
				case rv64.XORI:
					x[in.Rd&31] = x[in.Rs1&31] ^ uint64(in.Imm)
				case rv64.ORI:
					x[in.Rd&31] = x[in.Rs1&31] | uint64(in.Imm)
				case rv64.ANDI:
					x[in.Rd&31] = x[in.Rs1&31] & uint64(in.Imm)
				case rv64.SLLI:
					x[in.Rd&31] = x[in.Rs1&31] << (uint32(in.Imm) & 63)
				case rv64.SRLI:
					x[in.Rd&31] = x[in.Rs1&31] >> (uint32(in.Imm) & 63)
				case rv64.SRAI:
					x[in.Rd&31] = uint64(int64(x[in.Rs1&31]) >> (uint32(in.Imm) & 63))
				case rv64.ADDIW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) + in.Imm)
				case rv64.SLLIW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) << (uint32(in.Imm) & 31))
				case rv64.SRLIW:
					x[in.Rd&31] = uint64(int32(uint32(x[in.Rs1&31]) >> (uint32(in.Imm) & 31)))
				case rv64.SRAIW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) >> (uint32(in.Imm) & 31))

				case rv64.ADD:
					x[in.Rd&31] = x[in.Rs1&31] + x[in.Rs2&31]
				case rv64.SUB:
					x[in.Rd&31] = x[in.Rs1&31] - x[in.Rs2&31]
				case rv64.SLL:
					x[in.Rd&31] = x[in.Rs1&31] << (x[in.Rs2&31] & 63)
				case rv64.SLT:
					x[in.Rd&31] = bit(int64(x[in.Rs1&31]) < int64(x[in.Rs2&31]))
				case rv64.SLTU:
					x[in.Rd&31] = bit(x[in.Rs1&31] < x[in.Rs2&31])
				case rv64.XOR:
					x[in.Rd&31] = x[in.Rs1&31] ^ x[in.Rs2&31]
				case rv64.SRL:
					x[in.Rd&31] = x[in.Rs1&31] >> (x[in.Rs2&31] & 63)
				case rv64.SRA:
					x[in.Rd&31] = uint64(int64(x[in.Rs1&31]) >> (x[in.Rs2&31] & 63))
				case rv64.OR:
					x[in.Rd&31] = x[in.Rs1&31] | x[in.Rs2&31]
				case rv64.AND:
					x[in.Rd&31] = x[in.Rs1&31] & x[in.Rs2&31]
				case rv64.ADDW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) + int32(x[in.Rs2&31]))
				case rv64.SUBW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) - int32(x[in.Rs2&31]))
				case rv64.SLLW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) << (x[in.Rs2&31] & 31))
				case rv64.SRLW:
					x[in.Rd&31] = uint64(int32(uint32(x[in.Rs1&31]) >> (x[in.Rs2&31] & 31)))
				case rv64.SRAW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) >> (x[in.Rs2&31] & 31))

				// A hit in the TLB is an access within one page: the entry is
				// chosen by the first byte's page and must be that of the last
				// byte's. Writing x0 and clearing it again is cheaper than a test.
				case rv64.LB:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == va&^pageMask|context {
						x[in.Rd&31] = uint64(int8(ram.At8(va + e.Delta)))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LH:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == (va+1)&^pageMask|context {
						x[in.Rd&31] = uint64(int16(ram.At16(va + e.Delta)))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LW:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == (va+3)&^pageMask|context {
						x[in.Rd&31] = uint64(int32(ram.At32(va + e.Delta)))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LD:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == (va+7)&^pageMask|context {
						x[in.Rd&31] = ram.At64(va + e.Delta)
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LBU:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == va&^pageMask|context {
						x[in.Rd&31] = uint64(ram.At8(va + e.Delta))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LHU:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == (va+1)&^pageMask|context {
						x[in.Rd&31] = uint64(ram.At16(va + e.Delta))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.LWU:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.ReadTLB[va>>12&tlbMask]; e.Tag == (va+3)&^pageMask|context {
						x[in.Rd&31] = uint64(ram.At32(va + e.Delta))
						x[0] = 0
					} else if !h.load(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.SB:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.WriteTLB[va>>12&tlbMask]; e.Tag == va&^pageMask|context {
						ram.Put8(va+e.Delta, uint8(x[in.Rs2&31]))
					} else if !h.store(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.SH:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.WriteTLB[va>>12&tlbMask]; e.Tag == (va+1)&^pageMask|context {
						ram.Put16(va+e.Delta, uint16(x[in.Rs2&31]))
					} else if !h.store(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.SW:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.WriteTLB[va>>12&tlbMask]; e.Tag == (va+3)&^pageMask|context {
						ram.Put32(va+e.Delta, uint32(x[in.Rs2&31]))
					} else if !h.store(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.SD:
					va := x[in.Rs1&31] + uint64(in.Imm)
					if e := &h.WriteTLB[va>>12&tlbMask]; e.Tag == (va+7)&^pageMask|context {
						ram.Put64(va+e.Delta, x[in.Rs2&31])
					} else if !h.store(in, va, pc, done+machine.Icount(i)) {
						break chain
					}
				case rv64.FLW, rv64.FLD, rv64.FSW, rv64.FSD:
					if !h.floatMemory(in, pc, done+machine.Icount(i)) {
						break chain
					}

				case rv64.MUL:
					x[in.Rd&31] = x[in.Rs1&31] * x[in.Rs2&31]
				case rv64.MULHU:
					x[in.Rd&31], _ = bits.Mul64(x[in.Rs1&31], x[in.Rs2&31])
				case rv64.MULW:
					x[in.Rd&31] = uint64(int32(x[in.Rs1&31]) * int32(x[in.Rs2&31]))
				default:
					if !h.step(in, pc, done+machine.Icount(i)) {
						break chain
					}
				}
			}
			if room < b.length {
				h.PC, h.Icount = pc+uint64(b.insts[room].Off), limit
				break chain
			}
			done += machine.Icount(b.length)
			from := pc
			target, link := pc+b.size, &b.next
			switch in := &b.end; in.Op {
			case rv64.BEQ:
				if x[in.Rs1&31] == x[in.Rs2&31] {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.BNE:
				if x[in.Rs1&31] != x[in.Rs2&31] {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.BLT:
				if int64(x[in.Rs1&31]) < int64(x[in.Rs2&31]) {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.BGE:
				if int64(x[in.Rs1&31]) >= int64(x[in.Rs2&31]) {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.BLTU:
				if x[in.Rs1&31] < x[in.Rs2&31] {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.BGEU:
				if x[in.Rs1&31] >= x[in.Rs2&31] {
					target, link = pc+uint64(in.Imm), &b.taken
				}
			case rv64.JAL:
				x[in.Rd&31] = target
				x[0] = 0
				target, link = pc+uint64(in.Imm), &b.taken
			case rv64.JALR:
				to := (x[in.Rs1&31] + uint64(in.Imm)) &^ 1
				x[in.Rd&31] = target
				x[0] = 0
				target, link = to, nil

			case rv64.CSRRW, rv64.CSRRS, rv64.CSRRC, rv64.CSRRWI, rv64.CSRRSI, rv64.CSRRCI:
				h.csr(in, pc, done-1)
				break chain
			case rv64.ILLEGAL, rv64.ECALL, rv64.EBREAK, rv64.MRET, rv64.SRET, rv64.WFI:
				h.system(in, pc, done-1)
				break chain
			}
			pc = target
			if link != nil && *link != nil {
				b = *link
				continue
			}
			h.PC, h.Icount = pc, done
			if done == limit {
				break chain
			}
			next := h.lookup()
			if next == nil {
				break chain
			}
			if link != nil && (pc^from)>>12 == 0 && next.second == 0 && next.lasting && b.lasting {
				*link = next
			}
			b = next
		}
	}
}

// lookup returns the block at h.PC. Nil: the fetch trapped.
func (h *Hart) lookup() *block {
	e := &h.FetchTLB[h.fetchIndex(h.PC)]
	if j := &h.Jumps[h.PC>>1&jumpMask]; j.PC == h.PC && j.Code == e.Code && e.Tag == h.PC&^uint64(pageMask)|h.FetchContext && j.block != nil {
		return j.block
	}
	return h.find()
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
