// Package bus routes guest-physical accesses outside RAM to devices.
package bus

import "github.com/lockstep-vm/lockstep/machine"

// Device is a window of registers. Offsets lie within the window and size is
// 1, 2, 4 or 8; an access is naturally aligned. An access that the device does not know reads as zero and is
// ignored when written.
type Device interface {
	Load(off uint64, size uint8) uint64
	Store(off uint64, size uint8, v uint64)
}

// Window is a device at its place.
type Window struct {
	Base machine.GPA
	Size uint64
	Dev  Device
}

// Bus is a fixed set of windows that do not overlap.
type Bus struct{ windows []Window }

// Attach adds a window.
func (b *Bus) Attach(w Window) { b.windows = append(b.windows, w) }

// Load reads size bytes at gpa; false means an access fault.
func (b *Bus) Load(gpa machine.GPA, size uint8) (uint64, bool) {
	if w := b.find(gpa, size); w != nil {
		return w.Dev.Load(uint64(gpa-w.Base), size), true
	}
	return 0, false
}

// Store writes size bytes at gpa; false means an access fault.
func (b *Bus) Store(gpa machine.GPA, size uint8, v uint64) bool {
	if w := b.find(gpa, size); w != nil {
		w.Dev.Store(uint64(gpa-w.Base), size, v)
		return true
	}
	return false
}

func (b *Bus) find(gpa machine.GPA, size uint8) *Window {
	for i := range b.windows {
		w := &b.windows[i]
		if gpa >= w.Base && uint64(gpa-w.Base) < w.Size && uint64(gpa-w.Base)+uint64(size) <= w.Size {
			return w
		}
	}
	return nil
}

// Emitter takes what the guest half of a device sends out. The board behind it
// fills in Pos and Count and keeps the running mark; the device fills in the
// rest and must not touch Bytes afterwards.
type Emitter interface{ Emit(o machine.Output) }
