package logchan

import (
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Primary is the primary's end of a pairing. Its methods may be called from
// any goroutine; SendState, Append and Flush from one at a time. None blocks
// on the network.
type Primary struct{}

// State is what a new backup starts from.
type State struct {
	Base replay.Point // the entries of the pairing follow this point
	Meta []byte       // at most 64 KiB, not interpreted here
	// Open begins reading the State from its start, and again after a
	// reconnect. It is called by a goroutine of the channel.
	Open func() (io.ReadCloser, error)
}

// SendState sends the State, compressed, before the first entry. It may be
// called before the backup is connected, once, and returns at once; StateSent
// says when the backup has it.
func (p *Primary) SendState(s State) error { return nil }

// Append adds an entry to what Flush sends. It must be the one after the last,
// and SendState must have been called.
func (p *Primary) Append(e replay.Entry) error { return nil }

// Flush sends what was appended: with one write, by the calling goroutine, if
// the socket takes it, else by a goroutine of the channel.
func (p *Primary) Flush() {}

// Full says whether so much is unacknowledged that the primary must stop
// running (R12). Wake tells when to look again.
func (p *Primary) Full() bool { return false }

// Wake receives a value after acknowledgements have come in.
func (p *Primary) Wake() <-chan struct{} { return nil }

// SetReleased tells the backup how many held outputs were released.
func (p *Primary) SetReleased(count uint64) {}

// SetPosition says how far the machine has come, for measuring the lag.
func (p *Primary) SetPosition(pos machine.Icount) {}

// Acked is the newest acknowledgement that counts; false if none came on the
// newest connection yet.
func (p *Primary) Acked() (Ack, bool) { return Ack{}, false }

// LastHeard is when the peer was last heard on the newest connection; zero if
// it never was.
func (p *Primary) LastHeard() time.Time { return time.Time{} }

// Peer is the backup's process, once connected.
func (p *Primary) Peer() (ft.ProcessID, bool) { return ft.ProcessID{}, false }

// Seal ends the epoch on this side: after it returns nothing of it is sent,
// acknowledged or resumed, and OnAck is not called again (R17). A peer that
// dials is answered RefuseClosed.
func (p *Primary) Seal() {}

// Bye tells the backup of a planned end, after everything flushed so far, and
// seals. It waits for at most the time given until the peer has read it.
func (p *Primary) Bye(code ByeCode, wait time.Duration) {}

// Stats are the counters.
func (p *Primary) Stats() PrimaryStats { return PrimaryStats{} }

// ResetStats sets the counters to zero.
func (p *Primary) ResetStats() {}
