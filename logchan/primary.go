package logchan

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// Pairing says what a Primary is the primary of.
type Pairing struct {
	Run   ft.Run
	Epoch ft.Epoch
	Peer  string // host:port of the backup; "" waits for it to dial
	// OnAck is called for every acknowledgement that counts, by the goroutine
	// that read it, one call at a time. It must be short and must not call
	// methods of Primary. After Seal has returned it is not called again. A
	// new connection's first acknowledgement may come before its Connected
	// event was taken: compare Ack.Gen, and see Acked.
	OnAck func(Ack)
}

// State is what a new backup starts from.
type State struct {
	Base replay.Point // the entries of the pairing follow this point
	Meta []byte       // at most 64 KiB, not interpreted here
	// Open begins reading the State from its start, and again after a
	// reconnect. It is called by a goroutine of the channel.
	Open func() (io.ReadCloser, error)
}

// Primary is the primary's end of a pairing. Its methods may be called from
// any goroutine; SendState, Append and Flush from one at a time. None but Bye
// waits for the network.
type Primary struct {
	link     link
	onAck    func(Ack)
	box      outbox
	meter    lagMeter
	released atomic.Uint64
	wake     chan struct{}

	entries, bytes, resumes atomic.Uint64
	own                     atomic.Uint64 // replay.OwnDone appended

	// Guarded by link.mu.
	state     *State
	stateDone bool // the backup has it
	acked     Ack
	hasAck    bool // acked is of the newest connection
}

func newPrimary(e *Endpoint, p Pairing) (*Primary, error) {
	r := &Primary{onAck: p.OnAck, wake: make(chan struct{}, 1)}
	if r.onAck == nil {
		r.onAck = func(Ack) {}
	}
	r.box.limit = e.cfg.BufferLimit
	r.link.open(e, RolePrimary, r)
	r.link.run, r.link.epoch, r.link.addr = p.Run, p.Epoch, p.Peer
	if err := e.enter(&r.link); err != nil {
		return nil, err
	}
	return r, nil
}

// SendState sends the State, compressed, before the first entry. It may be
// called before the backup is connected, once, and returns at once; StateSent
// says when the backup has it.
func (p *Primary) SendState(s State) error {
	if len(s.Meta) > maxMeta {
		return fmt.Errorf("logchan: %d bytes of Meta; at most %d are possible", len(s.Meta), maxMeta)
	}
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	if err := p.box.begin(s.Base); err != nil {
		return err
	}
	p.state = &s
	if c := p.link.cur; c != nil {
		p.beginState(c)
	}
	return nil
}

// beginState starts the goroutine that sends the State on c. link.mu is held.
func (p *Primary) beginState(c *conn) {
	s := *p.state
	p.link.ep.wg.Go(func() {
		if err := sendState(c, s); err != nil {
			c.close(fmt.Errorf("logchan: send the State: %w", err))
		}
	})
}

// Append adds an entry to what Flush sends. It must be the one after the last,
// and SendState must have been called. The error is ErrSealed, ErrFull or says
// what is wrong with the entry.
func (p *Primary) Append(e replay.Entry) error {
	n, err := p.box.append(e)
	if err != nil {
		return err
	}
	if _, ok := e.Body.(replay.OwnDone); ok {
		p.own.Add(1)
	}
	p.entries.Add(1)
	p.bytes.Add(uint64(n))
	return nil
}

// Flush sends what was appended: with one write, by the calling goroutine, if
// the socket takes it, else by a goroutine of the channel.
func (p *Primary) Flush() {
	last, c := p.box.flush()
	p.meter.sent(last.Pos, p.link.ep.now())
	if c != nil {
		c.flush()
	}
}

// Full says whether so much is unacknowledged that the primary must stop
// running (R12). Wake tells when to look again.
func (p *Primary) Full() bool { return p.box.buffered.Load() >= int64(p.box.limit) }

// Wake receives a value after acknowledgements have come in.
func (p *Primary) Wake() <-chan struct{} { return p.wake }

// SetReleased tells the backup how many held outputs were released.
func (p *Primary) SetReleased(count uint64) { p.released.Store(count) }

// Acked is the newest acknowledgement that counts; false if none came on the
// newest connection yet.
func (p *Primary) Acked() (Ack, bool) {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	return p.acked, p.hasAck
}

// LastHeard is when the backup was last heard; zero if it never was.
func (p *Primary) LastHeard() time.Time { return p.link.lastHeard() }

// Peer is the backup's process, once connected.
func (p *Primary) Peer() (ft.ProcessID, bool) {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	return p.link.peer, p.link.paired
}

// Drop closes the newest connection, if there is one. Another one is made
// unless the epoch is sealed.
func (p *Primary) Drop() { p.link.drop() }

// Seal ends the epoch on this side: after it returns nothing of it is sent,
// acknowledged or resumed, and OnAck is not called again (R17). A peer that
// dials is answered RefuseClosed.
func (p *Primary) Seal() { p.link.seal() }

// Bye tells the backup of a planned end, after everything flushed so far, and
// seals. It waits for at most the time given until the peer has read it.
func (p *Primary) Bye(code ByeCode, wait time.Duration) { p.link.bye(code, wait) }

