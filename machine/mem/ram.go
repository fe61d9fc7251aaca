// Package mem is guest-physical memory: bytes, and per page the flags that
// keep every cache derived from them coherent (R5).
package mem

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

const (
	// PageShift and PageSize are those of Sv39's base page.
	PageShift = 12
	PageSize  = 1 << PageShift
	// Base is where RAM starts, as on QEMU's virt board.
	Base machine.GPA = 0x8000_0000
)

// RAM is the guest's memory.
type RAM struct {
	window  Window
	bytes   []byte
	flags   []Flag
	watcher Watcher

	// Of the digest: the pages that are not Clean, the hash of each page as
	// last seen, the sum of those, and the pages that are Listed.
	dirty   []uint32
	sums    []sum
	total   sum
	changed []change
}

// New returns size bytes of zeros; size is a multiple of PageSize.
func New(size uint64) *RAM {
	if size == 0 || size%PageSize != 0 {
		panic("mem: BUG: the size of RAM is not a positive multiple of the page size")
	}
	r := &RAM{
		flags: make([]Flag, size>>PageShift),
		sums:  make([]sum, size>>PageShift),
	}
	r.bytes = allocate(size, r)
	r.window = windowOn(r.bytes)
	for i := range r.flags {
		r.flags[i] = Clean // a page of zeros, whose hash counts for nothing
	}
	return r
}

// Size is in bytes.
func (r *RAM) Size() uint64 { return uint64(len(r.bytes)) }

// Contains says whether [gpa, gpa+n) lies within RAM.
func (r *RAM) Contains(gpa machine.GPA, n uint64) bool {
	off := uint64(gpa - Base)
	return gpa >= Base && off <= r.Size() && n <= r.Size()-off
}

// Read copies RAM into p; false if the range does not lie within RAM.
func (r *RAM) Read(gpa machine.GPA, p []byte) bool {
	if !r.Contains(gpa, uint64(len(p))) {
		return false
	}
	copy(p, r.bytes[gpa-Base:])
	return true
}

// Write copies p into RAM as a device's DMA does: with every check that a
// guest store to a flagged page goes through. False if the range does not lie
// within RAM; then nothing was written.
func (r *RAM) Write(gpa machine.GPA, p []byte) bool {
	if !r.Contains(gpa, uint64(len(p))) {
		return false
	}
	off := uint64(gpa - Base)
	if r.watcher != nil {
		r.watcher.DMA(off, uint64(len(p)))
	}
	r.Touch(off, uint64(len(p)))
	copy(r.bytes[off:], p)
	return true
}

// Load16, Load32 and Load64 read little-endian; false outside RAM.
func (r *RAM) Load16(gpa machine.GPA) (uint16, bool) {
	if !r.Contains(gpa, 2) {
		return 0, false
	}
	return binary.LittleEndian.Uint16(r.bytes[gpa-Base:]), true
}

func (r *RAM) Load32(gpa machine.GPA) (uint32, bool) {
	if !r.Contains(gpa, 4) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(r.bytes[gpa-Base:]), true
}

func (r *RAM) Load64(gpa machine.GPA) (uint64, bool) {
	if !r.Contains(gpa, 8) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(r.bytes[gpa-Base:]), true
}

// Store16 and Store32 write little-endian through Write.
func (r *RAM) Store16(gpa machine.GPA, v uint16) bool {
	var b [2]byte
	binary.LittleEndian.PutUint16(b[:], v)
	return r.Write(gpa, b[:])
}

func (r *RAM) Store32(gpa machine.GPA, v uint32) bool {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return r.Write(gpa, b[:])
}

// Window is the way to RAM for who has checked addresses already.
func (r *RAM) Window() Window { return r.window }

// At8 to At64 read at an offset, which must lie within RAM with all its bytes.
func (r *RAM) At8(off uint64) uint8   { return r.window.At8(r.window.Origin() + off) }
func (r *RAM) At16(off uint64) uint16 { return r.window.At16(r.window.Origin() + off) }
func (r *RAM) At32(off uint64) uint32 { return r.window.At32(r.window.Origin() + off) }
func (r *RAM) At64(off uint64) uint64 { return r.window.At64(r.window.Origin() + off) }

// Put8 to Put64 write at an offset under the same condition. Touch must have
// preceded unless the page is free of Watched flags.
func (r *RAM) Put8(off uint64, v uint8)   { r.window.Put8(r.window.Origin()+off, v) }
func (r *RAM) Put16(off uint64, v uint16) { r.window.Put16(r.window.Origin()+off, v) }
func (r *RAM) Put32(off uint64, v uint32) { r.window.Put32(r.window.Origin()+off, v) }
func (r *RAM) Put64(off uint64, v uint64) { r.window.Put64(r.window.Origin()+off, v) }
