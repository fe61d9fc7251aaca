//go:build amd64 || arm64 || riscv64 || loong64

package mem

import "unsafe"

// Window reads and writes RAM at addresses that the caller has already checked,
// without checking them again: a translation cache holds only addresses within
// RAM, and its check of the page covers the whole access. An address is an
// offset in RAM plus Origin; here it is the host's own, so that translated code
// can use the same cache. Misaligned accesses are fine on these hosts, and all of
// them are little-endian like the guest.
//
// RAM keeps the memory as well, and it never moves, so the bytes stay where they are.
type Window struct{ origin uint64 }

func windowOn(b []byte) Window {
	return Window{address(b)}
}

// address is where bytes lie on the host.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// Origin is the address of the first byte of RAM.
func (w Window) Origin() uint64 { return w.origin }

func at(addr uint64) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), addr) }

// At8 to At64 read at an address, which must lie within RAM with all its bytes.
func (w Window) At8(addr uint64) uint8   { return *(*uint8)(at(addr)) }
func (w Window) At16(addr uint64) uint16 { return *(*uint16)(at(addr)) }
func (w Window) At32(addr uint64) uint32 { return *(*uint32)(at(addr)) }
func (w Window) At64(addr uint64) uint64 { return *(*uint64)(at(addr)) }

// Put8 to Put64 write at an address under the same condition. Touch must have
// preceded unless the page is free of Watched flags.
func (w Window) Put8(addr uint64, v uint8)   { *(*uint8)(at(addr)) = v }
func (w Window) Put16(addr uint64, v uint16) { *(*uint16)(at(addr)) = v }
func (w Window) Put32(addr uint64, v uint32) { *(*uint32)(at(addr)) = v }
func (w Window) Put64(addr uint64, v uint64) { *(*uint64)(at(addr)) = v }
