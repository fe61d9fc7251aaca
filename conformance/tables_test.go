package conformance

import "github.com/lockstep-vm/lockstep/machine/rv64/asm"

type (
	prog = asm.Program

	opRRR struct {
		name string
		emit func(p *prog, rd, rs1, rs2 asm.Reg)
	}
	opRRI struct {
		name string
		emit func(p *prog, rd, rs1 asm.Reg, imm int64)
	}
	opShift struct {
		name  string
		width int
		emit  func(p *prog, rd, rs1 asm.Reg, amount uint)
	}
	opBranch struct {
		name string
		emit func(p *prog, rs1, rs2 asm.Reg, label string)
	}
	opAccess struct {
		name  string
		size  int64
		load  func(p *prog, rd asm.Reg, offset int64, base asm.Reg)
		store func(p *prog, rs2 asm.Reg, offset int64, base asm.Reg)
		float func(p *prog, f asm.FReg, offset int64, base asm.Reg)
	}
	opAtomic struct {
		name string
		size int64
		emit func(p *prog, rd, rs2, addr asm.Reg)
	}
)

var threeRegisters = []opRRR{
	{"add", (*prog).ADD},
	{"sub", (*prog).SUB},
	{"sll", (*prog).SLL},
	{"slt", (*prog).SLT},
	{"sltu", (*prog).SLTU},
	{"xor", (*prog).XOR},
	{"srl", (*prog).SRL},
	{"sra", (*prog).SRA},
	{"or", (*prog).OR},
	{"and", (*prog).AND},
	{"addw", (*prog).ADDW},
	{"subw", (*prog).SUBW},
	{"sllw", (*prog).SLLW},
	{"srlw", (*prog).SRLW},
	{"sraw", (*prog).SRAW},
}

var multiplications = []opRRR{
	{"mul", (*prog).MUL},
	{"mulh", (*prog).MULH},
	{"mulhsu", (*prog).MULHSU},
	{"mulhu", (*prog).MULHU},
	{"div", (*prog).DIV},
	{"divu", (*prog).DIVU},
	{"rem", (*prog).REM},
	{"remu", (*prog).REMU},
	{"mulw", (*prog).MULW},
	{"divw", (*prog).DIVW},
	{"divuw", (*prog).DIVUW},
	{"remw", (*prog).REMW},
	{"remuw", (*prog).REMUW},
}

var immediates = []opRRI{
	{"addi", (*prog).ADDI},
	{"slti", (*prog).SLTI},
	{"sltiu", (*prog).SLTIU},
	{"xori", (*prog).XORI},
	{"ori", (*prog).ORI},
	{"andi", (*prog).ANDI},
	{"addiw", (*prog).ADDIW},
}

var shifts = []opShift{
	{"slli", 64, (*prog).SLLI},
	{"srli", 64, (*prog).SRLI},
	{"srai", 64, (*prog).SRAI},
	{"slliw", 32, (*prog).SLLIW},
	{"srliw", 32, (*prog).SRLIW},
	{"sraiw", 32, (*prog).SRAIW},
}

var branches = []opBranch{
	{"beq", (*prog).BEQ},
	{"bne", (*prog).BNE},
	{"blt", (*prog).BLT},
	{"bge", (*prog).BGE},
	{"bltu", (*prog).BLTU},
	{"bgeu", (*prog).BGEU},
}

var accesses = []opAccess{
	{name: "lb", size: 1, load: (*prog).LB},
	{name: "lh", size: 2, load: (*prog).LH},
	{name: "lw", size: 4, load: (*prog).LW},
	{name: "ld", size: 8, load: (*prog).LD},
	{name: "lbu", size: 1, load: (*prog).LBU},
	{name: "lhu", size: 2, load: (*prog).LHU},
	{name: "lwu", size: 4, load: (*prog).LWU},
	{name: "sb", size: 1, store: (*prog).SB},
	{name: "sh", size: 2, store: (*prog).SH},
	{name: "sw", size: 4, store: (*prog).SW},
	{name: "sd", size: 8, store: (*prog).SD},
	{name: "flw", size: 4, float: (*prog).FLW},
	{name: "fld", size: 8, float: (*prog).FLD},
	{name: "fsw", size: 4, float: (*prog).FSW},
	{name: "fsd", size: 8, float: (*prog).FSD},
}

