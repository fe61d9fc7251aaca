//go:build !(amd64 || arm64 || riscv64 || loong64)

package mem

import "encoding/binary"

// Window reads and writes RAM little-endian on hosts of any byte order.
type Window struct{ all []byte }

func windowOn(b []byte) Window { return Window{b} }

// Origin is the address of the first byte of RAM.
func (w Window) Origin() uint64 { return 0 }

// At8 to At64 read at an address, which must lie within RAM with all its bytes.
func (w Window) At8(addr uint64) uint8   { return w.all[addr] }
func (w Window) At16(addr uint64) uint16 { return binary.LittleEndian.Uint16(w.all[addr:]) }
func (w Window) At32(addr uint64) uint32 { return binary.LittleEndian.Uint32(w.all[addr:]) }
func (w Window) At64(addr uint64) uint64 { return binary.LittleEndian.Uint64(w.all[addr:]) }

// Put8 to Put64 write at an address under the same condition. Touch must have
// preceded unless the page is free of Watched flags.
func (w Window) Put8(addr uint64, v uint8)   { w.all[addr] = v }
func (w Window) Put16(addr uint64, v uint16) { binary.LittleEndian.PutUint16(w.all[addr:], v) }
func (w Window) Put32(addr uint64, v uint32) { binary.LittleEndian.PutUint32(w.all[addr:], v) }
func (w Window) Put64(addr uint64, v uint64) { binary.LittleEndian.PutUint64(w.all[addr:], v) }
