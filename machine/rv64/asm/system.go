package asm

// Zicsr.
func (p *Program) CSRRW(rd Reg, csr CSR, rs1 Reg)     { p.csr(1, rd, csr, uint32(rs1)) }
func (p *Program) CSRRS(rd Reg, csr CSR, rs1 Reg)     { p.csr(2, rd, csr, uint32(rs1)) }
func (p *Program) CSRRC(rd Reg, csr CSR, rs1 Reg)     { p.csr(3, rd, csr, uint32(rs1)) }
func (p *Program) CSRRWI(rd Reg, csr CSR, uimm5 uint) { p.csr(5, rd, csr, uint32(uimm5&31)) }
func (p *Program) CSRRSI(rd Reg, csr CSR, uimm5 uint) { p.csr(6, rd, csr, uint32(uimm5&31)) }
func (p *Program) CSRRCI(rd Reg, csr CSR, uimm5 uint) { p.csr(7, rd, csr, uint32(uimm5&31)) }

// CSRR reads, CSRW writes a CSR.
func (p *Program) CSRR(rd Reg, csr CSR)  { p.CSRRS(rd, csr, Zero) }
func (p *Program) CSRW(csr CSR, rs1 Reg) { p.CSRRW(Zero, csr, rs1) }

// Environment and privileged instructions.
func (p *Program) ECALL()                   { p.Raw32(0x73) }
func (p *Program) EBREAK()                  { p.Raw32(0x100073) }
func (p *Program) SRET()                    { p.Raw32(0x10200073) }
func (p *Program) MRET()                    { p.Raw32(0x30200073) }
func (p *Program) WFI()                     { p.Raw32(0x10500073) }
func (p *Program) SFENCEVMA(addr, asid Reg) { p.rx(opSystem, 0, 9, Zero, addr, asid) }

// Svinval.
func (p *Program) SINVALVMA(addr, asid Reg) { p.rx(opSystem, 0, 0xb, Zero, addr, asid) }
func (p *Program) SFENCEWINVAL()            { p.Raw32(0x18000073) }
func (p *Program) SFENCEINVALIR()           { p.Raw32(0x18100073) }

// Zawrs.
func (p *Program) WRSNTO() { p.Raw32(0xd00073) }
func (p *Program) WRSSTO() { p.Raw32(0x1d00073) }

// Zicbom and Zicboz: operations on the cache block that holds the address.
func (p *Program) CBOINVAL(addr Reg) { p.ix(opMisc, 2, Zero, addr, 0) }
func (p *Program) CBOCLEAN(addr Reg) { p.ix(opMisc, 2, Zero, addr, 1) }
func (p *Program) CBOFLUSH(addr Reg) { p.ix(opMisc, 2, Zero, addr, 2) }
func (p *Program) CBOZERO(addr Reg)  { p.ix(opMisc, 2, Zero, addr, 4) }
