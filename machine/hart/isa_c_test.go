package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Unprivileged specification, chapter 27: a compressed instruction does what
// its expansion does, and is two bytes long.
func TestRV64C(t *testing.T) {
	type code = func(p *asm.Program)
	for _, r := range []struct {
		name       string
		short, all code
	}{
		{"c.addi4spn", func(p *asm.Program) { p.CADDI4SPN(asm.A0, 1020) }, func(p *asm.Program) { p.ADDI(asm.A0, asm.SP, 1020) }},
		{"c.lw", func(p *asm.Program) { p.CLW(asm.A0, 124, asm.S1) }, func(p *asm.Program) { p.LW(asm.A0, 124, asm.S1) }},
		{"c.ld", func(p *asm.Program) { p.CLD(asm.A0, 248, asm.S1) }, func(p *asm.Program) { p.LD(asm.A0, 248, asm.S1) }},
		{"c.fld", func(p *asm.Program) { p.CFLD(asm.FA0, 248, asm.S1) }, func(p *asm.Program) { p.FLD(asm.FA0, 248, asm.S1) }},
		{"c.sw", func(p *asm.Program) { p.CSW(asm.A5, 64, asm.S1) }, func(p *asm.Program) { p.SW(asm.A5, 64, asm.S1) }},
		{"c.sd", func(p *asm.Program) { p.CSD(asm.A5, 64, asm.S1) }, func(p *asm.Program) { p.SD(asm.A5, 64, asm.S1) }},
		{"c.fsd", func(p *asm.Program) { p.CFSD(asm.FA5, 8, asm.S1) }, func(p *asm.Program) { p.FSD(asm.FA5, 8, asm.S1) }},
		{"c.nop", func(p *asm.Program) { p.CNOP() }, func(p *asm.Program) { p.NOP() }},
		{"c.addi", func(p *asm.Program) { p.CADDI(asm.T6, -32) }, func(p *asm.Program) { p.ADDI(asm.T6, asm.T6, -32) }},
		{"c.addiw", func(p *asm.Program) { p.CADDIW(asm.T6, 31) }, func(p *asm.Program) { p.ADDIW(asm.T6, asm.T6, 31) }},
		{"c.addiw 0 sign-extends", func(p *asm.Program) { p.CADDIW(asm.T6, 0) }, func(p *asm.Program) { p.ADDIW(asm.T6, asm.T6, 0) }},
		{"c.li", func(p *asm.Program) { p.CLI(asm.T6, -1) }, func(p *asm.Program) { p.ADDI(asm.T6, asm.Zero, -1) }},
		{"c.addi16sp", func(p *asm.Program) { p.CADDI16SP(-512) }, func(p *asm.Program) { p.ADDI(asm.SP, asm.SP, -512) }},
		{"c.lui", func(p *asm.Program) { p.CLUI(asm.T6, -32) }, func(p *asm.Program) { p.LUI(asm.T6, -32) }},
		{"c.srli", func(p *asm.Program) { p.CSRLI(asm.A5, 63) }, func(p *asm.Program) { p.SRLI(asm.A5, asm.A5, 63) }},
		{"c.srai", func(p *asm.Program) { p.CSRAI(asm.A5, 33) }, func(p *asm.Program) { p.SRAI(asm.A5, asm.A5, 33) }},
		{"c.andi", func(p *asm.Program) { p.CANDI(asm.A5, -17) }, func(p *asm.Program) { p.ANDI(asm.A5, asm.A5, -17) }},
		{"c.sub", func(p *asm.Program) { p.CSUB(asm.A5, asm.S1) }, func(p *asm.Program) { p.SUB(asm.A5, asm.A5, asm.S1) }},
		{"c.xor", func(p *asm.Program) { p.CXOR(asm.A5, asm.S1) }, func(p *asm.Program) { p.XOR(asm.A5, asm.A5, asm.S1) }},
		{"c.or", func(p *asm.Program) { p.COR(asm.A5, asm.S1) }, func(p *asm.Program) { p.OR(asm.A5, asm.A5, asm.S1) }},
		{"c.and", func(p *asm.Program) { p.CAND(asm.A5, asm.S1) }, func(p *asm.Program) { p.AND(asm.A5, asm.A5, asm.S1) }},
		{"c.subw", func(p *asm.Program) { p.CSUBW(asm.A5, asm.S1) }, func(p *asm.Program) { p.SUBW(asm.A5, asm.A5, asm.S1) }},
		{"c.addw", func(p *asm.Program) { p.CADDW(asm.A5, asm.S1) }, func(p *asm.Program) { p.ADDW(asm.A5, asm.A5, asm.S1) }},
		{"c.slli", func(p *asm.Program) { p.CSLLI(asm.T6, 63) }, func(p *asm.Program) { p.SLLI(asm.T6, asm.T6, 63) }},
		{"c.fldsp", func(p *asm.Program) { p.CFLDSP(asm.FT11, 504) }, func(p *asm.Program) { p.FLD(asm.FT11, 504, asm.SP) }},
		{"c.lwsp", func(p *asm.Program) { p.CLWSP(asm.T6, 252) }, func(p *asm.Program) { p.LW(asm.T6, 252, asm.SP) }},
		{"c.ldsp", func(p *asm.Program) { p.CLDSP(asm.T6, 504) }, func(p *asm.Program) { p.LD(asm.T6, 504, asm.SP) }},
		{"c.fsdsp", func(p *asm.Program) { p.CFSDSP(asm.FT11, 504) }, func(p *asm.Program) { p.FSD(asm.FT11, 504, asm.SP) }},
		{"c.swsp", func(p *asm.Program) { p.CSWSP(asm.T6, 252) }, func(p *asm.Program) { p.SW(asm.T6, 252, asm.SP) }},
		{"c.sdsp", func(p *asm.Program) { p.CSDSP(asm.T6, 504) }, func(p *asm.Program) { p.SD(asm.T6, 504, asm.SP) }},
		{"c.mv", func(p *asm.Program) { p.CMV(asm.T6, asm.A5) }, func(p *asm.Program) { p.MV(asm.T6, asm.A5) }},
		{"c.add", func(p *asm.Program) { p.CADD(asm.T6, asm.A5) }, func(p *asm.Program) { p.ADD(asm.T6, asm.T6, asm.A5) }},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			run := func(c code) *world {
				w := isaWorld(opt, c)
				for i := range 32 {
					if i > 0 {
						w.X[i] = 0x9234567890abcdef * uint64(i)
					}
					w.F[i] = 0x8edcba9876543210 * uint64(i)
				}
				w.X[asm.SP], w.X[asm.S1] = isaData, isaData+0x800
				for i := range uint64(0x1000 / 8) {
					w.store64(isaData+8*i, 0x8182838485868788*i)
				}
				w.steps(t, 1)
				return w
			}
			short, all := run(r.short), run(r.all)
			if short.PC != base+2 || all.PC != base+4 {
				t.Errorf("PC %#x and %#x (cause %d)", short.PC, all.PC, short.trapped())
			}
			if short.X != all.X || short.F != all.F {
				t.Errorf("registers differ:\n%x\n%x", short.X, all.X)
			}
			for i := range uint64(0x1000 / 8) {
				if at := isaData + 8*i; short.load64(at) != all.load64(at) {
					t.Errorf("memory differs at %#x: %#x, %#x", at, short.load64(at), all.load64(at))
				}
			}
		})
	}
}

