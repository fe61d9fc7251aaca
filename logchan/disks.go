package logchan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// With local disks the two replicas speak of their copies (DESIGN section 7): in
// messages while one copy is brought up to date with the other, and in notes of
// what is flushed. Both belong to one connection. There they come whole and in
// order, and what was lost with it is not sent again: its owner goes on with another.

// Kinds of Disk frames.
const (
	diskMessage   = 1
	diskFlushed   = 2
	diskFlushedTo = 3
	diskCommon    = 4
	diskSynced    = 5
	diskCut       = 6
	diskPrepared  = 7
)

const (
	// MaxDiskMessage is the most bytes that a message of a re-synchronisation has.
	MaxDiskMessage = 1 << 20
	// disksAhead is how many messages wait for the socket, and for each disk for
	// their receiver.
	disksAhead = 8
	// maxNotes bounds the notes that were received and not taken. Honest peers
	// stay far below: a flush is noted once on a connection.
	maxNotes = 1 << 16
)

// NoteKind says what a DiskNote tells.
type NoteKind uint8

const (
	// NoteFlushed (from the backup): its copy is flushed for the guest's request
	// ID of disk Disk.
	NoteFlushed NoteKind = diskFlushed
	// NoteFlushedTo (from the backup): its copy is flushed up to entry Seq.
	NoteFlushedTo NoteKind = diskFlushedTo
	// NoteCut (from the primary): its map is cut at entry Seq, for the common
	// point Point of the pairing (ft.CutAsk).
	NoteCut NoteKind = diskCut
	// NotePrepared (from the backup): its copy has the point of entry Seq, durably.
	NotePrepared NoteKind = diskPrepared
	// NoteCommon (from the primary): both copies have the point of entry Seq.
	NoteCommon NoteKind = diskCommon
	// NoteSynced (from the backup): its copy, Copy, is complete, flushed and
	// marked with the pairing's generation.
	NoteSynced NoteKind = diskSynced
)

// DiskNote is what one replica tells the other of its copy of the local disks.
type DiskNote struct {
	Kind  NoteKind
	Gen   uint64 // of the connection that it came on; not sent
	Disk  uint8
	ID    uint64
	Seq   replay.Seq
	Point [16]byte // the id
	Copy  ft.CopyID
}

// from is who sends such a note; 0 for nobody.
func (k NoteKind) from() Role {
	switch k {
	case NoteFlushed, NoteFlushedTo, NoteSynced, NotePrepared:
		return RoleBackup
	case NoteCut, NoteCommon:
		return RolePrimary
	}
	return 0
}

func (n DiskNote) append(b []byte) []byte {
	b = append(b, byte(n.Kind))
	switch n.Kind {
	case NoteFlushed:
		return binary.AppendUvarint(append(b, n.Disk), n.ID)
	case NoteSynced:
		return append(b, n.Copy[:]...)
	case NoteCut:
		return append(binary.AppendUvarint(b, uint64(n.Seq)), n.Point[:]...)
	default:
		return binary.AppendUvarint(b, uint64(n.Seq))
	}
}

// decodeNote reads a note that role from may send.
func decodeNote(from Role, body []byte) (DiskNote, error) {
	f := fields{b: body}
	n := DiskNote{Kind: NoteKind(f.u8())}
	switch {
	case f.short:
		return n, errShort
	case n.Kind.from() != from:
		return n, fmt.Errorf("logchan: the %s sends kind %d about local disks, which does not belong here", from, n.Kind)
	case n.Kind == NoteFlushed:
		n.Disk = f.u8()
		n.ID = f.varint()
	case n.Kind == NoteSynced:
		f.into(n.Copy[:])
	case n.Kind == NoteCut:
		n.Seq = replay.Seq(f.varint())
		f.into(n.Point[:])
	default:
		n.Seq = replay.Seq(f.varint())
	}
	if err := f.end(); err != nil {
		return n, err
	}
	if int(n.Disk) >= machine.MaxDisks || !bytes.Equal(n.append(nil), body) {
		return n, errShort
	}
	return n, nil
}

// ErrLost is what a DiskConn answers whose connection is lost or replaced, or
// whose pairing is sealed. What follows on another connection is not in it.
var ErrLost = errors.New("logchan: the connection of the re-synchronisation is lost")

// disksOut is what waits for the socket.
type disksOut struct {
	notes    [][]byte    // conn.mu
	messages chan []byte // bodies of frames
}

// fill is called with conn.mu held.
func (o *disksOut) fill(c *conn) {
	for _, n := range o.notes {
		c.add(replay.FrameDisk, n)
	}
	o.notes = nil
	for c.out.left() < writeSize {
		select {
		case m := <-o.messages:
			c.add(replay.FrameDisk, m)
		default:
			return
		}
	}
}

// syncsIn is what has come in for the re-synchronisation of each disk.
type syncsIn struct {
	mu    sync.Mutex
	disks [machine.MaxDisks]chan []byte
}

