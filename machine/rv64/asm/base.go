package asm

// Register-register operations of RV64I.
func (p *Program) ADD(rd, rs1, rs2 Reg)  { p.rx(opReg, 0, 0x0, rd, rs1, rs2) }
func (p *Program) SUB(rd, rs1, rs2 Reg)  { p.rx(opReg, 0, 0x20, rd, rs1, rs2) }
func (p *Program) SLL(rd, rs1, rs2 Reg)  { p.rx(opReg, 1, 0x0, rd, rs1, rs2) }
func (p *Program) SLT(rd, rs1, rs2 Reg)  { p.rx(opReg, 2, 0x0, rd, rs1, rs2) }
func (p *Program) SLTU(rd, rs1, rs2 Reg) { p.rx(opReg, 3, 0x0, rd, rs1, rs2) }
func (p *Program) XOR(rd, rs1, rs2 Reg)  { p.rx(opReg, 4, 0x0, rd, rs1, rs2) }
func (p *Program) SRL(rd, rs1, rs2 Reg)  { p.rx(opReg, 5, 0x0, rd, rs1, rs2) }
func (p *Program) SRA(rd, rs1, rs2 Reg)  { p.rx(opReg, 5, 0x20, rd, rs1, rs2) }
func (p *Program) OR(rd, rs1, rs2 Reg)   { p.rx(opReg, 6, 0x0, rd, rs1, rs2) }
func (p *Program) AND(rd, rs1, rs2 Reg)  { p.rx(opReg, 7, 0x0, rd, rs1, rs2) }
func (p *Program) ADDW(rd, rs1, rs2 Reg) { p.rx(opReg32, 0, 0x0, rd, rs1, rs2) }
func (p *Program) SUBW(rd, rs1, rs2 Reg) { p.rx(opReg32, 0, 0x20, rd, rs1, rs2) }
func (p *Program) SLLW(rd, rs1, rs2 Reg) { p.rx(opReg32, 1, 0x0, rd, rs1, rs2) }
func (p *Program) SRLW(rd, rs1, rs2 Reg) { p.rx(opReg32, 5, 0x0, rd, rs1, rs2) }
func (p *Program) SRAW(rd, rs1, rs2 Reg) { p.rx(opReg32, 5, 0x20, rd, rs1, rs2) }

// Register-immediate operations of RV64I; imm is signed and has 12 bits.
func (p *Program) ADDI(rd, rs1 Reg, imm int64)    { p.ix(opImm, 0, rd, rs1, imm) }
func (p *Program) SLTI(rd, rs1 Reg, imm int64)    { p.ix(opImm, 2, rd, rs1, imm) }
func (p *Program) SLTIU(rd, rs1 Reg, imm int64)   { p.ix(opImm, 3, rd, rs1, imm) }
func (p *Program) XORI(rd, rs1 Reg, imm int64)    { p.ix(opImm, 4, rd, rs1, imm) }
func (p *Program) ORI(rd, rs1 Reg, imm int64)     { p.ix(opImm, 6, rd, rs1, imm) }
func (p *Program) ANDI(rd, rs1 Reg, imm int64)    { p.ix(opImm, 7, rd, rs1, imm) }
func (p *Program) ADDIW(rd, rs1 Reg, imm int64)   { p.ix(opImm32, 0, rd, rs1, imm) }
func (p *Program) SLLI(rd, rs1 Reg, amount uint)  { p.shift(opImm, 1, 0x0, rd, rs1, amount, 64) }
func (p *Program) SRLI(rd, rs1 Reg, amount uint)  { p.shift(opImm, 5, 0x0, rd, rs1, amount, 64) }
func (p *Program) SRAI(rd, rs1 Reg, amount uint)  { p.shift(opImm, 5, 0x40000000, rd, rs1, amount, 64) }
func (p *Program) SLLIW(rd, rs1 Reg, amount uint) { p.shift(opImm32, 1, 0x0, rd, rs1, amount, 32) }
func (p *Program) SRLIW(rd, rs1 Reg, amount uint) { p.shift(opImm32, 5, 0x0, rd, rs1, amount, 32) }
func (p *Program) SRAIW(rd, rs1 Reg, amount uint) {
	p.shift(opImm32, 5, 0x40000000, rd, rs1, amount, 32)
}

// Upper immediates: imm20 is the upper 20 bits, signed or unsigned.
func (p *Program) LUI(rd Reg, imm20 int64)   { p.u(opLUI, rd, imm20) }
func (p *Program) AUIPC(rd Reg, imm20 int64) { p.u(opAUIPC, rd, imm20) }

