package asm

import "math/bits"

// NOP, MV and J are what their names say.
func (p *Program) NOP()           { p.ADDI(Zero, Zero, 0) }
func (p *Program) MV(rd, rs1 Reg) { p.ADDI(rd, rs1, 0) }
func (p *Program) J(label string) { p.JAL(Zero, label) }
func (p *Program) RET()           { p.JALR(Zero, 0, RA) }

// BEQZ and BNEZ compare with zero.
func (p *Program) BEQZ(rs1 Reg, label string) { p.BEQ(rs1, Zero, label) }
func (p *Program) BNEZ(rs1 Reg, label string) { p.BNE(rs1, Zero, label) }

// LI loads a constant in one to eight instructions.
func (p *Program) LI(rd Reg, value int64) {
	low := value << 52 >> 52
	if value == int64(int32(value)) {
		upper := (value - low) >> 12 << 44 >> 44
		switch {
		case upper == 0:
			p.ADDI(rd, Zero, low)
		case low == 0:
			p.LUI(rd, upper)
		default:
			p.LUI(rd, upper)
			p.ADDIW(rd, rd, low)
		}
		return
	}
	rest := int64(uint64(value)-uint64(low)) >> 12
	n := bits.TrailingZeros64(uint64(rest))
	p.LI(rd, rest>>n)
	p.SLLI(rd, rd, uint(n+12))
	if low != 0 {
		p.ADDI(rd, rd, low)
	}
}

// LA loads the address of a label within 2 GiB, in two instructions.
func (p *Program) LA(rd Reg, label string) {
	p.fixPCRel(label)
	p.AUIPC(rd, 0)
	p.ADDI(rd, rd, 0)
}

// CALL calls a label within 2 GiB, in two instructions.
func (p *Program) CALL(label string) {
	p.fixPCRel(label)
	p.AUIPC(RA, 0)
	p.JALR(RA, 0, RA)
}

// fixPCRel is for an AUIPC and an instruction with an I immediate after it.
func (p *Program) fixPCRel(label string) {
	p.fix(label, func(p *Program, at int, d int64) {
		fits("distance", d, -1<<31, 1<<31-2049, 1)
		low := d << 52 >> 52
		p.putWord(at, p.word(at)|uint32(d-low))
		p.putWord(at+4, p.word(at+4)|uint32(low)<<20)
	})
}
