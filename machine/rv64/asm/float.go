package asm

// Loads and stores of F and D.
func (p *Program) FLW(rd FReg, offset int64, base Reg) {
	p.i(opLoadFP, 2, uint32(rd), uint32(base), offset)
}
func (p *Program) FLD(rd FReg, offset int64, base Reg) {
	p.i(opLoadFP, 3, uint32(rd), uint32(base), offset)
}
func (p *Program) FSW(rs2 FReg, offset int64, base Reg) { p.s(opStoreFP, 2, uint32(rs2), offset, base) }
func (p *Program) FSD(rs2 FReg, offset int64, base Reg) { p.s(opStoreFP, 3, uint32(rs2), offset, base) }

// Arithmetic of binary32.
func (p *Program) FADDS(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x0, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FSUBS(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x4, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FMULS(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x8, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FDIVS(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0xc, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FSQRTS(rd, rs1 FReg, rm RM)            { p.fp(0x2c, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FMADDS(rd, rs1, rs2, rs3 FReg, rm RM)  { p.fused(opMAdd, 0, rd, rs1, rs2, rs3, rm) }
func (p *Program) FMSUBS(rd, rs1, rs2, rs3 FReg, rm RM)  { p.fused(opMSub, 0, rd, rs1, rs2, rs3, rm) }
func (p *Program) FNMSUBS(rd, rs1, rs2, rs3 FReg, rm RM) { p.fused(opNMSub, 0, rd, rs1, rs2, rs3, rm) }
func (p *Program) FNMADDS(rd, rs1, rs2, rs3 FReg, rm RM) { p.fused(opNMAdd, 0, rd, rs1, rs2, rs3, rm) }
func (p *Program) FSGNJS(rd, rs1, rs2 FReg)              { p.fp(0x10, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FSGNJNS(rd, rs1, rs2 FReg)             { p.fp(0x10, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FSGNJXS(rd, rs1, rs2 FReg)             { p.fp(0x10, 2, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FMINS(rd, rs1, rs2 FReg)               { p.fp(0x14, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FMAXS(rd, rs1, rs2 FReg)               { p.fp(0x14, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FEQS(rd Reg, rs1, rs2 FReg)            { p.fp(0x50, 2, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FLTS(rd Reg, rs1, rs2 FReg)            { p.fp(0x50, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FLES(rd Reg, rs1, rs2 FReg)            { p.fp(0x50, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FCLASSS(rd Reg, rs1 FReg)              { p.fp(0x70, 1, uint32(rd), uint32(rs1), 0) }

// Conversions and moves of binary32.
func (p *Program) FCVTWS(rd Reg, rs1 FReg, rm RM) { p.fp(0x60, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FCVTSW(rd FReg, rs1 Reg, rm RM) { p.fp(0x68, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FCVTWUS(rd Reg, rs1 FReg, rm RM) {
	p.fp(0x60, uint32(rm), uint32(rd), uint32(rs1), 1)
}
func (p *Program) FCVTSWU(rd FReg, rs1 Reg, rm RM) {
	p.fp(0x68, uint32(rm), uint32(rd), uint32(rs1), 1)
}
func (p *Program) FCVTLS(rd Reg, rs1 FReg, rm RM) { p.fp(0x60, uint32(rm), uint32(rd), uint32(rs1), 2) }
func (p *Program) FCVTSL(rd FReg, rs1 Reg, rm RM) { p.fp(0x68, uint32(rm), uint32(rd), uint32(rs1), 2) }
func (p *Program) FCVTLUS(rd Reg, rs1 FReg, rm RM) {
	p.fp(0x60, uint32(rm), uint32(rd), uint32(rs1), 3)
}
func (p *Program) FCVTSLU(rd FReg, rs1 Reg, rm RM) {
	p.fp(0x68, uint32(rm), uint32(rd), uint32(rs1), 3)
}
func (p *Program) FMVXW(rd Reg, rs1 FReg) { p.fp(0x70, 0, uint32(rd), uint32(rs1), 0) }
func (p *Program) FMVWX(rd FReg, rs1 Reg) { p.fp(0x78, 0, uint32(rd), uint32(rs1), 0) }

// Arithmetic of binary64.
func (p *Program) FADDD(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x1, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FSUBD(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x5, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FMULD(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0x9, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FDIVD(rd, rs1, rs2 FReg, rm RM) {
	p.fp(0xd, uint32(rm), uint32(rd), uint32(rs1), uint32(rs2))
}
func (p *Program) FSQRTD(rd, rs1 FReg, rm RM)            { p.fp(0x2d, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FMADDD(rd, rs1, rs2, rs3 FReg, rm RM)  { p.fused(opMAdd, 1, rd, rs1, rs2, rs3, rm) }
func (p *Program) FMSUBD(rd, rs1, rs2, rs3 FReg, rm RM)  { p.fused(opMSub, 1, rd, rs1, rs2, rs3, rm) }
func (p *Program) FNMSUBD(rd, rs1, rs2, rs3 FReg, rm RM) { p.fused(opNMSub, 1, rd, rs1, rs2, rs3, rm) }
func (p *Program) FNMADDD(rd, rs1, rs2, rs3 FReg, rm RM) { p.fused(opNMAdd, 1, rd, rs1, rs2, rs3, rm) }
func (p *Program) FSGNJD(rd, rs1, rs2 FReg)              { p.fp(0x11, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FSGNJND(rd, rs1, rs2 FReg)             { p.fp(0x11, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FSGNJXD(rd, rs1, rs2 FReg)             { p.fp(0x11, 2, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FMIND(rd, rs1, rs2 FReg)               { p.fp(0x15, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FMAXD(rd, rs1, rs2 FReg)               { p.fp(0x15, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FEQD(rd Reg, rs1, rs2 FReg)            { p.fp(0x51, 2, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FLTD(rd Reg, rs1, rs2 FReg)            { p.fp(0x51, 1, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FLED(rd Reg, rs1, rs2 FReg)            { p.fp(0x51, 0, uint32(rd), uint32(rs1), uint32(rs2)) }
func (p *Program) FCLASSD(rd Reg, rs1 FReg)              { p.fp(0x71, 1, uint32(rd), uint32(rs1), 0) }

// Conversions and moves of binary64.
func (p *Program) FCVTWD(rd Reg, rs1 FReg, rm RM) { p.fp(0x61, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FCVTDW(rd FReg, rs1 Reg, rm RM) { p.fp(0x69, uint32(rm), uint32(rd), uint32(rs1), 0) }
func (p *Program) FCVTWUD(rd Reg, rs1 FReg, rm RM) {
	p.fp(0x61, uint32(rm), uint32(rd), uint32(rs1), 1)
}
func (p *Program) FCVTDWU(rd FReg, rs1 Reg, rm RM) {
	p.fp(0x69, uint32(rm), uint32(rd), uint32(rs1), 1)
}
func (p *Program) FCVTLD(rd Reg, rs1 FReg, rm RM) { p.fp(0x61, uint32(rm), uint32(rd), uint32(rs1), 2) }
func (p *Program) FCVTDL(rd FReg, rs1 Reg, rm RM) { p.fp(0x69, uint32(rm), uint32(rd), uint32(rs1), 2) }
func (p *Program) FCVTLUD(rd Reg, rs1 FReg, rm RM) {
	p.fp(0x61, uint32(rm), uint32(rd), uint32(rs1), 3)
}
func (p *Program) FCVTDLU(rd FReg, rs1 Reg, rm RM) {
	p.fp(0x69, uint32(rm), uint32(rd), uint32(rs1), 3)
}
func (p *Program) FMVXD(rd Reg, rs1 FReg) { p.fp(0x71, 0, uint32(rd), uint32(rs1), 0) }
func (p *Program) FMVDX(rd FReg, rs1 Reg) { p.fp(0x79, 0, uint32(rd), uint32(rs1), 0) }

// Conversions between the formats.
func (p *Program) FCVTSD(rd, rs1 FReg, rm RM) { p.fp(0x20, uint32(rm), uint32(rd), uint32(rs1), 1) }
func (p *Program) FCVTDS(rd, rs1 FReg, rm RM) { p.fp(0x21, uint32(rm), uint32(rd), uint32(rs1), 0) }
