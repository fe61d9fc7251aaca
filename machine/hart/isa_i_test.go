package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

const (
	minInt64 = 1 << 63
	maxInt64 = 1<<63 - 1
	ones     = ^uint64(0)
	minInt32 = 0xffffffff80000000 // sign-extended
)

// Unprivileged specification, chapters 2 and 4: integer computation.
func TestRV64IComputation(t *testing.T) {
	type rrr = func(p *asm.Program, rd, rs1, rs2 asm.Reg)
	for _, r := range []struct {
		name       string
		op         rrr
		a, b, want uint64
	}{
		{"add wraps", (*asm.Program).ADD, ones, 1, 0},
		{"sub wraps", (*asm.Program).SUB, 0, 1, ones},
		{"sll uses six bits", (*asm.Program).SLL, 1, 64 + 63, minInt64},
		{"srl uses six bits", (*asm.Program).SRL, minInt64, 64 + 63, 1},
		{"sra keeps the sign", (*asm.Program).SRA, minInt64, 63, ones},
		{"slt signed", (*asm.Program).SLT, ones, 0, 1},
		{"slt equal", (*asm.Program).SLT, 5, 5, 0},
		{"sltu unsigned", (*asm.Program).SLTU, ones, 0, 0},
		{"sltu below", (*asm.Program).SLTU, 0, ones, 1},
		{"xor", (*asm.Program).XOR, 0xf0f0, 0xff00, 0x0ff0},
		{"or", (*asm.Program).OR, 0xf0f0, 0xff00, 0xfff0},
		{"and", (*asm.Program).AND, 0xf0f0, 0xff00, 0xf000},
		{"addw sign-extends", (*asm.Program).ADDW, 0x7fffffff, 1, minInt32},
		{"addw ignores the upper halves", (*asm.Program).ADDW, 0x5_0000_0001, 0x7_0000_0001, 2},
		{"subw", (*asm.Program).SUBW, 0, 1, ones},
		{"sllw uses five bits", (*asm.Program).SLLW, 1, 32 + 31, minInt32},
		{"srlw is of the lower half", (*asm.Program).SRLW, 0xffffffff_80000000, 31, 1},
		{"srlw by zero sign-extends", (*asm.Program).SRLW, 0x80000000, 32, minInt32},
		{"sraw", (*asm.Program).SRAW, 0x80000000, 31, ones},
	} {
		computes(t, r.name, func(p *asm.Program) { r.op(p, asm.A0, asm.A1, asm.A2) }, r.a, r.b, r.want)
	}
	for _, r := range []struct {
		name    string
		code    func(p *asm.Program)
		a, want uint64
	}{
		{"addi", func(p *asm.Program) { p.ADDI(asm.A0, asm.A1, -2048) }, 2047, ones},
		{"slti", func(p *asm.Program) { p.SLTI(asm.A0, asm.A1, -1) }, minInt64, 1},
		{"sltiu sign-extends, then compares unsigned", func(p *asm.Program) { p.SLTIU(asm.A0, asm.A1, -1) }, maxInt64, 1},
		{"sltiu 1 is seqz", func(p *asm.Program) { p.SLTIU(asm.A0, asm.A1, 1) }, 0, 1},
		{"xori -1 is not", func(p *asm.Program) { p.XORI(asm.A0, asm.A1, -1) }, 0x55, ^uint64(0x55)},
		{"ori", func(p *asm.Program) { p.ORI(asm.A0, asm.A1, -2048) }, 1, ones - 2047 + 1},
		{"andi", func(p *asm.Program) { p.ANDI(asm.A0, asm.A1, 0x7f0) }, ones, 0x7f0},
		{"slli 63", func(p *asm.Program) { p.SLLI(asm.A0, asm.A1, 63) }, 3, minInt64},
		{"srli 32", func(p *asm.Program) { p.SRLI(asm.A0, asm.A1, 32) }, ones, 0xffffffff},
		{"srai 63", func(p *asm.Program) { p.SRAI(asm.A0, asm.A1, 63) }, minInt64, ones},
		{"addiw 0 is sext.w", func(p *asm.Program) { p.ADDIW(asm.A0, asm.A1, 0) }, 0x1_8000_0000, minInt32},
		{"slliw", func(p *asm.Program) { p.SLLIW(asm.A0, asm.A1, 31) }, 3, minInt32},
		{"srliw", func(p *asm.Program) { p.SRLIW(asm.A0, asm.A1, 1) }, ones, 0x7fffffff},
		{"sraiw", func(p *asm.Program) { p.SRAIW(asm.A0, asm.A1, 31) }, 0x80000000, ones},
		{"lui sign-extends", func(p *asm.Program) { p.LUI(asm.A0, 0x80000) }, 0, minInt32},
		{"auipc", func(p *asm.Program) { p.AUIPC(asm.A0, 1) }, 0, base + 0x1000},
		{"auipc backward", func(p *asm.Program) { p.AUIPC(asm.A0, -1) }, 0, base - 0x1000},
		{"x0 stays zero", func(p *asm.Program) { p.ADDI(asm.Zero, asm.A1, 1) }, 7, 0},
		{"fence", func(p *asm.Program) { p.FENCE() }, 0, 0},
		{"fence.i", func(p *asm.Program) { p.FENCEI() }, 0, 0},
	} {
		computes(t, r.name, r.code, r.a, 0, r.want)
	}
}

