package rv64

// Op is an operation after decoding. Compressed encodings expand to the
// operations below (Len tells them apart), and operations that write nothing
// but x0 become NOP.
type Op uint16

const (
	ILLEGAL Op = iota
	NOP
	// RV64I, register with immediate.
	LUI
	AUIPC
	ADDI
	SLTI
	SLTIU
	XORI
	ORI
	ANDI
	SLLI
	SRLI
	SRAI
	ADDIW
	SLLIW
	SRLIW
	SRAIW
	// Two forms that compressed code is full of.
	LI // rd = imm
	MV // rd = rs1
	// RV64I, register with register.
	ADD
	SUB
	SLL
	SLT
	SLTU
	XOR
	SRL
	SRA
	OR
	AND
	ADDW
	SUBW
	SLLW
	SRLW
	SRAW
	// Loads and stores.
	LB
	LH
	LW
	LD
	LBU
	LHU
	LWU
	SB
	SH
	SW
	SD
	FLW
	FLD
	FSW
	FSD
	// M.
	MUL
	MULH
	MULHSU
	MULHU
	DIV
	DIVU
	REM
	REMU
	MULW
	DIVW
	DIVUW
	REMW
	REMUW
	// Transfers of control. Each ends a block.
	BEQ
	BNE
	BLT
	BGE
	BLTU
	BGEU
	JAL
	JALR
	// Each of these ends a block too.
	ECALL
	EBREAK
	MRET
	SRET
	WFI
	CSRRW
	CSRRS
	CSRRC
	CSRRWI
	CSRRSI
	CSRRCI
	// FENCE and FENCE.I: memory is sequentially consistent and code coherent.
	FENCE
	// Zawrs.
	WRSNTO
	WRSSTO
	// SFENCE.VMA and those of Svinval.
	SFENCEVMA
	SINVALVMA
	SFENCEWINVAL
	SFENCEINVALIR
	// Zicbom and Zicboz.
	CBOINVAL
	CBOCLEAN
	CBOFLUSH
	CBOZERO
	// A.
	LRW
	LRD
	SCW
	SCD
	AMOSWAPW
	AMOADDW
	AMOXORW
	AMOANDW
	AMOORW
	AMOMINW
	AMOMAXW
	AMOMINUW
	AMOMAXUW
	AMOSWAPD
	AMOADDD
	AMOXORD
	AMOANDD
	AMOORD
	AMOMIND
	AMOMAXD
	AMOMINUD
	AMOMAXUD
	// Zba, Zbb, Zbs.
	ADDUW
	SH1ADD
	SH2ADD
	SH3ADD
	SH1ADDUW
	SH2ADDUW
	SH3ADDUW
	ANDN
	ORN
	XNOR
	MIN
	MINU
	MAX
	MAXU
	ROL
	ROR
	ROLW
	RORW
	BCLR
	BEXT
	BINV
	BSET
	CLZ
	CTZ
	CPOP
	CLZW
	CTZW
	CPOPW
	SEXTB
	SEXTH
	ZEXTH
	ORCB
	REV8
	// Zicond.
	CZEROEQZ
	CZERONEZ
	// Of Zba, Zbb and Zbs, those whose second operand is Imm.
	SLLIUW
	RORI
	RORIW
	BCLRI
	BEXTI
	BINVI
	BSETI
	// F.
	FADDS
	FSUBS
	FMULS
	FDIVS
	FSQRTS
	FSGNJS
	FSGNJNS
	FSGNJXS
	FMINS
	FMAXS
	FMADDS
	FMSUBS
	FNMSUBS
	FNMADDS
	FCVTWS
	FCVTWUS
	FCVTLS
	FCVTLUS
	FCVTSW
	FCVTSWU
	FCVTSL
	FCVTSLU
	FMVXW
	FMVWX
	FEQS
	FLTS
	FLES
	FCLASSS
	// D.
	FADDD
	FSUBD
	FMULD
	FDIVD
	FSQRTD
	FSGNJD
	FSGNJND
	FSGNJXD
	FMIND
	FMAXD
	FMADDD
	FMSUBD
	FNMSUBD
	FNMADDD
	FCVTWD
	FCVTWUD
	FCVTLD
	FCVTLUD
	FCVTDW
	FCVTDWU
	FCVTDL
	FCVTDLU
	FCVTSD
	FCVTDS
	FMVXD
	FMVDX
	FEQD
	FLTD
	FLED
	FCLASSD
	numOps
)

// EndsBlock says whether a basic block cannot go on after the operation:
// whatever transfers control or can change what is pending, enabled or mapped.
func (o Op) EndsBlock() bool { return o >= BEQ && o <= CSRRCI || o == ILLEGAL }

// Relative says whether Imm is relative to the instruction's own address.
func (o Op) Relative() bool { return o >= BEQ && o <= JAL || o == AUIPC }

// BitManip says whether the operation belongs to Zba, Zbb, Zbs or Zicond.
func (o Op) BitManip() bool { return o >= ADDUW && o <= BSETI }

// Float says whether the operation needs mstatus.FS to be on.
func (o Op) Float() bool { return o >= FADDS && o < numOps || o >= FLW && o <= FSD }
