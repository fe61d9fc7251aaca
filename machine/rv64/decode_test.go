package rv64_test

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// one is the decoding of the one instruction that f assembles.
func one(f func(p *asm.Program)) rv64.Inst {
	p := asm.New(0)
	f(p)
	b := append(p.Bytes(), 0, 0)
	return rv64.Decode(binary.LittleEndian.Uint32(b))
}

// Every pattern has a meaning, with operands in range and the length that its
// low bits tell.
func TestEveryPatternDecodes(t *testing.T) {
	check := func(raw uint32) {
		in := rv64.Decode(raw)
		if in.Len != rv64.Length(uint16(raw)) || in.Op > rv64.FCLASSD {
			t.Fatalf("%#x decodes to %+v", raw, in)
		}
		if in.Rd > 31 || in.Rs1 > 31 || in.Rs2 > 31 || in.Rs3 > 31 {
			t.Fatalf("%#x decodes to %+v", raw, in)
		}
		if writesOnly := in.Op >= rv64.LUI && in.Op <= rv64.AND || in.Op >= rv64.MUL && in.Op <= rv64.REMUW; writesOnly && in.Rd == 0 {
			t.Fatalf("%#x writes x0: %+v", raw, in)
		}
	}
	for raw := range uint32(1 << 16) {
		check(raw)
	}
	rapid.Check(t, func(t *rapid.T) { check(rapid.Uint32().Draw(t, "raw") | 3) })
}

