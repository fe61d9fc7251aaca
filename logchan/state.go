package logchan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// stateWindow bounds the memory that decompressing takes, in bytes.
const stateWindow = 8 << 20

// chunk is the body of a State frame.
type chunk struct {
	body []byte
	last bool
}

// sendState reads the State and hands it to c in pieces, as fast as c takes
// them. If c is closed it stops and returns nil.
func sendState(c *conn, s State) error {
	in, err := s.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	w := &chunker{c: c}
	w.emit(appendBegin(nil, s), false)
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(stateWindow/2))
	if err != nil {
		return err
	}
	size, err := io.Copy(z, in)
	if err == nil {
		err = z.Close()
	}
	if w.gone {
		return nil
	}
	if err != nil {
		return err
	}
	w.cut()
	sum := w.hash.Sum128().Bytes()
	end := binary.AppendUvarint([]byte{stateEnd}, uint64(w.size))
	end = binary.AppendUvarint(end, uint64(size))
	w.emit(append(end, sum[:]...), true)
	return nil
}

func appendBegin(b []byte, s State) []byte {
	b = replay.AppendPoint(append(b, stateBegin), s.Base)
	return append(binary.AppendUvarint(b, uint64(len(s.Meta))), s.Meta...)
}

// chunker cuts compressed bytes into State frames.
type chunker struct {
	c    *conn
	buf  []byte
	size int64
	hash xxh3.Hasher
	gone bool
}

func (w *chunker) Write(p []byte) (int, error) {
	w.size += int64(len(p))
	_, _ = w.hash.Write(p) // never fails
	for rest := p; len(rest) > 0; {
		if len(w.buf) == 0 {
			w.buf = append(make([]byte, 0, writeSize), stateData)
		}
		n := min(len(rest), writeSize-len(w.buf))
		w.buf, rest = append(w.buf, rest[:n]...), rest[n:]
		if len(w.buf) == writeSize {
			w.cut()
		}
		if w.gone {
			return 0, errGone
		}
	}
	return len(p), nil
}

func (w *chunker) cut() {
	if len(w.buf) > 0 {
		w.emit(w.buf, false)
		w.buf = nil
	}
}

func (w *chunker) emit(body []byte, last bool) {
	select {
	case w.c.chunks <- chunk{body: body, last: last}:
		w.c.flush()
	case <-w.c.done:
		w.gone = true
	}
}

// incoming gathers a State that is being received on one connection.
type incoming struct {
	base  replay.Point
	meta  []byte
	parts [][]byte
	size  int64
	hash  xxh3.Hasher
}

func beginIncoming(body []byte) (*incoming, error) {
	f := fields{b: body[1:]}
	in := &incoming{base: replay.Point{Seq: replay.Seq(f.varint()), Pos: machine.Icount(f.varint())}}
	in.meta = f.blob(maxMeta)
	return in, f.end()
}

func (in *incoming) add(b []byte, limit int64) error {
	if in.size += int64(len(b)); in.size > limit {
		return fmt.Errorf("logchan: the State takes more than %d bytes", limit)
	}
	in.parts = append(in.parts, append([]byte(nil), b...))
	_, _ = in.hash.Write(b) // never fails
	return nil
}

func (in *incoming) finish(body []byte) (*ReceivedState, error) {
	f := fields{b: body[1:]}
	packed, size := f.varint(), f.varint()
	var want [16]byte
	f.into(want[:])
	if err := f.end(); err != nil {
		return nil, err
	}
	if packed != uint64(in.size) || want != in.hash.Sum128().Bytes() || size > 1<<62 {
		return nil, errors.New("logchan: the State came in with a wrong checksum")
	}
	return &ReceivedState{Base: in.base, Meta: in.meta, Size: int64(size), parts: in.parts}, nil
}

// ReceivedState is a State that has come in whole and with the right checksum.
type ReceivedState struct {
	Base replay.Point
	Meta []byte
	Size int64 // bytes that Open's reader yields

	parts [][]byte // compressed
}

// Open begins reading the State from its start. It may be called again.
func (s *ReceivedState) Open() (io.ReadCloser, error) {
	readers := make([]io.Reader, len(s.parts))
	for i, p := range s.parts {
		readers[i] = bytes.NewReader(p)
	}
	z, err := zstd.NewReader(io.MultiReader(readers...), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(stateWindow))
	if err != nil {
		return nil, fmt.Errorf("logchan: open the State: %w", err)
	}
	return &stateReader{z: z, left: s.Size}, nil
}

// stateReader yields exactly the size that was announced.
type stateReader struct {
	z    *zstd.Decoder
	left int64
}

func (r *stateReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.z.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("logchan: read the State: %w", err)
	}
	return n, err
}

func (r *stateReader) Close() error {
	r.z.Close()
	return nil
}
