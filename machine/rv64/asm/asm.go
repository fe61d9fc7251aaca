// Package asm assembles RISC-V programs that are written as Go calls, for
// tests: no cross compiler and no text to parse.
//
//	p := asm.New(0x80000000)
//	p.LI(asm.A0, 10)
//	p.Label("again")
//	p.ADDI(asm.A0, asm.A0, -1)
//	p.BNE(asm.A0, asm.Zero, "again")
//	code := p.Bytes()
//
// A method has the name of its instruction without dots (FADD.S is FADDS,
// C.LWSP is CLWSP) and takes the operands in the order of the assembly
// language: loads and stores are (register, offset, base), AMOs (rd, rs2,
// address). All of RV64GC, Zba, Zbb, Zbs, Zicond, Zicbom, Zicboz, Zawrs,
// Svinval, Zicsr, Zifencei and the privileged instructions are there.
//
// Labels may be used before they are defined; Bytes resolves them. An operand
// that does not fit its field, a label that is missing, defined twice or out
// of reach panics with the prefix "asm:", as the mistake is in the test.
package asm

import (
	"encoding/binary"
	"fmt"
)

// Program is a program under assembly. Not for concurrent use.
type Program struct {
	base   uint64
	buf    []byte
	last   int // offset of the last 32-bit instruction
	labels map[string]uint64
	fixups []fixup
}

// A fixup is an instruction whose operand is the distance to a label.
type fixup struct {
	at    int
	label string
	patch func(p *Program, at int, distance int64)
}

// New is an empty program to be placed at the address base.
func New(base uint64) *Program {
	return &Program{base: base, labels: map[string]uint64{}}
}

// PC is the address of what is assembled next.
func (p *Program) PC() uint64 { return p.base + uint64(len(p.buf)) }

// Label defines a label at PC.
func (p *Program) Label(name string) {
	if _, twice := p.labels[name]; twice {
		panic(fmt.Sprintf("asm: label %q is defined twice", name))
	}
	p.labels[name] = p.PC()
}

// Addr is the address of a label that is already defined.
func (p *Program) Addr(label string) uint64 {
	addr, ok := p.labels[label]
	if !ok {
		panic(fmt.Sprintf("asm: label %q is not defined", label))
	}
	return addr
}

// Bytes resolves the labels and is the program's code and data.
func (p *Program) Bytes() []byte {
	for _, f := range p.fixups {
		f.patch(p, f.at, int64(p.Addr(f.label)-(p.base+uint64(f.at))))
	}
	p.fixups = nil
	return p.buf
}

// Raw32 appends any 32-bit encoding.
func (p *Program) Raw32(insn uint32) {
	p.last = len(p.buf)
	p.buf = binary.LittleEndian.AppendUint32(p.buf, insn)
}

// Raw16 appends any 16-bit encoding.
func (p *Program) Raw16(insn uint16) { p.buf = binary.LittleEndian.AppendUint16(p.buf, insn) }

// Byte appends data.
func (p *Program) Byte(b ...byte) { p.buf = append(p.buf, b...) }

// Half appends 16-bit data.
func (p *Program) Half(v uint16) { p.buf = binary.LittleEndian.AppendUint16(p.buf, v) }

// Word appends 32-bit data.
func (p *Program) Word(v uint32) { p.buf = binary.LittleEndian.AppendUint32(p.buf, v) }

// Dword appends 64-bit data.
func (p *Program) Dword(v uint64) { p.buf = binary.LittleEndian.AppendUint64(p.buf, v) }

// Space appends n zero bytes.
func (p *Program) Space(n int) { p.buf = append(p.buf, make([]byte, n)...) }

// Align appends zero bytes until PC is a multiple of n.
func (p *Program) Align(n uint64) {
	for p.PC()%n != 0 {
		p.buf = append(p.buf, 0)
	}
}

// AqRl sets the aq and rl bits of the AMO, LR or SC assembled last.
func (p *Program) AqRl(aq, rl bool) {
	insn := p.word(p.last)
	if insn&0x7f != opAMO {
		panic("asm: AqRl after something that is not an atomic instruction")
	}
	if aq {
		insn |= 1 << 26
	}
	if rl {
		insn |= 1 << 25
	}
	p.putWord(p.last, insn)
}

func (p *Program) word(at int) uint32          { return binary.LittleEndian.Uint32(p.buf[at:]) }
func (p *Program) putWord(at int, insn uint32) { binary.LittleEndian.PutUint32(p.buf[at:], insn) }

func (p *Program) orHalf(at int, bits uint32) {
	binary.LittleEndian.PutUint16(p.buf[at:], binary.LittleEndian.Uint16(p.buf[at:])|uint16(bits))
}

// fits panics unless v is a multiple of unit in [lo, hi].
func fits(what string, v, lo, hi, unit int64) {
	if v < lo || v > hi || v%unit != 0 {
		panic(fmt.Sprintf("asm: %s %d is not a multiple of %d from %d to %d", what, v, unit, lo, hi))
	}
}
