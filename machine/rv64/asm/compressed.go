package asm

// The compressed instructions. Operands written rdc, rs1c, rs2c and basec must
// be one of S0, S1, A0 to A5 (x8 to x15) or FS0, FS1, FA0 to FA5.

// c3 is the three-bit number of a register in a compressed instruction.
func c3[R Reg | FReg](r R) uint32 {
	fits("compressed register", int64(r), 8, 15, 1)
	return uint32(r) - 8
}

// at moves the bits hi..lo of v to position to.
func at(v uint32, hi, lo, to int) uint32 { return v >> lo & (1<<(hi-lo+1) - 1) << to }

func (p *Program) c(insn uint32) { p.Raw16(uint16(insn)) }

// ci has a full register and a signed six-bit immediate.
func (p *Program) ci(base uint32, rd Reg, imm int64) {
	fits("immediate", imm, -32, 31, 1)
	u := uint32(imm)
	p.c(base | at(u, 5, 5, 12) | uint32(rd)<<7 | at(u, 4, 0, 2))
}

// cw and cd are word and doubleword accesses with a short base register.
func (p *Program) cw(base, reg uint32, offset int64, basec Reg) {
	fits("offset", offset, 0, 124, 4)
	u := uint32(offset)
	p.c(base | at(u, 5, 3, 10) | c3(basec)<<7 | at(u, 2, 2, 6) | at(u, 6, 6, 5) | reg<<2)
}

func (p *Program) cd(base, reg uint32, offset int64, basec Reg) {
	fits("offset", offset, 0, 248, 8)
	u := uint32(offset)
	p.c(base | at(u, 5, 3, 10) | c3(basec)<<7 | at(u, 7, 6, 5) | reg<<2)
}

// cdsp and csdsp are doubleword accesses relative to SP.
func (p *Program) cdsp(base, reg uint32, offset int64) {
	fits("offset", offset, 0, 504, 8)
	u := uint32(offset)
	p.c(base | at(u, 5, 5, 12) | reg<<7 | at(u, 4, 3, 5) | at(u, 8, 6, 2))
}

func (p *Program) csdsp(base, reg uint32, offset int64) {
	fits("offset", offset, 0, 504, 8)
	u := uint32(offset)
	p.c(base | at(u, 5, 3, 10) | at(u, 8, 6, 7) | reg<<2)
}

// ca is an operation on two short registers.
func (p *Program) ca(base uint32, rdc, rs2c Reg) { p.c(base | c3(rdc)<<7 | c3(rs2c)<<2) }

// Loads and stores with a short base register.
func (p *Program) CLW(rdc Reg, offset int64, basec Reg)   { p.cw(0x4000, c3(rdc), offset, basec) }
func (p *Program) CLD(rdc Reg, offset int64, basec Reg)   { p.cd(0x6000, c3(rdc), offset, basec) }
func (p *Program) CFLD(rdc FReg, offset int64, basec Reg) { p.cd(0x2000, c3(rdc), offset, basec) }
func (p *Program) CSW(rs2c Reg, offset int64, basec Reg)  { p.cw(0xc000, c3(rs2c), offset, basec) }
func (p *Program) CSD(rs2c Reg, offset int64, basec Reg)  { p.cd(0xe000, c3(rs2c), offset, basec) }
func (p *Program) CFSD(rs2c FReg, offset int64, basec Reg) {
	p.cd(0xa000, c3(rs2c), offset, basec)
}

// Loads and stores relative to SP.
func (p *Program) CLDSP(rd Reg, offset int64)    { p.cdsp(0x6002, uint32(rd), offset) }
func (p *Program) CFLDSP(rd FReg, offset int64)  { p.cdsp(0x2002, uint32(rd), offset) }
func (p *Program) CSDSP(rs2 Reg, offset int64)   { p.csdsp(0xe002, uint32(rs2), offset) }
func (p *Program) CFSDSP(rs2 FReg, offset int64) { p.csdsp(0xa002, uint32(rs2), offset) }

// CLWSP and CSWSP access a word relative to SP.
func (p *Program) CLWSP(rd Reg, offset int64) {
	fits("offset", offset, 0, 252, 4)
	u := uint32(offset)
	p.c(0x4002 | at(u, 5, 5, 12) | uint32(rd)<<7 | at(u, 4, 2, 4) | at(u, 7, 6, 2))
}

func (p *Program) CSWSP(rs2 Reg, offset int64) {
	fits("offset", offset, 0, 252, 4)
	u := uint32(offset)
	p.c(0xc002 | at(u, 5, 2, 9) | at(u, 7, 6, 7) | uint32(rs2)<<2)
}