func TestRV64CJumps(t *testing.T) {
	const to = base + 0x100
	for _, r := range []struct {
		name     string
		code     func(p *asm.Program)
		a5       uint64
		pc, link uint64
	}{
		{"c.j", func(p *asm.Program) { p.CJ("x"); p.Space(0xfe); p.Label("x") }, 0, to, 1},
		{"c.jr", func(p *asm.Program) { p.CJR(asm.A5) }, to + 1, to, 1},
		{"c.jalr", func(p *asm.Program) { p.CJALR(asm.A5) }, to, to, base + 2},
		{"c.beqz taken", func(p *asm.Program) { p.CBEQZ(asm.A5, "x"); p.Space(0xfc); p.Label("x") }, 0, base + 0xfe, 1},
		{"c.beqz not taken", func(p *asm.Program) { p.CBEQZ(asm.A5, "x"); p.Space(0xfc); p.Label("x") }, 1 << 40, base + 2, 1},
		{"c.bnez taken", func(p *asm.Program) { p.CBNEZ(asm.A5, "x"); p.Space(0xfc); p.Label("x") }, 1 << 40, base + 0xfe, 1},
		{"c.bnez not taken", func(p *asm.Program) { p.CBNEZ(asm.A5, "x"); p.Space(0xfc); p.Label("x") }, 0, base + 2, 1},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.X[asm.RA], w.X[asm.A5] = 1, r.a5
			w.steps(t, 1)
			if w.PC != r.pc || w.X[asm.RA] != r.link {
				t.Errorf("PC %#x, ra %#x; want %#x, %#x", w.PC, w.X[asm.RA], r.pc, r.link)
			}
		})
	}
}

// Reserved encodings trap, hints do nothing.
func TestRV64CReserved(t *testing.T) {
	for _, r := range []struct {
		name  string
		raw   uint16
		cause rv64.Cause
		tval  uint64
	}{
		{"all zeros", 0x0000, rv64.IllegalInstruction, 0},
		{"c.addi4spn 0", 0x0008, rv64.IllegalInstruction, 0x0008},
		{"quadrant 0, funct3 4", 0x8000, rv64.IllegalInstruction, 0x8000},
		{"c.addiw x0", 0x2005, rv64.IllegalInstruction, 0x2005},
		{"c.addi16sp 0", 0x6101, rv64.IllegalInstruction, 0x6101},
		{"c.lui 0", 0x6281, rv64.IllegalInstruction, 0x6281},
		{"c.subw's neighbour", 0x9c41, rv64.IllegalInstruction, 0x9c41},
		{"c.lwsp x0", 0x4002, rv64.IllegalInstruction, 0x4002},
		{"c.ldsp x0", 0x6002, rv64.IllegalInstruction, 0x6002},
		{"c.jr x0", 0x8002, rv64.IllegalInstruction, 0x8002},
		{"c.ebreak", 0x9002, rv64.Breakpoint, base},
		{"hint: c.nop 1", 0x0005, noTrap, 0},
		{"hint: c.addi a0, 0", 0x0501, noTrap, 0},
		{"hint: c.li x0", 0x4005, noTrap, 0},
		{"hint: c.lui x0", 0x6005, noTrap, 0},
		{"hint: c.mv x0", 0x802a, noTrap, 0},
		{"hint: c.add x0", 0x902a, noTrap, 0},
		{"hint: c.slli x0", 0x0006, noTrap, 0},
		{"hint: c.slli a0, 0", 0x0502, noTrap, 0},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { p.Raw16(r.raw) })
			w.X[asm.SP], w.X[asm.A0] = isaData, 42
			before := w.X
			w.steps(t, 1)
			if w.trapped() != r.cause || r.cause != noTrap && w.Mtval != r.tval || w.X != before {
				t.Errorf("cause %d, mtval %#x; want %d, %#x", w.trapped(), w.Mtval, r.cause, r.tval)
			}
		})
	}
}
