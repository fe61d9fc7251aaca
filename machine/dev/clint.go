package dev

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// CLINTSize is the size of the CLINT's window in bytes.
const CLINTSize = 0x1_0000

const (
	clintMsip     = 0
	clintMtimecmp = 0x4000
	clintMtime    = 0xbff8
)

// HartTimer is the hart's side of the CLINT: time and compare register are the
// hart's State.
type HartTimer interface {
	Time() machine.VTime
	Mtimecmp() machine.VTime
	SetMtimecmp(v machine.VTime)
}

// CLINT is the core-local interruptor of one hart, as SiFive's: software
// interrupt, compare register and time for machine mode. The time cannot be
// written: it is virtual time, which only the clock input sets.
type CLINT struct {
	hart HartTimer
	msip bool
}

// NewCLINT is the CLINT of a hart.
func NewCLINT(hart HartTimer) *CLINT { return &CLINT{hart: hart} }

// Reset lowers the software interrupt. The hart resets its compare register.
func (c *CLINT) Reset() { c.msip = false }

// IRQ is the level of MSIP.
func (c *CLINT) IRQ() bool { return c.msip }

// Load implements bus.Device.
func (c *CLINT) Load(off uint64, size uint8) uint64 {
	switch {
	case off == clintMsip && size <= 4:
		if c.msip {
			return 1
		}
	case off >= clintMtimecmp && off < clintMtimecmp+8:
		return part(uint64(c.hart.Mtimecmp()), off-clintMtimecmp, size)
	case off >= clintMtime && off < clintMtime+8:
		return part(uint64(c.hart.Time()), off-clintMtime, size)
	}
	return 0
}

// Store implements bus.Device.
func (c *CLINT) Store(off uint64, size uint8, v uint64) {
	switch {
	case off == clintMsip && size <= 4:
		c.msip = v&1 != 0
	case off >= clintMtimecmp && off < clintMtimecmp+8 && size >= 4:
		old, shift := uint64(c.hart.Mtimecmp()), (off-clintMtimecmp)*8
		if size == 4 {
			v = old&^(0xffff_ffff<<shift) | v&0xffff_ffff<<shift
		}
		c.hart.SetMtimecmp(machine.VTime(v))
	}
}

// part is the size bytes of a 64-bit register at a byte offset.
func part(v, off uint64, size uint8) uint64 {
	v >>= off * 8
	if size < 8 {
		v &= 1<<(size*8) - 1
	}
	return v
}

// SaveState writes the State.
func (c *CLINT) SaveState(e *snapshot.Encoder) {
	e.Section("clint")
	e.Bool(c.msip)
}

// LoadState replaces the State.
func (c *CLINT) LoadState(d *snapshot.Decoder) error {
	d.Section("clint")
	c.msip = d.Bool()
	return d.Err()
}
