package logchan

import (
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Backup is the backup's end of a pairing. Its methods may be called from any
// goroutine and do not block on the network.
type Backup struct{}

// ReceivedState is a State that has come in whole and with the right checksum.
type ReceivedState struct {
	Base replay.Point
	Meta []byte
	Size int64 // bytes that Open's reader yields
	Open func() (io.ReadCloser, error)
}

// State is the State of the pairing, after StateReady; nil before.
func (b *Backup) State() *ReceivedState { return nil }

// DropState forgets the State's bytes once it was loaded.
func (b *Backup) DropState() {}

// Pairing says which run and epoch this is, and the primary's process; false
// before the first connection.
func (b *Backup) Pairing() (ft.Run, ft.Epoch, ft.ProcessID, bool) {
	return ft.Run{}, 0, ft.ProcessID{}, false
}

// Take appends the entries received since the last call, in order. While many
// are not taken the primary is made to wait.
func (b *Backup) Take(buf []replay.Entry) []replay.Entry { return buf }

// Wake receives a value after entries have come in.
func (b *Backup) Wake() <-chan struct{} { return nil }

// SetExecuted says how far the machine has come; acknowledgements carry it.
func (b *Backup) SetExecuted(pos machine.Icount) {}

// Received is the last entry received, which is the last one acknowledged.
func (b *Backup) Received() replay.Point { return replay.Point{} }

// Released is how many held outputs the primary has released, as last heard.
func (b *Backup) Released() uint64 { return 0 }

// LastHeard is when the peer was last heard on the newest connection; zero if
// it never was.
func (b *Backup) LastHeard() time.Time { return time.Time{} }

// Seal fixes the end of the log and returns it: after it returns no entry is
// received, no acknowledgement leaves and the epoch cannot be resumed (R13).
// What was received can still be taken. A peer that dials is answered RefuseClosed.
func (b *Backup) Seal() replay.Point { return replay.Point{} }

// Bye tells the primary of a planned end and seals. It waits for at most the
// time given until the peer has read it.
func (b *Backup) Bye(code ByeCode, wait time.Duration) {}