// Loads and stores of RV64I.
func (p *Program) LB(rd Reg, offset int64, base Reg)  { p.ix(opLoad, 0, rd, base, offset) }
func (p *Program) LH(rd Reg, offset int64, base Reg)  { p.ix(opLoad, 1, rd, base, offset) }
func (p *Program) LW(rd Reg, offset int64, base Reg)  { p.ix(opLoad, 2, rd, base, offset) }
func (p *Program) LD(rd Reg, offset int64, base Reg)  { p.ix(opLoad, 3, rd, base, offset) }
func (p *Program) LBU(rd Reg, offset int64, base Reg) { p.ix(opLoad, 4, rd, base, offset) }
func (p *Program) LHU(rd Reg, offset int64, base Reg) { p.ix(opLoad, 5, rd, base, offset) }
func (p *Program) LWU(rd Reg, offset int64, base Reg) { p.ix(opLoad, 6, rd, base, offset) }
func (p *Program) SB(rs2 Reg, offset int64, base Reg) { p.s(opStore, 0, uint32(rs2), offset, base) }
func (p *Program) SH(rs2 Reg, offset int64, base Reg) { p.s(opStore, 1, uint32(rs2), offset, base) }
func (p *Program) SW(rs2 Reg, offset int64, base Reg) { p.s(opStore, 2, uint32(rs2), offset, base) }
func (p *Program) SD(rs2 Reg, offset int64, base Reg) { p.s(opStore, 3, uint32(rs2), offset, base) }

// Branches and jumps.
func (p *Program) BEQ(rs1, rs2 Reg, label string)  { p.branch(0, rs1, rs2, label) }
func (p *Program) BNE(rs1, rs2 Reg, label string)  { p.branch(1, rs1, rs2, label) }
func (p *Program) BLT(rs1, rs2 Reg, label string)  { p.branch(4, rs1, rs2, label) }
func (p *Program) BGE(rs1, rs2 Reg, label string)  { p.branch(5, rs1, rs2, label) }
func (p *Program) BLTU(rs1, rs2 Reg, label string) { p.branch(6, rs1, rs2, label) }
func (p *Program) BGEU(rs1, rs2 Reg, label string) { p.branch(7, rs1, rs2, label) }

// JAL jumps to a label within 1 MiB.
func (p *Program) JAL(rd Reg, label string) {
	p.fix(label, func(p *Program, at int, d int64) {
		fits("jump distance", d, -1<<20, 1<<20-2, 2)
		u := uint32(d)
		p.putWord(at, p.word(at)|u>>20&1<<31|u>>1&0x3ff<<21|u>>11&1<<20|u>>12&0xff<<12)
	})
	p.Raw32(uint32(rd)<<7 | opJAL)
}

// JALR jumps to rs1 + offset.
func (p *Program) JALR(rd Reg, offset int64, rs1 Reg) { p.ix(opJALR, 0, rd, rs1, offset) }

// FENCE orders everything; FENCEI is FENCE.I.
func (p *Program) FENCE()  { p.Raw32(0x0ff0000f) }
func (p *Program) FENCEI() { p.Raw32(0x0000100f) }

// Multiplication and division.
func (p *Program) MUL(rd, rs1, rs2 Reg)    { p.rx(opReg, 0, 1, rd, rs1, rs2) }
func (p *Program) MULH(rd, rs1, rs2 Reg)   { p.rx(opReg, 1, 1, rd, rs1, rs2) }
func (p *Program) MULHSU(rd, rs1, rs2 Reg) { p.rx(opReg, 2, 1, rd, rs1, rs2) }
func (p *Program) MULHU(rd, rs1, rs2 Reg)  { p.rx(opReg, 3, 1, rd, rs1, rs2) }
func (p *Program) DIV(rd, rs1, rs2 Reg)    { p.rx(opReg, 4, 1, rd, rs1, rs2) }
func (p *Program) DIVU(rd, rs1, rs2 Reg)   { p.rx(opReg, 5, 1, rd, rs1, rs2) }
func (p *Program) REM(rd, rs1, rs2 Reg)    { p.rx(opReg, 6, 1, rd, rs1, rs2) }
func (p *Program) REMU(rd, rs1, rs2 Reg)   { p.rx(opReg, 7, 1, rd, rs1, rs2) }
func (p *Program) MULW(rd, rs1, rs2 Reg)   { p.rx(opReg32, 0, 1, rd, rs1, rs2) }
func (p *Program) DIVW(rd, rs1, rs2 Reg)   { p.rx(opReg32, 4, 1, rd, rs1, rs2) }
func (p *Program) DIVUW(rd, rs1, rs2 Reg)  { p.rx(opReg32, 5, 1, rd, rs1, rs2) }
func (p *Program) REMW(rd, rs1, rs2 Reg)   { p.rx(opReg32, 6, 1, rd, rs1, rs2) }
func (p *Program) REMUW(rd, rs1, rs2 Reg)  { p.rx(opReg32, 7, 1, rd, rs1, rs2) }
