package hart_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Bits of a result, spelled out one by one as the unprivileged spec does.
func eachBit(n int, f func(i int) bool) (v uint64) {
	for i := range n {
		if f(i) {
			v |= 1 << i
		}
	}
	return v
}

func count(n int, f func(i int) bool) (v uint64) {
	for i := range n {
		if !f(i) {
			break
		}
		v++
	}
	return v
}

func extend32(v uint64) uint64 { return uint64(int32(v)) }

var bitManipCases = []struct {
	name string
	insn func(p *asm.Program, rd, rs1, rs2 asm.Reg)
	want func(a, b uint64) uint64
}{
	{"add.uw", (*asm.Program).ADDUW, func(a, b uint64) uint64 { return a&0xffffffff + b }},
	{"sh1add", (*asm.Program).SH1ADD, func(a, b uint64) uint64 { return a*2 + b }},
	{"sh2add", (*asm.Program).SH2ADD, func(a, b uint64) uint64 { return a*4 + b }},
	{"sh3add", (*asm.Program).SH3ADD, func(a, b uint64) uint64 { return a*8 + b }},
	{"sh1add.uw", (*asm.Program).SH1ADDUW, func(a, b uint64) uint64 { return a&0xffffffff*2 + b }},
	{"sh2add.uw", (*asm.Program).SH2ADDUW, func(a, b uint64) uint64 { return a&0xffffffff*4 + b }},
	{"sh3add.uw", (*asm.Program).SH3ADDUW, func(a, b uint64) uint64 { return a&0xffffffff*8 + b }},
	{"andn", (*asm.Program).ANDN, func(a, b uint64) uint64 { return eachBit(64, func(i int) bool { return a>>i&1 == 1 && b>>i&1 == 0 }) }},
	{"orn", (*asm.Program).ORN, func(a, b uint64) uint64 { return eachBit(64, func(i int) bool { return a>>i&1 == 1 || b>>i&1 == 0 }) }},
	{"xnor", (*asm.Program).XNOR, func(a, b uint64) uint64 { return eachBit(64, func(i int) bool { return a>>i&1 == b>>i&1 }) }},
	{"min", (*asm.Program).MIN, func(a, b uint64) uint64 {
		if int64(a) < int64(b) {
			return a
		}
		return b
	}},
	{"maxu", (*asm.Program).MAXU, func(a, b uint64) uint64 {
		if a > b {
			return a
		}
		return b
	}},
	{"minu", (*asm.Program).MINU, func(a, b uint64) uint64 {
		if a < b {
			return a
		}
		return b
	}},
	{"max", (*asm.Program).MAX, func(a, b uint64) uint64 {
		if int64(a) > int64(b) {
			return a
		}
		return b
	}},
	{"rol", (*asm.Program).ROL, func(a, b uint64) uint64 { return a<<(b&63) | a>>(-b&63) }},
	{"ror", (*asm.Program).ROR, func(a, b uint64) uint64 { return a>>(b&63) | a<<(-b&63) }},
	{"rolw", (*asm.Program).ROLW, func(a, b uint64) uint64 {
		return extend32(uint64(uint32(a)<<(b&31) | uint32(a)>>(-b&31)))
	}},
	{"rorw", (*asm.Program).RORW, func(a, b uint64) uint64 {
		return extend32(uint64(uint32(a)>>(b&31) | uint32(a)<<(-b&31)))
	}},
	{"bclr", (*asm.Program).BCLR, func(a, b uint64) uint64 {
		return eachBit(64, func(i int) bool { return a>>i&1 == 1 && uint64(i) != b&63 })
	}},
	{"bset", (*asm.Program).BSET, func(a, b uint64) uint64 {
		return eachBit(64, func(i int) bool { return a>>i&1 == 1 || uint64(i) == b&63 })
	}},
	{"binv", (*asm.Program).BINV, func(a, b uint64) uint64 {
		return eachBit(64, func(i int) bool { return a>>i&1 == 1 != (uint64(i) == b&63) })
	}},
	{"bext", (*asm.Program).BEXT, func(a, b uint64) uint64 { return a >> (b & 63) & 1 }},
	{"czero.eqz", (*asm.Program).CZEROEQZ, func(a, b uint64) uint64 { return eachBit(64, func(i int) bool { return a>>i&1 == 1 && b != 0 }) }},
	{"czero.nez", (*asm.Program).CZERONEZ, func(a, b uint64) uint64 { return eachBit(64, func(i int) bool { return a>>i&1 == 1 && b == 0 }) }},
	{"clz", unary((*asm.Program).CLZ), func(a, _ uint64) uint64 { return count(64, func(i int) bool { return a>>(63-i)&1 == 0 }) }},
	{"ctz", unary((*asm.Program).CTZ), func(a, _ uint64) uint64 { return count(64, func(i int) bool { return a>>i&1 == 0 }) }},
	{"clzw", unary((*asm.Program).CLZW), func(a, _ uint64) uint64 { return count(32, func(i int) bool { return a>>(31-i)&1 == 0 }) }},
	{"ctzw", unary((*asm.Program).CTZW), func(a, _ uint64) uint64 { return count(32, func(i int) bool { return a>>i&1 == 0 }) }},
	{"cpop", unary((*asm.Program).CPOP), func(a, _ uint64) (n uint64) {
		for ; a != 0; a >>= 1 {
			n += a & 1
		}
		return n
	}},
	{"cpopw", unary((*asm.Program).CPOPW), func(a, _ uint64) (n uint64) {
		for a &= 0xffffffff; a != 0; a >>= 1 {
			n += a & 1
		}
		return n
	}},
	{"sext.b", unary((*asm.Program).SEXTB), func(a, _ uint64) uint64 { return uint64(int64(a<<56) >> 56) }},
	{"sext.h", unary((*asm.Program).SEXTH), func(a, _ uint64) uint64 { return uint64(int64(a<<48) >> 48) }},
	{"zext.h", unary((*asm.Program).ZEXTH), func(a, _ uint64) uint64 { return a & 0xffff }},
	{"orc.b", unary((*asm.Program).ORCB), func(a, _ uint64) uint64 {
		return eachBit(64, func(i int) bool { return a>>(i&^7)&0xff != 0 })
	}},
	{"rev8", unary((*asm.Program).REV8), func(a, _ uint64) uint64 {
		return eachBit(64, func(i int) bool { return a>>((7-i/8)*8+i%8)&1 == 1 })
	}},
	{"rori", immediate((*asm.Program).RORI, 37), func(a, _ uint64) uint64 { return a>>37 | a<<27 }},
	{"roriw", immediate((*asm.Program).RORIW, 5), func(a, _ uint64) uint64 { return extend32(uint64(uint32(a)>>5 | uint32(a)<<27)) }},
	{"slli.uw", immediate((*asm.Program).SLLIUW, 37), func(a, _ uint64) uint64 { return a & 0xffffffff << 37 }},
	{"bclri", immediate((*asm.Program).BCLRI, 63), func(a, _ uint64) uint64 { return a << 1 >> 1 }},
	{"bseti", immediate((*asm.Program).BSETI, 63), func(a, _ uint64) uint64 { return a | 1<<63 }},
	{"binvi", immediate((*asm.Program).BINVI, 33), func(a, _ uint64) uint64 { return a ^ 1<<33 }},
	{"bexti", immediate((*asm.Program).BEXTI, 33), func(a, _ uint64) uint64 { return a >> 33 & 1 }},
}

