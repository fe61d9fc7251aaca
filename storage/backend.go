package storage

import (
	"context"
	"errors"

	"github.com/lockstep-vm/lockstep/ft"
)

// A Backend is where the blocks of a disk lie. A Disk asks it for one thing
// after another for the same blocks, and for many at a time otherwise: all
// methods but Claim and Close may run side by side. Offsets and lengths are in
// bytes, multiples of BlockSize, and within the disk.
type Backend interface {
	// Sectors is the capacity in 512-byte sectors, and BlockSize the smallest
	// unit of access in bytes: 512 or 4096.
	Sectors() uint64
	BlockSize() uint32
	// Claim makes this process the one that writes, with its fence number, and
	// returns once nobody with a smaller number can write any more (R19).
	// waiting is called once, with the reason, if that takes waiting for another
	// process. Nothing is read or written before.
	Claim(ctx context.Context, number ft.Fence, waiting func(why string)) error
	ReadAt(p []byte, off int64) error
	WriteAt(p []byte, off int64) error
	// Sync makes durable all writes that have returned (virtio 5.2.6.3).
	Sync() error
	// Discard gives up the contents of a range, which may read as anything
	// until it is written. Zero makes it read as zeros.
	Discard(off, n int64) error
	Zero(off, n int64) error
	// Close frees what Claim took, after all that runs has ended.
	Close() error
}

// An Unmapper is a Backend that can also give up a range so that it reads as
// zeros, as a zeroing with the unmap flag allows (virtio 5.2.6.2). Others are
// asked to Zero.
type Unmapper interface {
	Unmap(off, n int64) error
}

// A Prompt is a Backend that can do some reads without waiting: their blocks are
// in the host's page cache.
type Prompt interface {
	// ReadPromptly is ReadAt if that needs no waiting; else it is false, and p
	// may have changed.
	ReadPromptly(p []byte, off int64) bool
}

// A PromptWriter is a Backend that can do some writes without waiting, as far as
// can be told beforehand: the host's page cache takes them.
type PromptWriter interface {
	// WritePromptly is WriteAt if that should need no waiting; else it is false,
	// and p may have been written.
	WritePromptly(p []byte, off int64) bool
}

// A Follower is a Backend that a process can read while another one, perhaps on
// another host, is the one that writes it.
type Follower interface {
	// Follow says why that is not possible here: that a read before Claim sees
	// every write that has returned at the other process.
	Follow() error
}

// CanFollow says why a backend cannot be read while another process writes it;
// nil if it can.
func CanFollow(b Backend) error {
	f, ok := b.(Follower)
	if !ok {
		return errors.New("storage: this disk cannot be read while another host writes it")
	}
	return f.Follow()
}

// An Abandoner is a Backend whose requests may wait without end, for a server
// that is gone. Abandon makes those under way return at once, with an error.
type Abandoner interface {
	Abandon()
}

// ErrFenced is what a Backend answers once a process with a greater fence number
// has claimed the disk. Nothing of what failed with it was written.
type ErrFenced struct{ By ft.Fence }

func (e ErrFenced) Error() string {
	return "storage: fenced off: the disk belongs to the live VM with number " + e.By.String()
}
