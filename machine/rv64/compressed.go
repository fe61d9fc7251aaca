package rv64

// decodeCompressed expands a 16-bit encoding (unprivileged spec, chapter 27).
func decodeCompressed(raw uint16) Inst {
	c := uint32(raw)
	in := Inst{Len: 2, Raw: c}
	switch c>>13 | c&3<<3 {
	case 0x00: // c.addi4spn
		if imm := c>>7&0x30 | c>>1&0x3c0 | c>>4&4 | c>>2&8; imm != 0 {
			in.set(ADDI, low3(c>>2), 2, 0, int32(imm))
		}
	case 0x01: // c.fld
		in.set(FLD, low3(c>>2), low3(c>>7), 0, offsetD(c))
	case 0x02: // c.lw
		in.set(LW, low3(c>>2), low3(c>>7), 0, offsetW(c))
	case 0x03: // c.ld
		in.set(LD, low3(c>>2), low3(c>>7), 0, offsetD(c))
	case 0x05: // c.fsd
		in.set(FSD, 0, low3(c>>7), low3(c>>2), offsetD(c))
	case 0x06: // c.sw
		in.set(SW, 0, low3(c>>7), low3(c>>2), offsetW(c))
	case 0x07: // c.sd
		in.set(SD, 0, low3(c>>7), low3(c>>2), offsetD(c))

	case 0x08: // c.addi
		in.set(ADDI, full(c), full(c), 0, imm6(c))
		return in.simplify()
	case 0x09: // c.addiw
		if full(c) != 0 {
			in.set(ADDIW, full(c), full(c), 0, imm6(c))
		}
	case 0x0A: // c.li
		in.set(ADDI, full(c), 0, 0, imm6(c))
		return in.simplify()
	case 0x0B: // c.addi16sp, c.lui
		in.decodeLUI(c)
	case 0x0C:
		in.decodeArithmetic(c)
	case 0x0D: // c.j
		in.set(JAL, 0, 0, 0, offsetJ(c))
	case 0x0E: // c.beqz
		in.set(BEQ, 0, low3(c>>7), 0, offsetB(c))
	case 0x0F: // c.bnez
		in.set(BNE, 0, low3(c>>7), 0, offsetB(c))

	case 0x10: // c.slli
		in.set(SLLI, full(c), full(c), 0, imm6(c)&63)
		return in.simplify()
	case 0x11: // c.fldsp
		in.set(FLD, full(c), 2, 0, int32(c>>7&0x20|c>>2&0x18|c<<4&0x1c0))
	case 0x12: // c.lwsp
		if full(c) != 0 {
			in.set(LW, full(c), 2, 0, int32(c>>7&0x20|c>>2&0x1c|c<<4&0xc0))
		}
	case 0x13: // c.ldsp
		if full(c) != 0 {
			in.set(LD, full(c), 2, 0, int32(c>>7&0x20|c>>2&0x18|c<<4&0x1c0))
		}
	case 0x14:
		in.decodeRegister(c)
	case 0x15: // c.fsdsp
		in.set(FSD, 0, 2, uint8(c>>2&31), int32(c>>7&0x38|c>>1&0x1c0))
	case 0x16: // c.swsp
		in.set(SW, 0, 2, uint8(c>>2&31), int32(c>>7&0x3c|c>>1&0xc0))
	case 0x17: // c.sdsp
		in.set(SD, 0, 2, uint8(c>>2&31), int32(c>>7&0x38|c>>1&0x1c0))
	}
	return in
}

func (in *Inst) set(op Op, rd, rs1, rs2 uint8, imm int32) {
	in.Op, in.Rd, in.Rs1, in.Rs2, in.Imm = op, rd, rs1, rs2, imm
}

// low3 is one of the eight registers that three bits can name.
func low3(c uint32) uint8 { return uint8(c&7) + 8 }

func full(c uint32) uint8 { return uint8(c >> 7 & 31) }

func imm6(c uint32) int32 { return int32(c<<19)>>31<<5 | int32(c>>2&31) }

func offsetW(c uint32) int32 { return int32(c>>7&0x38 | c>>4&4 | c<<1&0x40) }

func offsetD(c uint32) int32 { return int32(c>>7&0x38 | c<<1&0xc0) }

func offsetJ(c uint32) int32 {
	return int32(c<<19)>>31<<11 | int32(c>>7&0x10|c>>1&0x300|c<<2&0x400|c>>1&0x40|c<<1&0x80|c>>2&0xe|c<<3&0x20)
}

func offsetB(c uint32) int32 {
	return int32(c<<19)>>31<<8 | int32(c>>7&0x18|c<<1&0xc0|c>>2&6|c<<3&0x20)
}

func (in *Inst) decodeLUI(c uint32) {
	imm := imm6(c)
	if imm == 0 {
		return
	}
	if full(c) == 2 {
		in.set(ADDI, 2, 2, 0, int32(c<<19)>>31<<9|int32(c>>2&0x10|c<<1&0x40|c<<4&0x180|c<<3&0x20))
		return
	}
	in.set(LUI, full(c), 0, 0, imm<<12)
	*in = in.simplify()
}

func (in *Inst) decodeArithmetic(c uint32) {
	rd, rs2 := low3(c>>7), low3(c>>2)
	switch c >> 10 & 3 {
	case 0:
		in.set(SRLI, rd, rd, 0, imm6(c)&63)
	case 1:
		in.set(SRAI, rd, rd, 0, imm6(c)&63)
	case 2:
		in.set(ANDI, rd, rd, 0, imm6(c))
	case 3:
		ops := [8]Op{SUB, XOR, OR, AND, SUBW, ADDW, ILLEGAL, ILLEGAL}
		in.set(ops[c>>10&4|c>>5&3], rd, rd, rs2, 0)
	}
}

// decodeRegister is c.jr, c.mv, c.ebreak, c.jalr and c.add.
func (in *Inst) decodeRegister(c uint32) {
	rs2 := uint8(c >> 2 & 31)
	link := c>>12&1 == 1
	switch {
	case rs2 == 0 && full(c) == 0:
		if link {
			in.Op = EBREAK
		}
	case rs2 == 0 && link:
		in.set(JALR, 1, full(c), 0, 0)
	case rs2 == 0:
		in.set(JALR, 0, full(c), 0, 0)
	case link:
		in.set(ADD, full(c), full(c), rs2, 0)
		*in = in.simplify()
	default:
		in.set(ADDI, full(c), rs2, 0, 0)
		*in = in.simplify()
	}
}
