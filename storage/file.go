package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage/imagelock"
)

// File is a raw image: a regular file.
type File struct {
	file     *os.File
	sectors  uint64
	readOnly bool
	// through: on another host's file system a completed write must be there
	// after this host is gone, so it must not wait in this host's page cache.
	through bool
	cache   PromptFile
}

var _ interface {
	Backend
	Unmapper
	Prompt
} = (*File)(nil)

// OpenFile opens the raw image at path.
func OpenFile(path string, readOnly bool) (*File, error) {
	through, err := onNetwork(path)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	b := &File{readOnly: readOnly, through: through && !readOnly}
	mode := os.O_RDWR
	switch {
	case readOnly:
		mode = os.O_RDONLY
	case through:
		mode |= unix.O_DSYNC
	}
	if b.file, err = os.OpenFile(path, mode, 0); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if info, err := b.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, failed(errors.Join(fmt.Errorf("%s is not a regular file", path), err), b.file)
	}
	if b.sectors, err = capacity(b.file, sectorSize); err != nil {
		return nil, failed(err, b.file)
	}
	return b, nil
}

// onNetwork says whether the file at path lies on a file system that another
// host serves.
func onNetwork(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return false, nil
	}
	return true, nil // unknown ones are treated as the worse case
}

// Sectors implements Backend.
func (b *File) Sectors() uint64 { return b.sectors }

// BlockSize implements Backend.
func (b *File) BlockSize() uint32 { return sectorSize }

// lockEvery is how often a lock that another process holds is tried.
const lockEvery = 2 * time.Millisecond

// Claim takes the exclusive lock on the writing descriptor and waits as long as
// another process holds it. The lock knows no fence numbers.
func (b *File) Claim(ctx context.Context, _ ft.Fence, waiting func(why string)) error {
	kind := imagelock.Exclusive
	if b.readOnly {
		kind = imagelock.Shared
	}
	return await(ctx, b.file.Name(), waiting, func() (bool, error) {
		err := imagelock.Take(b.file, kind)
		if errors.Is(err, imagelock.ErrHeld) {
			return false, nil
		}
		return true, err
	})
}

// await tries to take what another process may hold until it has it.
func await(ctx context.Context, name string, waiting func(why string), try func() (bool, error)) error {
	for first := true; ; first = false {
		done, err := try()
		if err != nil {
			return fmt.Errorf("storage: %s cannot be locked: %w", name, err)
		}
		if done {
			return nil
		}
		if first {
			waiting(name + " is held by another process")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("storage: %s is still locked by another process: %w", name, ctx.Err())
		case <-time.After(lockEvery):
		}
	}
}

// Follow implements Follower. Another host that has a network file system mounted
// keeps what it has read before.
func (b *File) Follow() error {
	if b.through {
		return fmt.Errorf("storage: %s lies on a network or cluster file system, of which a host may read old blocks from its own page cache", b.file.Name())
	}
	return nil
}

// ReadAt implements Backend.
func (b *File) ReadAt(p []byte, off int64) error {
	_, err := b.file.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is shorter than it was: %w", b.file.Name(), io.ErrUnexpectedEOF)
	}
	return err
}

// ReadPromptly implements Prompt.
func (b *File) ReadPromptly(p []byte, off int64) bool { return b.cache.ReadAt(b.file, p, off) }

// WriteAt implements Backend.
func (b *File) WriteAt(p []byte, off int64) error {
	_, err := b.file.WriteAt(p, off)
	return err
}

// Sync implements Backend.
func (b *File) Sync() error { return retry(func() error { return unix.Fdatasync(int(b.file.Fd())) }) }

// Discard punches a hole where the file system can, and keeps what is there
// where it cannot.
func (b *File) Discard(off, n int64) error {
	err := b.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return nil
	}
	return err
}

// Zero keeps the room of the range on the file system; it writes zeros where
// there is no other way.
func (b *File) Zero(off, n int64) error {
	err := b.allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return writeZeros(b, off, n)
	}
	return err
}

// Unmap implements Unmapper.
func (b *File) Unmap(off, n int64) error {
	err := b.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return b.Zero(off, n)
	}
	return err
}

func (b *File) allocate(mode uint32, off, n int64) error {
	err := retry(func() error { return unix.Fallocate(int(b.file.Fd()), mode, off, n) })
	if err == nil && b.through {
		return b.Sync() // O_DSYNC is about writes alone
	}
	return err
}

// Close implements Backend.
func (b *File) Close() error {
	if err := b.file.Close(); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

// retry calls f again when a signal has come in between.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

var zeros [256 << 10]byte

// writeZeros is a zeroing by writes.
func writeZeros(b Backend, off, n int64) error {
	for n > 0 {
		piece := min(n, int64(len(zeros)))
		if err := b.WriteAt(zeros[:piece], off); err != nil {
			return err
		}
		off, n = off+piece, n-piece
	}
	return nil
}
