package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

// File is a snapshot file that is being read. Reading it gives the State, as
// Machine.Load takes it.
type File struct {
	in     pieces
	header FileHeader
	z      *zstd.Decoder
	done   uint64 // bytes of the State that were read
	err    error  // sticks
}

// OpenFile reads and checks the header from r, which should be buffered. An
// error wraps one of ErrNotFile, ErrNewer, ErrTruncated and ErrDamaged, or is
// r's. Close ends the use of the file; it does not close r.
func OpenFile(r io.Reader) (*File, error) {
	f := &File{in: pieces{r: r, sum: xxh3.New()}}
	if err := f.open(); err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(&f.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(fileWindow))
	if err != nil {
		// It has looked at the first bytes, which may be missing.
		return nil, f.fail(err)
	}
	f.z = z
	return f, nil
}

func (f *File) open() error {
	const fixed = len(fileMagic) + 4 + 4
	var head [fixed]byte
	if n, err := io.ReadFull(f.in.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && string(head[:min(n, len(fileMagic))]) == fileMagic[:min(n, len(fileMagic))] {
			return ErrTruncated
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrNotFile
		}
		return fmt.Errorf("snapshot: read the file: %w", err)
	}
	if string(head[:len(fileMagic)]) != fileMagic {
		return ErrNotFile
	}
	version := binary.LittleEndian.Uint32(head[len(fileMagic):])
	size := binary.LittleEndian.Uint32(head[fixed-4:])
	if size > maxFileHeader {
		return fmt.Errorf("%w (a header of %d bytes)", ErrDamaged, size)
	}
	_, _ = f.in.sum.Write(head[:])
	b := make([]byte, size)
	if err := f.in.take(b); err != nil {
		return err
	}
	if err := f.in.check(); err != nil {
		return err
	}
	switch {
	case version > FileVersion:
		return fmt.Errorf("%w (its format is %d, this one knows %d)", ErrNewer, version, FileVersion)
	case version != FileVersion:
		return fmt.Errorf("%w (there is no format %d)", ErrDamaged, version)
	}
	var err error
	if f.header, err = decodeFileHeader(b); err != nil {
		return fmt.Errorf("%w (its header: %w)", ErrDamaged, err)
	}
	return nil
}

// Header says what the file holds.
func (f *File) Header() FileHeader { return f.header }

// Close frees what reading took.
func (f *File) Close() {
	if f.z != nil {
		f.z.Close()
	}
}

// fail makes an error stick. What is wrong with the file itself comes before
// what that did to the decompressor.
func (f *File) fail(err error) error {
	switch {
	case f.in.err != nil && f.in.err != io.EOF:
		f.err = f.in.err
	default:
		f.err = fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return f.err
}

// Read reads the State. It is io.EOF after the last byte of a file that is
// whole.
func (f *File) Read(p []byte) (int, error) {
	if f.err != nil || len(p) == 0 {
		return 0, f.err
	}
	n, err := f.z.Read(p)
	f.done += uint64(n)
	switch {
	case f.done > f.header.Size:
		return 0, f.fail(fmt.Errorf("more than the %d bytes of State that it announces", f.header.Size))
	case err == io.EOF:
		if err := f.end(); err != nil {
			return 0, f.fail(err)
		}
		f.err = io.EOF
	case err != nil:
		err = f.fail(err)
	}
	return n, err
}

// end checks the end of a file whose State was read.
func (f *File) end() error {
	switch {
	case f.in.err != io.EOF:
		return errors.New("the compressed State ends before the file")
	case f.in.size != f.header.Size || f.done != f.header.Size:
		return fmt.Errorf("%d bytes of State where %d were announced", f.done, f.header.Size)
	}
	return nil
}

// Verify reads the file to its end and throws the State away: nil if every
// checksum is right.
func (f *File) Verify() error {
	_, err := io.Copy(io.Discard, f)
	return err
}

// LoadInto replaces the State of m, which must have been built from a
// configuration that the header fits, and proves it: the file must be whole, and
// m's position and digest must be those of the header. After an error m must not
// be used.
func (f *File) LoadInto(m machine.Machine) error {
	in := bufio.NewReaderSize(f, 64<<10)
	err := m.Load(in)
	if err == nil {
		var more int64
		if more, err = io.Copy(io.Discard, in); err == nil && more > 0 {
			return fmt.Errorf("%w (%d bytes after the State)", ErrDamaged, more)
		}
	}
	switch {
	case f.err != nil && f.err != io.EOF:
		return f.err
	case err != nil:
		return fmt.Errorf("snapshot: the State cannot be loaded: %w", err)
	case m.Icount() != f.header.Pos:
		return fmt.Errorf("%w (the State is of position %d, the header says %d)", ErrDamaged, m.Icount(), f.header.Pos)
	}
	if d := m.Digest(); d != f.header.Digest {
		return fmt.Errorf("%w (the machine's digest is %v, the header says %v)", ErrDamaged, d, f.header.Digest)
	}
	return nil
}

// pieces reads the compressed State and checks each sum before it hands out
// bytes.
type pieces struct {
	r    io.Reader
	sum  *xxh3.Hasher
	buf  []byte // of the present piece
	left []byte // of buf, not handed out
	size uint64 // as the file's end says
	err  error  // io.EOF after an end that is right
}

// take reads bytes that belong to the running sum.
func (p *pieces) take(b []byte) error {
	if _, err := io.ReadFull(p.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrTruncated
		}
		return fmt.Errorf("snapshot: read the file: %w", err)
	}
	_, _ = p.sum.Write(b) // a hash takes everything
	return nil
}

// check reads a sum and compares it.
func (p *pieces) check() error {
	want := p.sum.Sum64()
	var b [8]byte
	if err := p.take(b[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(b[:]) != want {
		return fmt.Errorf("%w (a checksum is wrong)", ErrDamaged)
	}
	return nil
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if p.err == nil {
			p.err = p.next()
		}
		if p.err != nil {
			return 0, p.err
		}
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// next reads a piece, or the end.
func (p *pieces) next() error {
	var b [8]byte
	if err := p.take(b[:4]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(b[:4])
	switch {
	case n > maxPiece:
		return fmt.Errorf("%w (a piece of %d bytes)", ErrDamaged, n)
	case n == 0:
		if err := p.take(b[:]); err != nil {
			return err
		}
		if err := p.check(); err != nil {
			return err
		}
		p.size = binary.LittleEndian.Uint64(b[:])
		if n, err := io.ReadFull(p.r, b[:1]); n > 0 {
			return fmt.Errorf("%w (something follows its end)", ErrDamaged)
		} else if !errors.Is(err, io.EOF) {
			return fmt.Errorf("snapshot: read the file: %w", err)
		}
		return io.EOF
	}
	if cap(p.buf) < int(n) {
		p.buf = make([]byte, n, maxPiece)
	}
	p.buf = p.buf[:n]
	if err := p.take(p.buf); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	p.left = p.buf
	return nil
}
