package replay

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// Decoder turns bytes back into entries.
type Decoder struct {
	last     Point
	unpacked int // bytes of packed entries
}

// NewDecoder decodes the entries after start.
func NewDecoder(start Point) *Decoder { return &Decoder{last: start} }

// Last is the point after the last entry decoded.
func (c *Decoder) Last() Point { return c.last }

// Next decodes the first entry in b and returns what follows it. The entry's
// bytes may be part of b, not a copy. Errors wrap ErrMalformed; after one the
// decoder has not moved.
func (c *Decoder) Next(b []byte) (Entry, []byte, error) {
	f := fields{b: b}
	kind := f.u8()
	delta := f.varint()
	e := Entry{Seq: c.last.Seq + 1, Pos: c.last.Pos + machine.Icount(delta)}
	switch {
	case f.short:
		return Entry{}, b, malformed("entry %d ends too early", c.last.Seq+1)
	case e.Pos < c.last.Pos:
		return Entry{}, b, malformed("the position of entry %d overflows", e.Seq)
	}
	switch kind {
	case kindSetClock:
		t0, mul := machine.VTime(f.varint()), f.varint()
		e.Body = Input{machine.SetClock{Clock: machine.Clock{T0: t0, I0: e.Pos, Mul: mul}}}
	case kindFrame:
		nic := f.u8()
		e.Body = Input{machine.Frame{NIC: nic, Bytes: f.blob(MaxFrame)}}
	case kindConsoleInput:
		console, session, offset := f.u8(), f.varint(), f.varint()
		e.Body = Input{machine.ConsoleInput{Console: console, Session: session, Offset: offset, Bytes: f.blob(MaxConsole)}}
	case kindDiskDone:
		disk, id, status := f.u8(), f.varint(), machine.DiskStatus(f.u8())
		e.Body = Input{machine.DiskDone{Disk: disk, ID: id, Status: status, Bytes: f.blob(MaxDiskData)}}
	case kindEntropy:
		e.Body = Input{machine.Entropy{Bytes: f.blob(MaxEntropy)}}
	case kindStop:
		e.Body = Input{machine.Stop{}}
	case kindMarker:
		count := f.varint()
		e.Body = Marker{machine.Mark{Count: count, Hash: f.u64()}}
	case kindHorizon:
		e.Body = Horizon{}
	case kindDigestCheck:
		var d machine.Digest
		copy(d[:], f.take(len(d)))
		e.Body = DigestCheck{d}
	case kindArm:
		e.Body = Arm{Epoch: f.varint()}
	case kindOwnDone:
		o := OwnDone{Disk: f.u8(), ID: f.varint()}
		n := f.varint()
		if n > MaxDiskData {
			f.short = true
		}
		if o.Length = uint32(n); n > 0 {
			o.Sum = f.u64()
		}
		e.Body = o
	case kindDiskPacked:
		disk, id := f.u8(), f.varint()
		data := f.packed(maxUnpacked - c.unpacked)
		e.Body = Input{machine.DiskDone{Disk: disk, ID: id, Bytes: data}}
	default:
		return Entry{}, b, malformed("entry %d is of unknown kind %d", e.Seq, kind)
	}
	if f.short {
		return Entry{}, b, malformed("entry %d of kind %d ends too early or is over a limit", e.Seq, kind)
	}
	if kind == kindDiskPacked {
		c.unpacked += len(e.Body.(Input).In.(machine.DiskDone).Bytes)
	}
	c.last = Point{Seq: e.Seq, Pos: e.Pos}
	return e, f.b, nil
}

// AppendPoint appends the head of a batch: the point that its entries follow.
// With it a batch can be understood without the batches before.
func AppendPoint(buf []byte, p Point) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.Seq)), uint64(p.Pos))
}

// DecodeBatch decodes a batch: a point and the entries that follow it, to the
// end of body. The entries are appended to buf; their bytes may be part of body.
func DecodeBatch(buf []Entry, body []byte) (start Point, entries []Entry, err error) {
	f := fields{b: body}
	start = f.point()
	if f.short {
		return Point{}, buf, malformed("a batch ends within its head")
	}
	c := NewDecoder(start)
	for rest := f.b; len(rest) > 0; {
		var e Entry
		if e, rest, err = c.Next(rest); err != nil {
			return start, buf, err
		}
		buf = append(buf, e)
	}
	return start, buf, nil
}

// fields takes primitives from the front of b. Once something does not fit,
// short stays set and everything reads as zero.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if f.short || n > len(f.b) {
		f.short = true
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u8() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// varint accepts only the shortest form, so that every entry has one encoding.
func (f *fields) varint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || n > 1 && f.b[n-1] == 0 {
		f.short = true
		return 0
	}
	f.take(n)
	return v
}

// blob is a length and that many bytes; nil if there are none.
func (f *fields) blob(limit int) []byte {
	n := f.varint()
	if n > uint64(limit) {
		f.short = true
	}
	if n == 0 || f.short {
		return nil
	}
	return f.take(int(n))
}

func (f *fields) point() Point {
	return Point{Seq: Seq(f.varint()), Pos: machine.Icount(f.varint())}
}
