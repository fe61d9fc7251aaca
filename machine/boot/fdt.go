package boot

import (
	"encoding/binary"
	"strings"
)

// Tokens and sizes of the flattened format (Devicetree Specification 0.4,
// chapter 5).
const (
	fdtMagic     = 0xd00dfeed
	fdtVersion   = 17
	fdtCompat    = 16
	fdtHeader    = 40
	fdtReserved  = 16 // an empty memory reservation block: its terminator
	fdtBeginNode = 1
	fdtEndNode   = 2
	fdtProp      = 3
	fdtEnd       = 9
)

// fdt writes a flattened device tree.
type fdt struct {
	structure []byte
	strings   []byte
	names     map[string]uint32 // offsets in strings; looked up, never walked
}

func newFDT() *fdt { return &fdt{names: map[string]uint32{}} }

func (f *fdt) u32(v uint32) { f.structure = binary.BigEndian.AppendUint32(f.structure, v) }

// padded appends b and zeros up to a multiple of four bytes.
func (f *fdt) padded(b []byte) {
	f.structure = append(f.structure, b...)
	for len(f.structure)%4 != 0 {
		f.structure = append(f.structure, 0)
	}
}

// node writes a node with what body writes in it: properties, then nodes.
func (f *fdt) node(name string, body func()) {
	f.u32(fdtBeginNode)
	f.padded(append([]byte(name), 0))
	body()
	f.u32(fdtEndNode)
}

// bytes writes a property as it is.
func (f *fdt) bytes(name string, v []byte) {
	at, known := f.names[name]
	if !known {
		at = uint32(len(f.strings))
		f.names[name] = at
		f.strings = append(append(f.strings, name...), 0)
	}
	f.u32(fdtProp)
	f.u32(uint32(len(v)))
	f.u32(at)
	f.padded(v)
}

// flag writes a property without a value.
func (f *fdt) flag(name string) { f.bytes(name, nil) }

// cells writes a property of 32-bit cells.
func (f *fdt) cells(name string, v ...uint32) {
	var b []byte
	for _, c := range v {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	f.bytes(name, b)
}

// wide writes a property of 64-bit numbers, two cells each.
func (f *fdt) wide(name string, v ...uint64) {
	var b []byte
	for _, c := range v {
		b = binary.BigEndian.AppendUint64(b, c)
	}
	f.bytes(name, b)
}

// text writes a property of one or more strings.
func (f *fdt) text(name string, v ...string) {
	f.bytes(name, []byte(strings.Join(v, "\x00")+"\x00"))
}

// finish is the whole blob.
func (f *fdt) finish() []byte {
	f.u32(fdtEnd)
	structure := fdtHeader + fdtReserved
	names := structure + len(f.structure)
	total := names + len(f.strings)
	var out []byte
	for _, v := range []int{fdtMagic, total, structure, names, fdtHeader, fdtVersion, fdtCompat, 0, len(f.strings), len(f.structure)} {
		out = binary.BigEndian.AppendUint32(out, uint32(v))
	}
	out = append(out, make([]byte, fdtReserved)...)
	out = append(out, f.structure...)
	return append(out, f.strings...)
}
