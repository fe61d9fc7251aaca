package format

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// rawImage is a raw image: byte n of the disk is byte n of the file.
type rawImage struct {
	file *os.File
	size int64
}

func newRaw(f *os.File, size int64) (*rawImage, error) {
	if err := fits(size, SectorSize); err != nil {
		return nil, fmt.Errorf("format: %s: %w; truncate -s changes it, and cutting off loses data", f.Name(), err)
	}
	return &rawImage{file: f, size: size}, nil
}

func (r *rawImage) Size() int64 { return r.size }

func (r *rawImage) ReadAt(p []byte, off int64) error {
	if _, err := r.file.ReadAt(p, off); err != nil {
		return fmt.Errorf("format: %s: reading %d bytes at %d: %w", r.file.Name(), len(p), off, err)
	}
	return nil
}

// Extent finds holes by asking the file system, if it knows.
func (r *rawImage) Extent(off int64) (Extent, error) {
	data, err := r.file.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return Extent{Start: off, Length: r.size - off, Zero: true}, nil
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP):
		return Extent{Start: off, Length: r.size - off}, nil
	case err != nil:
		return Extent{}, fmt.Errorf("format: %w", err)
	case data > off:
		return Extent{Start: off, Length: min(data, r.size) - off, Zero: true}, nil
	}
	hole, err := r.file.Seek(off, unix.SEEK_HOLE)
	if err != nil || hole <= off {
		return Extent{Start: off, Length: r.size - off}, nil //nolint:nilerr // without holes it is all data
	}
	return Extent{Start: off, Length: min(hole, r.size) - off}, nil
}

func (r *rawImage) Close() error { return r.file.Close() }

// readFull reads all of p, as zeros past the end of a file.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}