func unary(f func(p *asm.Program, rd, rs1 asm.Reg)) func(p *asm.Program, rd, rs1, rs2 asm.Reg) {
	return func(p *asm.Program, rd, rs1, _ asm.Reg) { f(p, rd, rs1) }
}

func immediate(f func(p *asm.Program, rd, rs1 asm.Reg, n uint), n uint) func(p *asm.Program, rd, rs1, rs2 asm.Reg) {
	return func(p *asm.Program, rd, rs1, _ asm.Reg) { f(p, rd, rs1, n) }
}

func TestBitManip(t *testing.T) {
	w := newWorld(hart.Options{})
	for i, c := range bitManipCases {
		at := base + uint64(i)*8
		w.put(at, func(p *asm.Program) { c.insn(p, asm.A2, asm.A0, asm.A1) })
		rapid.Check(t, func(t *rapid.T) {
			a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
			if rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
				b = 0
			}
			if rapid.Bool().Draw(t, "sparse") {
				a &= 0xff00_0000_00ff_0000
			}
			w.PC, w.X[asm.A0], w.X[asm.A1] = at, a, b
			w.Run(w.Icount + 1)
			if got, want := w.X[asm.A2], c.want(a, b); got != want || w.PC != at+4 {
				t.Fatalf("%s of %#x, %#x gives %#x, want %#x", c.name, a, b, got, want)
			}
		})
	}
}
