package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
	"github.com/lockstep-vm/lockstep/machine/softfloat"
)

const (
	one32  = 0x3f800000
	one64  = 0x3ff0000000000000
	two64  = 0x4000000000000000
	nan64  = 0x7ff8000000000000
	snan64 = 0x7ff0000000000001
	box    = 0xffffffff_00000000
)

const (
	flagNX = 1
	flagUF = 2
	flagOF = 4
	flagDZ = 8
	flagNV = 16
)

// A floatRow runs one instruction on FA1, FA2, FA3 and A1; results are FA0 or A0.
type floatRow struct {
	name       string
	code       func(p *asm.Program)
	f1, f2, f3 uint64
	x1         uint64
	frm        uint8
	toX        bool // the result is in A0
	want       uint64
	flags      uint8
}

func (r floatRow) run(t *testing.T) {
	t.Helper()
	eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, r.code)
		w.F[asm.FA1], w.F[asm.FA2], w.F[asm.FA3] = r.f1, r.f2, r.f3
		w.X[asm.A1], w.Frm = r.x1, r.frm
		w.Fflags = flagUF // must stay: flags accrue
		w.steps(t, 1)
		got := w.F[asm.FA0]
		if r.toX {
			got = w.X[asm.A0]
		}
		if w.trapped() != noTrap || got != r.want || w.Fflags != r.flags|flagUF {
			t.Errorf("%#x, fflags %02x, cause %d; want %#x, %02x", got, w.Fflags, w.trapped(), r.want, r.flags|flagUF)
		}
		if !r.toX && w.Mstatus&rv64.StatusFS != rv64.StatusFS {
			t.Error("FS is not dirty after a write to an f register")
		}
	})
}