var atomics = []opAtomic{
	{"amoswap.w", 4, (*prog).AMOSWAPW},
	{"amoadd.w", 4, (*prog).AMOADDW},
	{"amoxor.w", 4, (*prog).AMOXORW},
	{"amoand.w", 4, (*prog).AMOANDW},
	{"amoor.w", 4, (*prog).AMOORW},
	{"amomin.w", 4, (*prog).AMOMINW},
	{"amomax.w", 4, (*prog).AMOMAXW},
	{"amominu.w", 4, (*prog).AMOMINUW},
	{"amomaxu.w", 4, (*prog).AMOMAXUW},
	{"amoswap.d", 8, (*prog).AMOSWAPD},
	{"amoadd.d", 8, (*prog).AMOADDD},
	{"amoxor.d", 8, (*prog).AMOXORD},
	{"amoand.d", 8, (*prog).AMOANDD},
	{"amoor.d", 8, (*prog).AMOORD},
	{"amomin.d", 8, (*prog).AMOMIND},
	{"amomax.d", 8, (*prog).AMOMAXD},
	{"amominu.d", 8, (*prog).AMOMINUD},
	{"amomaxu.d", 8, (*prog).AMOMAXUD},
}

var floatBinary = []struct {
	name string
	emit func(p *prog, rd, rs1, rs2 asm.FReg, rm asm.RM)
}{
	{"fadds", (*prog).FADDS},
	{"fsubs", (*prog).FSUBS},
	{"fmuls", (*prog).FMULS},
	{"fdivs", (*prog).FDIVS},
	{"faddd", (*prog).FADDD},
	{"fsubd", (*prog).FSUBD},
	{"fmuld", (*prog).FMULD},
	{"fdivd", (*prog).FDIVD},
}

var floatFused = []struct {
	name string
	emit func(p *prog, rd, rs1, rs2, rs3 asm.FReg, rm asm.RM)
}{
	{"fmadds", (*prog).FMADDS},
	{"fmsubs", (*prog).FMSUBS},
	{"fnmsubs", (*prog).FNMSUBS},
	{"fnmadds", (*prog).FNMADDS},
	{"fmaddd", (*prog).FMADDD},
	{"fmsubd", (*prog).FMSUBD},
	{"fnmsubd", (*prog).FNMSUBD},
	{"fnmaddd", (*prog).FNMADDD},
}

var floatUnary = []struct {
	name string
	emit func(p *prog, rd, rs1 asm.FReg, rm asm.RM)
}{
	{"fsqrts", (*prog).FSQRTS},
	{"fsqrtd", (*prog).FSQRTD},
	{"fcvtsd", (*prog).FCVTSD},
	{"fcvtds", (*prog).FCVTDS},
}

var floatSimple = []struct {
	name string
	emit func(p *prog, rd, rs1, rs2 asm.FReg)
}{
	{"fsgnjs", (*prog).FSGNJS},
	{"fsgnjns", (*prog).FSGNJNS},
	{"fsgnjxs", (*prog).FSGNJXS},
	{"fmins", (*prog).FMINS},
	{"fmaxs", (*prog).FMAXS},
	{"fsgnjd", (*prog).FSGNJD},
	{"fsgnjnd", (*prog).FSGNJND},
	{"fsgnjxd", (*prog).FSGNJXD},
	{"fmind", (*prog).FMIND},
	{"fmaxd", (*prog).FMAXD},
}

var floatCompare = []struct {
	name string
	emit func(p *prog, rd asm.Reg, rs1, rs2 asm.FReg)
}{
	{"feqs", (*prog).FEQS},
	{"flts", (*prog).FLTS},
	{"fles", (*prog).FLES},
	{"feqd", (*prog).FEQD},
	{"fltd", (*prog).FLTD},
	{"fled", (*prog).FLED},
}