func (s *syncsIn) of(disk uint8) chan []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disks[disk] == nil {
		s.disks[disk] = make(chan []byte, disksAhead)
	}
	return s.disks[disk]
}

// disk receives a message or a note.
func (l *link) disk(c *conn, body []byte, wake chan struct{}) error {
	if len(body) > 0 && body[0] == diskMessage {
		return l.diskMessage(c, body[1:])
	}
	from := RolePrimary
	if l.role == RolePrimary {
		from = RoleBackup
	}
	n, err := decodeNote(from, body)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.current(c):
		return errGone
	case len(l.notes) >= maxNotes:
		return errors.New("logchan: the peer tells more of its disks than can be under way")
	}
	n.Gen = c.gen
	l.notes = append(l.notes, n)
	select {
	case wake <- struct{}{}:
	default:
	}
	return nil
}

// diskMessage waits while the disk's receiver has much to do.
func (l *link) diskMessage(c *conn, body []byte) error {
	if len(body) == 0 || int(body[0]) >= machine.MaxDisks || len(body) > 1+MaxDiskMessage {
		return errShort
	}
	in, m := c.syncs.of(body[0]), bytes.Clone(body[1:])
	select {
	case in <- m:
		return nil
	default:
	}
	c.stalled.Store(true)
	defer func() {
		l.heardNow() // first: nobody may see a reader that listens and heard nothing
		c.stalled.Store(false)
	}()
	select {
	case in <- m:
		return nil
	case <-c.done:
		return errGone
	}
}

// tell sends a note if gen is the newest connection, and does not wait.
func (l *link) tell(gen uint64, n DiskNote) bool {
	if n.Kind.from() != l.role {
		panic(fmt.Sprintf("BUG: logchan: the %s tells %+v", l.role, n))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.cur
	if c == nil || c.gen != gen || l.sealed {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.disks.notes = append(c.disks.notes, n.append(nil))
	if !c.blocked {
		c.pump()
	}
	return true
}

func (l *link) takeNotes(buf []DiskNote) []DiskNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	buf = append(buf, l.notes...)
	l.notes = nil
	return buf
}

func (l *link) sync(gen uint64, disk uint8) (*DiskConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur == nil || l.cur.gen != gen || l.sealed {
		return nil, ErrLost
	}
	return &DiskConn{c: l.cur, disk: disk}, nil
}

// DiskConn carries the messages of one disk's re-synchronisation on one
// connection, whole and in order. Every call fails with ErrLost once that
// connection is lost, replaced or sealed. One goroutine may send and another receive. Who gives up
// receiving before the peer has said all drops the connection: the channel's
// reader waits for the receiver.
type DiskConn struct {
	c    *conn
	disk uint8
}

// Send queues a message. It waits while many are queued.
func (d *DiskConn) Send(ctx context.Context, message []byte) error {
	if len(message) > MaxDiskMessage {
		return fmt.Errorf("logchan: a message of %d bytes; at most %d are possible", len(message), MaxDiskMessage)
	}
	if ended(d.c.done) {
		return d.lost()
	}
	select {
	case d.c.disks.messages <- append([]byte{diskMessage, d.disk}, message...):
		d.c.flush()
		return nil
	case <-d.c.done:
		return d.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lost is ErrLost and why the connection ended.
func (d *DiskConn) lost() error { return fmt.Errorf("%w: %w", ErrLost, d.c.reason(errGone)) }

// Receive waits for the next message.
func (d *DiskConn) Receive(ctx context.Context) ([]byte, error) {
	if ended(d.c.done) {
		return nil, d.lost()
	}
	select {
	case m := <-d.c.syncs.of(d.disk):
		return m, nil
	case <-d.c.done:
		return nil, d.lost()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Sync is where the re-synchronisation of a disk goes on connection gen.
func (p *Primary) Sync(gen uint64, disk uint8) (*DiskConn, error) { return p.link.sync(gen, disk) }

// Sync is where the re-synchronisation of a disk goes on connection gen.
func (b *Backup) Sync(gen uint64, disk uint8) (*DiskConn, error) { return b.link.sync(gen, disk) }

// TellDisk sends a note on connection gen; false if that is gone.
func (p *Primary) TellDisk(gen uint64, n DiskNote) bool { return p.link.tell(gen, n) }

// TellDisk sends a note on connection gen; false if that is gone.
func (b *Backup) TellDisk(gen uint64, n DiskNote) bool { return b.link.tell(gen, n) }

// DiskNotes appends the notes received since the last call, in order. Wake
// receives a value after one has come in.
func (p *Primary) DiskNotes(buf []DiskNote) []DiskNote { return p.link.takeNotes(buf) }

// DiskNotes appends the notes received since the last call, in order. Wake
// receives a value after one has come in.
func (b *Backup) DiskNotes(buf []DiskNote) []DiskNote { return b.link.takeNotes(buf) }
