//go:build amd64 || arm64 || riscv64 || loong64

package mem

import "unsafe"

// Window reads and writes RAM at offsets that the caller has already checked,
// without checking them again: a translation cache holds only offsets within
// RAM, and its check of the page covers the whole access. Misaligned accesses
// are fine on these hosts, and all of them are little-endian like the guest.
// This is worth about a tenth of the interpreter's speed.
//
// RAM keeps the slice as well, so the bytes stay alive.
type Window struct{ base unsafe.Pointer }

func windowOn(b []byte) Window { return Window{unsafe.Pointer(unsafe.SliceData(b))} }

// At8 to At64 read at offset off, which must lie within RAM with all its bytes.
func (w Window) At8(off uint64) uint8   { return *(*uint8)(unsafe.Add(w.base, off)) }
func (w Window) At16(off uint64) uint16 { return *(*uint16)(unsafe.Add(w.base, off)) }
func (w Window) At32(off uint64) uint32 { return *(*uint32)(unsafe.Add(w.base, off)) }
func (w Window) At64(off uint64) uint64 { return *(*uint64)(unsafe.Add(w.base, off)) }

// Put8 to Put64 write at offset off under the same condition. Touch must have
// preceded unless the page is free of Watched flags.
func (w Window) Put8(off uint64, v uint8)   { *(*uint8)(unsafe.Add(w.base, off)) = v }
func (w Window) Put16(off uint64, v uint16) { *(*uint16)(unsafe.Add(w.base, off)) = v }
func (w Window) Put32(off uint64, v uint32) { *(*uint32)(unsafe.Add(w.base, off)) = v }
func (w Window) Put64(off uint64, v uint64) { *(*uint64)(unsafe.Add(w.base, off)) = v }
