package board

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Extensions of the SBI (RISC-V Supervisor Binary Interface 2.0). The optional
// ones that kernels also probe for are not there: PMU (no event is counted),
// SUSP, CPPC, NACL, STA, FWFT and the legacy calls.
const (
	sbiBase   = 0x10
	sbiTime   = 0x54494d45
	sbiIPI    = 0x735049
	sbiRfence = 0x52464e43
	sbiHSM    = 0x48534d
	sbiSRST   = 0x53525354
	sbiDBCN   = 0x4442434e
)

// Error codes (chapter 3).
const (
	sbiSuccess          = 0
	sbiNotSupported     = -2
	sbiInvalidParam     = -3
	sbiAlreadyAvailable = -6
)

const (
	sbiVersion = 2 << 24
	// sbiImplementation is no registered number (chapter 4.8); kernels only
	// print it.
	sbiImplementation = 0x4c53 // "LS"

	// maxDBCN is how many bytes one debug console call writes; callers go on
	// with the rest.
	maxDBCN = 1024
)

// sbi answers an ecall from supervisor mode: a7 names the extension, a6 the
// function, a0 to a5 are arguments; a0 returns the error and a1 the value.
func (b *Board) sbi(h *hart.Hart) {
	ext, fn := h.X[17], h.X[16]
	arg := [3]uint64{h.X[10], h.X[11], h.X[12]}
	var code int64
	var value uint64
	switch ext {
	case sbiBase:
		code, value = b.sbiBaseCall(fn, arg)
	case sbiTime:
		code = sbiNotSupported
		if fn == 0 {
			h.SetStimecmp(machine.VTime(arg[0]))
			code = sbiSuccess
		}
	case sbiIPI:
		code = sbiNotSupported
		if fn == 0 {
			var self bool
			if self, code = selects(arg[0], arg[1]); self {
				h.SetPending(rv64.SSIP, true)
			}
		}
	case sbiRfence:
		// Translations and code are coherent at all times (R5), so a fence has
		// nothing to do. 3 to 6 are for hypervisors.
		code = sbiNotSupported
		if fn <= 2 {
			_, code = selects(arg[0], arg[1])
		}
	case sbiHSM:
		code, value = b.sbiHartState(h, fn, arg)
	case sbiSRST:
		code = b.sbiSystemReset(fn, arg)
	case sbiDBCN:
		code, value = b.sbiDebugConsole(fn, arg)
	default:
		code = sbiNotSupported
	}
	h.X[10], h.X[11] = uint64(code), value
}

// selects reads a hart mask and its base (chapter 3.1): whether hart 0 is in
// it, and an error if a hart is that does not exist.
func selects(mask, base uint64) (self bool, code int64) {
	switch {
	case base == ^uint64(0):
		return true, sbiSuccess
	case mask == 0:
		return false, sbiSuccess
	case base == 0 && mask == 1:
		return true, sbiSuccess
	}
	return false, sbiInvalidParam
}

// sbiBaseCall is chapter 4.
func (b *Board) sbiBaseCall(fn uint64, arg [3]uint64) (int64, uint64) {
	switch fn {
	case 0:
		return sbiSuccess, sbiVersion
	case 1:
		return sbiSuccess, sbiImplementation
	case 2:
		return sbiSuccess, 1
	case 3:
		switch arg[0] {
		case sbiBase, sbiTime, sbiIPI, sbiRfence, sbiHSM, sbiSRST, sbiDBCN:
			return sbiSuccess, 1
		}
		return sbiSuccess, 0
	case 4, 5, 6: // mvendorid, marchid, mimpid
		return sbiSuccess, 0
	}
	return sbiNotSupported, 0
}

// sbiHartState is chapter 9 for the only hart, which is started when it asks.
func (b *Board) sbiHartState(h *hart.Hart, fn uint64, arg [3]uint64) (int64, uint64) {
	switch fn {
	case 0: // start
		if arg[0] == 0 {
			return sbiAlreadyAvailable, 0
		}
		return sbiInvalidParam, 0
	case 1: // stop: nobody is left to start it again
		h.Mie = 0
		h.Waiting = true
		b.requestExit(machine.Idle)
		return sbiSuccess, 0
	case 2: // status
		if arg[0] == 0 {
			return sbiSuccess, 0
		}
		return sbiInvalidParam, 0
	case 3: // suspend
		switch {
		case arg[0] == 0: // default retentive: as WFI
			h.Waiting = true
			b.requestExit(machine.Idle)
			return sbiSuccess, 0
		case arg[0] == 0x8000_0000:
			// Default non-retentive: chapter 9.4 lets a platform do without. It
			// would keep nothing that retentive suspension loses, and no node of
			// the device tree offers an idle state.
			return sbiNotSupported, 0
		}
		return sbiInvalidParam, 0
	}
	return sbiNotSupported, 0
}

// sbiSystemReset is chapter 10. It returns only an error.
func (b *Board) sbiSystemReset(fn uint64, arg [3]uint64) int64 {
	if fn != 0 {
		return sbiNotSupported
	}
	kind, reason := uint32(arg[0]), uint32(arg[1])
	if reason > 1 {
		return sbiInvalidParam
	}
	switch kind {
	case 0: // shutdown; reason 1 is a system failure
		b.powerOff(reason == 1)
	case 1, 2: // cold and warm reboot
		env{b}.Restart()
	default:
		return sbiInvalidParam
	}
	return sbiSuccess
}

// sbiDebugConsole is chapter 12. What is written goes out of console 0, beside
// what the UART's driver writes.
func (b *Board) sbiDebugConsole(fn uint64, arg [3]uint64) (int64, uint64) {
	switch fn {
	case 0: // write: length, address, its upper half on RV128
		n := min(arg[0], maxDBCN)
		p := make([]byte, n)
		if arg[2] != 0 || !b.ram.Contains(machine.GPA(arg[1]), arg[0]) || !b.ram.Read(machine.GPA(arg[1]), p) {
			return sbiInvalidParam, 0
		}
		if n > 0 {
			b.uart.Print(p...)
		}
		return sbiSuccess, n
	case 1: // read: nothing is ever there, input goes to the UART
		if arg[2] != 0 || !b.ram.Contains(machine.GPA(arg[1]), arg[0]) {
			return sbiInvalidParam, 0
		}
		return sbiSuccess, 0
	case 2: // write byte
		b.uart.Print(byte(arg[0]))
		return sbiSuccess, 0
	}
	return sbiNotSupported, 0
}
