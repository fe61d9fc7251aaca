package hart

import (
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// bitManip executes Zba, Zbb, Zbs and Zicond.
func (h *Hart) bitManip(in *rv64.Inst) {
	b := h.X[in.Rs2&31]
	if in.Op >= rv64.SLLIUW {
		b = uint64(in.Imm)
	}
	h.setX(in.Rd, bitManip(in.Op, h.X[in.Rs1&31], b))
}

func bitManip(op rv64.Op, a, b uint64) uint64 {
	switch op {
	case rv64.ADDUW:
		return b + uint64(uint32(a))
	case rv64.SH1ADD:
		return b + a<<1
	case rv64.SH2ADD:
		return b + a<<2
	case rv64.SH3ADD:
		return b + a<<3
	case rv64.SH1ADDUW:
		return b + uint64(uint32(a))<<1
	case rv64.SH2ADDUW:
		return b + uint64(uint32(a))<<2
	case rv64.SH3ADDUW:
		return b + uint64(uint32(a))<<3
	case rv64.SLLIUW:
		return uint64(uint32(a)) << (b & 63)
	case rv64.ANDN:
		return a &^ b
	case rv64.ORN:
		return a | ^b
	case rv64.XNOR:
		return ^(a ^ b)
	case rv64.MIN:
		return uint64(min(int64(a), int64(b)))
	case rv64.MINU:
		return min(a, b)
	case rv64.MAX:
		return uint64(max(int64(a), int64(b)))
	case rv64.MAXU:
		return max(a, b)
	case rv64.ROL:
		return bits.RotateLeft64(a, int(b&63))
	case rv64.ROR, rv64.RORI:
		return bits.RotateLeft64(a, -int(b&63))
	case rv64.ROLW:
		return uint64(int32(bits.RotateLeft32(uint32(a), int(b&31))))
	case rv64.RORW, rv64.RORIW:
		return uint64(int32(bits.RotateLeft32(uint32(a), -int(b&31))))
	case rv64.BCLR, rv64.BCLRI:
		return a &^ (1 << (b & 63))
	case rv64.BEXT, rv64.BEXTI:
		return a >> (b & 63) & 1
	case rv64.BINV, rv64.BINVI:
		return a ^ 1<<(b&63)
	case rv64.BSET, rv64.BSETI:
		return a | 1<<(b&63)
	case rv64.CZEROEQZ:
		if b == 0 {
			return 0
		}
		return a
	case rv64.CZERONEZ:
		if b != 0 {
			return 0
		}
		return a
	}
	return bitUnary(op, a)
}

func bitUnary(op rv64.Op, a uint64) uint64 {
	switch op {
	case rv64.CLZ:
		return uint64(bits.LeadingZeros64(a))
	case rv64.CTZ:
		return uint64(bits.TrailingZeros64(a))
	case rv64.CPOP:
		return uint64(bits.OnesCount64(a))
	case rv64.CLZW:
		return uint64(bits.LeadingZeros32(uint32(a)))
	case rv64.CTZW:
		return uint64(bits.TrailingZeros32(uint32(a)))
	case rv64.CPOPW:
		return uint64(bits.OnesCount32(uint32(a)))
	case rv64.SEXTB:
		return uint64(int8(a))
	case rv64.SEXTH:
		return uint64(int16(a))
	case rv64.ZEXTH:
		return uint64(uint16(a))
	case rv64.REV8:
		return bits.ReverseBytes64(a)
	case rv64.ORCB:
		// The top bit of a byte of t is set if the byte of a is not zero.
		const low7 = 0x7f7f_7f7f_7f7f_7f7f
		t := (a&low7 + low7 | a) &^ low7
		return t >> 7 * 0xff
	}
	panic("hart: BUG: not an operation of Zba, Zbb, Zbs or Zicond")
}