func TestOperands(t *testing.T) {
	for _, c := range []struct {
		f    func(p *asm.Program)
		want rv64.Inst
	}{
		{func(p *asm.Program) { p.ADDI(asm.A0, asm.A1, -5) }, rv64.Inst{Op: rv64.ADDI, Rd: 10, Rs1: 11, Imm: -5}},
		{func(p *asm.Program) { p.SD(asm.A0, -2048, asm.SP) }, rv64.Inst{Op: rv64.SD, Rs1: 2, Rs2: 10, Imm: -2048}},
		{func(p *asm.Program) { p.LD(asm.A0, 2047, asm.SP) }, rv64.Inst{Op: rv64.LD, Rd: 10, Rs1: 2, Imm: 2047}},
		{func(p *asm.Program) { p.LUI(asm.A0, -1) }, rv64.Inst{Op: rv64.LI, Rd: 10, Imm: -4096}},
		{func(p *asm.Program) { p.SRAI(asm.A0, asm.A1, 63) }, rv64.Inst{Op: rv64.SRAI, Rd: 10, Rs1: 11, Imm: 63}},
		{func(p *asm.Program) { p.CSDSP(asm.S11, 504) }, rv64.Inst{Op: rv64.SD, Rs1: 2, Rs2: 27, Imm: 504}},
		{func(p *asm.Program) { p.CLWSP(asm.T6, 252) }, rv64.Inst{Op: rv64.LW, Rd: 31, Rs1: 2, Imm: 252}},
		{func(p *asm.Program) { p.CADDI16SP(-512) }, rv64.Inst{Op: rv64.ADDI, Rd: 2, Rs1: 2, Imm: -512}},
		{func(p *asm.Program) { p.CADDI4SPN(asm.A5, 1020) }, rv64.Inst{Op: rv64.ADDI, Rd: 15, Rs1: 2, Imm: 1020}},
		{func(p *asm.Program) { p.CLUI(asm.A0, -32) }, rv64.Inst{Op: rv64.LI, Rd: 10, Imm: -32 << 12}},
		{func(p *asm.Program) { p.CMV(asm.A0, asm.T6) }, rv64.Inst{Op: rv64.MV, Rd: 10, Rs1: 31}},
		{func(p *asm.Program) { p.CJALR(asm.T0) }, rv64.Inst{Op: rv64.JALR, Rd: 1, Rs1: 5}},
		{func(p *asm.Program) { p.CEBREAK() }, rv64.Inst{Op: rv64.EBREAK}},
		{func(p *asm.Program) { p.RORI(asm.A0, asm.A1, 33) }, rv64.Inst{Op: rv64.RORI, Rd: 10, Rs1: 11, Imm: 33}},
		{func(p *asm.Program) { p.SLLIUW(asm.A0, asm.A1, 33) }, rv64.Inst{Op: rv64.SLLIUW, Rd: 10, Rs1: 11, Imm: 33}},
	} {
		got := one(c.f)
		rs2 := got.Rs2
		if got.Op < rv64.SB || got.Op > rv64.SD {
			rs2 = 0 // bits of an immediate, of no use
		}
		if got.Op != c.want.Op || got.Rd != c.want.Rd && c.want.Op != rv64.SD || got.Imm != c.want.Imm ||
			rs2 != c.want.Rs2 || c.want.Op != rv64.LI && got.Rs1 != c.want.Rs1 {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}

// Branches reach both ways, in both lengths.
func TestDistances(t *testing.T) {
	for _, d := range []int{-4096, -256, -2, 2, 254, 4094} {
		got := one(func(p *asm.Program) {
			p.Raw32(uint32(d)>>12&1<<31 | uint32(d)>>5&63<<25 | uint32(d)>>1&15<<8 | uint32(d)>>11&1<<7 | 0x63)
		})
		if got.Op != rv64.BEQ || got.Imm != int32(d) {
			t.Errorf("%+v, want a distance of %d", got, d)
		}
	}
}

// Reserved encodings of the base are illegal.
func TestReserved(t *testing.T) {
	for _, raw := range []uint32{
		0, 0xffffffff, 0x0000, 0x8002 /* c.jr x0 */, 0x6001 | 5<<7 /* c.lui 0 */, 0x2001, /* c.addiw x0 */
		0x4002 /* c.lwsp x0 */, 0x9c41 /* reserved c.arith */, 0x00002063 /* branch 2 */, 0x00007003, /* load 7 */
		0x00004023 /* store 4 */, 0x02001013 | 1<<31 /* slli with junk */, 0x1010202f, /* lr with rs2 */
		0x003da00f /* cbo 3 */, 0x005da00f /* cbo 5 */, 0x000da08f /* cbo.inval with rd */, 0x0000300f, /* misc-mem 3 */
		0x16b500f3 /* sinval.vma with rd */, 0x18200073 /* sfence.inval 2 */, 0x00d080f3 /* wrs.nto with operands */, 0x02d00073, /* wrs 2 */
		0x0f3fd53b /* czero in 32 bits */, 0x0f3fe533, /* between the two of Zicond */
		0x00005053 /* fadd.s, rounding mode 5 */, 0x04000053, /* half precision */
	} {
		if in := rv64.Decode(raw); in.Op != rv64.ILLEGAL {
			t.Errorf("%#x decodes to %+v", raw, in)
		}
	}
}

// What only writes x0 does nothing; a prefetch (Zicbop) is among it.
func TestHints(t *testing.T) {
	for name, f := range map[string]func(p *asm.Program){
		"add":        func(p *asm.Program) { p.ADD(asm.Zero, asm.A0, asm.A1) },
		"sh1add":     func(p *asm.Program) { p.SH1ADD(asm.Zero, asm.A0, asm.A1) },
		"rori":       func(p *asm.Program) { p.RORI(asm.Zero, asm.A0, 1) },
		"czero.eqz":  func(p *asm.Program) { p.CZEROEQZ(asm.Zero, asm.A0, asm.A1) },
		"prefetch.i": func(p *asm.Program) { p.ORI(asm.Zero, asm.A0, 0x20) },
		"prefetch.w": func(p *asm.Program) { p.ORI(asm.Zero, asm.A0, 0x23) },
	} {
		if in := one(f); in.Op != rv64.NOP {
			t.Errorf("%s to x0 decodes to %+v", name, in)
		}
	}
}
