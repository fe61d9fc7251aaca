// Package logchan is the logging channel: it carries log entries from the
// primary to the backup and acknowledgements back, over TCP, and survives
// reconnects within an epoch. It offers mechanism; package ft decides.
//
// An Endpoint is the one listener of a replica's process. A pairing is opened
// on it as Primary or as Backup. The channel's goroutines meet their owner, the
// goroutine that drives the machine, in bounded queues: none of the calls that
// the owner makes while the machine runs waits for the network.
//
//	owner                     primary             backup               owner
//	Append, Flush ──► unacknowledged ──► socket ──► reader ──► mailbox ──► Take
//	OnAck ◄────────── reader ◄────────── socket ◄── ack ◄─┘ (one lock with Seal)
//
// The goroutine that flushes writes to the socket itself if that does not
// block; the goroutine that reads entries writes their acknowledgement; the
// goroutine that reads an acknowledgement calls OnAck (R14).
package logchan

import (
	"errors"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// FormatVersion is the version of the channel's format, apart from the product's.
const FormatVersion = 4

// ErrSealed is returned by calls after Seal.
var ErrSealed = errors.New("logchan: the epoch is sealed")

// ErrFull is returned by Append far above the limit at which Full says true.
var ErrFull = errors.New("logchan: too much is unacknowledged; stop running while Full")

// Config is what an Endpoint needs. Zero durations and limits mean the defaults.
type Config struct {
	VM         string // at most 255 bytes
	Process    ft.ProcessID
	ConfigHash [32]byte // of machine.Config

	Listen    string // host:port
	Advertise string // host:port for the peer to dial back; "" is the listener's own address
	Insecure  bool   // allow addresses other than loopback: the channel is not encrypted

	Heartbeat    time.Duration // something is sent at least this often; default 50 ms
	WriteTimeout time.Duration // a connection that takes no bytes for so long is closed; default 5 s
	BufferLimit  int           // bytes of unacknowledged entries; default 64 MiB
	MailboxLimit int           // bytes of entries received and not taken; default 64 MiB
	StateLimit   int64         // bytes of a compressed State; default 4 GiB
}

// EventKind says what happened.
type EventKind uint8

const (
	// Connected: a connection of this pairing is up, the first one or a
	// resumed one. Acknowledgements count only on the newest (R17).
	Connected EventKind = iota + 1
	// Closed: the newest connection is gone. Refused if the peer's process
	// is known to be gone; the channel goes on dialling otherwise.
	Closed
	// DialFailed: nobody could be reached, or the peer refused the handshake
	// (Code is then not zero). Refused as for Closed. Repeated while dialling goes on.
	DialFailed
	// PeerRefused: this side refused a peer's handshake, with Code.
	PeerRefused
	// StateSent (primary): the backup has the whole State.
	StateSent
	// StateReady (backup): the whole State is here; see Backup.State.
	StateReady
	// PeerBye: the peer ended the pairing in a planned way; Bye says why.
	PeerBye
	// Inquired (primary): the backup has diverged at the digest of entry Seq
	// and asks what it was taken over; see Primary.Answer.
	Inquired
	// Answered (backup): the answer to Inquire. Account is nil if the primary
	// does not keep it.
	Answered
)

// Event is one thing that happened on a pairing. Events come in order through
// one bounded channel per Endpoint.
type Event struct {
	Kind    EventKind
	Epoch   ft.Epoch
	Gen     uint64 // connection: counts up within an epoch
	Peer    Hello  // Connected
	Refused bool   // Closed, DialFailed: the peer's process is gone (R17)
	Code    RefuseCode
	Bye     ByeCode
	Err     error // Closed, DialFailed, PeerRefused: the reason in words
	Seq     replay.Seq
	Account *machine.Account

	of *link // nil for PeerRefused
}

// Over says whether this side has sealed the pairing that the event is of. Such
// an event was queued before, and what it tells of is gone: the next pairing may
// have the same epoch and the same numbers of connections.
func (e Event) Over() bool {
	if e.of == nil {
		return false
	}
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	return e.of.sealed
}

// Ack is an acknowledgement as the primary sees it.
type Ack struct {
	Gen       uint64
	Epoch     ft.Epoch
	Seq       replay.Seq     // every entry up to here was received
	Executed  machine.Icount // the backup has come as far as this
	Reads     uint64         // the backup has done so many reads itself, in the order of the log (ft.OwnReads)
	RoundTrip time.Duration  // since what it answers was sent; 0 if it answers nothing
	Lag       time.Duration  // since the primary told of a position beyond Executed; 0 if it has not
}

// ByeCode is the reason of a planned end. The numbers are for ever.
type ByeCode uint8

const (
	ByeEnded   ByeCode = 1 // the guest powered off; the run record says "ended"
	ByeLeaving ByeCode = 2 // a backup leaves before it was armed
	ByeHalted  ByeCode = 3 // the sender halted, of divergence for example
)

// PrimaryStats are counters since the pairing was opened or ResetStats.
type PrimaryStats struct {
	Entries  uint64 // appended
	Bytes    uint64 // encoded entries, without framing
	Buffered int    // bytes of entries not acknowledged, now
	Resumes  uint64 // connections after the first
	Lag      Quantiles
	Trip     Quantiles // round trips
}

// Quantiles are read off a histogram with a resolution of about 6 %.
type Quantiles struct {
	Samples       uint64
	P50, P99, Max time.Duration
}
