package logchan

import (
	"net"

	"github.com/lockstep-vm/lockstep/ft"
)

// Endpoint is the one listener of a replica's process.
type Endpoint struct{}

// Listen opens an Endpoint. An address other than loopback is refused unless
// Config.Insecure is set.
func Listen(cfg Config) (*Endpoint, error) { return nil, nil }

// Addr is the address that the endpoint listens on.
func (e *Endpoint) Addr() net.Addr { return nil }

// Events is what happened, in order. If the owner does not take them, new
// connections wait; entries and acknowledgements do not.
func (e *Endpoint) Events() <-chan Event { return nil }

// Close ends everything and returns when all goroutines have ended.
func (e *Endpoint) Close() error { return nil }

// Pairing says what a Primary is the primary of.
type Pairing struct {
	Run   ft.Run
	Epoch ft.Epoch
	Peer  string // host:port of the backup
	// OnAck is called for every acknowledgement that counts, by the goroutine
	// that read it, one call at a time. It must be short and must not call
	// methods of Primary. After Seal has returned it is not called again.
	OnAck func(Ack)
}

// OpenPrimary opens the primary's end of a pairing and dials the backup until
// it answers. An endpoint has one pairing at a time; the one before must be sealed.
func (e *Endpoint) OpenPrimary(p Pairing) (*Primary, error) { return nil, nil }

// OpenBackup waits for a primary; the first one that fits is the one.
func (e *Endpoint) OpenBackup() (*Backup, error) { return nil, nil }
