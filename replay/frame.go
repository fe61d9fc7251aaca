package replay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// FrameType says what a frame carries. The numbers are for ever.
type FrameType uint8

const (
	FrameHello     FrameType = 1 // channel: handshake
	FrameRefuse    FrameType = 2 // channel: handshake refused
	FrameEntries   FrameType = 3 // a batch of entries
	FrameAck       FrameType = 4 // channel: acknowledgement
	FrameHeartbeat FrameType = 5 // channel
	FrameState     FrameType = 6 // channel: a piece of a State transfer
	FrameBye       FrameType = 7 // channel: planned end
	FrameLogHeader FrameType = 8 // log on disk: first frame
	FrameLogEnd    FrameType = 9 // log on disk: last frame

	FrameInquiry FrameType = 10 // channel: a backup that has diverged asks for an account
	FrameAccount FrameType = 11 // channel: a piece of the answer

	FrameDisk FrameType = 12 // channel: about the two copies of local disks
)

// A frame is a header and a body:
//
//	length  4 bytes, little-endian: bytes of the body
//	sum     4 bytes, little-endian: crc32c over the sum of the frame before
//	        (0 for the first), length, type and body
//	type    1 byte
//
// As each sum covers the one before, a stream that was cut, reordered or
// altered is refused at the first frame that is not in its place.
const (
	FrameHeaderSize = 9
	MaxFrameBody    = 1<<20 + 4096 // the largest entry and its heads
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrTruncated is the end of a stream within a frame, or of a log that was not
// ended: what came before is good.
var ErrTruncated = errors.New("replay: the log was cut off")

// Chain is the running checksum of a stream of frames. The zero value begins a
// stream.
type Chain struct{ sum uint32 }

func (c *Chain) next(length [4]byte, t FrameType, body, rest []byte) uint32 {
	var head [9]byte
	binary.LittleEndian.PutUint32(head[0:], c.sum)
	copy(head[4:], length[:])
	head[8] = byte(t)
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, body)
	return crc32.Update(sum, castagnoli, rest)
}

// Append appends a frame. It panics if the body is over MaxFrameBody.
func (c *Chain) Append(buf []byte, t FrameType, body []byte) []byte {
	at := len(buf)
	buf = append(BeginFrame(buf), body...)
	c.Finish(buf[at:], t, nil)
	return buf
}

// BeginFrame appends room for a frame's header. The body is appended after it,
// and Finish then writes the header.
func BeginFrame(buf []byte) []byte { return append(buf, make([]byte, FrameHeaderSize)...) }

// Finish writes the header of frame, which BeginFrame began and which is
// complete but for rest, the end of its body, which lies elsewhere. It panics if
// the body is over MaxFrameBody.
func (c *Chain) Finish(frame []byte, t FrameType, rest []byte) {
	body := frame[FrameHeaderSize:]
	n := len(body) + len(rest)
	if n > MaxFrameBody {
		panic(fmt.Sprintf("replay: BUG: a frame of %d bytes", n))
	}
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(n))
	c.sum = c.next(length, t, body, rest)
	copy(frame, length[:])
	binary.LittleEndian.PutUint32(frame[4:], c.sum)
	frame[8] = byte(t)
}

// FrameReader reads a stream of frames.
type FrameReader struct {
	r     io.Reader
	chain Chain
	buf   []byte
}

// NewFrameReader reads from r in small pieces; r should be buffered.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: r} }

// Next reads one frame. The body is valid until the next call. The error is
// io.EOF at the end of the stream, ErrTruncated if it ends within a frame,
// wraps ErrMalformed if the frame is too long or its checksum is wrong, and is
// the reader's own otherwise.
func (f *FrameReader) Next() (FrameType, []byte, error) {
	var head [FrameHeaderSize]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > MaxFrameBody {
		return 0, nil, malformed("a frame of %d bytes; at most %d are possible", n, MaxFrameBody)
	}
	if uint32(cap(f.buf)) < n {
		f.buf = make([]byte, n)
	}
	body := f.buf[:n]
	if _, err := io.ReadFull(f.r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, cut(err)
	}
	t := FrameType(head[8])
	sum := f.chain.next([4]byte(head[:4]), t, body, nil)
	if sum != binary.LittleEndian.Uint32(head[4:]) {
		return 0, nil, malformed("the checksum of a frame is wrong: it was altered, or frames are missing or in another order")
	}
	f.chain.sum = sum
	return t, body, nil
}

func cut(err error) error {
	if err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}
