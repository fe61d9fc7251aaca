package asm

// Reg is an integer register.
type Reg uint8

// The integer registers by their ABI names.
const (
	Zero Reg = iota
	RA
	SP
	GP
	TP
	T0
	T1
	T2
	S0
	S1
	A0
	A1
	A2
	A3
	A4
	A5
	A6
	A7
	S2
	S3
	S4
	S5
	S6
	S7
	S8
	S9
	S10
	S11
	T3
	T4
	T5
	T6
)

// FReg is a floating-point register.
type FReg uint8

// The floating-point registers by their ABI names.
const (
	FT0 FReg = iota
	FT1
	FT2
	FT3
	FT4
	FT5
	FT6
	FT7
	FS0
	FS1
	FA0
	FA1
	FA2
	FA3
	FA4
	FA5
	FA6
	FA7
	FS2
	FS3
	FS4
	FS5
	FS6
	FS7
	FS8
	FS9
	FS10
	FS11
	FT8
	FT9
	FT10
	FT11
)

// RM is the rounding-mode field of a floating-point instruction. Any value of
// three bits is accepted: 5 and 6 are reserved and trap.
type RM uint8

// The rounding modes.
const (
	RNE RM = 0
	RTZ RM = 1
	RDN RM = 2
	RUP RM = 3
	RMM RM = 4
	DYN RM = 7 // the one in frm
)

// CSR is the address of a control and status register.
type CSR uint16

// The control and status registers.
const (
	FFLAGS CSR = 0x001
	FRM    CSR = 0x002
	FCSR   CSR = 0x003

	CYCLE   CSR = 0xc00
	TIME    CSR = 0xc01
	INSTRET CSR = 0xc02

	SSTATUS    CSR = 0x100
	SIE        CSR = 0x104
	STVEC      CSR = 0x105
	SCOUNTEREN CSR = 0x106
	SENVCFG    CSR = 0x10a
	SSCRATCH   CSR = 0x140
	SEPC       CSR = 0x141
	SCAUSE     CSR = 0x142
	STVAL      CSR = 0x143
	SIP        CSR = 0x144
	STIMECMP   CSR = 0x14d
	SATP       CSR = 0x180

	MSTATUS       CSR = 0x300
	MISA          CSR = 0x301
	MEDELEG       CSR = 0x302
	MIDELEG       CSR = 0x303
	MIE           CSR = 0x304
	MTVEC         CSR = 0x305
	MCOUNTEREN    CSR = 0x306
	MENVCFG       CSR = 0x30a
	MCOUNTINHIBIT CSR = 0x320
	MSCRATCH      CSR = 0x340
	MEPC          CSR = 0x341
	MCAUSE        CSR = 0x342
	MTVAL         CSR = 0x343
	MIP           CSR = 0x344
	PMPCFG0       CSR = 0x3a0
	PMPADDR0      CSR = 0x3b0
	MCYCLE        CSR = 0xb00
	MINSTRET      CSR = 0xb02
	MVENDORID     CSR = 0xf11
	MARCHID       CSR = 0xf12
	MIMPID        CSR = 0xf13
	MHARTID       CSR = 0xf14
)
