package conformance

import (
	"encoding/binary"
	"slices"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// A maker draws one item.
type maker func(r *random, g *program) item

// weights say how often each maker is drawn.
type weights []struct {
	n    int
	make maker
}

func (w weights) pick(r *random) maker {
	total := 0
	for _, e := range w {
		total += e.n
	}
	at := r.IntN(total)
	for _, e := range w {
		if at -= e.n; at < 0 {
			return e.make
		}
	}
	panic("conformance: BUG: no maker")
}

// dst is a register that a program may change: not S8 (what results are folded
// into), S9 (offset mask), S10 (window) and S11 (loop counter). src is any, and short one of x8 to x15.
func (r *random) dst() asm.Reg {
	for {
		if x := asm.Reg(r.IntN(32)); x < asm.S8 || x > asm.S11 {
			return x
		}
	}
}

// temp is dst without x0.
func (r *random) temp() asm.Reg {
	for {
		if x := r.dst(); x != asm.Zero {
			return x
		}
	}
}

func (r *random) src() asm.Reg     { return asm.Reg(r.IntN(32)) }
func (r *random) short() asm.Reg   { return asm.Reg(8 + r.IntN(8)) }
func (r *random) freg() asm.FReg   { return asm.FReg(r.IntN(32)) }
func (r *random) imm() int64       { return choose(r, 0, 1, -1, 2047, -2048, int64(r.IntN(4096)-2048)) }
func (r *random) fshort() asm.FReg { return asm.FReg(8 + r.IntN(8)) }

func integerOp(r *random, _ *program) item {
	rd, rs1, rs2 := r.dst(), r.src(), r.src()
	switch r.IntN(4) {
	case 0:
		op, imm := choose(r, immediates...), r.imm()
		return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, imm) }}, rd)
	case 1:
		op := choose(r, shifts...)
		n := uint(r.IntN(op.width))
		return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, n) }}, rd)
	case 2:
		if r.one(3) {
			imm := int64(r.IntN(1 << 20))
			if r.one(2) {
				return r.folded(item{name: "lui", emit: func(c *scope) { c.LUI(rd, imm) }}, rd)
			}
			return r.folded(item{name: "auipc", emit: func(c *scope) { c.AUIPC(rd, imm) }}, rd)
		}
	}
	op := choose(r, threeRegisters...)
	return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, rs2) }}, rd)
}

func constant(r *random, _ *program) item {
	rd, v := r.dst(), int64(r.integer())
	return r.folded(item{name: "li", emit: func(c *scope) { c.LI(rd, v) }}, rd)
}

func mulDiv(r *random, _ *program) item {
	op, rd, rs1, rs2 := choose(r, multiplications...), r.dst(), r.src(), r.src()
	return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, rs2) }}, rd)
}

// access puts an address into a register: usually in the window, aligned for
// the size or not.
func (r *random) access(g *program, size int64) (prepare func(c *scope), base asm.Reg, offset int64) {
	t, rs := r.temp(), r.src()
	if !r.calm && r.one(40) {
		return func(c *scope) { c.LI(t, hole+8*int64(t)) }, t, 0
	}
	if g.translated && g.mode != modeM && r.one(30) {
		va := r.integer()
		return func(c *scope) { c.LI(t, int64(va)) }, t, 0
	}
	aligned := r.calm || !r.one(4)
	cross := (!g.translated || g.crossing) && !g.pmp
	edge := cross && r.one(12)
	if !aligned && cross {
		offset = r.imm()
	}
	return func(c *scope) {
		c.AND(t, rs, asm.S9)
		if edge { // near the end of the page
			c.SRLI(t, t, 12)
			c.ADDI(t, t, 1)
			c.SLLI(t, t, 12)
			c.ADDI(t, t, -int64(1+uint(rs)%8))
			c.AND(t, t, asm.S9)
		}
		switch {
		case aligned:
			c.ANDI(t, t, -size)
		case !cross:
			c.ANDI(t, t, ^8) // stays within 16 bytes
		}
		c.ADD(t, t, asm.S10)
	}, t, offset
}

func loadStore(r *random, g *program) item {
	op := choose(r, accesses...)
	prepare, base, offset := r.access(g, op.size)
	rd, rs2, f := r.dst(), r.src(), r.freg()
	i := item{name: op.name, emit: func(c *scope) {
		prepare(c)
		switch {
		case op.load != nil:
			op.load(c.Program, rd, offset, base)
		case op.store != nil:
			op.store(c.Program, rs2, offset, base)
		default:
			op.float(c.Program, f, offset, base)
		}
	}}
	if op.load != nil {
		return r.folded(i, rd)
	}
	return i
}

