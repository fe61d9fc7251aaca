package asm

// Zba: shifted additions.
func (p *Program) SH1ADD(rd, rs1, rs2 Reg)         { p.rx(opReg, 2, 0x10, rd, rs1, rs2) }
func (p *Program) SH2ADD(rd, rs1, rs2 Reg)         { p.rx(opReg, 4, 0x10, rd, rs1, rs2) }
func (p *Program) SH3ADD(rd, rs1, rs2 Reg)         { p.rx(opReg, 6, 0x10, rd, rs1, rs2) }
func (p *Program) ADDUW(rd, rs1, rs2 Reg)          { p.rx(opReg32, 0, 0x4, rd, rs1, rs2) }
func (p *Program) SH1ADDUW(rd, rs1, rs2 Reg)       { p.rx(opReg32, 2, 0x10, rd, rs1, rs2) }
func (p *Program) SH2ADDUW(rd, rs1, rs2 Reg)       { p.rx(opReg32, 4, 0x10, rd, rs1, rs2) }
func (p *Program) SH3ADDUW(rd, rs1, rs2 Reg)       { p.rx(opReg32, 6, 0x10, rd, rs1, rs2) }
func (p *Program) SLLIUW(rd, rs1 Reg, amount uint) { p.shift(opImm32, 1, 2<<26, rd, rs1, amount, 64) }

// Zbb: basic bit manipulation.
func (p *Program) ANDN(rd, rs1, rs2 Reg)          { p.rx(opReg, 7, 0x20, rd, rs1, rs2) }
func (p *Program) ORN(rd, rs1, rs2 Reg)           { p.rx(opReg, 6, 0x20, rd, rs1, rs2) }
func (p *Program) XNOR(rd, rs1, rs2 Reg)          { p.rx(opReg, 4, 0x20, rd, rs1, rs2) }
func (p *Program) MAX(rd, rs1, rs2 Reg)           { p.rx(opReg, 6, 0x5, rd, rs1, rs2) }
func (p *Program) MAXU(rd, rs1, rs2 Reg)          { p.rx(opReg, 7, 0x5, rd, rs1, rs2) }
func (p *Program) MIN(rd, rs1, rs2 Reg)           { p.rx(opReg, 4, 0x5, rd, rs1, rs2) }
func (p *Program) MINU(rd, rs1, rs2 Reg)          { p.rx(opReg, 5, 0x5, rd, rs1, rs2) }
func (p *Program) ROL(rd, rs1, rs2 Reg)           { p.rx(opReg, 1, 0x30, rd, rs1, rs2) }
func (p *Program) ROR(rd, rs1, rs2 Reg)           { p.rx(opReg, 5, 0x30, rd, rs1, rs2) }
func (p *Program) ROLW(rd, rs1, rs2 Reg)          { p.rx(opReg32, 1, 0x30, rd, rs1, rs2) }
func (p *Program) RORW(rd, rs1, rs2 Reg)          { p.rx(opReg32, 5, 0x30, rd, rs1, rs2) }
func (p *Program) CLZ(rd, rs1 Reg)                { p.Raw32(0x60001013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) CTZ(rd, rs1 Reg)                { p.Raw32(0x60101013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) CPOP(rd, rs1 Reg)               { p.Raw32(0x60201013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) SEXTB(rd, rs1 Reg)              { p.Raw32(0x60401013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) SEXTH(rd, rs1 Reg)              { p.Raw32(0x60501013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) CLZW(rd, rs1 Reg)               { p.Raw32(0x6000101b | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) CTZW(rd, rs1 Reg)               { p.Raw32(0x6010101b | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) CPOPW(rd, rs1 Reg)              { p.Raw32(0x6020101b | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) ZEXTH(rd, rs1 Reg)              { p.Raw32(0x800403b | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) ORCB(rd, rs1 Reg)               { p.Raw32(0x28705013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) REV8(rd, rs1 Reg)               { p.Raw32(0x6b805013 | uint32(rs1)<<15 | uint32(rd)<<7) }
func (p *Program) RORI(rd, rs1 Reg, amount uint)  { p.shift(opImm, 5, 0x18<<26, rd, rs1, amount, 64) }
func (p *Program) RORIW(rd, rs1 Reg, amount uint) { p.shift(opImm32, 5, 0x18<<26, rd, rs1, amount, 32) }

// Zbs: single bits.
func (p *Program) BCLR(rd, rs1, rs2 Reg)       { p.rx(opReg, 1, 0x24, rd, rs1, rs2) }
func (p *Program) BEXT(rd, rs1, rs2 Reg)       { p.rx(opReg, 5, 0x24, rd, rs1, rs2) }
func (p *Program) BINV(rd, rs1, rs2 Reg)       { p.rx(opReg, 1, 0x34, rd, rs1, rs2) }
func (p *Program) BSET(rd, rs1, rs2 Reg)       { p.rx(opReg, 1, 0x14, rd, rs1, rs2) }
func (p *Program) BCLRI(rd, rs1 Reg, bit uint) { p.shift(opImm, 1, 0x12<<26, rd, rs1, bit, 64) }
func (p *Program) BEXTI(rd, rs1 Reg, bit uint) { p.shift(opImm, 5, 0x12<<26, rd, rs1, bit, 64) }
func (p *Program) BINVI(rd, rs1 Reg, bit uint) { p.shift(opImm, 1, 0x1a<<26, rd, rs1, bit, 64) }
func (p *Program) BSETI(rd, rs1 Reg, bit uint) { p.shift(opImm, 1, 0xa<<26, rd, rs1, bit, 64) }

// Zicond: rd is zero if rs2 is zero, or is not, and else rs1.
func (p *Program) CZEROEQZ(rd, rs1, rs2 Reg) { p.rx(opReg, 5, 7, rd, rs1, rs2) }
func (p *Program) CZERONEZ(rd, rs1, rs2 Reg) { p.rx(opReg, 7, 7, rd, rs1, rs2) }
