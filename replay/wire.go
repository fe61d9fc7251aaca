package replay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
)

// The wire numbers of entries. They are for ever: a retired number is never
// used again, and a decoder refuses what it does not know.
//
//	kind  entry         body after kind and position delta
//	 1    SetClock      T0 varint, Mul varint (I0 is the entry's position)
//	 2    Frame         NIC byte, length varint, bytes
//	 3    ConsoleInput  console byte, session varint, offset varint, length varint, bytes
//	 4    DiskDone      disk byte, ID varint, status byte, length varint, bytes
//	 5    Entropy       length varint, bytes
//	 6    Stop          -
//	 7    Marker        count varint, hash 8 bytes
//	 8    Horizon       -
//	 9    DigestCheck   16 bytes
//	10    Arm           epoch varint
//	11    OwnDone       disk byte, ID varint, length varint, sum 8 bytes if length is not 0
//	12    DiskDone      disk byte, ID varint, packed bytes (pack.go); of a read without an error
//
// Varints are unsigned LEB128 in their shortest form; other numbers are
// little-endian.
const (
	kindSetClock     = 1
	kindFrame        = 2
	kindConsoleInput = 3
	kindDiskDone     = 4
	kindEntropy      = 5
	kindStop         = 6
	kindMarker       = 7
	kindHorizon      = 8
	kindDigestCheck  = 9
	kindArm          = 10
	kindOwnDone      = 11
	kindDiskPacked   = 12
)

// Limits of what an entry can carry, in bytes.
const (
	MaxFrame    = 64 << 10 // an Ethernet frame
	MaxConsole  = 64 << 10 // console input
	MaxDiskData = 1 << 20  // the data of a disk read
	MaxEntropy  = 64 << 10
)

// ErrMalformed is what every error of decoding wraps: the bytes are not what an
// Encoder writes.
var ErrMalformed = errors.New("malformed log")