func atomicOp(r *random, g *program) item {
	op, rd, rs2 := choose(r, atomics...), r.dst(), r.src()
	prepare, base, _ := r.access(g, op.size)
	aq, rl := r.one(4), r.one(4)
	return r.folded(item{name: op.name, emit: func(c *scope) {
		prepare(c)
		op.emit(c.Program, rd, rs2, base)
		c.AqRl(aq, rl)
	}}, rd)
}

// reserve pairs LR with SC: to the same address, to another, or SC alone.
func reserve(r *random, g *program) item {
	if g.pmp { // whether an SC that fails looks at its permission differs
		return atomicOp(r, g)
	}
	word := r.one(2)
	size := int64(8)
	if word {
		size = 4
	}
	how := r.IntN(4)
	if g.translated && how == 1 {
		how = 2
	}
	rd, rs2, rt := r.dst(), r.src(), r.temp()
	rs, base := r.src(), asm.T6
	for rt == base {
		rt = r.temp()
	}
	for rd == base {
		rd = r.dst()
	}
	return r.folded(item{name: "lr/sc", emit: func(c *scope) {
		c.AND(base, rs, asm.S9)
		c.ANDI(base, base, -8)
		c.ADD(base, base, asm.S10)
		lr, sc := c.LRD, c.SCD
		if word {
			lr, sc = c.LRW, c.SCW
		}
		if how != 0 {
			lr(rt, base)
			c.ADD(rt, rt, rs2)
		} else {
			// A reservation that no SC takes away, left over from before,
			// must not decide.
			sc(asm.Zero, asm.Zero, base)
		}
		if how == 1 {
			c.XORI(base, base, size)
		}
		sc(rd, rt, base)
		if !g.translated {
			sc(rt, rs2, base)
		}
	}}, rd, rt)
}

// branch skips a few items, or none.
func branch(r *random, _ *program) item {
	op, rs1, rs2, n := choose(r, branches...), r.src(), r.src(), r.IntN(reach)
	if r.one(8) {
		short, zero := r.short(), r.one(2)
		return item{name: "c.branch", emit: func(c *scope) {
			to := c.local()
			if zero {
				c.CBEQZ(short, to)
			} else {
				c.CBNEZ(short, to)
			}
			c.CADDI(asm.A0, 1)
			c.Label(to)
		}}
	}
	return item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rs1, rs2, c.after(n)) }}
}

// jump goes forward, directly or through a register, or into nowhere.
func jump(r *random, g *program) item {
	n, t, link, low := r.IntN(reach), r.temp(), r.dst(), int64(r.IntN(2))
	how := r.IntN(6)
	if r.calm && how == 4 {
		how = 5
	}
	switch how {
	case 0:
		return item{name: "jal", emit: func(c *scope) { c.JAL(link, c.after(n)) }}
	case 1:
		return item{name: "c.j", emit: func(c *scope) {
			to := c.local()
			c.CJ(to)
			c.CADDI(asm.A1, 1)
			c.Label(to)
		}}
	case 2:
		return item{name: "c.jr", emit: func(c *scope) { c.LA(t, c.after(n)); c.CJR(t) }}
	case 3:
		return item{name: "c.jalr", emit: func(c *scope) { c.LA(t, c.after(n)); c.CJALR(t) }}
	case 4:
		// The handler goes on where RA points.
		to := int64(hole)
		if g.translated && g.mode != modeM {
			to = choose(r, hole, int64(r.integer()), pagesVA+int64(r.IntN(pagesN))<<12+4094)
			if to>>30 == ramBase>>30 || to>>30 == (ramBase|aliasBit)>>30 || to>>22 == pagesVA>>22 {
				to = hole
			}
		}
		return item{name: "jump to nowhere", emit: func(c *scope) { c.LI(t, to); c.JALR(asm.RA, low, t) }}
	}
	return item{name: "jalr", emit: func(c *scope) { c.LA(t, c.after(n)); c.JALR(link, low, t) }}
}