var floatToInt = []struct {
	name string
	emit func(p *prog, rd asm.Reg, rs1 asm.FReg, rm asm.RM)
}{
	{"fcvtws", (*prog).FCVTWS},
	{"fcvtwus", (*prog).FCVTWUS},
	{"fcvtls", (*prog).FCVTLS},
	{"fcvtlus", (*prog).FCVTLUS},
	{"fcvtwd", (*prog).FCVTWD},
	{"fcvtwud", (*prog).FCVTWUD},
	{"fcvtld", (*prog).FCVTLD},
	{"fcvtlud", (*prog).FCVTLUD},
	{"fclasss", func(p *prog, rd asm.Reg, rs1 asm.FReg, _ asm.RM) { p.FCLASSS(rd, rs1) }},
	{"fclassd", func(p *prog, rd asm.Reg, rs1 asm.FReg, _ asm.RM) { p.FCLASSD(rd, rs1) }},
	{"fmvxw", func(p *prog, rd asm.Reg, rs1 asm.FReg, _ asm.RM) { p.FMVXW(rd, rs1) }},
	{"fmvxd", func(p *prog, rd asm.Reg, rs1 asm.FReg, _ asm.RM) { p.FMVXD(rd, rs1) }},
}

var intToFloat = []struct {
	name string
	emit func(p *prog, rd asm.FReg, rs1 asm.Reg, rm asm.RM)
}{
	{"fcvtsw", (*prog).FCVTSW},
	{"fcvtswu", (*prog).FCVTSWU},
	{"fcvtsl", (*prog).FCVTSL},
	{"fcvtslu", (*prog).FCVTSLU},
	{"fcvtdw", (*prog).FCVTDW},
	{"fcvtdwu", (*prog).FCVTDWU},
	{"fcvtdl", (*prog).FCVTDL},
	{"fcvtdlu", (*prog).FCVTDLU},
	{"fmvwx", func(p *prog, rd asm.FReg, rs1 asm.Reg, _ asm.RM) { p.FMVWX(rd, rs1) }},
	{"fmvdx", func(p *prog, rd asm.FReg, rs1 asm.Reg, _ asm.RM) { p.FMVDX(rd, rs1) }},
}

var bitBinary = []opRRR{
	{"sh1add", (*prog).SH1ADD},
	{"sh2add", (*prog).SH2ADD},
	{"sh3add", (*prog).SH3ADD},
	{"adduw", (*prog).ADDUW},
	{"sh1adduw", (*prog).SH1ADDUW},
	{"sh2adduw", (*prog).SH2ADDUW},
	{"sh3adduw", (*prog).SH3ADDUW},
	{"andn", (*prog).ANDN},
	{"orn", (*prog).ORN},
	{"xnor", (*prog).XNOR},
	{"max", (*prog).MAX},
	{"maxu", (*prog).MAXU},
	{"min", (*prog).MIN},
	{"minu", (*prog).MINU},
	{"rol", (*prog).ROL},
	{"ror", (*prog).ROR},
	{"rolw", (*prog).ROLW},
	{"rorw", (*prog).RORW},
	{"bclr", (*prog).BCLR},
	{"bext", (*prog).BEXT},
	{"binv", (*prog).BINV},
	{"bset", (*prog).BSET},
}

var bitUnary = []struct {
	name string
	emit func(p *prog, rd, rs1 asm.Reg)
}{
	{"clz", (*prog).CLZ},
	{"ctz", (*prog).CTZ},
	{"cpop", (*prog).CPOP},
	{"sextb", (*prog).SEXTB},
	{"sexth", (*prog).SEXTH},
	{"clzw", (*prog).CLZW},
	{"cpopw", (*prog).CPOPW},
	{"zexth", (*prog).ZEXTH},
	{"orcb", (*prog).ORCB},
	{"rev8", (*prog).REV8},
}