func TestRV64IBranches(t *testing.T) {
	type branch = func(p *asm.Program, rs1, rs2 asm.Reg, label string)
	for _, r := range []struct {
		name  string
		op    branch
		a, b  uint64
		taken bool
	}{
		{"beq equal", (*asm.Program).BEQ, ones, ones, true},
		{"beq differs above 32 bits", (*asm.Program).BEQ, 1 << 32, 0, false},
		{"bne differs above 32 bits", (*asm.Program).BNE, 1 << 32, 0, true},
		{"bne equal", (*asm.Program).BNE, 3, 3, false},
		{"blt signed", (*asm.Program).BLT, minInt64, maxInt64, true},
		{"blt equal", (*asm.Program).BLT, 1, 1, false},
		{"bge equal", (*asm.Program).BGE, 1, 1, true},
		{"bge signed", (*asm.Program).BGE, ones, 0, false},
		{"bltu unsigned", (*asm.Program).BLTU, minInt64, maxInt64, false},
		{"bltu below", (*asm.Program).BLTU, 0, 1, true},
		{"bgeu unsigned", (*asm.Program).BGEU, ones, 0, true},
		{"bgeu below", (*asm.Program).BGEU, 0, ones, false},
	} {
		for _, distance := range []int{-4094, -2, 6, 4094} {
			eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
				w := isaWorld(opt, func(*asm.Program) {})
				at := base + 0x2000
				p := asm.New(at)
				if distance < 0 {
					p = asm.New(at + uint64(distance))
					p.Label("to")
					p.Space(-distance)
				}
				r.op(p, asm.A1, asm.A2, "to")
				if distance > 0 {
					p.Space(distance - 4)
					p.Label("to")
				}
				start := p.PC() - uint64(len(p.Bytes()))
				w.ram.Write(machine.GPA(start), p.Bytes())
				w.PC = at
				w.X[asm.A1], w.X[asm.A2] = r.a, r.b
				w.steps(t, 1)
				want := at + 4
				if r.taken {
					want = at + uint64(distance)
				}
				if w.PC != want {
					t.Errorf("PC %#x, want %#x", w.PC, want)
				}
			})
		}
	}
}

func TestRV64IJumps(t *testing.T) {
	for _, r := range []struct {
		name     string
		code     func(p *asm.Program)
		a        uint64
		pc, link uint64 // link in A0
	}{
		{"jal", func(p *asm.Program) { p.JAL(asm.A0, "x"); p.Space(100); p.Label("x") }, 0, base + 104, base + 4},
		{"jal to itself", func(p *asm.Program) { p.Label("x"); p.JAL(asm.A0, "x") }, 0, base, base + 4},
		{"j does not link", func(p *asm.Program) { p.J("x"); p.Space(4); p.Label("x") }, 0, base + 8, 0},
		{"jalr clears bit 0", func(p *asm.Program) { p.JALR(asm.A0, 0, asm.A1) }, base + 0x101, base + 0x100, base + 4},
		{"jalr adds before it clears", func(p *asm.Program) { p.JALR(asm.A0, 1, asm.A1) }, base + 0x101, base + 0x102, base + 4},
		{"jalr backward", func(p *asm.Program) { p.JALR(asm.A0, -2048, asm.A1) }, base + 0x1000, base + 0x800, base + 4},
		{"jalr links into its own source", func(p *asm.Program) { p.MV(asm.A0, asm.A1); p.JALR(asm.A0, 8, asm.A0) }, base + 0x200, base + 0x208, base + 8},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.X[asm.A1] = r.a
			w.steps(t, 1)
			if r.name == "jalr links into its own source" {
				w.steps(t, 1)
			}
			if w.PC != r.pc || w.X[asm.A0] != r.link {
				t.Errorf("PC %#x, link %#x; want %#x, %#x", w.PC, w.X[asm.A0], r.pc, r.link)
			}
		})
	}
	// A jump to an address where nothing is does not trap itself: the fetch
	// there does, and epc is the target.
	eachRow(t, "jump to nowhere", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.JALR(asm.RA, 0, asm.A1) })
		w.X[asm.A1] = 0x1000
		w.steps(t, 2)
		if w.trapped() != rv64.InstructionAccessFault || w.Mepc != 0x1000 || w.Mtval != 0x1000 || w.X[asm.RA] != base+4 {
			t.Errorf("cause %d, mepc %#x, mtval %#x, ra %#x", w.trapped(), w.Mepc, w.Mtval, w.X[asm.RA])
		}
	})
}

