package rv64

// Length is the length in bytes of the instruction that starts with these 16 bits.
func Length(low uint16) uint8 {
	if low&3 == 3 {
		return 4
	}
	return 2
}

// Decode decodes one instruction. Of a compressed one only the low 16 bits
// count, and Raw keeps just those. What is not an instruction of RV64GC or
// of one of the extensions in Op's list becomes ILLEGAL, so that every pattern
// has a meaning. A prefetch of Zicbop is an ORI to x0: a NOP, as it may be.
func Decode(raw uint32) Inst {
	if raw&3 != 3 {
		return decodeCompressed(uint16(raw))
	}
	in := Inst{
		Rd:  uint8(raw>>7) & 31,
		Rs1: uint8(raw>>15) & 31,
		Rs2: uint8(raw>>20) & 31,
		Len: 4,
		Raw: raw,
	}
	funct3 := raw >> 12 & 7
	switch raw >> 2 & 31 {
	case 0x0D:
		in.Op, in.Imm = LUI, int32(raw&^0xfff)
	case 0x05:
		in.Op, in.Imm = AUIPC, int32(raw&^0xfff)
	case 0x1B:
		in.Op, in.Imm = JAL, immJ(raw)
		return in // with rd = x0 it is still a jump
	case 0x19:
		if funct3 == 0 {
			in.Op, in.Imm = JALR, immI(raw)
		}
		return in
	case 0x18:
		in.Op, in.Imm = branchOps[funct3], immB(raw)
		return in
	case 0x00:
		in.Op, in.Imm = loadOps[funct3], immI(raw)
		return in
	case 0x08:
		in.Op, in.Imm = storeOps[funct3], immS(raw)
		return in
	case 0x04:
		in.decodeOpImm(funct3)
	case 0x06:
		in.decodeOpImm32(funct3)
	case 0x0C:
		in.Op = lookup(opOps, raw>>25, funct3)
	case 0x0E:
		in.Op = lookup(op32Ops, raw>>25, funct3)
		if in.Op == ZEXTH && in.Rs2 != 0 {
			in.Op = ILLEGAL
		}
	case 0x03:
		switch {
		case funct3 <= 1:
			in.Op = FENCE
		case funct3 == 2 && in.Rd == 0:
			in.Op = blockOps[raw>>20]
		}
		return in
	case 0x1C:
		in.decodeSystem(funct3)
		return in
	case 0x0B:
		in.decodeAtomic(funct3)
		return in
	case 0x01:
		switch funct3 {
		case 2:
			in.Op, in.Imm = FLW, immI(raw)
		case 3:
			in.Op, in.Imm = FLD, immI(raw)
		}
		return in
	case 0x09:
		switch funct3 {
		case 2:
			in.Op, in.Imm = FSW, immS(raw)
		case 3:
			in.Op, in.Imm = FSD, immS(raw)
		}
		return in
	case 0x10, 0x11, 0x12, 0x13:
		in.decodeFused()
		return in
	case 0x14:
		in.decodeFloat(funct3)
		return in
	}
	return in.simplify()
}

// simplify is for operations whose only effect is on rd.
func (in Inst) simplify() Inst {
	switch {
	case in.Op == ILLEGAL:
	case in.Rd == 0:
		in.Op = NOP
	case in.Op == LUI || in.Op == ADDI && in.Rs1 == 0:
		in.Op = LI
	case in.Op == ADDI && in.Imm == 0:
		in.Op = MV
	}
	return in
}

func immI(raw uint32) int32 { return int32(raw) >> 20 }

func immS(raw uint32) int32 { return int32(raw)>>25<<5 | int32(raw>>7&31) }

func immB(raw uint32) int32 {
	return int32(raw)>>31<<12 | int32(raw>>7&1)<<11 | int32(raw>>25&63)<<5 | int32(raw>>8&15)<<1
}

func immJ(raw uint32) int32 {
	return int32(raw)>>31<<20 | int32(raw>>12&0xff)<<12 | int32(raw>>20&1)<<11 | int32(raw>>21&0x3ff)<<1
}

var (
	branchOps = [8]Op{BEQ, BNE, ILLEGAL, ILLEGAL, BLT, BGE, BLTU, BGEU}
	loadOps   = [8]Op{LB, LH, LW, LD, LBU, LHU, LWU, ILLEGAL}
	storeOps  = [8]Op{SB, SH, SW, SD}
	opImmOps  = [8]Op{ADDI, ILLEGAL, SLTI, SLTIU, XORI, ILLEGAL, ORI, ANDI}
	csrOps    = [8]Op{ILLEGAL, CSRRW, CSRRS, CSRRC, ILLEGAL, CSRRWI, CSRRSI, CSRRCI}
)

// blockOps are the operations on cache blocks, by the whole immediate.
var blockOps = map[uint32]Op{0: CBOINVAL, 1: CBOCLEAN, 2: CBOFLUSH, 4: CBOZERO}

// A group is the eight operations of one funct7, by funct3.
type group struct {
	funct7 uint32
	ops    [8]Op
}

