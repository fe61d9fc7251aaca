package local

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/lockstep-vm/lockstep/ft"
)

// Point is a common point: a moment of the disk's history whose contents two
// copies had, durably, alike.
type Point = ft.Point

// State is what a copy is, as its sidecar says it. Only the run record says
// which copies are current.
type State uint8

// The states of a copy. Their numbers are in sidecars: never used again.
const (
	// Clean: closed in order.
	Clean State = 1
	// InUse: open, or its host lost power. The map tells what may differ.
	InUse State = 2
	// Syncing: a re-synchronisation writes it, or was cut off. It is no state
	// that the disk ever had: never valid, until a re-synchronisation is done.
	Syncing State = 3
	// Stale: dropped, after a write error or because its replica halted.
	Stale State = 4
)

func (s State) String() string {
	switch s {
	case Clean:
		return "clean"
	case InUse:
		return "in use"
	case Syncing:
		return "syncing"
	case Stale:
		return "stale"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Error is an operation that failed on one copy. The caller decides: drop the
// copy if there is another, stop the guest if there is none.
type Error struct {
	Copy ft.CopyID
	Path string // of the image or its sidecar
	Op   string // "read", "write", "zero", "sync", "note intent", "note state"
	Off  int64  // of the operation in the image, in bytes; 0 if it is about all of it
	Len  int64
	Err  error
	// Final: nothing is known of what was written before, or of the sidecar, so
	// that this process uses the copy no more. All that follows fails likewise.
	Final bool
}

func (e *Error) Error() string {
	where := ""
	if e.Len > 0 {
		where = fmt.Sprintf(" of %d bytes at %d", e.Len, e.Off)
	}
	advice := ""
	if e.Full() {
		advice = " (make room there, then resume)"
	}
	return fmt.Sprintf("storage: copy %x of the disk, %s: %s%s failed: %v%s", e.Copy[:4], e.Path, e.Op, where, e.Err, advice)
}

func (e *Error) Unwrap() error { return e.Err }

// Full says whether the host's disk or quota is full, which a person can mend.
func (e *Error) Full() bool {
	return errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT)
}

// The ways in which Open, Claim and a re-synchronisation refuse. The messages
// around them say what to do.
var (
	ErrNoSidecar = errors.New("there is no sidecar")
	ErrClaimed   = errors.New("the image belongs to another")
	ErrInvalid   = errors.New("not a valid copy")
	ErrDamaged   = errors.New("the sidecar is damaged")
	ErrMismatch  = errors.New("the copies are not of one disk")
)
