package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Unprivileged specification, chapter 13: rd gets the old value, memory the
// new one; word operations sign-extend rd and use the lower half of rs2.
func TestRV64AMO(t *testing.T) {
	type amo = func(p *asm.Program, rd, rs2, addr asm.Reg)
	const old = 0xf0f0f0f0_80000001 // negative as doubleword and as word
	for _, r := range []struct {
		name     string
		op       amo
		src      uint64
		rd, want uint64
	}{
		{"amoswap.d", (*asm.Program).AMOSWAPD, 5, old, 5},
		{"amoadd.d wraps", (*asm.Program).AMOADDD, ones, old, old - 1},
		{"amoxor.d", (*asm.Program).AMOXORD, ones, old, 0x0f0f0f0f_7ffffffe},
		{"amoand.d", (*asm.Program).AMOANDD, 0xff00000000000001, old, 0xf000000000000001},
		{"amoor.d", (*asm.Program).AMOORD, 2, old, 0xf0f0f0f0_80000003},
		{"amomin.d", (*asm.Program).AMOMIND, 0, old, old},
		{"amomax.d", (*asm.Program).AMOMAXD, 0, old, 0},
		{"amominu.d", (*asm.Program).AMOMINUD, 0, old, 0},
		{"amomaxu.d", (*asm.Program).AMOMAXUD, 0, old, old},
		{"amoswap.w", (*asm.Program).AMOSWAPW, 0x1_00000005, 0xffffffff_80000001, 0xf0f0f0f0_00000005},
		{"amoadd.w wraps in the word", (*asm.Program).AMOADDW, 0x80000000, 0xffffffff_80000001, 0xf0f0f0f0_00000001},
		{"amoxor.w", (*asm.Program).AMOXORW, ones, 0xffffffff_80000001, 0xf0f0f0f0_7ffffffe},
		{"amoand.w", (*asm.Program).AMOANDW, 1, 0xffffffff_80000001, 0xf0f0f0f0_00000001},
		{"amoor.w", (*asm.Program).AMOORW, 2, 0xffffffff_80000001, 0xf0f0f0f0_80000003},
		{"amomin.w is signed in the word", (*asm.Program).AMOMINW, 0x1_00000000, 0xffffffff_80000001, 0xf0f0f0f0_80000001},
		{"amomin.w sign-extends the source", (*asm.Program).AMOMINW, 0x80000000, 0xffffffff_80000001, 0xf0f0f0f0_80000000},
		{"amomax.w", (*asm.Program).AMOMAXW, 7, 0xffffffff_80000001, 0xf0f0f0f0_00000007},
		{"amominu.w", (*asm.Program).AMOMINUW, 7, 0xffffffff_80000001, 0xf0f0f0f0_00000007},
		{"amomaxu.w ignores the upper half", (*asm.Program).AMOMAXUW, 0x5_00000000, 0xffffffff_80000001, 0xf0f0f0f0_80000001},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) { r.op(p, asm.A0, asm.A2, asm.A1); p.AqRl(true, true) })
			w.store64(isaData, old)
			w.X[asm.A1], w.X[asm.A2] = isaData, r.src
			w.steps(t, 1)
			if got := w.load64(isaData); got != r.want || w.X[asm.A0] != r.rd {
				t.Errorf("memory %#x, rd %#x; want %#x, %#x", got, w.X[asm.A0], r.want, r.rd)
			}
		})
	}
	eachRow(t, "rd is also rs2 and the address", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.AMOADDD(asm.A1, asm.A1, asm.A1) })
		w.store64(isaData, 1)
		w.X[asm.A1] = isaData
		w.steps(t, 1)
		if got := w.load64(isaData); got != isaData+1 || w.X[asm.A1] != 1 {
			t.Errorf("memory %#x, rd %#x", got, w.X[asm.A1])
		}
	})
}

