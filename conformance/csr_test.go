package conformance

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// A register is what programs may do with a CSR whose number exists.
type register struct {
	csr asm.CSR
	// read are the bits that read alike; none for those that differ.
	read uint64
	// write are the bits that may be written, set and cleared one by one.
	write uint64
	// value draws what else may be written; nil for any of write.
	value func(r *random, g *program) uint64
}

const (
	statusRead  = 0x80000000007e79aa // without XS and VS
	interrupts  = 0x222              // of supervisor mode
	counterBits = 7
	misaBits    = 3<<62 | 1 | 1<<('C'-'A') | 1<<('D'-'A') | 1<<('F'-'A') | 1<<('I'-'A') | 1<<('M'-'A') | 1<<('S'-'A') | 1<<('U'-'A')
	all         = ^uint64(0)
)

// registers are those that both machines have, but fflags, frm and fcsr (see
// csrOp).
var registers = []register{
	{csr: asm.SSTATUS, read: 1<<63 | 0xc6122, write: 0xc6122},
	{csr: asm.SIE, read: interrupts, write: interrupts},
	{csr: asm.STVEC, read: all, write: all &^ 2},
	{csr: asm.SCOUNTEREN, read: counterBits, write: counterBits},
	{csr: asm.SENVCFG, read: 0xf1, value: func(r *random, g *program) uint64 { return r.envcfg(g.kind) }},
	{csr: asm.SSCRATCH, read: all, write: all},
	{csr: asm.SEPC, read: all, write: all &^ 1},
	{csr: asm.SCAUSE, read: all, value: cause},
	{csr: asm.STVAL, read: all, write: all},
	{csr: asm.SIP, read: 2, write: 2},
	{csr: asm.STIMECMP, read: all, write: all},
	{csr: asm.SATP, read: all, value: satp},

	{csr: asm.MSTATUS, read: statusRead, write: 0x7e61aa},
	{csr: asm.MISA, read: misaBits, write: all},
	{csr: asm.MEDELEG, read: 0xb3ff, write: 0xb3ff},
	{csr: asm.MIDELEG, read: interrupts, write: interrupts},
	{csr: asm.MIE, read: 0xaaa, write: 0xaaa},
	{csr: asm.MTVEC, read: all, write: all &^ 2},
	{csr: asm.MCOUNTEREN, read: counterBits, write: counterBits},
	{csr: asm.MENVCFG, read: 0x80000000000000f1, value: func(r *random, g *program) uint64 {
		return r.envcfg(g.kind) | r.Uint64()&envSTCE | envADUE
	}},
	{csr: asm.MCOUNTINHIBIT, read: 5, write: 5},
	{csr: asm.MSCRATCH, read: all, write: all},
	{csr: asm.MEPC, read: all, write: all &^ 1},
	{csr: asm.MCAUSE, read: all, value: cause},
	{csr: asm.MTVAL, read: all, write: all},
	{csr: asm.MIP, read: 0x202, write: 0x202}, // STIP depends on stimecmp
	{csr: asm.PMPCFG0, read: all, value: pmpcfg},
	{csr: pmpcfg2, read: all, value: pmpcfg},
	{csr: asm.PMPADDR0, read: 1<<54 - 1, write: 1<<54 - 1<<10},
	{csr: asm.PMPADDR0 + 7, read: 1<<54 - 1, write: 1<<54 - 1<<10},
	{csr: asm.PMPADDR0 + 14, read: 1<<54 - 1, write: 1<<54 - 1<<10},
	{csr: asm.MCYCLE, write: all},
	{csr: asm.MINSTRET, write: all},

	{csr: asm.CYCLE}, {csr: asm.TIME}, {csr: asm.INSTRET},
	{csr: 0xf11}, {csr: 0xf12}, {csr: 0xf13}, {csr: 0xf14, read: all}, {csr: 0xf15, read: all},
}

// cause draws what xcause must hold: it is WLRL.
func cause(r *random, _ *program) uint64 {
	return choose[uint64](r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 1<<63|1, 1<<63|5, 1<<63|9)
}

