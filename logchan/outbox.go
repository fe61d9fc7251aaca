package logchan

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/lockstep-vm/lockstep/replay"
)

const (
	batchSize = 256 << 10 // a batch is sent as one frame; a larger entry is alone
	// overdraft is how far above BufferLimit Append still takes entries, for
	// an owner that looks at Full only between slices.
	overdraft = 16 << 20
	// freeBatches bounds what is kept to be filled again.
	freeBatches = 16
)

// batch is consecutive entries, encoded after their starting point.
type batch struct {
	start, last replay.Point
	entries     []byte
	lent        bool // to a connection that is not the newest any more
}

// outbox holds the encoded entries that are not acknowledged. What is before
// next has been written on the newest connection.
//
//	queue: [ sent | sent | next.. | .. ]  open
type outbox struct {
	limit    int
	buffered atomic.Int64 // bytes in queue and open

	mu      sync.Mutex
	started bool
	stopped bool
	enc     *replay.Encoder
	base    replay.Point
	acked   replay.Seq
	sent    replay.Seq // on the newest connection, or known to be received
	queue   []*batch
	next    int
	open    *batch   // being filled by Append
	free    []*batch // to be filled again: a guest that reads a disk fills many
	conn    *conn    // the connection that entries go to
}

func (o *outbox) begin(base replay.Point) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return ErrSealed
	}
	if o.started {
		return errors.New("logchan: the State was sent already")
	}
	// Who has the State has received what is before its position.
	o.started, o.base, o.acked, o.sent, o.enc = true, base, base.Seq, base.Seq, replay.NewEncoder(base)
	return nil
}

// append encodes e and returns the size of its encoding.
func (o *outbox) append(e replay.Entry) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.stopped:
		return 0, ErrSealed
	case !o.started:
		return 0, errors.New("logchan: SendState comes before the first entry")
	case o.buffered.Load() > int64(o.limit)+overdraft:
		return 0, ErrFull
	}
	if o.open != nil && len(o.open.entries)+replay.SizeBound(e) > batchSize {
		o.shut()
	}
	b := o.open
	if b == nil {
		b = o.blank()
		b.start = o.enc.Last()
	}
	before := len(b.entries)
	entries, err := o.enc.Append(b.entries, e)
	if err != nil {
		return 0, err
	}
	b.entries, b.last = entries, o.enc.Last()
	o.open = b
	n := len(entries) - before
	o.buffered.Add(int64(n))
	return n, nil
}

// blank is a batch without entries. mu is held.
func (o *outbox) blank() *batch {
	n := len(o.free)
	if n == 0 {
		return &batch{}
	}
	b := o.free[n-1]
	o.free = o.free[:n-1]
	return b
}

// recycle keeps a batch that is not needed any more, if it is not an unusual one
// and no older connection may be reading it. mu is held.
func (o *outbox) recycle(b *batch) {
	if !b.lent && len(o.free) < freeBatches && cap(b.entries) <= 2*batchSize {
		o.free = append(o.free, &batch{entries: b.entries[:0]})
	}
}

// shut puts the open batch into the queue. mu is held.
func (o *outbox) shut() {
	if o.open != nil {
		o.queue = append(o.queue, o.open)
		o.open = nil
	}
}

// flush makes what was appended ready to send and says up to where and on
// which connection; nil if there is none.
func (o *outbox) flush() (last replay.Point, c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut()
	if o.started {
		last = o.enc.Last()
	}
	return last, o.conn
}

// fill adds frames to c.out, which c.mu guards, up to about writeSize.
func (o *outbox) fill(c *conn, p pulse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != c {
		return
	}
	for o.next < len(o.queue) && c.out.left() < writeSize {
		b := o.queue[o.next]
		o.next++
		o.sent = max(o.sent, b.last.Seq)
		c.out.entries(&c.chain, p, b)
	}
}

// resumable says whether a peer that has received the entries up to seq can
// go on from there.
func (o *outbox) resumable(haveState bool, seq replay.Seq) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.started || !haveState {
		return !haveState && o.acked == o.base.Seq
	}
	return seq >= o.acked && seq <= o.enc.Last().Seq
}

// overtaken says whether the peer has acknowledged more than seq.
func (o *outbox) overtaken(seq replay.Seq) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.started && seq < o.acked
}

// sentTo says whether the peer can have received the entries up to seq, and
// has not said otherwise before.
func (o *outbox) sentTo(seq replay.Seq) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.started && seq >= o.acked && seq <= o.sent
}

// attach makes c the connection that entries go to, from the first that the
// peer has not received. The peer is resumable.
func (o *outbox) attach(c *conn, received replay.Seq) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return
	}
	for _, b := range o.queue[:o.next] {
		b.lent = true
	}
	o.drop(received)
	o.conn, o.next, o.sent = c, 0, o.acked
}

// trim drops what is acknowledged on c.
func (o *outbox) trim(c *conn, seq replay.Seq) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == c {
		o.drop(seq)
	}
}

// drop drops the batches up to seq. mu is held.
func (o *outbox) drop(seq replay.Seq) {
	o.acked = max(o.acked, seq)
	for len(o.queue) > 0 && o.queue[0].last.Seq <= seq {
		o.buffered.Add(-int64(len(o.queue[0].entries)))
		o.recycle(o.queue[0])
		o.queue[0] = nil
		o.queue = o.queue[1:]
		o.next = max(o.next-1, 0)
	}
}

// stop drops everything.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped, o.conn, o.queue, o.open, o.next, o.free = true, nil, nil, nil, 0, nil
	o.buffered.Store(0)
}
