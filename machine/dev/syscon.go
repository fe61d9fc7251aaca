package dev

// SysconSize is the size of the syscon's window in bytes.
const SysconSize = 0x1000

// What a guest writes to the syscon's only register.
const (
	SysconFail     = 0x3333
	SysconPowerOff = 0x5555
	SysconReset    = 0x7777
)

// Power is what a guest can ask for at the syscon.
type Power interface {
	// PowerOff ends the machine.
	PowerOff()
	// Fail does too, but the guest calls it a failure; code is of its choice.
	Fail(code uint16)
	// Restart resets the guest.
	Restart()
}

// Syscon is a register that powers off or resets, as SiFive's test device. It
// has no State.
type Syscon struct{ power Power }

// NewSyscon is a syscon that controls p.
func NewSyscon(p Power) *Syscon { return &Syscon{power: p} }

// Load implements bus.Device.
func (s *Syscon) Load(uint64, uint8) uint64 { return 0 }

// Store implements bus.Device. The register has 32 bits; its lower half says
// what to do, and its upper half is the code of a failure.
func (s *Syscon) Store(off uint64, size uint8, v uint64) {
	if off != 0 || size < 2 || size > 4 {
		return
	}
	switch v & 0xffff {
	case SysconFail:
		s.power.Fail(uint16(v >> 16))
	case SysconPowerOff:
		s.power.PowerOff()
	case SysconReset:
		s.power.Restart()
	}
}