// Unprivileged specification, chapters 20 and 21, as far as the hart and not
// machine/softfloat decides: boxing, signs of the fused operations, moves,
// rounding modes, flags.
func TestRV64FD(t *testing.T) {
	const third64 = 0x3fd5555555555555
	for _, r := range []floatRow{
		{name: "fadd.s", code: func(p *asm.Program) { p.FADDS(asm.FA0, asm.FA1, asm.FA2, asm.RNE) }, f1: box | one32, f2: box | one32, want: box | 0x40000000},
		{name: "fadd.s of a badly boxed operand", code: func(p *asm.Program) { p.FADDS(asm.FA0, asm.FA1, asm.FA2, asm.RNE) }, f1: one32, f2: box | one32, want: box | uint64(softfloat.NaN32)},
		{name: "fadd.d", code: func(p *asm.Program) { p.FADDD(asm.FA0, asm.FA1, asm.FA2, asm.DYN) }, f1: one64, f2: one64, want: two64},
		{name: "fsub.d", code: func(p *asm.Program) { p.FSUBD(asm.FA0, asm.FA1, asm.FA2, asm.DYN) }, f1: one64, f2: one64, frm: 2, want: 1 << 63},
		{name: "fdiv.d static mode beats frm", code: func(p *asm.Program) { p.FDIVD(asm.FA0, asm.FA1, asm.FA2, asm.RDN) }, f1: one64, f2: 0x4008000000000000, frm: 3, want: third64, flags: flagNX},
		{name: "fdiv.d dynamic mode", code: func(p *asm.Program) { p.FDIVD(asm.FA0, asm.FA1, asm.FA2, asm.DYN) }, f1: one64, f2: 0x4008000000000000, frm: 3, want: third64 + 1, flags: flagNX},
		{name: "fdiv.s by zero", code: func(p *asm.Program) { p.FDIVS(asm.FA0, asm.FA1, asm.FA2, asm.RNE) }, f1: box | one32, f2: box | 1<<31, want: box | 0xff800000, flags: flagDZ},
		{name: "fmul.d overflows", code: func(p *asm.Program) { p.FMULD(asm.FA0, asm.FA1, asm.FA2, asm.RTZ) }, f1: 0x7fefffffffffffff, f2: two64, want: 0x7fefffffffffffff, flags: flagOF | flagNX},
		{name: "fsqrt.d of a negative", code: func(p *asm.Program) { p.FSQRTD(asm.FA0, asm.FA1, asm.RNE) }, f1: 1<<63 | one64, want: nan64, flags: flagNV},
		{name: "fsqrt.s", code: func(p *asm.Program) { p.FSQRTS(asm.FA0, asm.FA1, asm.RNE) }, f1: box | 0x40800000, want: box | 0x40000000},
		// rs1*rs2 with 1*2, rs3 = 1.
		{name: "fmadd.d", code: func(p *asm.Program) { p.FMADDD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: one64, f2: two64, f3: one64, want: 0x4008000000000000},
		{name: "fmsub.d", code: func(p *asm.Program) { p.FMSUBD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: one64, f2: two64, f3: one64, want: one64},
		{name: "fnmsub.d", code: func(p *asm.Program) { p.FNMSUBD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: one64, f2: two64, f3: one64, want: 1<<63 | one64},
		{name: "fnmadd.d", code: func(p *asm.Program) { p.FNMADDD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: one64, f2: two64, f3: one64, want: 0xc008000000000000},
		{name: "fmadd.s", code: func(p *asm.Program) { p.FMADDS(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: box | one32, f2: box | one32, f3: box | one32, want: box | 0x40000000},
		{name: "fnmadd.d of exact zero", code: func(p *asm.Program) { p.FNMADDD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: one64, f2: one64, f3: 1<<63 | one64, want: 0},
		{name: "fmadd.d of inf, zero, NaN", code: func(p *asm.Program) { p.FMADDD(asm.FA0, asm.FA1, asm.FA2, asm.FA3, asm.RNE) }, f1: 0x7ff0000000000000, f3: nan64, want: nan64, flags: flagNV},

		{name: "fsgnj.d moves any bits", code: func(p *asm.Program) { p.FSGNJD(asm.FA0, asm.FA1, asm.FA1) }, f1: 0xfff0000000000abc, want: 0xfff0000000000abc},
		{name: "fsgnjn.d", code: func(p *asm.Program) { p.FSGNJND(asm.FA0, asm.FA1, asm.FA1) }, f1: snan64, want: 1<<63 | snan64},
		{name: "fsgnjx.d", code: func(p *asm.Program) { p.FSGNJXD(asm.FA0, asm.FA1, asm.FA2) }, f1: 1<<63 | one64, f2: 1<<63 | one64, want: one64},
		{name: "fsgnj.s of a badly boxed operand", code: func(p *asm.Program) { p.FSGNJS(asm.FA0, asm.FA1, asm.FA2) }, f1: one32, f2: box | 1<<31, want: box | 0xffc00000},
		{name: "fsgnjn.s", code: func(p *asm.Program) { p.FSGNJNS(asm.FA0, asm.FA1, asm.FA2) }, f1: box | one32, f2: box | one32, want: box | 1<<31 | one32},
		{name: "fsgnjx.s", code: func(p *asm.Program) { p.FSGNJXS(asm.FA0, asm.FA1, asm.FA2) }, f1: box | one32, f2: box | 1<<31, want: box | 1<<31 | one32},
		{name: "fmin.d of zeros", code: func(p *asm.Program) { p.FMIND(asm.FA0, asm.FA1, asm.FA2) }, f1: 0, f2: 1 << 63, want: 1 << 63},
		{name: "fmax.s of a NaN", code: func(p *asm.Program) { p.FMAXS(asm.FA0, asm.FA1, asm.FA2) }, f1: box | 0x7f800001, f2: box | one32, want: box | one32, flags: flagNV},

		{name: "feq.d of a quiet NaN", code: func(p *asm.Program) { p.FEQD(asm.A0, asm.FA1, asm.FA1) }, f1: nan64, toX: true},
		{name: "flt.d of a quiet NaN", code: func(p *asm.Program) { p.FLTD(asm.A0, asm.FA1, asm.FA2) }, f1: nan64, f2: one64, toX: true, flags: flagNV},
		{name: "fle.d of zeros", code: func(p *asm.Program) { p.FLED(asm.A0, asm.FA1, asm.FA2) }, f1: 0, f2: 1 << 63, toX: true, want: 1},
		{name: "feq.s", code: func(p *asm.Program) { p.FEQS(asm.A0, asm.FA1, asm.FA2) }, f1: box | one32, f2: box | one32, toX: true, want: 1},
		{name: "fle.s of a badly boxed operand", code: func(p *asm.Program) { p.FLES(asm.A0, asm.FA1, asm.FA2) }, f1: one32, f2: box | one32, toX: true, flags: flagNV},
		{name: "fclass.d", code: func(p *asm.Program) { p.FCLASSD(asm.A0, asm.FA1) }, f1: snan64, toX: true, want: 1 << 8},
		{name: "fclass.s of a badly boxed operand", code: func(p *asm.Program) { p.FCLASSS(asm.A0, asm.FA1) }, f1: one32, toX: true, want: 1 << 9},

		{name: "fmv.x.w sign-extends and does not look at the box", code: func(p *asm.Program) { p.FMVXW(asm.A0, asm.FA1) }, f1: 0x80000001, toX: true, want: 0xffffffff80000001},
		{name: "fmv.x.d", code: func(p *asm.Program) { p.FMVXD(asm.A0, asm.FA1) }, f1: snan64, toX: true, want: snan64},
		{name: "fmv.w.x boxes", code: func(p *asm.Program) { p.FMVWX(asm.FA0, asm.A1) }, x1: 0x1234567880000001, want: box | 0x80000001},
		{name: "fmv.d.x", code: func(p *asm.Program) { p.FMVDX(asm.FA0, asm.A1) }, x1: snan64, want: snan64},

		{name: "fcvt.w.d saturates", code: func(p *asm.Program) { p.FCVTWD(asm.A0, asm.FA1, asm.RTZ) }, f1: 0x41e0000000000000, toX: true, want: 0x7fffffff, flags: flagNV},
		{name: "fcvt.wu.d sign-extends", code: func(p *asm.Program) { p.FCVTWUD(asm.A0, asm.FA1, asm.RTZ) }, f1: 0x41efffffffe00000, toX: true, want: ones},
		{name: "fcvt.wu.s of a NaN", code: func(p *asm.Program) { p.FCVTWUS(asm.A0, asm.FA1, asm.RTZ) }, f1: box | 0x7fc00000, toX: true, want: ones, flags: flagNV},
		{name: "fcvt.wu.d of -1", code: func(p *asm.Program) { p.FCVTWUD(asm.A0, asm.FA1, asm.RTZ) }, f1: 1<<63 | one64, toX: true, flags: flagNV},
		{name: "fcvt.l.s", code: func(p *asm.Program) { p.FCVTLS(asm.A0, asm.FA1, asm.RNE) }, f1: box | 0xc0200000, toX: true, want: ones - 1, flags: flagNX},
		{name: "fcvt.lu.d of infinity", code: func(p *asm.Program) { p.FCVTLUD(asm.A0, asm.FA1, asm.RNE) }, f1: 0x7ff0000000000000, toX: true, want: ones, flags: flagNV},
		{name: "fcvt.s.l rounds", code: func(p *asm.Program) { p.FCVTSL(asm.FA0, asm.A1, asm.RUP) }, x1: 1<<24 + 1, want: box | 0x4b800001, flags: flagNX},
		{name: "fcvt.d.w uses the lower half", code: func(p *asm.Program) { p.FCVTDW(asm.FA0, asm.A1, asm.RNE) }, x1: 0x1_ffffffff, want: 1<<63 | one64},
		{name: "fcvt.d.wu", code: func(p *asm.Program) { p.FCVTDWU(asm.FA0, asm.A1, asm.RNE) }, x1: ones, want: 0x41efffffffe00000},
		{name: "fcvt.d.lu", code: func(p *asm.Program) { p.FCVTDLU(asm.FA0, asm.A1, asm.RNE) }, x1: ones, want: 0x43f0000000000000, flags: flagNX},
		{name: "fcvt.s.d", code: func(p *asm.Program) { p.FCVTSD(asm.FA0, asm.FA1, asm.RNE) }, f1: one64, want: box | one32},
		{name: "fcvt.d.s of a signaling NaN", code: func(p *asm.Program) { p.FCVTDS(asm.FA0, asm.FA1, asm.RNE) }, f1: box | 0x7f800001, want: nan64, flags: flagNV},
	} {
		r.run(t)
	}
}

func TestRV64FDMemory(t *testing.T) {
	eachRow(t, "flw boxes", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.FLW(asm.FA0, 4, asm.A1) })
		w.store64(isaData, 0x7f80000112345678)
		w.X[asm.A1] = isaData
		w.steps(t, 1)
		if w.F[asm.FA0] != box|0x7f800001 {
			t.Errorf("%#x: a signaling NaN must come unchanged, in its box", w.F[asm.FA0])
		}
	})
	eachRow(t, "fsw stores the lower half whatever the box", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.FSW(asm.FA0, 0, asm.A1) })
		w.X[asm.A1], w.F[asm.FA0] = isaData, 0x1234567887654321
		w.steps(t, 1)
		if got := w.load64(isaData); got != 0x87654321 {
			t.Errorf("memory %#x", got)
		}
	})
	eachRow(t, "fld and fsd", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.FLD(asm.FA0, 0, asm.A1); p.FSD(asm.FA0, 16, asm.A1) })
		w.store64(isaData, snan64)
		w.X[asm.A1] = isaData
		w.steps(t, 2)
		if got := w.load64(isaData + 16); got != snan64 {
			t.Errorf("memory %#x", got)
		}
	})
}