// Immediates. CLUI takes the upper 20 bits as LUI does.
func (p *Program) CNOP()                      { p.c(0x0001) }
func (p *Program) CADDI(rd Reg, imm int64)    { p.ci(0x0001, rd, imm) }
func (p *Program) CADDIW(rd Reg, imm int64)   { p.ci(0x2001, rd, imm) }
func (p *Program) CLI(rd Reg, imm int64)      { p.ci(0x4001, rd, imm) }
func (p *Program) CLUI(rd Reg, imm20 int64)   { p.ci(0x6001, rd, imm20) }
func (p *Program) CANDI(rdc Reg, imm int64)   { p.ci(0x8801, Reg(c3(rdc)), imm) }
func (p *Program) CSRLI(rdc Reg, amount uint) { p.cshift(0x8001, Reg(c3(rdc)), amount) }
func (p *Program) CSRAI(rdc Reg, amount uint) { p.cshift(0x8401, Reg(c3(rdc)), amount) }
func (p *Program) CSLLI(rd Reg, amount uint)  { p.cshift(0x0002, rd, amount) }

func (p *Program) cshift(base uint32, rd Reg, amount uint) {
	fits("shift amount", int64(amount), 0, 63, 1)
	u := uint32(amount)
	p.c(base | at(u, 5, 5, 12) | uint32(rd)<<7 | at(u, 4, 0, 2))
}

// CADDI16SP adds a non-zero multiple of 16 to SP.
func (p *Program) CADDI16SP(imm int64) {
	fits("immediate", imm, -512, 496, 16)
	u := uint32(imm)
	p.c(0x6101 | at(u, 9, 9, 12) | at(u, 4, 4, 6) | at(u, 6, 6, 5) | at(u, 8, 7, 3) | at(u, 5, 5, 2))
}

// CADDI4SPN is SP plus a non-zero multiple of 4.
func (p *Program) CADDI4SPN(rdc Reg, imm int64) {
	fits("immediate", imm, 4, 1020, 4)
	u := uint32(imm)
	p.c(0x0000 | at(u, 5, 4, 11) | at(u, 9, 6, 7) | at(u, 2, 2, 6) | at(u, 3, 3, 5) | c3(rdc)<<2)
}

// Operations on registers.
func (p *Program) CMV(rd, rs2 Reg)     { p.c(0x8002 | uint32(rd)<<7 | uint32(rs2)<<2) }
func (p *Program) CADD(rd, rs2 Reg)    { p.c(0x9002 | uint32(rd)<<7 | uint32(rs2)<<2) }
func (p *Program) CSUB(rdc, rs2c Reg)  { p.ca(0x8c01, rdc, rs2c) }
func (p *Program) CXOR(rdc, rs2c Reg)  { p.ca(0x8c21, rdc, rs2c) }
func (p *Program) COR(rdc, rs2c Reg)   { p.ca(0x8c41, rdc, rs2c) }
func (p *Program) CAND(rdc, rs2c Reg)  { p.ca(0x8c61, rdc, rs2c) }
func (p *Program) CSUBW(rdc, rs2c Reg) { p.ca(0x9c01, rdc, rs2c) }
func (p *Program) CADDW(rdc, rs2c Reg) { p.ca(0x9c21, rdc, rs2c) }

// Jumps and branches.
func (p *Program) CJR(rs1 Reg)   { p.c(0x8002 | uint32(rs1)<<7) }
func (p *Program) CJALR(rs1 Reg) { p.c(0x9002 | uint32(rs1)<<7) }
func (p *Program) CEBREAK()      { p.c(0x9002) }

// CJ jumps to a label within 2 KiB.
func (p *Program) CJ(label string) {
	p.fix(label, func(p *Program, pos int, d int64) {
		fits("jump distance", d, -2048, 2046, 2)
		u := uint32(d)
		p.orHalf(pos, at(u, 11, 11, 12)|at(u, 4, 4, 11)|at(u, 9, 8, 9)|at(u, 10, 10, 8)|at(u, 6, 6, 7)|at(u, 7, 7, 6)|at(u, 3, 1, 3)|at(u, 5, 5, 2))
	})
	p.c(0xa001)
}

// CBEQZ and CBNEZ branch to a label within 256 bytes.
func (p *Program) CBEQZ(rs1c Reg, label string) { p.cbranch(0xc001, rs1c, label) }
func (p *Program) CBNEZ(rs1c Reg, label string) { p.cbranch(0xe001, rs1c, label) }

func (p *Program) cbranch(base uint32, rs1c Reg, label string) {
	p.fix(label, func(p *Program, pos int, d int64) {
		fits("branch distance", d, -256, 254, 2)
		u := uint32(d)
		p.orHalf(pos, at(u, 8, 8, 12)|at(u, 4, 3, 10)|at(u, 7, 6, 5)|at(u, 2, 1, 3)|at(u, 5, 5, 2))
	})
	p.c(base | c3(rs1c)<<7)
}