func TestRV64ATraps(t *testing.T) {
	for _, r := range []struct {
		name  string
		code  func(p *asm.Program)
		at    uint64
		cause rv64.Cause
	}{
		{"lr.w misaligned", func(p *asm.Program) { p.LRW(asm.A0, asm.A1) }, isaData + 2, rv64.LoadMisaligned},
		{"lr.d misaligned", func(p *asm.Program) { p.LRD(asm.A0, asm.A1) }, isaData + 4, rv64.LoadMisaligned},
		{"sc.d misaligned", func(p *asm.Program) { p.SCD(asm.A0, asm.A2, asm.A1) }, isaData + 4, rv64.StoreMisaligned},
		{"amo misaligned", func(p *asm.Program) { p.AMOADDW(asm.A0, asm.A2, asm.A1) }, isaData + 1, rv64.StoreMisaligned},
		{"lr where nothing is", func(p *asm.Program) { p.LRD(asm.A0, asm.A1) }, 0x2000, rv64.LoadAccessFault},
		{"amo where nothing is", func(p *asm.Program) { p.AMOORD(asm.A0, asm.A2, asm.A1) }, 0x2000, rv64.StoreAccessFault},
		{"amo of a device", func(p *asm.Program) { p.AMOORD(asm.A0, asm.A2, asm.A1) }, testDevice, rv64.StoreAccessFault},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.X[asm.A0], w.X[asm.A1] = 42, r.at
			w.steps(t, 1)
			if w.trapped() != r.cause || w.Mtval != r.at || w.X[asm.A0] != 42 {
				t.Errorf("cause %d, mtval %#x, rd %d; want cause %d", w.trapped(), w.Mtval, w.X[asm.A0], r.cause)
			}
		})
	}
}

func TestRV64LRSC(t *testing.T) {
	for _, r := range []struct {
		name    string
		code    func(p *asm.Program) // three instructions, the last is SC to A0
		success bool
	}{
		{"pair", func(p *asm.Program) { p.LRD(asm.A3, asm.A1); p.NOP(); p.SCD(asm.A0, asm.A2, asm.A1) }, true},
		{"words", func(p *asm.Program) { p.LRW(asm.A3, asm.A1); p.NOP(); p.SCW(asm.A0, asm.A2, asm.A1) }, true},
		{"without LR", func(p *asm.Program) { p.NOP(); p.NOP(); p.SCD(asm.A0, asm.A2, asm.A1) }, false},
		{"another address", func(p *asm.Program) { p.LRD(asm.A3, asm.A1); p.ADDI(asm.A1, asm.A1, 8); p.SCD(asm.A0, asm.A2, asm.A1) }, false},
		{"second SC", func(p *asm.Program) {
			p.LRD(asm.A3, asm.A1)
			p.SCD(asm.A0, asm.A2, asm.A1)
			p.SCD(asm.A0, asm.A2, asm.A1)
		}, false},
		{"SC that failed takes the reservation away", func(p *asm.Program) {
			p.LRD(asm.A3, asm.A1)
			p.SCD(asm.A0, asm.A2, asm.A4)
			p.SCD(asm.A0, asm.A2, asm.A1)
		}, false},
		{"newest LR counts", func(p *asm.Program) { p.LRD(asm.A3, asm.A1); p.LRD(asm.A3, asm.A4); p.SCD(asm.A0, asm.A2, asm.A1) }, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.store64(isaData, 100)
			w.X[asm.A0], w.X[asm.A1], w.X[asm.A2], w.X[asm.A4] = 42, isaData, 7, isaData+64
			w.steps(t, 3)
			want := uint64(1)
			if r.success {
				want = 0
				if got := w.load64(isaData); got != 7 || w.X[asm.A3] != 100 {
					t.Errorf("memory %d, LR %d; want 7, 100", got, w.X[asm.A3])
				}
			}
			if w.X[asm.A0] != want {
				t.Errorf("SC gave %d, want %d", w.X[asm.A0], want)
			}
		})
	}
}
