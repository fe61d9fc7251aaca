package logchan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Backup is the backup's end of a pairing. Its methods may be called from any
// goroutine; none but Bye waits for the network.
//
// {check, append, acknowledge} and Seal share link.mu (R13): an acknowledgement
// is handed to the socket, or not at all, before the lock is given back.
type Backup struct {
	link     link
	wake     chan struct{}
	executed atomic.Uint64
	reads    atomic.Uint64
	released atomic.Uint64

	// Guarded by link.mu.
	space    sync.Cond // the mailbox has room, or its reader must give up
	incoming *incoming // State that is being received on cur
	from     *conn     // the connection that incoming comes from
	state    *ReceivedState
	have     bool         // the whole State is here
	last     replay.Point // last entry received
	mailbox  []replay.Entry
	held     int    // bytes in mailbox
	own      uint64 // replay.OwnDone received,
	awaited  uint64 // and those of them that came before the last entry that is not quiet

	inquired replay.Seq // entry of Inquire; 0 before
	answered bool
	parts    []byte // of the answer
}

// quietAcks is how often entries are acknowledged for which nothing waits: often
// enough for the primary to see how far its backup lags. The heartbeat's
// acknowledgement covers the last of them.
const quietAcks = 10 * time.Millisecond

// quietBytes is how much of them is acknowledged sooner: the primary fills the
// memory of what is acknowledged again, and while that is little it stays in the
// processor's cache.
const quietBytes = 1 << 20

// quiet says whether nothing waits for the acknowledgement of entries. While a
// guest computes or reads its disk they are all there is, and every
// acknowledgement wakes a thread on the primary's host.
func quiet(entries []replay.Entry) bool {
	for _, e := range entries {
		if !replay.Quiet(e.Body) {
			return false
		}
	}
	return len(entries) > 0
}

// ackDue says whether entries are acknowledged at once, so many bytes and so long
// after the last acknowledgement.
func ackDue(entries []replay.Entry, bytes int, after time.Duration) bool {
	return !quiet(entries) || bytes >= quietBytes || after >= quietAcks
}

// entryCost is what an entry in the mailbox is counted as, besides its bytes.
const entryCost = 64

func newBackup(e *Endpoint) (*Backup, error) {
	b := &Backup{wake: make(chan struct{}, 1)}
	b.space.L = &b.link.mu
	b.link.open(e, RoleBackup, b)
	if err := e.enter(&b.link); err != nil {
		return nil, err
	}
	return b, nil
}

// State is the State of the pairing, after StateReady; nil before and after
// DropState.
func (b *Backup) State() *ReceivedState {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	return b.state
}

// DropState forgets the State's bytes once it was loaded.
func (b *Backup) DropState() {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	b.state = nil
}

// Pairing says which run and epoch this is, and the primary's process; false
// before the first connection.
func (b *Backup) Pairing() (ft.Run, ft.Epoch, ft.ProcessID, bool) {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	return b.link.run, b.link.epoch, b.link.peer, b.link.paired
}

// Peer is where the primary's process listens, host:port; empty if that is not
// known.
func (b *Backup) Peer() string {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	return b.link.addr
}

// Take appends the entries received since the last call, in order. While many
// are not taken the primary is made to wait, so take them only when the ones
// before are done. The entries do not change afterwards.
func (b *Backup) Take(buf []replay.Entry) []replay.Entry {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	buf = append(buf, b.mailbox...)
	clear(b.mailbox)
	b.mailbox, b.held = b.mailbox[:0], 0
	b.space.Broadcast()
	return buf
}

// Wake receives a value after entries have come in.
func (b *Backup) Wake() <-chan struct{} { return b.wake }

// SetExecuted says how far the machine has come; acknowledgements carry it.
func (b *Backup) SetExecuted(pos machine.Icount) { b.executed.Store(uint64(pos)) }

// SetReads says how many reads this replica has done itself, in the order of the
// log. Every acknowledgement tells of them. Of those in front of an entry that is
// not quiet it is told at once: what that entry stands for may wait for them.
func (b *Backup) SetReads(count uint64) {
	before := b.reads.Swap(count)
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	if c := b.link.cur; before < b.awaited && c != nil && b.link.current(c) && b.have {
		b.acknowledge(c, 0)
	}
}

// Received is the last entry received. Everything up to it was acknowledged
// or may have been.
func (b *Backup) Received() replay.Point {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	return b.last
}

// Released is how many held outputs the primary has released, as last heard.
func (b *Backup) Released() uint64 { return b.released.Load() }

// LastHeard is when the primary was last heard; zero if it never was. While
// the reader waits for entries to be taken it is now: nobody listens then.
func (b *Backup) LastHeard() time.Time { return b.link.lastHeard() }

// Drop closes the newest connection, if there is one. Another one is made
// unless the epoch is sealed.
func (b *Backup) Drop() { b.link.drop() }

// Seal fixes the end of the log and returns it: after it returns no entry is
// received, no acknowledgement leaves and the epoch cannot be resumed (R13).
// What was received can still be taken. A peer that dials is answered RefuseClosed.
func (b *Backup) Seal() replay.Point {
	b.link.seal()
	return b.Received()
}

// Bye tells the primary of a planned end and seals. It waits for at most the
// time given until the peer has read it.
func (b *Backup) Bye(code ByeCode, wait time.Duration) { b.link.bye(code, wait) }

func (b *Backup) hello() Hello {
	h := b.link.ours()
	h.HaveState, h.Received = b.have, b.last.Seq
	return h
}

func (b *Backup) resumable(Hello) *Refusal { return nil }

func (b *Backup) welcome(c *conn) {
	b.incoming, b.from = nil, c
	b.space.Broadcast() // a reader of the connection before gives up
	if b.have {
		b.acknowledge(c, 0)
	}
}