var (
	opOps = []group{
		{0x00, [8]Op{ADD, SLL, SLT, SLTU, XOR, SRL, OR, AND}},
		{0x01, [8]Op{MUL, MULH, MULHSU, MULHU, DIV, DIVU, REM, REMU}},
		{0x20, [8]Op{SUB, 0, 0, 0, XNOR, SRA, ORN, ANDN}},
		{0x05, [8]Op{0, 0, 0, 0, MIN, MINU, MAX, MAXU}},
		{0x07, [8]Op{0, 0, 0, 0, 0, CZEROEQZ, 0, CZERONEZ}},
		{0x10, [8]Op{0, 0, SH1ADD, 0, SH2ADD, 0, SH3ADD, 0}},
		{0x14, [8]Op{0, BSET, 0, 0, 0, 0, 0, 0}},
		{0x24, [8]Op{0, BCLR, 0, 0, 0, BEXT, 0, 0}},
		{0x30, [8]Op{0, ROL, 0, 0, 0, ROR, 0, 0}},
		{0x34, [8]Op{0, BINV, 0, 0, 0, 0, 0, 0}},
	}
	op32Ops = []group{
		{0x00, [8]Op{ADDW, SLLW, 0, 0, 0, SRLW, 0, 0}},
		{0x01, [8]Op{MULW, 0, 0, 0, DIVW, DIVUW, REMW, REMUW}},
		{0x20, [8]Op{SUBW, 0, 0, 0, 0, SRAW, 0, 0}},
		{0x04, [8]Op{ADDUW, 0, 0, 0, ZEXTH, 0, 0, 0}},
		{0x10, [8]Op{0, 0, SH1ADDUW, 0, SH2ADDUW, 0, SH3ADDUW, 0}},
		{0x30, [8]Op{0, ROLW, 0, 0, 0, RORW, 0, 0}},
	}
)

func lookup(groups []group, funct7, funct3 uint32) Op {
	for i := range groups {
		if groups[i].funct7 == funct7 {
			return groups[i].ops[funct3]
		}
	}
	return ILLEGAL
}

// Shifts by an immediate: funct3 is 1 or 5, and the bits above the amount
// choose the operation.
var (
	leftOps    = map[uint32]Op{0x00: SLLI, 0x0A: BSETI, 0x12: BCLRI, 0x1A: BINVI}
	rightOps   = map[uint32]Op{0x00: SRLI, 0x10: SRAI, 0x12: BEXTI, 0x18: RORI}
	left32Ops  = map[uint32]Op{0x00: SLLIW}
	right32Ops = map[uint32]Op{0x00: SRLIW, 0x20: SRAIW, 0x30: RORIW}
)

// Operations on one register: the whole immediate chooses.
var (
	unaryOps      = map[uint32]Op{0x600: CLZ, 0x601: CTZ, 0x602: CPOP, 0x604: SEXTB, 0x605: SEXTH}
	unaryRightOps = map[uint32]Op{0x287: ORCB, 0x6B8: REV8}
	unary32Ops    = map[uint32]Op{0x600: CLZW, 0x601: CTZW, 0x602: CPOPW}
)

func (in *Inst) decodeOpImm(funct3 uint32) {
	in.Imm = immI(in.Raw)
	switch funct3 {
	case 1:
		in.decodeShift(unaryOps, leftOps, 6)
	case 5:
		in.decodeShift(unaryRightOps, rightOps, 6)
	default:
		in.Op = opImmOps[funct3]
	}
}

func (in *Inst) decodeOpImm32(funct3 uint32) {
	in.Imm = immI(in.Raw)
	switch funct3 {
	case 0:
		in.Op = ADDIW
	case 1:
		if in.Raw>>26 == 0x02 {
			in.Op, in.Imm = SLLIUW, in.Imm&63
			return
		}
		in.decodeShift(unary32Ops, left32Ops, 5)
	case 5:
		in.decodeShift(nil, right32Ops, 5)
	}
}

func (in *Inst) decodeShift(unary, shift map[uint32]Op, amountBits int) {
	if op := unary[in.Raw>>20]; op != ILLEGAL {
		in.Op = op
		return
	}
	in.Op = shift[in.Raw>>(20+amountBits)]
	in.Imm &= 1<<amountBits - 1
}

func (in *Inst) decodeSystem(funct3 uint32) {
	if funct3 != 0 {
		in.Op, in.Imm = csrOps[funct3], int32(in.Raw>>20)
		return
	}
	if in.Rd == 0 {
		switch in.Raw >> 25 {
		case 0x09:
			in.Op = SFENCEVMA
			return
		case 0x0B:
			in.Op = SINVALVMA
			return
		}
	}
	switch in.Raw {
	case 0x00D00073:
		in.Op = WRSNTO
	case 0x01D00073:
		in.Op = WRSSTO
	case 0x18000073:
		in.Op = SFENCEWINVAL
	case 0x18100073:
		in.Op = SFENCEINVALIR
	case 0x00000073:
		in.Op = ECALL
	case 0x00100073:
		in.Op = EBREAK
	case 0x30200073:
		in.Op = MRET
	case 0x10200073:
		in.Op = SRET
	case 0x10500073:
		in.Op = WFI
	}
}

// amoOps holds the word and doubleword operations by funct5.
var amoOps = [32][2]Op{
	0x00: {AMOADDW, AMOADDD},
	0x01: {AMOSWAPW, AMOSWAPD},
	0x02: {LRW, LRD},
	0x03: {SCW, SCD},
	0x04: {AMOXORW, AMOXORD},
	0x08: {AMOORW, AMOORD},
	0x0C: {AMOANDW, AMOANDD},
	0x10: {AMOMINW, AMOMIND},
	0x14: {AMOMAXW, AMOMAXD},
	0x18: {AMOMINUW, AMOMINUD},
	0x1C: {AMOMAXUW, AMOMAXUD},
}

func (in *Inst) decodeAtomic(funct3 uint32) {
	if funct3 != 2 && funct3 != 3 {
		return
	}
	op := amoOps[in.Raw>>27][funct3-2]
	if (op == LRW || op == LRD) && in.Rs2 != 0 {
		return
	}
	in.Op = op
}