// loop repeats a few items that neither jump nor change the code.
func loop(r *random, g *program) item {
	var body []item
	for range 1 + r.IntN(6) {
		body = append(body, choose[maker](r, integerOp, integerOp, mulDiv, loadStore, compressedOp)(r, g))
	}
	times := int64(1 + r.IntN(12))
	return item{name: "loop", inner: body, emit: func(c *scope) {
		again := c.local()
		c.LI(asm.S11, times)
		c.Label(again)
		for _, i := range body {
			i.emit(c)
		}
		c.ADDI(asm.S11, asm.S11, -1)
		c.BNEZ(asm.S11, again)
	}}
}

// compressedOp draws a compressed instruction that computes or accesses.
func compressedOp(r *random, g *program) item {
	if !r.one(3) {
		op, o := choose(r, compressed...), operands{
			rd: r.temp(), rs: asm.Reg(1 + r.IntN(31)), sd: r.short(), ss: r.short(),
			imm: choose(r, -32, -1, 1, 31, int64(1+r.IntN(31))), amount: uint(1 + r.IntN(63)), unsigned: int64(1 + r.IntN(255)),
		}
		return item{name: op.name, emit: func(c *scope) { op.emit(c.Program, o) }}
	}
	op := choose(r, compressedAccesses...)
	rd, fd, n := r.short(), r.fshort(), int64(r.IntN(16))
	return item{name: op.name, emit: func(c *scope) {
		// The base is SP or S0, for as long as it takes.
		c.MV(asm.S0, asm.S10)
		if op.sp {
			c.MV(asm.T6, asm.SP)
			c.MV(asm.SP, asm.S10)
		}
		op.emit(c.Program, rd, fd, n)
		if op.sp {
			c.MV(asm.SP, asm.T6)
		}
	}}
}

// csrOp reads and writes the registers that programs of every mode may try.
func csrOp(r *random, g *program) item {
	csrs := []asm.CSR{asm.FFLAGS, asm.FRM, asm.FCSR, asm.FCSR, asm.FFLAGS}
	if !g.delegated || r.one(4) {
		csrs = append(csrs, asm.SEPC, asm.SCAUSE, asm.STVAL)
	}
	if r.calm {
		csrs = []asm.CSR{asm.FFLAGS}
	}
	csr := choose(r, csrs...)
	rd, rs1, op, imm := r.dst(), r.src(), r.IntN(6), uint(r.IntN(32))
	if csr == asm.SCAUSE {
		// WLRL: only what an implementation must hold.
		return item{name: "scause", emit: func(c *scope) { c.CSRRWI(rd, csr, imm&15) }}
	}
	if csr == asm.SEPC { // QEMU 7 keeps bit 0
		t := r.temp()
		return item{name: "sepc", emit: func(c *scope) { c.ANDI(t, rs1, -2); c.CSRRW(rd, csr, t) }}
	}
	if r.one(3) { // a legal rounding mode again
		return item{name: "frm", emit: func(c *scope) { c.CSRRWI(rd, asm.FRM, imm%5) }}
	}
	i := item{name: "csr", emit: func(c *scope) { c.csrOp(op, rd, csr, rs1, imm) }}
	if csr == asm.STVAL || csr == asm.SEPC {
		return i
	}
	return r.folded(i, rd)
}

// trapping draws what traps in some modes or in all.
func trapping(r *random, g *program) item {
	switch r.IntN(6) {
	case 0:
		return item{name: "ecall", emit: func(c *scope) { c.ECALL() }}
	case 1:
		return item{name: "ebreak", emit: func(c *scope) { c.EBREAK() }}
	case 2:
		return item{name: "c.ebreak", emit: func(c *scope) { c.CEBREAK() }}
	case 3:
		raw := choose[uint32](r, 0xffffffff, 0x0000100b, 0xc0001073, 0x30001077, 0x02000007, 0xf0000053, 0x7c0022f3)
		return item{name: "illegal", emit: func(c *scope) { c.Raw32(raw) }}
	case 4:
		return item{name: "c.illegal", emit: func(c *scope) { c.Raw16(0) }}
	}
	if g.mode != modeM {
		if g.mode == modeU && r.one(2) {
			return item{name: "sret in user mode", emit: func(c *scope) { c.SRET() }}
		}
		rd := r.dst()
		csr := choose(r, asm.MSTATUS, asm.MEPC, asm.MIE, asm.MSCRATCH, asm.MHARTID)
		if r.one(2) {
			return item{name: "mret below M", emit: func(c *scope) { c.MRET() }}
		}
		return item{name: "machine csr", emit: func(c *scope) { c.CSRR(rd, csr) }}
	}
	return item{name: "csr that is read-only", emit: func(c *scope) { c.CSRRWI(asm.Zero, asm.MHARTID, 1) }}
}