func (b *Backup) sealing() {
	b.incoming = nil
	b.space.Broadcast()
}

// acknowledge sends an acknowledgement of everything received, or has the
// writer send it if the socket is blocked. link.mu is held.
func (b *Backup) acknowledge(c *conn, echo uint64) {
	a := ack{epoch: b.link.epoch, seq: b.last.Seq, executed: machine.Icount(b.executed.Load()), reads: b.reads.Load(), echo: echo}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || b.inquired != 0 {
		return
	}
	c.acked, c.since = b.link.ep.now(), 0
	c.answer = &a // replaces one that could not be sent yet: acknowledgements are cumulative
	if !c.blocked {
		c.pump()
	}
}

func (b *Backup) fill(c *conn) {
	c.disks.fill(c)
	if c.answer != nil {
		c.add(replay.FrameAck, c.answer.append(nil))
		c.answer = nil
	}
	if c.inquiry != 0 {
		c.add(replay.FrameInquiry, binary.AppendUvarint(nil, uint64(c.inquiry)))
		c.inquiry = 0
	}
}

func (b *Backup) beat(c *conn) {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	switch {
	case !b.link.current(c):
	case b.have && b.inquired == 0:
		b.acknowledge(c, 0)
	default:
		c.send(replay.FrameHeartbeat, pulse{}.append(nil))
	}
}

func (b *Backup) frame(c *conn, t replay.FrameType, body []byte) error {
	switch t {
	case replay.FrameEntries:
		return b.entries(c, body)
	case replay.FrameHeartbeat:
		return b.heartbeat(c, body)
	case replay.FrameState:
		return b.piece(c, body)
	case replay.FrameAccount:
		return b.account(c, body)
	case replay.FrameDisk:
		return b.link.disk(c, body, b.wake)
	}
	return unexpected(t)
}

func (b *Backup) heartbeat(c *conn, body []byte) error {
	p, rest, err := cutPulse(body)
	if err != nil || len(rest) > 0 {
		return errShort
	}
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	if !b.link.current(c) {
		return errGone
	}
	b.released.Store(max(b.released.Load(), p.released))
	if b.have {
		b.acknowledge(c, p.time)
	}
	return nil
}

// entries checks, appends and acknowledges a batch under one lock (R13).
func (b *Backup) entries(c *conn, body []byte) error {
	p, rest, err := cutPulse(body)
	if err != nil {
		return err
	}
	// The entries keep the bytes, which the frame reader will use again.
	start, batch, err := replay.DecodeBatch(nil, append([]byte(nil), rest...))
	if err != nil {
		return err
	}
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	for b.link.current(c) && b.held >= b.link.ep.cfg.MailboxLimit {
		c.stalled.Store(true)
		b.space.Wait()
	}
	if c.stalled.Swap(false) {
		b.link.heardNow()
	}
	if !b.link.current(c) {
		return errGone
	}
	if !b.have {
		return errors.New("logchan: entries come before the State")
	}
	if b.inquired != 0 {
		return nil
	}
	fresh, err := b.fresh(start, batch)
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		e := fresh[len(fresh)-1]
		b.last = replay.Point{Seq: e.Seq, Pos: e.Pos}
		b.mailbox = append(b.mailbox, fresh...)
		b.held += len(rest) + entryCost*len(fresh)
		b.countOwn(fresh)
	}
	b.released.Store(max(b.released.Load(), p.released))
	c.since += len(body)
	if ackDue(fresh, c.since, b.link.ep.now()-c.acked) {
		b.acknowledge(c, p.time)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// countOwn counts the reads of the backup's among entries. link.mu is held.
func (b *Backup) countOwn(entries []replay.Entry) {
	for _, e := range entries {
		if _, ok := e.Body.(replay.OwnDone); ok {
			b.own++
		} else if !replay.Quiet(e.Body) {
			b.awaited = b.own
		}
	}
}

// fresh is the part of a batch that was not received before a reconnect.
// Gaps and entries that do not fit the ones received are refused.
func (b *Backup) fresh(start replay.Point, batch []replay.Entry) ([]replay.Entry, error) {
	if start.Seq > b.last.Seq {
		return nil, fmt.Errorf("logchan: a batch follows entry %d, but entry %d is the last received", start.Seq, b.last.Seq)
	}
	known := b.last.Seq - start.Seq
	if known > replay.Seq(len(batch)) {
		return nil, nil
	}
	at := start
	if known > 0 {
		e := batch[known-1]
		at = replay.Point{Seq: e.Seq, Pos: e.Pos}
	}
	if at != b.last {
		return nil, fmt.Errorf("logchan: entry %d is at %d in a batch, and at %d in the log", at.Seq, at.Pos, b.last.Pos)
	}
	return batch[known:], nil
}

// piece receives a piece of the State.
func (b *Backup) piece(c *conn, body []byte) error {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	switch {
	case !b.link.current(c) || b.from != c:
		return errGone
	case b.have:
		return errors.New("logchan: the State comes twice")
	case len(body) == 0:
		return errShort
	}
	kind := body[0]
	if (kind == stateBegin) != (b.incoming == nil) {
		return errors.New("logchan: a piece of the State is out of place")
	}
	var err error
	switch kind {
	case stateBegin:
		b.incoming, err = beginIncoming(body)
	case stateData:
		err = b.incoming.add(body[1:], b.link.ep.cfg.StateLimit)
	case stateEnd:
		if b.state, err = b.incoming.finish(body); err != nil {
			return err
		}
		b.have, b.last, b.incoming = true, b.state.Base, nil
		b.link.post(Event{Kind: StateReady, Epoch: b.link.epoch, Gen: c.gen})
		b.acknowledge(c, 0)
	default:
		err = errShort
	}
	return err
}
