package asm

// Load-reserved and store-conditional. AqRl sets the ordering bits.
func (p *Program) LRW(rd, addr Reg)      { p.amo(2, 2, rd, Zero, addr) }
func (p *Program) SCW(rd, rs2, addr Reg) { p.amo(3, 2, rd, rs2, addr) }
func (p *Program) LRD(rd, addr Reg)      { p.amo(2, 3, rd, Zero, addr) }
func (p *Program) SCD(rd, rs2, addr Reg) { p.amo(3, 3, rd, rs2, addr) }

// Atomic memory operations on words.
func (p *Program) AMOSWAPW(rd, rs2, addr Reg) { p.amo(1, 2, rd, rs2, addr) }
func (p *Program) AMOADDW(rd, rs2, addr Reg)  { p.amo(0, 2, rd, rs2, addr) }
func (p *Program) AMOXORW(rd, rs2, addr Reg)  { p.amo(4, 2, rd, rs2, addr) }
func (p *Program) AMOANDW(rd, rs2, addr Reg)  { p.amo(12, 2, rd, rs2, addr) }
func (p *Program) AMOORW(rd, rs2, addr Reg)   { p.amo(8, 2, rd, rs2, addr) }
func (p *Program) AMOMINW(rd, rs2, addr Reg)  { p.amo(16, 2, rd, rs2, addr) }
func (p *Program) AMOMAXW(rd, rs2, addr Reg)  { p.amo(20, 2, rd, rs2, addr) }
func (p *Program) AMOMINUW(rd, rs2, addr Reg) { p.amo(24, 2, rd, rs2, addr) }
func (p *Program) AMOMAXUW(rd, rs2, addr Reg) { p.amo(28, 2, rd, rs2, addr) }

// Atomic memory operations on doublewords.
func (p *Program) AMOSWAPD(rd, rs2, addr Reg) { p.amo(1, 3, rd, rs2, addr) }
func (p *Program) AMOADDD(rd, rs2, addr Reg)  { p.amo(0, 3, rd, rs2, addr) }
func (p *Program) AMOXORD(rd, rs2, addr Reg)  { p.amo(4, 3, rd, rs2, addr) }
func (p *Program) AMOANDD(rd, rs2, addr Reg)  { p.amo(12, 3, rd, rs2, addr) }
func (p *Program) AMOORD(rd, rs2, addr Reg)   { p.amo(8, 3, rd, rs2, addr) }
func (p *Program) AMOMIND(rd, rs2, addr Reg)  { p.amo(16, 3, rd, rs2, addr) }
func (p *Program) AMOMAXD(rd, rs2, addr Reg)  { p.amo(20, 3, rd, rs2, addr) }
func (p *Program) AMOMINUD(rd, rs2, addr Reg) { p.amo(24, 3, rd, rs2, addr) }
func (p *Program) AMOMAXUD(rd, rs2, addr Reg) { p.amo(28, 3, rd, rs2, addr) }
