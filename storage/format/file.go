package format

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage/imagelock"
)

// open opens an image for reading and shares the lock on it, so that nobody
// writes it meanwhile. size is the file's, in bytes.
func open(path string) (f *os.File, size int64, err error) {
	if f, size, err = openUnlocked(path); err != nil {
		return nil, 0, err
	}
	if err := lock(f, imagelock.Shared); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// openUnlocked opens a regular file or a block device for reading.
func openUnlocked(path string) (*os.File, int64, error) {
	// Opening a FIFO would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("format: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		if m := info.Mode(); !m.IsRegular() && (m&os.ModeDevice == 0 || m&os.ModeCharDevice != 0) {
			f.Close()
			return nil, 0, fmt.Errorf("format: %s is neither a regular file nor a block device, so it is no image; name another", path)
		}
		var size int64
		if size, err = f.Seek(0, io.SeekEnd); err == nil {
			return f, size, nil
		}
	}
	f.Close()
	return nil, 0, fmt.Errorf("format: %w", err)
}

// ErrInUse is what an image that another process has locked is refused with.
var ErrInUse = errors.New("is in use by another process: a VM, or another command on it; wait until that has ended, or stop it")

// lock takes the lock of the live VM on a whole file (R19), or shares it.
func lock(f *os.File, kind imagelock.Kind) error {
	err := imagelock.Take(f, kind)
	switch {
	case errors.Is(err, imagelock.ErrHeld):
		return fmt.Errorf("format: %s %w", f.Name(), ErrInUse)
	case err != nil:
		return fmt.Errorf("format: %s cannot be locked, so nobody knows whether it is in use: %w; copy it to a file system with locks", f.Name(), err)
	}
	return foreign(f)
}

// QEMU's processes share a lock on this byte of an image that they may write.
const qemuWrites = 101

// foreign finds a QEMU that may write the image.
func foreign(f *os.File) error {
	probe := unix.Flock_t{Type: unix.F_WRLCK, Start: qemuWrites, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &probe); err != nil {
		return fmt.Errorf("format: the locks on %s cannot be read: %w", f.Name(), err)
	}
	// One that begins at 0 is another reader's of the whole file.
	if probe.Type != unix.F_UNLCK && probe.Start > 0 {
		return fmt.Errorf("format: %s %w", f.Name(), ErrInUse)
	}
	return nil
}

// first are the first bytes of a file, for probe.
func first(r io.ReaderAt) ([]byte, error) {
	b := make([]byte, probeLength)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("format: %w", err)
	}
	return b[:n], nil
}

// A draft is a file under a temporary name beside its future one. It is locked,
// is seen under its own name only when it is whole and durable, and never takes
// the place of another.
type draft struct {
	*os.File
	path string
}

func newDraft(path string) (*draft, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	d := &draft{File: f, path: path}
	if err := lock(f, imagelock.Exclusive); err != nil {
		d.drop()
		return nil, err
	}
	return d, nil
}

// vacant refuses a name that is taken.
func vacant(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
		defer f.Close()
		if err := lock(f, imagelock.Exclusive); errors.Is(err, ErrInUse) {
			return err
		}
	}
	return taken(path)
}

func taken(path string) error {
	return fmt.Errorf("format: %s exists already and is not overwritten; choose another name, or remove it if nobody needs it", path)
}

// sparse says whether the file system under the draft keeps holes. The draft is
// left empty.
func (d *draft) sparse() (bool, error) {
	const trial = 1 << 20
	if err := d.Truncate(trial); err != nil {
		return false, fmt.Errorf("format: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return false, fmt.Errorf("format: %w", err)
	}
	if err := d.Truncate(0); err != nil {
		return false, fmt.Errorf("format: %w", err)
	}
	return isSparse(trial, st.Blocks), nil
}

// isSparse says whether a file of size bytes that takes so many units of 512
// bytes has holes.
func isSparse(size, blocks int64) bool { return blocks < size/SectorSize }

// publish makes the draft durable and gives it its name.
func (d *draft) publish() error {
	temporary := d.Name()
	err := d.Sync()
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			// Not on this file system. A link does not replace a file either.
			if err = unix.Link(temporary, d.path); err == nil {
				err = unix.Unlink(temporary)
			}
		}
	}
	if err != nil {
		d.drop()
		if errors.Is(err, unix.EEXIST) {
			return taken(d.path)
		}
		return fmt.Errorf("format: %s cannot be finished: %w", d.path, err)
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	dir, err := os.Open(filepath.Dir(d.path))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("format: %s is written, but perhaps not durable: %w", d.path, err)
	}
	return nil
}

// drop removes the draft. What is lost is the work of a call that failed.
func (d *draft) drop() {
	os.Remove(d.Name())
	d.Close()
}
