package asm

// Major opcodes.
const (
	opLoad    = 0x03
	opLoadFP  = 0x07
	opMisc    = 0x0f
	opImm     = 0x13
	opAUIPC   = 0x17
	opImm32   = 0x1b
	opStore   = 0x23
	opStoreFP = 0x27
	opAMO     = 0x2f
	opReg     = 0x33
	opLUI     = 0x37
	opReg32   = 0x3b
	opMAdd    = 0x43
	opMSub    = 0x47
	opNMSub   = 0x4b
	opNMAdd   = 0x4f
	opFP      = 0x53
	opBranch  = 0x63
	opJALR    = 0x67
	opJAL     = 0x6f
	opSystem  = 0x73
)

func (p *Program) r(op, f3, f7 uint32, rd, rs1, rs2 uint32) {
	p.Raw32(f7<<25 | rs2<<20 | rs1<<15 | f3<<12 | rd<<7 | op)
}

func (p *Program) rx(op, f3, f7 uint32, rd, rs1, rs2 Reg) {
	p.r(op, f3, f7, uint32(rd), uint32(rs1), uint32(rs2))
}

func (p *Program) i(op, f3 uint32, rd, rs1 uint32, imm int64) {
	fits("immediate", imm, -2048, 2047, 1)
	p.Raw32(uint32(imm)<<20 | rs1<<15 | f3<<12 | rd<<7 | op)
}

func (p *Program) ix(op, f3 uint32, rd, rs1 Reg, imm int64) {
	p.i(op, f3, uint32(rd), uint32(rs1), imm)
}

// shift is an immediate shift: f6 are the upper bits, above width bits of
// shift amount.
func (p *Program) shift(op, f3, top uint32, rd, rs1 Reg, amount uint, width int64) {
	fits("shift amount", int64(amount), 0, width-1, 1)
	p.Raw32(top | uint32(amount)<<20 | uint32(rs1)<<15 | f3<<12 | uint32(rd)<<7 | op)
}

func (p *Program) s(op, f3 uint32, src uint32, imm int64, base Reg) {
	fits("offset", imm, -2048, 2047, 1)
	u := uint32(imm)
	p.Raw32(u>>5&0x7f<<25 | src<<20 | uint32(base)<<15 | f3<<12 | u&0x1f<<7 | op)
}

func (p *Program) u(op uint32, rd Reg, imm20 int64) {
	fits("upper immediate", imm20, -1<<19, 1<<20-1, 1)
	p.Raw32(uint32(imm20)<<12 | uint32(rd)<<7 | op)
}

func (p *Program) branch(f3 uint32, rs1, rs2 Reg, label string) {
	p.fix(label, func(p *Program, at int, d int64) {
		fits("branch distance", d, -4096, 4094, 2)
		u := uint32(d)
		p.putWord(at, p.word(at)|u>>12&1<<31|u>>5&0x3f<<25|u>>1&0xf<<8|u>>11&1<<7)
	})
	p.Raw32(uint32(rs2)<<20 | uint32(rs1)<<15 | f3<<12 | opBranch)
}

func (p *Program) fix(label string, patch func(p *Program, at int, distance int64)) {
	p.fixups = append(p.fixups, fixup{len(p.buf), label, patch})
}

// fp is an instruction of opcode OP-FP; rm is the third function field.
func (p *Program) fp(f7, rm uint32, rd, rs1, rs2 uint32) { p.r(opFP, rm, f7, rd, rs1, rs2) }

func (p *Program) fused(op, format uint32, rd, rs1, rs2, rs3 FReg, rm RM) {
	p.r(op, uint32(rm), uint32(rs3)<<2|format, uint32(rd), uint32(rs1), uint32(rs2))
}

func (p *Program) amo(f5, f3 uint32, rd, rs2, addr Reg) { p.rx(opAMO, f3, f5<<2, rd, addr, rs2) }

func (p *Program) csr(f3 uint32, rd Reg, csr CSR, src uint32) {
	p.Raw32(uint32(csr)<<20 | src<<15 | f3<<12 | uint32(rd)<<7 | opSystem)
}
