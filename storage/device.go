package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
)

// Device is a block device. It is read and written without this host's page
// cache (O_DIRECT), which would hide what another host writes; for that its
// bytes pass through aligned buffers of its own.
type Device struct {
	file      *os.File
	path      string
	mode      int
	sectors   uint64
	blockSize uint32
	buffers   chan []byte // page-aligned, each of deviceBuffer bytes or nil if not made yet
}

var _ interface {
	Backend
	Unmapper
} = (*Device)(nil)

const (
	deviceBuffer  = 256 << 10 // bytes moved at a time
	deviceBuffers = DefaultDepth
)

// OpenDevice opens the block device at path. It is this process's alone once it
// is claimed.
func OpenDevice(path string, readOnly bool) (*Device, error) {
	d := &Device{path: path, mode: os.O_RDWR | unix.O_DIRECT, buffers: make(chan []byte, deviceBuffers)}
	if readOnly {
		d.mode = os.O_RDONLY | unix.O_DIRECT
	}
	f, err := os.OpenFile(path, d.mode, 0)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if d.blockSize, err = unix.IoctlGetUint32(int(f.Fd()), unix.BLKSSZGET); err != nil {
		return nil, failed(fmt.Errorf("%s is not a block device: %w", path, err), f)
	}
	if d.blockSize != 512 && d.blockSize != 4096 {
		return nil, failed(fmt.Errorf("%s has sectors of %d bytes; 512 and 4096 are possible", path, d.blockSize), f)
	}
	if d.sectors, err = capacity(f, d.blockSize); err != nil {
		return nil, failed(err, f)
	}
	d.file = f
	for range deviceBuffers {
		d.buffers <- nil
	}
	return d, nil
}

// Sectors implements Backend.
func (d *Device) Sectors() uint64 { return d.sectors }

// BlockSize implements Backend.
func (d *Device) BlockSize() uint32 { return d.blockSize }

// Claim opens the device exclusively, which also keeps it from being mounted,
// and waits as long as another user of this host has it. Other hosts are not
// kept out.
func (d *Device) Claim(ctx context.Context, _ ft.Fence, waiting func(why string)) error {
	return await(ctx, d.path, waiting, func() (bool, error) {
		mode := d.mode
		if mode&os.O_RDWR != 0 {
			mode |= unix.O_EXCL
		}
		f, err := os.OpenFile(d.path, mode, 0)
		if errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		old := d.file
		d.file = f
		return true, old.Close()
	})
}

// Follow implements Follower: what is read comes from the device each time.
func (d *Device) Follow() error { return nil }

// ReadAt implements Backend.
func (d *Device) ReadAt(p []byte, off int64) error {
	return d.pieces(p, off, func(buf, p []byte, off int64) error {
		_, err := d.file.ReadAt(buf, off)
		copy(p, buf)
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s is shorter than it was: %w", d.path, io.ErrUnexpectedEOF)
		}
		return err
	})
}

// WriteAt implements Backend.
func (d *Device) WriteAt(p []byte, off int64) error {
	return d.pieces(p, off, func(buf, p []byte, off int64) error {
		copy(buf, p)
		_, err := d.file.WriteAt(buf, off)
		return err
	})
}

// pieces moves p through an aligned buffer.
func (d *Device) pieces(p []byte, off int64, move func(buf, p []byte, off int64) error) error {
	buf := <-d.buffers
	defer func() { d.buffers <- buf }()
	if buf == nil {
		// Mapped, for the alignment that O_DIRECT asks for.
		var err error
		if buf, err = unix.Mmap(-1, 0, deviceBuffer, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
			return fmt.Errorf("a buffer of %d bytes: %w", deviceBuffer, err)
		}
	}
	for len(p) > 0 {
		n := min(len(p), len(buf))
		if err := move(buf[:n], p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Sync implements Backend: the device writes out its own cache.
func (d *Device) Sync() error {
	return retry(func() error { return unix.Fdatasync(int(d.file.Fd())) })
}

// Discard gives up the range where the device then reads it as zeros, so that
// whoever reads it reads the same, and keeps what is there otherwise.
func (d *Device) Discard(off, n int64) error {
	err := d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return nil
	}
	return err
}

// Zero implements Backend. The kernel writes zeros where the device has no
// command for it.
func (d *Device) Zero(off, n int64) error {
	err := d.allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return writeZeros(d, off, n)
	}
	return err
}

// Unmap implements Unmapper.
func (d *Device) Unmap(off, n int64) error {
	err := d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return d.Zero(off, n)
	}
	return err
}

func (d *Device) allocate(mode uint32, off, n int64) error {
	return retry(func() error { return unix.Fallocate(int(d.file.Fd()), mode, off, n) })
}

// Close implements Backend.
func (d *Device) Close() error {
	var errs []error
	for range len(d.buffers) {
		if buf := <-d.buffers; buf != nil {
			errs = append(errs, unix.Munmap(buf))
		}
	}
	if err := errors.Join(append(errs, d.file.Close())...); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}