func TestRV64ILoadsAndStores(t *testing.T) {
	const memory = 0x8182838485868788
	for _, r := range []struct {
		name string
		op   func(p *asm.Program, rd asm.Reg, offset int64, base asm.Reg)
		at   int64
		want uint64
	}{
		{"lb", (*asm.Program).LB, 0, 0xffffffffffffff88},
		{"lbu", (*asm.Program).LBU, 7, 0x81},
		{"lh", (*asm.Program).LH, 2, 0xffffffffffff8586},
		{"lhu", (*asm.Program).LHU, 2, 0x8586},
		{"lw", (*asm.Program).LW, 4, 0xffffffff81828384},
		{"lwu", (*asm.Program).LWU, 4, 0x81828384},
		{"ld", (*asm.Program).LD, 0, memory},
		{"lh misaligned", (*asm.Program).LH, 1, 0xffffffffffff8687},
		{"lw misaligned", (*asm.Program).LW, 3, 0xffffffff82838485},
		{"ld misaligned", (*asm.Program).LD, -4, 0x8586878800000000},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { r.op(p, asm.A0, r.at, asm.A1) })
			w.store64(isaData, memory)
			w.X[asm.A1] = isaData
			w.steps(t, 1)
			if w.X[asm.A0] != r.want {
				t.Errorf("%#x, want %#x", w.X[asm.A0], r.want)
			}
		})
	}
	for _, r := range []struct {
		name string
		op   func(p *asm.Program, rs2 asm.Reg, offset int64, base asm.Reg)
		at   int64
		want uint64
	}{
		{"sb", (*asm.Program).SB, 7, 0x8877777777777777},
		{"sh", (*asm.Program).SH, 2, 0x7777777786887777&^0xff000000 | 0x87000000},
		{"sw", (*asm.Program).SW, 4, 0x8586878877777777},
		{"sd", (*asm.Program).SD, 0, memory},
		{"sw misaligned", (*asm.Program).SW, 1, 0x7777778586878877},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { r.op(p, asm.A0, r.at, asm.A1) })
			w.store64(isaData, 0x7777777777777777)
			w.X[asm.A0], w.X[asm.A1] = memory, isaData
			w.steps(t, 1)
			if got := w.load64(isaData); got != r.want {
				t.Errorf("%#x, want %#x", got, r.want)
			}
		})
	}
	for _, r := range []struct {
		name  string
		code  func(p *asm.Program)
		a     uint64
		cause rv64.Cause
	}{
		{"load where nothing is", func(p *asm.Program) { p.LD(asm.A0, 8, asm.A1) }, 0x2000, rv64.LoadAccessFault},
		{"load to x0 still faults", func(p *asm.Program) { p.LD(asm.Zero, 8, asm.A1) }, 0x2000, rv64.LoadAccessFault},
		{"store where nothing is", func(p *asm.Program) { p.SB(asm.A0, 8, asm.A1) }, 0x2000, rv64.StoreAccessFault},
		{"load beyond the end of RAM", func(p *asm.Program) { p.LB(asm.A0, 8, asm.A1) }, base + ramSize - 8, rv64.LoadAccessFault},
		{"the address wraps", func(p *asm.Program) { p.LB(asm.A0, 8, asm.A1) }, ones - 7, rv64.LoadAccessFault},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.X[asm.A0], w.X[asm.A1] = 42, r.a
			w.steps(t, 1)
			if w.trapped() != r.cause || w.Mepc != base || w.Mtval != r.a+8 || w.X[asm.A0] != 42 {
				t.Errorf("cause %d, mepc %#x, mtval %#x, a0 %d", w.trapped(), w.Mepc, w.Mtval, w.X[asm.A0])
			}
		})
	}
}
