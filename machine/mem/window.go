//go:build !(amd64 || arm64 || riscv64 || loong64)

package mem

import "encoding/binary"

// Window reads and writes RAM little-endian on hosts of any byte order.
type Window struct{ all []byte }

func windowOn(b []byte) Window { return Window{b} }

// At8 to At64 read at offset off, which must lie within RAM with all its bytes.
func (w Window) At8(off uint64) uint8   { return w.all[off] }
func (w Window) At16(off uint64) uint16 { return binary.LittleEndian.Uint16(w.all[off:]) }
func (w Window) At32(off uint64) uint32 { return binary.LittleEndian.Uint32(w.all[off:]) }
func (w Window) At64(off uint64) uint64 { return binary.LittleEndian.Uint64(w.all[off:]) }

// Put8 to Put64 write at offset off under the same condition. Touch must have
// preceded unless the page is free of Watched flags.
func (w Window) Put8(off uint64, v uint8)   { w.all[off] = v }
func (w Window) Put16(off uint64, v uint16) { binary.LittleEndian.PutUint16(w.all[off:], v) }
func (w Window) Put32(off uint64, v uint32) { binary.LittleEndian.PutUint32(w.all[off:], v) }
func (w Window) Put64(off uint64, v uint64) { binary.LittleEndian.PutUint64(w.all[off:], v) }
