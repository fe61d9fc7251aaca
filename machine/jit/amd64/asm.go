// Package amd64 emits host code for x86-64: an assembler for the instructions
// that translated blocks need, and the translation of RISC-V blocks with it.
package amd64

import "encoding/binary"

// Reg is a general register of the host.
type Reg uint8

const (
	RAX Reg = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

// XMM is a vector register of the host.
type XMM uint8

// An operand is a register or memory at a register plus a displacement, and
// perhaps an index register.
type operand struct {
	reg    Reg // or the base of memory
	index  Reg // RSP is none, as in the encoding
	mem    bool
	scale  byte // log2 of what the index is multiplied by
	disp   int32
	vector bool
}

func reg(r Reg) operand                { return operand{reg: r} }
func xmm(x XMM) operand                { return operand{reg: Reg(x), vector: true} }
func mem(base Reg, disp int32) operand { return operand{reg: base, index: RSP, mem: true, disp: disp} }
func memIndex(base, index Reg, disp int32) operand {
	return operand{reg: base, index: index, mem: true, disp: disp}
}

// assembler appends instructions to buf.
type assembler struct{ buf []byte }

func (a *assembler) pos() int { return len(a.buf) }

func (a *assembler) b(v ...byte) { a.buf = append(a.buf, v...) }

func (a *assembler) i32(v int32) { a.buf = binary.LittleEndian.AppendUint32(a.buf, uint32(v)) }

func (a *assembler) i64(v uint64) { a.buf = binary.LittleEndian.AppendUint64(a.buf, v) }

// size is the width of an operation's operands.
type size uint8

const (
	l size = iota // 32 bits
	q             // 64 bits
)

// op emits prefix, REX, opcode and ModRM for a register field and an operand.
// prefix is 0 or one mandatory prefix byte; code is one to three opcode bytes.
// byteReg says that the register field names a byte register.
func (a *assembler) op(prefix byte, w size, code []byte, field Reg, o operand, byteReg bool) {
	if prefix != 0 {
		a.b(prefix)
	}
	rex := byte(w) << 3
	rex |= byte(field>>3) << 2
	if o.mem && o.index != RSP {
		rex |= byte(o.index>>3) << 1
	}
	rex |= byte(o.reg >> 3)
	if rex != 0 || byteReg && (field >= RSP || !o.mem && o.reg >= RSP) {
		a.b(0x40 | rex)
	}
	a.b(code...)
	a.modrm(field, o)
}

func (a *assembler) modrm(field Reg, o operand) {
	f := byte(field&7) << 3
	if !o.mem {
		a.b(0xc0 | f | byte(o.reg&7))
		return
	}
	mod := byte(0x80)
	switch {
	case o.disp == 0 && o.reg&7 != RBP:
		mod = 0
	case o.disp == int32(int8(o.disp)):
		mod = 0x40
	}
	if o.index != RSP || o.reg&7 == RSP {
		a.b(mod|f|4, o.scale<<6|byte(o.index&7)<<3|byte(o.reg&7))
	} else {
		a.b(mod | f | byte(o.reg&7))
	}
	switch mod {
	case 0x40:
		a.b(byte(o.disp))
	case 0x80:
		a.i32(o.disp)
	}
}

// aluOp is an operation of the classic group, by its number in the encoding.
type aluOp byte

const (
	aluADD aluOp = 0
	aluOR  aluOp = 1
	aluAND aluOp = 4
	aluSUB aluOp = 5
	aluXOR aluOp = 6
	aluCMP aluOp = 7
)

// alu is dst op= src with a register as destination.
func (a *assembler) alu(op aluOp, w size, dst Reg, src operand) {
	a.op(0, w, []byte{byte(op)<<3 | 3}, dst, src, false)
}

// aluTo is dst op= src with a register as source.
func (a *assembler) aluTo(op aluOp, w size, dst operand, src Reg) {
	a.op(0, w, []byte{byte(op)<<3 | 1}, src, dst, false)
}

// aluImm is dst op= v.
func (a *assembler) aluImm(op aluOp, w size, dst operand, v int32) {
	if v == int32(int8(v)) {
		a.op(0, w, []byte{0x83}, Reg(op), dst, false)
		a.b(byte(v))
		return
	}
	a.op(0, w, []byte{0x81}, Reg(op), dst, false)
	a.i32(v)
}

func (a *assembler) test(w size, x operand, y Reg) { a.op(0, w, []byte{0x85}, y, x, false) }

// mov is dst = src; movTo stores a register.
func (a *assembler) mov(w size, dst Reg, src operand) {
	if !src.mem && src.reg == dst && w == q {
		return
	}
	a.op(0, w, []byte{0x8b}, dst, src, false)
}

func (a *assembler) movTo(w size, dst operand, src Reg) {
	a.op(0, w, []byte{0x89}, src, dst, false)
}

// movImm is dst = v, sign-extended.
func (a *assembler) movImm(dst operand, v int64) {
	switch {
	case dst.mem:
		if v != int64(int32(v)) {
			panic("amd64: BUG: no store of a constant of 64 bits")
		}
		a.op(0, q, []byte{0xc7}, 0, dst, false)
		a.i32(int32(v))
	case v == 0:
		a.op(0, l, []byte{0x31}, dst.reg, dst, false)
	case v == int64(uint32(v)):
		a.rexB(l, dst.reg)
		a.b(0xb8 | byte(dst.reg&7))
		a.i32(int32(v))
	case v == int64(int32(v)):
		a.op(0, q, []byte{0xc7}, 0, dst, false)
		a.i32(int32(v))
	default:
		a.rexB(q, dst.reg)
		a.b(0xb8 | byte(dst.reg&7))
		a.i64(uint64(v))
	}
}

// movImm32 stores 32 bits.
func (a *assembler) movImm32(dst operand, v uint32) {
	a.op(0, l, []byte{0xc7}, 0, dst, false)
	a.i32(int32(v))
}

// setByte stores a byte, clearByte a zero, and cmpByte compares one.
func (a *assembler) setByte(dst operand, v byte) {
	a.op(0, l, []byte{0xc6}, 0, dst, false)
	a.b(v)
}

func (a *assembler) clearByte(dst operand) { a.setByte(dst, 0) }

func (a *assembler) cmpByte(x operand, v byte) {
	a.op(0, l, []byte{0x80}, Reg(aluCMP), x, false)
	a.b(v)
}

// testImm sets the flags of x & v.
func (a *assembler) testImm(w size, x operand, v int32) {
	a.op(0, w, []byte{0xf7}, 0, x, false)
	a.i32(v)
}

func (a *assembler) rexB(w size, r Reg) {
	if rex := byte(w)<<3 | byte(r>>3); rex != 0 {
		a.b(0x40 | rex)
	}
}

// extend is a load or move with extension from n bytes, n below 8.
func (a *assembler) extend(dst Reg, src operand, n int, signed bool) {
	switch {
	case n == 1 && signed:
		a.op(0, q, []byte{0x0f, 0xbe}, dst, src, false)
	case n == 1:
		a.op(0, l, []byte{0x0f, 0xb6}, dst, src, !src.mem)
	case n == 2 && signed:
		a.op(0, q, []byte{0x0f, 0xbf}, dst, src, false)
	case n == 2:
		a.op(0, l, []byte{0x0f, 0xb7}, dst, src, false)
	case signed:
		a.op(0, q, []byte{0x63}, dst, src, false)
	default:
		a.op(0, l, []byte{0x8b}, dst, src, false)
	}
}

// store writes the low n bytes of a register.
func (a *assembler) store(dst operand, src Reg, n int) {
	switch n {
	case 1:
		a.op(0, l, []byte{0x88}, src, dst, true)
	case 2:
		a.op(0x66, l, []byte{0x89}, src, dst, false)
	case 4:
		a.op(0, l, []byte{0x89}, src, dst, false)
	default:
		a.op(0, q, []byte{0x89}, src, dst, false)
	}
}

func (a *assembler) lea(dst Reg, src operand) { a.op(0, q, []byte{0x8d}, dst, src, false) }

// shiftOp is a shift or rotation by its number in the encoding.
type shiftOp byte

const (
	shiftROL shiftOp = 0
	shiftROR shiftOp = 1
	shiftSHL shiftOp = 4
	shiftSHR shiftOp = 5
	shiftSAR shiftOp = 7
)

func (a *assembler) shiftImm(op shiftOp, w size, dst operand, n byte) {
	a.op(0, w, []byte{0xc1}, Reg(op), dst, false)
	a.b(n)
}

// shiftCL shifts by CL.
func (a *assembler) shiftCL(op shiftOp, w size, dst operand) {
	a.op(0, w, []byte{0xd3}, Reg(op), dst, false)
}

func (a *assembler) imul(w size, dst Reg, src operand) {
	a.op(0, w, []byte{0x0f, 0xaf}, dst, src, false)
}

// wide is a one-operand operation on RDX:RAX.
func (a *assembler) wide(w size, op byte, src operand) { a.op(0, w, []byte{0xf7}, Reg(op), src, false) }

const (
	wideNOT  = 2
	wideNEG  = 3
	wideMUL  = 4
	wideIMUL = 5
	wideDIV  = 6
	wideIDIV = 7
)

// signRAX extends RAX into RDX.
func (a *assembler) signRAX(w size) {
	if w == q {
		a.b(0x48)
	}
	a.b(0x99)
}

// cond is a condition code.
type cond byte

const (
	condO  cond = 0
	condB  cond = 2
	condAE cond = 3
	condE  cond = 4
	condNE cond = 5
	condBE cond = 6
	condA  cond = 7
	condS  cond = 8
	condNS cond = 9
	condP  cond = 10
	condNP cond = 11
	condL  cond = 12
	condGE cond = 13
	condLE cond = 14
	condG  cond = 15
)

func (a *assembler) set(c cond, dst Reg) { a.op(0, l, []byte{0x0f, 0x90 | byte(c)}, 0, reg(dst), true) }

func (a *assembler) cmov(c cond, w size, dst Reg, src operand) {
	a.op(0, w, []byte{0x0f, 0x40 | byte(c)}, dst, src, false)
}

// jcc and jmp are jumps with an offset that is yet to be known: the result is
// where it lies.
func (a *assembler) jcc(c cond) int {
	a.b(0x0f, 0x80|byte(c))
	a.i32(0)
	return a.pos() - 4
}

func (a *assembler) jmp() int {
	a.b(0xe9)
	a.i32(0)
	return a.pos() - 4
}

// jmpTo jumps to what an operand says.
func (a *assembler) jmpTo(o operand) { a.op(0, l, []byte{0xff}, 4, o, false) }

// land makes the jump at a position lead here, or to a target.
func (a *assembler) land(at int) { a.aim(at, a.pos()) }

func (a *assembler) aim(at, target int) {
	binary.LittleEndian.PutUint32(a.buf[at:], uint32(target-at-4))
}

func (a *assembler) ret() { a.b(0xc3) }
