package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Unprivileged specification, chapter 12: multiplication and division, with
// the values of its table for division by zero and overflow.
func TestRV64M(t *testing.T) {
	for _, r := range []struct {
		name       string
		op         func(p *asm.Program, rd, rs1, rs2 asm.Reg)
		a, b, want uint64
	}{
		{"mul", (*asm.Program).MUL, ones, 7, ones - 6},
		{"mul keeps the low half", (*asm.Program).MUL, 1 << 40, 1 << 40, 0},
		{"mulh of negatives", (*asm.Program).MULH, ones, ones, 0},
		{"mulh mixed", (*asm.Program).MULH, ones, 1, ones},
		{"mulh of the least", (*asm.Program).MULH, minInt64, minInt64, 1 << 62},
		{"mulhu", (*asm.Program).MULHU, ones, ones, ones - 1},
		{"mulhsu", (*asm.Program).MULHSU, ones, ones, ones},
		{"mulhsu of a positive", (*asm.Program).MULHSU, maxInt64, ones, maxInt64 - 1},
		{"mulhsu of the least", (*asm.Program).MULHSU, minInt64, ones, minInt64},
		{"div", (*asm.Program).DIV, ^uint64(6), 2, ^uint64(2)}, // -7/2 = -3
		{"div by zero", (*asm.Program).DIV, 5, 0, ones},
		{"div overflow", (*asm.Program).DIV, minInt64, ones, minInt64},
		{"divu", (*asm.Program).DIVU, ones, 2, maxInt64},
		{"divu by zero", (*asm.Program).DIVU, 5, 0, ones},
		{"rem takes the dividend's sign", (*asm.Program).REM, ^uint64(6), 2, ones},
		{"rem of a negative divisor", (*asm.Program).REM, 7, ^uint64(1), 1},
		{"rem by zero", (*asm.Program).REM, ^uint64(6), 0, ^uint64(6)},
		{"rem overflow", (*asm.Program).REM, minInt64, ones, 0},
		{"remu", (*asm.Program).REMU, ones, 10, 5},
		{"remu by zero", (*asm.Program).REMU, ones, 0, ones},
		{"mulw sign-extends", (*asm.Program).MULW, 0x10000, 0x8000, minInt32},
		{"divw is of the lower halves", (*asm.Program).DIVW, 0x5_ffff_fff9, 2, ^uint64(2)},
		{"divw by zero", (*asm.Program).DIVW, 5, 1 << 32, ones},
		{"divw overflow", (*asm.Program).DIVW, 0x80000000, ones, minInt32},
		{"divuw sign-extends", (*asm.Program).DIVUW, 0x80000000, 1, minInt32},
		{"divuw by zero", (*asm.Program).DIVUW, 5, 0, ones},
		{"remw", (*asm.Program).REMW, 0xfffffff9, 2, ones},
		{"remw by zero sign-extends", (*asm.Program).REMW, 0x80000000, 0, minInt32},
		{"remw overflow", (*asm.Program).REMW, 0x80000000, ones, 0},
		{"remuw by zero sign-extends", (*asm.Program).REMUW, 0x80000000, 0, minInt32},
		{"remuw", (*asm.Program).REMUW, ones, 10, 5},
	} {
		computes(t, r.name, func(p *asm.Program) { r.op(p, asm.A0, asm.A1, asm.A2) }, r.a, r.b, r.want)
	}
}
