package board

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// The table of the SBI 2.0 specification's functions, one row a case.
func TestSBI(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) { p.NOP() }))
	const all = ^uint64(0)
	text := uint64(scratch)
	b.ram.Write(scratch, []byte("debug"))
	for _, c := range []struct {
		name    string
		ext, fn uint64
		arg     [3]uint64
		code    int64
		value   uint64
	}{
		{"version", 0x10, 0, [3]uint64{}, 0, 2 << 24},
		{"probe TIME", 0x10, 3, [3]uint64{sbiTime}, 0, 1},
		{"probe DBCN", 0x10, 3, [3]uint64{sbiDBCN}, 0, 1},
		{"probe PMU", 0x10, 3, [3]uint64{0x504d55}, 0, 0},
		{"probe SUSP", 0x10, 3, [3]uint64{0x53555350}, 0, 0},
		{"probe CPPC", 0x10, 3, [3]uint64{0x43505043}, 0, 0},
		{"probe NACL", 0x10, 3, [3]uint64{0x4e41434c}, 0, 0},
		{"probe STA", 0x10, 3, [3]uint64{0x535441}, 0, 0},
		{"probe FWFT", 0x10, 3, [3]uint64{0x46574654}, 0, 0},
		{"probe legacy", 0x10, 3, [3]uint64{1}, 0, 0},
		{"PMU", 0x504d55, 0, [3]uint64{}, -2, 0},
		{"mvendorid", 0x10, 4, [3]uint64{}, 0, 0},
		{"base beyond", 0x10, 7, [3]uint64{}, -2, 0},
		{"legacy console", 1, 0, [3]uint64{'x'}, -2, 0},
		{"unknown", 0xdead, 0, [3]uint64{}, -2, 0},
		{"time beyond", sbiTime, 1, [3]uint64{}, -2, 0},
		{"ipi to self", sbiIPI, 0, [3]uint64{1, 0}, 0, 0},
		{"ipi to all", sbiIPI, 0, [3]uint64{0, all}, 0, 0},
		{"ipi to nobody", sbiIPI, 0, [3]uint64{0, 0}, 0, 0},
		{"ipi to hart 1", sbiIPI, 0, [3]uint64{2, 0}, -3, 0},
		{"ipi with base", sbiIPI, 0, [3]uint64{1, 5}, -3, 0},
		{"ipi beyond", sbiIPI, 1, [3]uint64{1, 0}, -2, 0},
		{"fence.i", sbiRfence, 0, [3]uint64{1, 0}, 0, 0},
		{"sfence", sbiRfence, 1, [3]uint64{0, all}, 0, 0},
		{"sfence by asid", sbiRfence, 2, [3]uint64{1, 0}, 0, 0},
		{"sfence elsewhere", sbiRfence, 1, [3]uint64{4, 0}, -3, 0},
		{"hfence", sbiRfence, 3, [3]uint64{1, 0}, -2, 0},
		{"start self", sbiHSM, 0, [3]uint64{0, 0x8020_0000, 0}, -6, 0},
		{"start another", sbiHSM, 0, [3]uint64{1, 0x8020_0000, 0}, -3, 0},
		{"status", sbiHSM, 2, [3]uint64{0}, 0, 0},
		{"status of another", sbiHSM, 2, [3]uint64{9}, -3, 0},
		{"suspend, not retentive", sbiHSM, 3, [3]uint64{0x8000_0000}, -2, 0},
		{"suspend, reserved", sbiHSM, 3, [3]uint64{5}, -3, 0},
		{"reset of no type", sbiSRST, 0, [3]uint64{3, 0}, -3, 0},
		{"reset for no reason", sbiSRST, 0, [3]uint64{0, 7}, -3, 0},
		{"reset beyond", sbiSRST, 1, [3]uint64{}, -2, 0},
		{"write", sbiDBCN, 0, [3]uint64{5, text, 0}, 0, 5},
		{"write nothing", sbiDBCN, 0, [3]uint64{0, text, 0}, 0, 0},
		{"write much", sbiDBCN, 0, [3]uint64{1 << 20, text, 0}, 0, maxDBCN},
		{"write from nowhere", sbiDBCN, 0, [3]uint64{5, 0, 0}, -3, 0},
		{"write over the end", sbiDBCN, 0, [3]uint64{2, 0x80ff_ffff, 0}, -3, 0},
		{"write around", sbiDBCN, 0, [3]uint64{all, text, 0}, -3, 0},
		{"write from above", sbiDBCN, 0, [3]uint64{5, text, 1}, -3, 0},
		{"read", sbiDBCN, 1, [3]uint64{5, text, 0}, 0, 0},
		{"read to nowhere", sbiDBCN, 1, [3]uint64{5, all, 0}, -3, 0},
		{"write byte", sbiDBCN, 2, [3]uint64{'!'}, 0, 0},
		{"console beyond", sbiDBCN, 3, [3]uint64{}, -2, 0},
	} {
		h := b.hart
		h.X[17], h.X[16] = c.ext, c.fn
		copy(h.X[10:], c.arg[:])
		b.sbi(h)
		if int64(h.X[10]) != c.code || h.X[11] != c.value {
			t.Errorf("%s: error %d value %#x, want %d %#x", c.name, int64(h.X[10]), h.X[11], c.code, c.value)
		}
	}
	if b.hart.Mip>>rv64.SSIP&1 != 1 {
		t.Error("send_ipi set nothing pending")
	}
	if _, tail := b.ConsoleTail(0); len(tail) != 5+maxDBCN+1 || string(tail[:5]) != "debug" || tail[len(tail)-1] != '!' {
		t.Errorf("the debug console wrote %d bytes", len(tail))
	}
	if b.off || b.restart {
		t.Error("a refused reset was carried out")
	}
}

// DBCN output does not alias RAM and joins the UART's.
func TestDebugConsoleCopies(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) {
		p.LA(asm.A1, "text")
		p.LI(asm.A0, 4)
		p.LI(asm.A2, 0)
		p.LI(asm.A7, sbiDBCN)
		p.LI(asm.A6, 0)
		p.ECALL()
		p.SW(asm.Zero, 0, asm.S0)
		say(p, "!")
		powerOff(p)
		p.Label("text")
		p.Byte('f', 'o', 'u', 'r')
	}))
	b.hart.X[8] = scratch
	if text, end := drive(t, b, 1000); text != "four!" || end != machine.PoweredOff {
		t.Errorf("wrote %q, %v", text, end)
	}
}