var bitImmediates = []opShift{
	{"slliuw", 64, (*prog).SLLIUW},
	{"rori", 64, (*prog).RORI},
	{"roriw", 32, (*prog).RORIW},
	{"bclri", 64, (*prog).BCLRI},
	{"bexti", 64, (*prog).BEXTI},
	{"binvi", 64, (*prog).BINVI},
	{"bseti", 64, (*prog).BSETI},
}

// operands of a compressed instruction: a register that may change and any
// source, both not x0; two short ones; immediates.
type operands struct {
	rd, rs   asm.Reg
	sd, ss   asm.Reg
	imm      int64 // six bits, signed, not 0
	amount   uint  // 1 to 63
	unsigned int64 // 1 to 255
}

// compressed are the instructions that only compute.
var compressed = []struct {
	name string
	emit func(p *prog, o operands)
}{
	{"c.addi", func(p *prog, o operands) { p.CADDI(o.rd, o.imm) }},
	{"c.addiw", func(p *prog, o operands) { p.CADDIW(o.rd, o.imm) }},
	{"c.li", func(p *prog, o operands) { p.CLI(o.rd, o.imm) }},
	{"c.andi", func(p *prog, o operands) { p.CANDI(o.sd, o.imm) }},
	{"c.srli", func(p *prog, o operands) { p.CSRLI(o.sd, o.amount) }},
	{"c.srai", func(p *prog, o operands) { p.CSRAI(o.sd, o.amount) }},
	{"c.slli", func(p *prog, o operands) { p.CSLLI(o.rd, o.amount) }},
	{"c.mv", func(p *prog, o operands) { p.CMV(o.rd, o.rs) }},
	{"c.add", func(p *prog, o operands) { p.CADD(o.rd, o.rs) }},
	{"c.sub", func(p *prog, o operands) { p.CSUB(o.sd, o.ss) }},
	{"c.xor", func(p *prog, o operands) { p.CXOR(o.sd, o.ss) }},
	{"c.or", func(p *prog, o operands) { p.COR(o.sd, o.ss) }},
	{"c.and", func(p *prog, o operands) { p.CAND(o.sd, o.ss) }},
	{"c.subw", func(p *prog, o operands) { p.CSUBW(o.sd, o.ss) }},
	{"c.addw", func(p *prog, o operands) { p.CADDW(o.sd, o.ss) }},
	{"c.addi4spn", func(p *prog, o operands) { p.CADDI4SPN(o.sd, 4*o.unsigned) }},
	{"c.addi16sp", func(p *prog, o operands) { p.CADDI16SP(16 * o.imm) }},
	{"c.lui", func(p *prog, o operands) {
		if o.rd != asm.SP { // would be C.ADDI16SP
			p.CLUI(o.rd, o.imm)
		}
	}},
	{"c.nop", func(p *prog, _ operands) { p.CNOP() }},
}

// compressedAccesses access memory at S0 or SP plus n times the size.
var compressedAccesses = []struct {
	name string
	sp   bool
	emit func(p *prog, x asm.Reg, f asm.FReg, n int64)
}{
	{"c.lw", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CLW(x, 4*n, asm.S0) }},
	{"c.lwsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CLWSP(x, 4*n) }},
	{"c.ld", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CLD(x, 8*n, asm.S0) }},
	{"c.ldsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CLDSP(x, 8*n) }},
	{"c.fld", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CFLD(f, 8*n, asm.S0) }},
	{"c.fldsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CFLDSP(f, 8*n) }},
	{"c.sw", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CSW(x, 4*n, asm.S0) }},
	{"c.swsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CSWSP(x, 4*n) }},
	{"c.sd", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CSD(x, 8*n, asm.S0) }},
	{"c.sdsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CSDSP(x, 8*n) }},
	{"c.fsd", false, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CFSD(f, 8*n, asm.S0) }},
	{"c.fsdsp", true, func(p *prog, x asm.Reg, f asm.FReg, n int64) { p.CFSDSP(f, 8*n) }},
}
