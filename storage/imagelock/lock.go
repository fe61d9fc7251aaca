// Package imagelock is the one lock that keeps two users of an image apart (R19):
// VMs, stores and commands take the same one.
package imagelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrHeld is what Take answers while another descriptor has a lock that excludes
// this one.
var ErrHeld = errors.New("locked by another process")

// Kind is Exclusive or Shared.
type Kind int16

// The kinds.
const (
	Exclusive Kind = unix.F_WRLCK // for one that writes: nobody else has a lock
	Shared    Kind = unix.F_RDLCK // for those that read
)

// Take takes a lock on a whole file for this descriptor, or ErrHeld. It ends when
// the descriptor is closed (fcntl, F_OFD_SETLK). QEMU's locks exclude it too.
func Take(f *os.File, kind Kind) error {
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: int16(kind)})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
			return ErrHeld
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}
