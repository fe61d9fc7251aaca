package dev

import (
	"errors"
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// PLICSize is the size of the PLIC's window in bytes.
const PLICSize = 0x400_0000

// PLICSources is the number of the last interrupt source; 0 is no source.
const PLICSources = 63

// The PLIC's contexts, both of hart 0.
const (
	PLICMachine    = 0
	PLICSupervisor = 1
	plicContexts   = 2
)

// Layout of the window (RISC-V PLIC specification 1.0.0, chapter 3).
const (
	plicPriority  = 0
	plicPending   = 0x1000
	plicEnable    = 0x2000
	plicEnables   = 0x80 // bytes per context
	plicContext   = 0x20_0000
	plicContexted = 0x1000 // bytes per context
	plicThreshold = 0
	plicClaim     = 4

	plicMaxPriority = 7
)

// PLIC is the platform-level interrupt controller. All its sources are level
// lines: a source is pending while its line is high and no context serves it.
type PLIC struct {
	level     uint64 // bit n: line of source n
	claimed   uint64 // sources claimed and not completed
	priority  [PLICSources + 1]uint8
	enable    [plicContexts]uint64
	threshold [plicContexts]uint8
}

// Reset puts the PLIC back to power-on, all lines low.
func (p *PLIC) Reset() { *p = PLIC{} }

// SetLevels sets all lines at once: bit n is source n.
func (p *PLIC) SetLevels(levels uint64) { p.level = levels &^ 1 }

// IRQ is the level of the line to a context's hart.
func (p *PLIC) IRQ(context int) bool {
	return p.best(context) != 0
}

// best is the source that a claim would return: the highest priority above the
// threshold, of equals the lowest number; 0 for none.
func (p *PLIC) best(context int) uint32 {
	var id uint32
	top := p.threshold[context]
	for set := p.level &^ p.claimed & p.enable[context]; set != 0; set &= set - 1 {
		if n := bits.TrailingZeros64(set); p.priority[n] > top {
			id, top = uint32(n), p.priority[n]
		}
	}
	return id
}

// Load implements bus.Device; registers are words of 32 bits.
func (p *PLIC) Load(off uint64, size uint8) uint64 {
	if size != 4 {
		return 0
	}
	switch {
	case off < plicPending:
		if n := off / 4; n <= PLICSources {
			return uint64(p.priority[n])
		}
	case off < plicEnable:
		return word(p.level&^p.claimed, off-plicPending)
	case off < plicContext:
		if c := (off - plicEnable) / plicEnables; c < plicContexts {
			return word(p.enable[c], (off-plicEnable)%plicEnables)
		}
	default:
		c := (off - plicContext) / plicContexted
		if c >= plicContexts {
			return 0
		}
		switch (off - plicContext) % plicContexted {
		case plicThreshold:
			return uint64(p.threshold[c])
		case plicClaim:
			id := p.best(int(c))
			if id != 0 {
				p.claimed |= 1 << id
			}
			return uint64(id)
		}
	}
	return 0
}

// Store implements bus.Device.
func (p *PLIC) Store(off uint64, size uint8, v uint64) {
	if size != 4 {
		return
	}
	switch {
	case off < plicPending:
		if n := off / 4; n != 0 && n <= PLICSources {
			p.priority[n] = uint8(v & plicMaxPriority)
		}
	case off < plicEnable:
	case off < plicContext:
		c, reg := (off-plicEnable)/plicEnables, (off-plicEnable)%plicEnables
		if c < plicContexts && reg < 8 {
			shift := reg * 8
			p.enable[c] = (p.enable[c]&^(0xffff_ffff<<shift) | v&0xffff_ffff<<shift) &^ 1
		}
	default:
		c := (off - plicContext) / plicContexted
		if c >= plicContexts {
			return
		}
		switch (off - plicContext) % plicContexted {
		case plicThreshold:
			p.threshold[c] = uint8(v & plicMaxPriority)
		case plicClaim:
			// A completion of a source that is not enabled for the context
			// is ignored (chapter 9).
			if id := v & 0xffff_ffff; id <= PLICSources && p.enable[c]>>id&1 != 0 {
				p.claimed &^= 1 << id
			}
		}
	}
}

// word is the aligned 32-bit word of a bit set at a byte offset.
func word(set, off uint64) uint64 {
	if off >= 8 {
		return 0
	}
	return set >> (off * 8) & 0xffff_ffff
}

// SaveState writes the State.
func (p *PLIC) SaveState(e *snapshot.Encoder) {
	e.Section("plic")
	e.U64(p.level)
	e.U64(p.claimed)
	for _, v := range p.priority {
		e.U8(v)
	}
	for c := range plicContexts {
		e.U64(p.enable[c])
		e.U8(p.threshold[c])
	}
}

// LoadState replaces the State.
func (p *PLIC) LoadState(d *snapshot.Decoder) error {
	d.Section("plic")
	p.level = d.U64()
	p.claimed = d.U64()
	bad := (p.level|p.claimed)&1 != 0
	for i := range p.priority {
		p.priority[i] = d.U8()
		bad = bad || p.priority[i] > plicMaxPriority
	}
	for c := range plicContexts {
		p.enable[c] = d.U64()
		p.threshold[c] = d.U8()
		bad = bad || p.enable[c]&1 != 0 || p.threshold[c] > plicMaxPriority
	}
	if bad || p.priority[0] != 0 {
		d.Fail(errors.New("dev: the saved PLIC has a register that no guest can set"))
	}
	return d.Err()
}
