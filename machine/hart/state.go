package hart

import "github.com/lockstep-vm/lockstep/machine"

// State is everything architectural about a hart: plain registers. Whoever
// changes it does so while the hart is not running, or from inside an Env call.
type State struct {
	X  [32]uint64
	F  [32]uint64
	PC uint64
	// Priv is the privilege mode: rv64.User, Supervisor or MachineMode.
	Priv uint8
	// Icount is the position: the number of attempts before the next one.
	Icount machine.Icount
	// Waiting: a WFI has retired and nothing is pending that mie enables.
	Waiting bool
	// Reserved: LR has left a reservation on the bytes at Reservation.
	Reserved    bool
	Reservation machine.GPA

	Clock machine.Clock
	// Mtimecmp is the CLINT's register; MTIP shows while time >= Mtimecmp.
	// Stimecmp does the same for STIP while menvcfg.STCE is set.
	Mtimecmp machine.VTime
	Stimecmp machine.VTime
	// Lines are the levels of external interrupt lines, numbered as in mip.
	Lines uint64
	// Mip holds the bits that software writes: SSIP, and STIP and SEIP as
	// machine mode sets them.
	Mip uint64

	// Mstatus is without SD, UXL and SXL, which reads add.
	Mstatus       uint64
	Medeleg       uint64
	Mideleg       uint64
	Mie           uint64
	Mtvec         uint64
	Mscratch      uint64
	Mepc          uint64
	Mcause        uint64
	Mtval         uint64
	Mcounteren    uint64
	Mcountinhibit uint64
	Menvcfg       uint64
	Stvec         uint64
	Scounteren    uint64
	Senvcfg       uint64
	Sscratch      uint64
	Sepc          uint64
	Scause        uint64
	Stval         uint64
	Satp          uint64
	// Fflags and Frm make up fcsr.
	Fflags uint8
	Frm    uint8
	// Pmpcfg and Pmpaddr are the entries of PMP. Of pmpaddr bits 8 to 0 are
	// zeros, whatever reads show.
	Pmpcfg  [pmpEntries]uint8
	Pmpaddr [pmpEntries]uint64
	// Cycle and Instret are what is added to Icount when the counter is read,
	// or the counter itself while mcountinhibit stops it.
	Cycle   uint64
	Instret uint64
}
