package hart_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// nasty is the bits of a number at which formats, NaN boxes or conversions turn.
func nasty(r *rand.Rand) uint64 {
	const box = 0xffffffff << 32
	s := []uint32{0, 1, 0x7fffff, 0x800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7fc00000, 0x7f800001, 0x7fa00000, 0x4f000000, 0x5f000000, 0x4effffff}
	d := []uint64{0, 1, 1<<52 - 1, 1 << 52, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		math.Float64bits(1), math.Float64bits(1 << 31), math.Float64bits(1 << 63), math.Float64bits(1 << 32), 0x36a0000000000000, 0x380fffffffffffff, 0x47efffffffffffff}
	switch r.IntN(8) {
	case 0, 1:
		return box | uint64(s[r.IntN(len(s))]) | r.Uint64()&(1<<31)
	case 2:
		return box | uint64(r.Uint32())
	case 3, 4:
		return d[r.IntN(len(d))] | r.Uint64()&(1<<63)
	case 5:
		return math.Float64bits(float64(r.IntN(2000)-1000) / 8)
	case 6:
		return box | uint64(math.Float32bits(float32(r.IntN(2000)-1000)/8))
	default:
		return r.Uint64()
	}
}

// randomFloat is an operation of F or D, its name for the count, on any
// registers.
func randomFloat(r *rand.Rand) (insn uint32, kind string) {
	f := func() uint32 { return uint32(r.IntN(32)) }
	x := func() uint32 { return 10 + uint32(r.IntN(8)) }
	fmt := uint32(r.IntN(2))
	rm := []uint32{7, 7, 7, 0, 0, 1, 2, 3, 4}[r.IntN(9)]
	op := func(f7, rs2, rs1, rm, rd uint32) uint32 {
		return (f7|fmt)<<25 | rs2<<20 | rs1<<15 | rm<<12 | rd<<7 | 0x53
	}
	switch r.IntN(13) {
	case 0:
		return op(0x00, f(), f(), rm, f()), "add"
	case 1:
		return op(0x04, f(), f(), rm, f()), "sub"
	case 2:
		return op(0x08, f(), f(), rm, f()), "mul"
	case 3:
		return op(0x0c, f(), f(), rm, f()), "div"
	case 4:
		return op(0x2c, 0, f(), rm, f()), "sqrt"
	case 5:
		return op(0x10, f(), f(), uint32(r.IntN(3)), f()), "sgnj"
	case 6:
		return op(0x14, f(), f(), uint32(r.IntN(2)), f()), "minmax"
	case 7:
		return op(0x20, 1-fmt, f(), rm, f()), "between"
	case 8:
		return op(0x50, f(), f(), uint32(r.IntN(3)), x()), "compare"
	case 9:
		return op(0x60, uint32(r.IntN(4)), f(), rm, x()), "to int"
	case 10:
		return op(0x68, uint32(r.IntN(4)), x(), rm, f()), "from int"
	case 11:
		if r.IntN(2) == 0 {
			return op(0x70, 0, f(), uint32(r.IntN(2)), x()), "move"
		}
		return op(0x78, 0, x(), 0, f()), "move"
	default:
		return f()<<27 | fmt<<25 | f()<<20 | f()<<15 | rm<<12 | f()<<7 | []uint32{0x43, 0x47, 0x4b, 0x4f}[r.IntN(4)], "fused"
	}
}

// floatWorld loops over random operations, on fresh numbers each time round.
// Some of the numbers lie across the border of two pages.
func floatWorld(seed uint64, opt hart.Options, kinds map[string]int) *world {
	const numbers, rounds = 1024, 40
	r := rand.New(rand.NewPCG(seed, 5))
	w := newWorld(opt)
	for i := range uint64(numbers) {
		w.store64(dataBase+8*i, nasty(r))
	}
	misaligned := int64(r.IntN(2) * (1 + r.IntN(7)))
	w.put(base, func(p *asm.Program) {
		p.LA(asm.T0, "trap")
		p.CSRW(asm.CSR(rv64.MTVEC), asm.T0)
		p.LI(asm.S1, rounds)
		p.LI(asm.S0, int64(dataBase)+misaligned)
		p.Label("round")
		p.LI(asm.T0, 3<<13)
		p.CSRRC(asm.Zero, asm.CSR(rv64.MSTATUS), asm.T0)
		p.LI(asm.T0, []int64{1, 2, 3, 3, 3, 3}[r.IntN(6)]<<13)
		p.CSRRS(asm.Zero, asm.CSR(rv64.MSTATUS), asm.T0)
		p.CSRRWI(asm.Zero, asm.CSR(rv64.FRM), []uint{0, 0, 0, 1, 2, 3, 4}[r.IntN(7)])
		for i := range uint32(32) { // fld or flw f, 8*i(s0)
			p.Raw32(8*i<<20 | 8<<15 | uint32(2+r.IntN(2))<<12 | i<<7 | 0x07)
		}
		for i := range int64(8) {
			p.LD(asm.A0+asm.Reg(i), 8*i, asm.S0)
		}
		for range 80 {
			insn, kind := randomFloat(r)
			p.Raw32(insn)
			kinds[kind] += rounds
			if r.IntN(16) == 0 { // fsd or fsw across the round's numbers
				p.Raw32(uint32(r.IntN(32))<<20 | 8<<15 | uint32(2+r.IntN(2))<<12 | uint32(8*r.IntN(4))<<7 | 0x27)
			}
		}
		p.ADDI(asm.S0, asm.S0, 25*8)
		p.ADDI(asm.S1, asm.S1, -1)
		p.BNEZ(asm.S1, "round")
		finish(p)
		p.Label("trap")
		p.CSRR(asm.T0, asm.CSR(rv64.MEPC))
		p.ADDI(asm.T0, asm.T0, 4)
		p.CSRW(asm.CSR(rv64.MEPC), asm.T0)
		p.MRET()
	})
	return w
}

// Floating point on the host's unit is that of the reference's integers, bit
// for bit: results, flags, boxes and the state in mstatus.FS.
func TestTranslatedFloatIsExact(t *testing.T) {
	kinds := map[string]int{}
	opt := translated(t, 1)
	for seed := range *nativeSeeds {
		opt.Native.Reset()
		a, b := floatWorld(seed, opt, kinds), floatWorld(seed, hart.Options{NoCache: true}, map[string]int{})
		r := rand.New(rand.NewPCG(seed, 6))
		for exit := machine.Reached; exit == machine.Reached; {
			next := a.Icount + 1 + machine.Icount(r.IntN(2000))
			exit = a.Run(next)
			if other := b.Run(next); exit != other || a.state() != b.state() {
				t.Fatalf("seed %d: at %d the states differ; pc %#x and %#x\n%s", seed, a.Icount, a.PC, b.PC, differingRegisters(a, b))
			}
		}
	}
	t.Logf("operations: %v", kinds)
}