// What is illegal leaves everything as it was.
func TestRV64FDTraps(t *testing.T) {
	for _, r := range []struct {
		name string
		code func(p *asm.Program)
		fs   uint64
		frm  uint8
	}{
		{"static mode 5", func(p *asm.Program) { p.FADDD(asm.FA0, asm.FA1, asm.FA2, 5) }, 1, 0},
		{"static mode 6", func(p *asm.Program) { p.FCVTWD(asm.A0, asm.FA1, 6) }, 1, 0},
		{"dynamic mode 5", func(p *asm.Program) { p.FADDD(asm.FA0, asm.FA1, asm.FA2, asm.DYN) }, 1, 5},
		{"dynamic mode 7", func(p *asm.Program) { p.FSQRTS(asm.FA0, asm.FA1, asm.DYN) }, 1, 7},
		{"dynamic mode 6 of an exact conversion", func(p *asm.Program) { p.FCVTDW(asm.FA0, asm.A1, asm.DYN) }, 1, 6},
		{"FS off: arithmetic", func(p *asm.Program) { p.FADDD(asm.FA0, asm.FA1, asm.FA2, asm.RNE) }, 0, 0},
		{"FS off: move to x", func(p *asm.Program) { p.FMVXD(asm.A0, asm.FA1) }, 0, 0},
		{"FS off: load", func(p *asm.Program) { p.FLD(asm.FA0, 0, asm.A1) }, 0, 0},
		{"FS off: store", func(p *asm.Program) { p.FSW(asm.FA0, 0, asm.A1) }, 0, 0},
		{"FS off: compressed load", func(p *asm.Program) { p.CFLD(asm.FA0, 0, asm.A1) }, 0, 0},
		{"FS off: fcsr", func(p *asm.Program) { p.CSRR(asm.A0, asm.FCSR) }, 0, 0},
		{"format that does not exist", func(p *asm.Program) { p.Raw32(0x04c58553) }, 1, 0}, // fadd.h
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.Mstatus = w.Mstatus&^rv64.StatusFS | r.fs<<13
			w.Frm = r.frm
			w.X[asm.A0], w.X[asm.A1], w.F[asm.FA0] = 42, isaData, 43
			w.steps(t, 1)
			if w.trapped() != rv64.IllegalInstruction || w.X[asm.A0] != 42 || w.F[asm.FA0] != 43 {
				t.Errorf("cause %d, a0 %d, fa0 %d", w.trapped(), w.X[asm.A0], w.F[asm.FA0])
			}
		})
	}
}
