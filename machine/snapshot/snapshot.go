// Package snapshot is the encoding that State is saved in and that digests are
// taken over: little-endian primitives in a fixed order, in named sections. It
// is also the file of a running VM, which holds such a State.
//
// Each piece of State has a pair of methods Save(*Encoder) and
// Load(*Decoder) error; Load validates what it read.
package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort is what a Decoder reports when the data ends too early.
var ErrShort = errors.New("snapshot: data ends too early")

// Encoder appends primitives to a buffer.
type Encoder struct{ buf []byte }

// NewEncoder appends to buf.
func NewEncoder(buf []byte) *Encoder { return &Encoder{buf: buf} }

// Bytes is what was encoded.
func (e *Encoder) Bytes() []byte { return e.buf }

func (e *Encoder) U8(v uint8)   { e.buf = append(e.buf, v) }
func (e *Encoder) U16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }
func (e *Encoder) U32(v uint32) { e.buf = binary.LittleEndian.AppendUint32(e.buf, v) }
func (e *Encoder) U64(v uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }

func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// Blob writes a length and the bytes.
func (e *Encoder) Blob(b []byte) {
	e.U32(uint32(len(b)))
	e.buf = append(e.buf, b...)
}

// Section writes a name that Decoder.Section expects at the same place, so
// that a mistake in the order of fields is found where it happens.
func (e *Encoder) Section(name string) { e.Blob([]byte(name)) }

// Decoder reads what an Encoder wrote. The first failure sticks: later reads
// return zero values and Err tells what happened.
type Decoder struct {
	buf []byte
	err error
}

// NewDecoder reads from buf, which it does not change.
func NewDecoder(buf []byte) *Decoder { return &Decoder{buf: buf} }

// Err is the first failure.
func (d *Decoder) Err() error { return d.err }

// Fail makes err the first failure unless there was one before.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Rest is how many bytes have not been read.
func (d *Decoder) Rest() int { return len(d.buf) }

func (d *Decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n < 0 || n > len(d.buf) {
		d.err = ErrShort
		return nil
	}
	b := d.buf[:n]
	d.buf = d.buf[n:]
	return b
}

func (d *Decoder) U8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *Decoder) U16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *Decoder) U32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *Decoder) U64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Bool accepts 0 and 1 only, so that every State has one encoding.
func (d *Decoder) Bool() bool {
	switch d.U8() {
	case 0:
		return false
	case 1:
		return true
	}
	d.Fail(errors.New("snapshot: a truth value is neither 0 nor 1"))
	return false
}

// Blob reads bytes of a length of at most limit. The result is a copy.
func (d *Decoder) Blob(limit int) []byte {
	n := d.U32()
	if d.err == nil && uint64(n) > uint64(limit) {
		d.err = fmt.Errorf("snapshot: %d bytes where at most %d are possible", n, limit)
	}
	return append([]byte(nil), d.take(int(n))...)
}

// Section fails unless the name written at this place is the one given.
func (d *Decoder) Section(name string) {
	if got := d.Blob(64); d.err == nil && string(got) != name {
		d.err = fmt.Errorf("snapshot: section %q where %q belongs", got, name)
	}
}