// Stats are the counters.
func (p *Primary) Stats() PrimaryStats {
	s := PrimaryStats{
		Entries: p.entries.Load(), Bytes: p.bytes.Load(),
		Buffered: int(p.box.buffered.Load()), Resumes: p.resumes.Load(),
	}
	s.Lag, s.Trip = p.meter.quantiles()
	return s
}

// ResetStats sets the counters to zero.
func (p *Primary) ResetStats() {
	p.entries.Store(0)
	p.bytes.Store(0)
	p.resumes.Store(0)
	p.meter.reset()
}

func (p *Primary) hello() Hello { return p.link.ours() }

func (p *Primary) resumable(h Hello) *Refusal {
	if p.box.resumable(h.HaveState, h.Received) {
		return nil
	}
	if h.HaveState && p.box.overtaken(h.Received) {
		// Both connections were up for a moment, and acknowledgements on the
		// old one were faster than this greeting.
		return &Refusal{Code: RefuseBusy, Ours: true, Text: "the greeting is older than the newest acknowledgement: dial again"}
	}
	return &Refusal{Code: RefuseUnknownRun, Ours: true,
		Text: fmt.Sprintf("the backup says that it has received up to entry %d (State: %v), which cannot be", h.Received, h.HaveState)}
}

func (p *Primary) welcome(c *conn) {
	if c.gen > 1 {
		p.resumes.Add(1)
	}
	p.hasAck = false
	c.mu.Lock()
	c.ready = c.peer.HaveState
	c.mu.Unlock()
	p.box.attach(c, c.peer.Received)
	switch {
	case c.peer.HaveState:
		p.stateArrived(c)
		c.flush()
	case p.state != nil:
		p.beginState(c)
	}
}

// stateArrived tells the owner once. link.mu is held.
func (p *Primary) stateArrived(c *conn) {
	if !p.stateDone {
		p.stateDone = true
		p.link.post(Event{Kind: StateSent, Epoch: p.link.epoch, Gen: c.gen})
	}
}

func (p *Primary) pulse() pulse {
	return pulse{released: p.released.Load(), time: uint64(p.link.ep.now())}
}

func (p *Primary) fill(c *conn) {
	c.disks.fill(c)
	for !c.ready {
		select {
		case k := <-c.chunks:
			c.add(replay.FrameState, k.body)
			c.ready = k.last
		default:
			return
		}
		if c.out.left() >= writeSize {
			return
		}
	}
	if len(c.accounts) > 0 {
		c.add(replay.FrameAccount, c.accounts[0])
		c.accounts = c.accounts[1:]
	}
	p.box.fill(c, p.pulse())
}

func (p *Primary) beat(c *conn) { c.send(replay.FrameHeartbeat, p.pulse().append(nil)) }

func (p *Primary) frame(c *conn, t replay.FrameType, body []byte) error {
	switch t {
	case replay.FrameAck:
		a, err := decodeAck(body)
		if err != nil {
			return err
		}
		return p.ack(c, a)
	case replay.FrameInquiry:
		return p.inquiry(c, body)
	case replay.FrameDisk:
		return p.link.disk(c, body, p.wake)
	case replay.FrameHeartbeat:
		_, rest, err := cutPulse(body)
		if err == nil && len(rest) > 0 {
			err = errShort
		}
		return err
	}
	return unexpected(t)
}

// ack hands an acknowledgement on before anything else is done with it: the
// gate waits for it (R14).
func (p *Primary) ack(c *conn, a ack) error {
	now := p.link.ep.now()
	p.link.mu.Lock()
	if !p.link.current(c) {
		p.link.mu.Unlock()
		return errGone
	}
	c.mu.Lock()
	ready := c.ready
	c.mu.Unlock()
	if err := p.plausible(a, ready); err != nil {
		p.link.mu.Unlock()
		return err
	}
	p.stateArrived(c)
	got := Ack{Gen: c.gen, Epoch: a.epoch, Seq: a.seq, Executed: a.executed, Reads: a.reads}
	if a.echo != 0 && a.echo <= uint64(now) {
		got.RoundTrip = now - time.Duration(a.echo)
	}
	got.Lag = p.meter.acked(a.executed, now, got.RoundTrip)
	p.acked, p.hasAck = got, true
	p.onAck(got)
	p.link.mu.Unlock()

	p.box.trim(c, a.seq)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// plausible refuses what a backup cannot know. link.mu is held.
func (p *Primary) plausible(a ack, ready bool) error {
	switch {
	case a.epoch != p.link.epoch:
		return fmt.Errorf("logchan: the peer acknowledges epoch %d in epoch %d", a.epoch, p.link.epoch)
	case !ready:
		return errors.New("logchan: the peer acknowledges before it has the State")
	case p.hasAck && a.seq < p.acked.Seq:
		return fmt.Errorf("logchan: the peer acknowledges entry %d after entry %d", a.seq, p.acked.Seq)
	case a.reads < p.acked.Reads || a.reads > p.own.Load():
		return fmt.Errorf("logchan: the peer says that it has done %d reads of the log, after %d of %d", a.reads, p.acked.Reads, p.own.Load())
	case !p.box.sentTo(a.seq):
		return fmt.Errorf("logchan: the peer acknowledges entry %d, which was not sent", a.seq)
	}
	return nil
}

func (p *Primary) sealing() {
	p.box.stop()
	p.state = nil
}