// rewrite stores an instruction over one that comes soon, which may already
// have run in a loop.
func rewrite(r *random, _ *program) item {
	t, v, rd, a, b := r.temp(), r.temp(), r.dst(), r.src(), r.src()
	for v == t {
		v = r.temp()
	}
	op := choose(r, threeRegisters...)
	one := asm.New(0)
	op.emit(one, rd, a, b)
	insn := binary.LittleEndian.Uint32(one.Bytes())
	twice, fence := r.one(2), !r.one(3)
	return item{name: "rewritten " + op.name, emit: func(c *scope) {
		at, again, over := c.local(), c.local(), c.local()
		if twice {
			c.LI(asm.S11, 2)
			c.Label(again)
		}
		c.Align4()
		c.LI(v, int64(int32(insn)))
		c.LA(t, at)
		c.SW(v, 0, t)
		if fence {
			c.FENCEI()
		} else {
			// Neither machine needs the fence, but QEMU finishes a block of
			// its code that is changed meanwhile: a jump ends it.
			c.JAL(asm.Zero, over)
			c.Label(over)
		}
		c.ADDI(rd, rd, 1)
		c.Align4()
		c.Label(at)
		c.ADDI(rd, rd, 2)
		if twice {
			c.ADDI(asm.S11, asm.S11, -1)
			c.BNEZ(asm.S11, again)
		}
	}}
}

func conditional(r *random, _ *program) item {
	rd, rs1, rs2, nez := r.dst(), r.src(), r.src(), r.one(2)
	return r.folded(item{name: "czero", emit: func(c *scope) {
		if nez {
			c.CZERONEZ(rd, rs1, rs2)
		} else {
			c.CZEROEQZ(rd, rs1, rs2)
		}
	}}, rd)
}

func bitOp(r *random, _ *program) item {
	rd, rs1, rs2 := r.dst(), r.src(), r.src()
	switch r.IntN(4) {
	case 0:
		op := choose(r, bitUnary...)
		return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1) }}, rd)
	case 1:
		op := choose(r, bitImmediates...)
		n := uint(r.IntN(op.width))
		return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, n) }}, rd)
	}
	op := choose(r, bitBinary...)
	return r.folded(item{name: op.name, emit: func(c *scope) { op.emit(c.Program, rd, rs1, rs2) }}, rd)
}

// encoding is any pattern that neither jumps nor waits: what one machine takes
// for illegal, so must the other. Only programs in user mode under translation
// can bear it.
func encoding(r *random, g *program) item {
	if r.one(2) {
		for {
			raw := uint16(r.Uint32())
			jumps := raw&3 == 1 && raw>>13 >= 5 || raw&3 == 2 && raw>>13 == 4 && raw>>2&31 == 0
			if raw&3 != 3 && !jumps {
				return item{name: "16-bit encoding", emit: func(c *scope) { c.Raw16(raw) }}
			}
		}
	}
	for {
		raw := r.Uint32() | 3
		if r.one(2) { // near what exists
			raw = raw&^0x7f | choose[uint32](r, 0x0f, 0x13, 0x1b, 0x33, 0x3b, 0x53, 0x53, 0x43, 0x2f, 0x73, 0x03, 0x23, 0x07, 0x27)
			raw &^= choose[uint32](r, 0, 0xfe000000, 0xf8000000, 0x01f00000, 0xfdf00000, 0xfe007000, 0xfff00000)
		}
		if r.one(4) {
			raw ^= 1 << r.IntN(32) & 0x40000000
		}
		switch op, f5 := raw&0x7f, raw>>27; {
		case op&3 != 3 || op == 0x63 || op == 0x67 || op == 0x6f: // jumps
		case raw&0xfff0707f == 0x6010101b: // CTZW
		case slices.Contains(g.lacks, zicond) && op == 0x33 && raw>>25 == 7 && raw>>12&5 == 5:
		case op == 0x2f && f5 == 3: // SC
		case op == 0x73 && raw>>20 < 0x200 && raw>>12&7 == 0 && raw>>20 > 1: // WFI and its kin
		default:
			return item{name: "encoding", emit: func(c *scope) { c.Raw32(raw) }}
		}
	}
}
