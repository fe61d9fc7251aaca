package replay

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// Limits of an account on the wire.
const (
	// MaxAccount is the size of the largest account in bytes.
	MaxAccount   = 16 << 20
	maxParted    = 1024 // registers, and devices
	maxPartName  = 64   // bytes
	partOverhead = 1 + 16
	pageOverhead = 1 + 16
)

// AppendAccount appends the encoding of an account:
//
//	position varint, digest 16, address of page 0 varint
//	number of registers varint, for each: name after one byte of length, value 8
//	number of devices varint, for each: name after one byte of length, hash 16
//	number of pages varint, for each: distance to the page before varint, hash 16
func AppendAccount(b []byte, a machine.Account) []byte {
	b = binary.AppendUvarint(b, uint64(a.Pos))
	b = append(b, a.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(a.Base))
	name := func(s string) { b = append(append(b, byte(len(s))), s...) }
	b = binary.AppendUvarint(b, uint64(len(a.Registers)))
	for _, r := range a.Registers {
		name(r.Name)
		b = binary.LittleEndian.AppendUint64(b, r.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(a.Devices)))
	for _, d := range a.Devices {
		name(d.Name)
		b = append(b, d.Sum[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(a.Pages)))
	last := uint32(0)
	for _, p := range a.Pages {
		b = binary.AppendUvarint(b, uint64(p.Page-last))
		b = append(b, p.Sum[:]...)
		last = p.Page
	}
	return b
}

// DecodeAccount decodes what AppendAccount wrote. Errors wrap ErrMalformed.
func DecodeAccount(b []byte) (machine.Account, error) {
	var a machine.Account
	if len(b) > MaxAccount {
		return a, malformed("an account of %d bytes; at most %d are possible", len(b), MaxAccount)
	}
	f := fields{b: b}
	a.Pos = machine.Icount(f.varint())
	copy(a.Digest[:], f.take(len(a.Digest)))
	a.Base = machine.GPA(f.varint())
	for range f.count(maxParted, 1+8) {
		a.Registers = append(a.Registers, machine.Register{Name: f.name(), Value: f.u64()})
	}
	for range f.count(maxParted, partOverhead) {
		d := machine.PartSum{Name: f.name()}
		copy(d.Sum[:], f.take(len(d.Sum)))
		a.Devices = append(a.Devices, d)
	}
	n := f.count(MaxAccount, pageOverhead)
	if n > 0 {
		a.Pages = make([]machine.PageSum, 0, n)
	}
	page := uint64(0)
	for i := range n {
		delta := f.varint()
		if page += delta; page > 1<<32-1 || delta > 1<<32-1 || delta == 0 && i > 0 {
			f.short = true
		}
		p := machine.PageSum{Page: uint32(page)}
		copy(p.Sum[:], f.take(len(p.Sum)))
		a.Pages = append(a.Pages, p)
	}
	if f.short || len(f.b) > 0 {
		return machine.Account{}, malformed("an account has a wrong length, or something in it is over a limit")
	}
	return a, nil
}

// count is a number of things that take at least size bytes each; 0 if there
// cannot be so many.
func (f *fields) count(limit uint64, size int) uint64 {
	n := f.varint()
	if n > limit || n > uint64(len(f.b)/size) {
		f.short = true
	}
	if f.short {
		return 0
	}
	return n
}

// name is printable, as it goes to terminals.
func (f *fields) name() string {
	b := f.take(int(f.u8()))
	if len(b) > maxPartName {
		f.short = true
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			f.short = true
		}
	}
	return string(b)
}
