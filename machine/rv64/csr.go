package rv64

// CSR is a control and status register number (privileged spec, chapter 2).
type CSR uint16

const (
	FFLAGS CSR = 0x001
	FRM    CSR = 0x002
	FCSR   CSR = 0x003

	CYCLE        CSR = 0xC00
	TIME         CSR = 0xC01
	INSTRET      CSR = 0xC02
	HPMCOUNTER3  CSR = 0xC03
	HPMCOUNTER31 CSR = 0xC1F

	SSTATUS    CSR = 0x100
	SIE        CSR = 0x104
	STVEC      CSR = 0x105
	SCOUNTEREN CSR = 0x106
	SENVCFG    CSR = 0x10A
	SSCRATCH   CSR = 0x140
	SEPC       CSR = 0x141
	SCAUSE     CSR = 0x142
	STVAL      CSR = 0x143
	SIP        CSR = 0x144
	STIMECMP   CSR = 0x14D
	SATP       CSR = 0x180

	MVENDORID  CSR = 0xF11
	MARCHID    CSR = 0xF12
	MIMPID     CSR = 0xF13
	MHARTID    CSR = 0xF14
	MCONFIGPTR CSR = 0xF15

	MSTATUS       CSR = 0x300
	MISA          CSR = 0x301
	MEDELEG       CSR = 0x302
	MIDELEG       CSR = 0x303
	MIE           CSR = 0x304
	MTVEC         CSR = 0x305
	MCOUNTEREN    CSR = 0x306
	MENVCFG       CSR = 0x30A
	MCOUNTINHIBIT CSR = 0x320
	MHPMEVENT3    CSR = 0x323
	MHPMEVENT31   CSR = 0x33F
	MSCRATCH      CSR = 0x340
	MEPC          CSR = 0x341
	MCAUSE        CSR = 0x342
	MTVAL         CSR = 0x343
	MIP           CSR = 0x344
	PMPCFG0       CSR = 0x3A0
	PMPCFG2       CSR = 0x3A2
	PMPCFG15      CSR = 0x3AF
	PMPADDR0      CSR = 0x3B0
	PMPADDR63     CSR = 0x3EF

	MCYCLE        CSR = 0xB00
	MINSTRET      CSR = 0xB02
	MHPMCOUNTER3  CSR = 0xB03
	MHPMCOUNTER31 CSR = 0xB1F
)

// Bits of mstatus (privileged spec 3.1.6).
const (
	StatusSIE  uint64 = 1 << 1
	StatusMIE  uint64 = 1 << 3
	StatusSPIE uint64 = 1 << 5
	StatusMPIE uint64 = 1 << 7
	StatusSPP  uint64 = 1 << 8
	StatusMPP  uint64 = 3 << 11
	StatusFS   uint64 = 3 << 13
	StatusMPRV uint64 = 1 << 17
	StatusSUM  uint64 = 1 << 18
	StatusMXR  uint64 = 1 << 19
	StatusTVM  uint64 = 1 << 20
	StatusTW   uint64 = 1 << 21
	StatusTSR  uint64 = 1 << 22
	StatusUXL  uint64 = 3 << 32
	StatusSXL  uint64 = 3 << 34
	StatusSD   uint64 = 1 << 63
)

// Bits of menvcfg; senvcfg has the first four (privileged spec 3.1.18, 12.1.10).
const (
	EnvFIOM  uint64 = 1 << 0
	EnvCBIE  uint64 = 3 << 4 // cbo.inval: 0 illegal, 1 flushes, 3 invalidates
	EnvCBCFE uint64 = 1 << 6 // cbo.clean, cbo.flush
	EnvCBZE  uint64 = 1 << 7 // cbo.zero
	EnvADUE  uint64 = 1 << 61
	EnvSTCE  uint64 = 1 << 63
)

// Fields of a byte of pmpcfg (privileged spec 3.7.1).
const (
	PMPR     uint8 = 1 << 0
	PMPW     uint8 = 1 << 1
	PMPX     uint8 = 1 << 2
	PMPA     uint8 = 3 << 3 // address matching; 0 is OFF
	PMPTOR   uint8 = 1 << 3
	PMPNA4   uint8 = 2 << 3
	PMPNAPOT uint8 = 3 << 3
	PMPL     uint8 = 1 << 7
)

// Privilege modes.
const (
	User        uint8 = 0
	Supervisor  uint8 = 1
	MachineMode uint8 = 3
)

// Cause is an exception code (privileged spec, table 14).
type Cause uint64

const (
	InstructionMisaligned  Cause = 0
	InstructionAccessFault Cause = 1
	IllegalInstruction     Cause = 2
	Breakpoint             Cause = 3
	LoadMisaligned         Cause = 4
	LoadAccessFault        Cause = 5
	StoreMisaligned        Cause = 6
	StoreAccessFault       Cause = 7
	EcallU                 Cause = 8
	EcallS                 Cause = 9
	EcallM                 Cause = 11
	InstructionPageFault   Cause = 12
	LoadPageFault          Cause = 13
	StorePageFault         Cause = 15
)

// Interrupt numbers: bits of mip and mie, and codes in mcause.
const (
	SSIP uint = 1
	MSIP uint = 3
	STIP uint = 5
	MTIP uint = 7
	SEIP uint = 9
	MEIP uint = 11
)

// CauseInterrupt marks an interrupt in mcause and scause.
const CauseInterrupt uint64 = 1 << 63