// satp draws modes that exist and modes that do not; below machine mode those
// that do not, which make the write void.
func satp(r *random, g *program) uint64 {
	mode := choose[uint64](r, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
	if g.mode == modeM && r.one(2) {
		mode = 8 + uint64(r.IntN(3))
	}
	return mode<<60 | r.Uint64()&(1<<60-1)
}

// pmpcfg draws legal bytes that are not locked.
func pmpcfg(r *random, _ *program) (v uint64) {
	for range 8 {
		v = v<<8 | uint64(choose[uint8](r, 0, pmpR, pmpX, pmpR|pmpX, pmpR|pmpW, pmpAll)|choose[uint8](r, 0, pmpTOR, pmpNAPOT))
	}
	return v
}

// both says whether the number exists on both machines.
func both(n asm.CSR) bool {
	return n >= 1 && n <= 3 || n >= asm.PMPADDR0 && n < asm.PMPADDR0+pmpEntries ||
		slices.ContainsFunc(registers, func(x register) bool { return x.csr == n })
}

// differs says whether the number exists on one machine alone, in machine mode.
func differs(n asm.CSR, qemu7 bool) bool {
	switch {
	case n == 0x24d && qemu7: // vstimecmp, without a hypervisor
		return true
	case n >= 0x323 && n <= 0x33f, n >= 0xb03 && n <= 0xb1f, n >= 0xc03 && n <= 0xc1f: // mhpm*, hpm*
		return true
	case n > pmpcfg2 && n <= 0x3af, n >= asm.PMPADDR0+pmpEntries && n <= 0x3ef: // beyond 16 entries
		return true
	}
	return false
}

// csrSweep draws an access to a CSR of any number: one that both have, with
// values that are legal, or one that neither has or that is closed.
func csrSweep(r *random, g *program) item {
	rd, rs1, op, imm := r.dst(), r.src(), r.IntN(6), uint(r.IntN(32))
	n := asm.CSR(r.IntN(4096))
	if r.one(2) { // near what exists
		n = choose(r, registers...).csr ^ 1<<r.IntN(12)
	}
	if r.one(2) || both(n) || g.mode == modeM && differs(n, g.qemu7()) {
		return csrKnown(r, g)
	}
	return item{name: "csr that is not there", emit: func(c *scope) { c.csrOp(op, rd, n, rs1, imm) }}
}

// csrOp is one of the six instructions.
func (c *scope) csrOp(op int, rd asm.Reg, csr asm.CSR, rs1 asm.Reg, imm uint) {
	switch op {
	case 0:
		c.CSRRW(rd, csr, rs1)
	case 1:
		c.CSRRS(rd, csr, rs1)
	case 2:
		c.CSRRC(rd, csr, rs1)
	case 3:
		c.CSRRWI(rd, csr, imm)
	case 4:
		c.CSRRSI(rd, csr, imm)
	default:
		c.CSRRCI(rd, csr, imm)
	}
}

// csrKnown exchanges, changes and reads a register that exists, and puts back
// what was in it, since the harness needs most of them. Nothing in between can
// trap, unless the register is closed and all of it traps.
func csrKnown(r *random, g *program) item {
	const old, v, rd = asm.T0, asm.T1, asm.T2
	x, op := choose(r, registers...), r.IntN(6)
	if x.csr>>10 == 3 {
		imm, rs1 := uint(r.IntN(2)*r.IntN(32)), choose(r, asm.Zero, asm.Zero, r.src())
		if g.qemu7() && rs1 != asm.Zero { // takes a register that holds zero for x0
			rs1 = asm.S10
		}
		return item{name: "csr that is read-only", emit: func(c *scope) {
			c.csrOp(op, rd, x.csr, rs1, imm)
			c.foldMasked(rd, x.read)
			c.LI(rd, 0)
		}}
	}
	draw := func() uint64 {
		if x.value != nil {
			return x.value(r, g)
		}
		return choose(r, r.Uint64(), r.integer()) & x.write
	}
	first, second, imm := draw(), draw(), uint(r.IntN(32))&uint(x.write)
	if x.value != nil {
		op = 0 // bits that are set and cleared one by one make values that are not legal
	}
	if x.csr == asm.MSTATUS {
		first |= choose[uint64](r, 0, 1, 3) << 11
	}
	keep := x.read // of what was there: FS is dirty at other times, the rest is of earlier traps
	switch x.csr {
	case asm.MSTATUS, asm.SSTATUS:
		keep &^= 1<<63 | 3<<13
	case asm.MCAUSE, asm.MTVAL:
		keep = 0
	}
	return item{name: "csr", emit: func(c *scope) {
		c.LI(rd, 0)
		c.LI(old, 0)
		c.LI(v, int64(first))
		c.CSRRW(old, x.csr, v)
		c.LI(v, int64(second))
		c.csrOp(op, rd, x.csr, v, imm)
		c.CSRR(v, x.csr)
		c.CSRW(x.csr, old)
		c.foldMasked(old, keep)
		c.foldMasked(rd, x.read)
		c.foldMasked(v, x.read)
	}}
}

// foldMasked folds some bits of a register into S8.
func (c *scope) foldMasked(x asm.Reg, mask uint64) {
	c.LI(asm.T3, int64(mask))
	c.AND(x, x, asm.T3)
	c.SUB(asm.S8, x, asm.S8)
}