func malformed(format string, args ...any) error {
	return fmt.Errorf("replay: %w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Point is a place in the log: the sequence number and the position of the
// last entry before it.
type Point struct {
	Seq Seq
	Pos machine.Icount
}

// Encoder turns entries into bytes. A position is written as its distance to
// the entry before, a sequence number not at all: entries are consecutive.
type Encoder struct {
	last Point
	// Of the batch at hand: how long it was after the last entry, and how many
	// bytes its packed entries unpack to.
	batch, unpacked int
	packer          packer
}

// NewEncoder encodes the entries after start.
func NewEncoder(start Point) *Encoder { return &Encoder{last: start} }

// Last is the point after the last entry encoded.
func (c *Encoder) Last() Point { return c.last }

// Append appends the encoding of e. After an error (e is not the next entry,
// its position lies before the last one, or it is over a limit) buf is
// returned as it was and the encoder has not moved.
func (c *Encoder) Append(buf []byte, e Entry) ([]byte, error) {
	switch {
	case e.Seq != c.last.Seq+1:
		return buf, fmt.Errorf("replay: entry %d cannot follow entry %d", e.Seq, c.last.Seq)
	case e.Pos < c.last.Pos:
		return buf, fmt.Errorf("replay: entry %d at position %d lies before entry %d at %d", e.Seq, e.Pos, c.last.Seq, c.last.Pos)
	}
	delta := uint64(e.Pos - c.last.Pos)
	if len(buf) < c.batch { // another batch has begun
		c.unpacked = 0
	}
	out, packed := c.appendPackedRead(buf, e, delta)
	if !packed {
		var err error
		if out, err = appendBody(buf, e, delta); err != nil {
			return buf, err
		}
	}
	c.batch = len(out)
	c.last = Point{Seq: e.Seq, Pos: e.Pos}
	return out, nil
}

// appendPackedRead appends a completed read with its data packed; false if e is
// something else, or longer so, or the batch would unpack to too much.
func (c *Encoder) appendPackedRead(buf []byte, e Entry, delta uint64) ([]byte, bool) {
	in, _ := e.Body.(Input)
	done, ok := in.In.(machine.DiskDone)
	if !ok || done.Status != machine.DiskOK || !packable(done.Bytes) || c.unpacked+len(done.Bytes) > maxUnpacked {
		return buf, false
	}
	out := binary.AppendUvarint(append(buf, kindDiskPacked), delta)
	out = binary.AppendUvarint(append(out, done.Disk), done.ID)
	if out, ok = c.packer.append(out, done.Bytes); !ok {
		return buf, false
	}
	c.unpacked += len(done.Bytes)
	return out, true
}

func appendBody(buf []byte, e Entry, delta uint64) ([]byte, error) {
	head := func(kind byte) []byte { return binary.AppendUvarint(append(buf, kind), delta) }
	switch b := e.Body.(type) {
	case Input:
		return appendInput(buf, e, b.In, head)
	case Marker:
		buf = binary.AppendUvarint(head(kindMarker), b.Mark.Count)
		return binary.LittleEndian.AppendUint64(buf, b.Mark.Hash), nil
	case Horizon:
		return head(kindHorizon), nil
	case DigestCheck:
		return append(head(kindDigestCheck), b.Digest[:]...), nil
	case Arm:
		return binary.AppendUvarint(head(kindArm), b.Epoch), nil
	case OwnDone:
		if b.Length > MaxDiskData || b.Length == 0 && b.Sum != 0 {
			return nil, fmt.Errorf("replay: entry %d completes a read of %d bytes with sum %x; at most %d bytes are possible", e.Seq, b.Length, b.Sum, MaxDiskData)
		}
		buf = binary.AppendUvarint(append(head(kindOwnDone), b.Disk), b.ID)
		buf = binary.AppendUvarint(buf, uint64(b.Length))
		if b.Length > 0 {
			buf = binary.LittleEndian.AppendUint64(buf, b.Sum)
		}
		return buf, nil
	}
	return nil, fmt.Errorf("replay: entry %d has a body of unknown type %T", e.Seq, e.Body)
}

func appendInput(buf []byte, e Entry, in machine.Input, head func(byte) []byte) ([]byte, error) {
	blob := func(buf, b []byte, limit int) ([]byte, error) {
		if len(b) > limit {
			return nil, fmt.Errorf("replay: entry %d carries %d bytes in %T; at most %d are possible", e.Seq, len(b), in, limit)
		}
		return append(binary.AppendUvarint(buf, uint64(len(b))), b...), nil
	}
	switch in := in.(type) {
	case machine.SetClock:
		if in.Clock.I0 != e.Pos {
			return nil, fmt.Errorf("replay: entry %d at %d sets a clock that starts at %d", e.Seq, e.Pos, in.Clock.I0)
		}
		buf = binary.AppendUvarint(head(kindSetClock), uint64(in.Clock.T0))
		return binary.AppendUvarint(buf, in.Clock.Mul), nil
	case machine.Frame:
		return blob(append(head(kindFrame), in.NIC), in.Bytes, MaxFrame)
	case machine.ConsoleInput:
		buf = append(head(kindConsoleInput), in.Console)
		buf = binary.AppendUvarint(buf, in.Session)
		buf = binary.AppendUvarint(buf, in.Offset)
		return blob(buf, in.Bytes, MaxConsole)
	case machine.DiskDone:
		buf = binary.AppendUvarint(append(head(kindDiskDone), in.Disk), in.ID)
		return blob(append(buf, byte(in.Status)), in.Bytes, MaxDiskData)
	case machine.Entropy:
		return blob(head(kindEntropy), in.Bytes, MaxEntropy)
	case machine.Stop:
		return head(kindStop), nil
	}
	return nil, fmt.Errorf("replay: entry %d has an input of unknown type %T", e.Seq, in)
}

// SizeBound is at least the size of e's encoding in bytes.
func SizeBound(e Entry) int {
	const fixed = 64 // kind, varints and fixed fields
	if b, ok := e.Body.(Input); ok {
		switch in := b.In.(type) {
		case machine.Frame:
			return fixed + len(in.Bytes)
		case machine.ConsoleInput:
			return fixed + len(in.Bytes)
		case machine.DiskDone:
			return fixed + len(in.Bytes)
		case machine.Entropy:
			return fixed + len(in.Bytes)
		}
	}
	return fixed
}
