package local

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/imagelock"
)

// OS is the file layer of the operating system.
type OS struct{}

// Open opens a file or a block device for reading and writing.
func (OS) Open(path string) (File, error) { return opened(os.OpenFile(path, os.O_RDWR, 0)) }

// Create makes a new file that only this user may read.
func (OS) Create(path string) (File, error) {
	return opened(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
}

// Rename puts from in the place of to.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func (OS) Remove(path string) error { return os.Remove(path) }

// SyncDir makes the names in a directory durable.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func opened(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

type osFile struct {
	*os.File
	cache storage.PromptFile
}

func (f *osFile) ReadPromptly(p []byte, off int64) bool { return f.cache.ReadAt(f.File, p, off) }

// pageSize is the unit of which a write that is whole has nothing to read first.
const pageSize = 4096

func (f *osFile) WritePromptly(p []byte, off int64) bool {
	if (off|int64(len(p)))%pageSize != 0 {
		return false
	}
	_, err := f.WriteAt(p, off)
	return err == nil // it is done again, and the error told
}

func (f *osFile) Sync() error {
	return f.retry("fdatasync", func() error { return unix.Fdatasync(int(f.Fd())) })
}

func (f *osFile) Allocate(off, n int64) error {
	return f.retry("fallocate", func() error { return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n) })
}

func (f *osFile) PunchHole(off, n int64) error {
	err := f.retry("fallocate", func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, off, n)
	})
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		k, err := f.WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

func (f *osFile) NextData(off int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return off, off, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		// Neither the file system nor a block device that cannot tell.
		end, err = f.Size()
		return off, max(off, end), err
	case err != nil:
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return start, end, nil
}

func (f *osFile) Size() (int64, error) { return f.Seek(0, io.SeekEnd) }

func (f *osFile) Lock() error {
	err := imagelock.Take(f.File, imagelock.Exclusive)
	if errors.Is(err, imagelock.ErrHeld) {
		return ErrLocked
	}
	return err
}

// retry calls do again when a signal has broken it off.
func (f *osFile) retry(op string, do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: op, Path: f.Name(), Err: err}
		}
	}
}
