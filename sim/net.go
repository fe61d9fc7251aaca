package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// message is what travels on a connection of the logging channel.
type message struct {
	kind     kind
	entries  []replay.Entry
	ack      replay.Seq // kindAck, and heartbeats of a backup
	reads    uint64     // that the backup has done,
	executed machine.Icount
	released uint64 // entries and heartbeats of a primary
	state    *stateOf
	answer   ft.Answer
	hello    ft.Hello // in an answer: who answers, and what a backup has received

	// With local disks.
	copy  label  // kindSyncAsk, kindSyncHave, kindSynced
	id    uint64 // kindBlock: sector; kindFlushed: request
	block block
	seq   replay.Seq // kindFlushedTo, kindPrepared, kindCommon
	cut   ft.CutAsk  // kindCut
	point ft.Point   // kindSyncCommon

	arrives int
}

type kind uint8

const (
	kindAnswer kind = iota
	kindEntries
	kindAck
	kindHeartbeat
	kindState
	kindBye
	kindFIN
	kindSyncAsk    // primary: a synchronisation begins
	kindSyncHave   // backup: what its copy is, and its map
	kindBlock      // primary: a sector
	kindSynced     // backup: its copy is complete and flushed
	kindFlushed    // backup: it has executed a flush
	kindFlushedTo  // backup: its copy is flushed up to an entry
	kindSyncCommon // primary: both copies have the point of a synchronisation
	kindCut        // primary: the map is to be cut at an entry
	kindPrepared   // backup: its copy has the point of an entry
	kindCommon     // primary: both have
)

// stateOf is a State in transfer, with what the world knows about its past.
type stateOf struct {
	snapshot []byte
	point    ft.Point
	blocks   int // that were sent before
	made     []written
	flushed  []flushedAt
	seq      replay.Seq
	released uint64
	history  []uint64
}

// end is one end of a connection.
type end struct {
	p    *proc
	peer *end
	gen  uint64
	open bool
	in   pipe // towards this end
}

// pipe delivers in order or not at all.
type pipe struct {
	to     *end
	queue  []message
	last   int // when the newest message arrives
	listed bool
}

// connect makes a connection. Its ends are established one after the other.
func connect(a, b *proc) (*end, *end) {
	x, y := &end{p: a, open: true}, &end{p: b, open: true}
	x.peer, y.peer = y, x
	x.in.to, y.in.to = x, y
	return x, y
}

// send puts a message on its way to the other end.
func (e *end) send(m message) {
	if !e.open {
		return
	}
	w, q := e.p.w, &e.peer.in
	m.arrives = max(q.last, w.now+w.delay())
	q.last = m.arrives
	q.queue = append(q.queue, m)
	if !q.listed {
		q.listed = true
		w.links = append(w.links, q)
	}
	w.after(m.arrives-w.now, q.pump)
}

// sendState sends a State, which is large: what follows it waits.
func (e *end) sendState(s *stateOf) {
	e.send(message{kind: kindState, state: s})
	e.peer.in.last += e.p.w.rnd.Between(0, 60)
}

// pump delivers what has arrived, unless the way is cut: TCP sends again when
// it heals.
func (q *pipe) pump() {
	from := q.to.peer.p.host
	w := from.w
	for len(q.queue) > 0 && q.queue[0].arrives <= w.now && (q.to.p.host == from || from.reaches()) {
		m := q.queue[0]
		q.queue = q.queue[1:]
		if e := q.to; e.open && !e.p.dead {
			e.p.soon(func() { e.receive(m) })
		}
	}
}

func (w *World) pumpAll() {
	kept := w.links[:0]
	for _, q := range w.links {
		if len(q.queue) == 0 || !q.to.open {
			q.listed = false
			continue
		}
		kept = append(kept, q)
		w.after(w.rnd.Between(1, 4), q.pump)
	}
	w.links = kept
}

// close closes this end; the other one hears of it in order.
func (e *end) close() {
	if e.open {
		e.send(message{kind: kindFIN})
		e.open = false
	}
}

// lose drops a random part of what is on its way to this end.
func (e *end) lose() {
	if n := len(e.in.queue); n > 0 {
		e.in.queue = e.in.queue[:e.p.w.rnd.Intn(n+1)]
	}
}

// reset breaks a connection in the middle: both ends learn it, at their own
// times, and what is in flight is lost in part.
func (e *end) reset() {
	w := e.p.w
	for _, x := range []*end{e, e.peer} {
		x.lose()
		w.after(w.rnd.Between(1, 40), func() {
			if x.open && !x.p.dead {
				x.p.soon(func() { x.receive(message{kind: kindFIN}) })
			}
		})
	}
}

// receive is the goroutine that reads this end.
func (e *end) receive(m message) {
	p := e.p
	if !e.open || p.dead {
		return
	}
	switch m.kind {
	case kindFIN:
		e.open = false
		p.post(func() { p.closed(e) })
		return
	case kindAnswer:
		p.answered(e, m)
		return
	}
	if p.r == nil {
		return
	}
	p.post(func() { p.heard(e) })
	switch m.kind {
	case kindEntries:
		p.readEntries(e, m)
	case kindAck:
		p.peerRead(e, m)
		p.readAck(e, m.ack)
	case kindHeartbeat:
		p.known = max(p.known, m.released)
		if m.ack != 0 {
			p.peerRead(e, m)
			p.readAck(e, m.ack)
		}
	case kindState:
		p.readState(e, m.state)
	case kindBye:
		p.post(p.r.PeerEnded)
	case kindBlock:
		p.local.got++
		p.host.copy.write(m.id, m.block)
	case kindSyncAsk:
		p.post(func() { p.local.syncAsked(e, m.copy) })
	case kindSyncHave:
		p.post(func() { p.local.syncKnown(e, m.copy) })
	case kindSynced:
		p.post(func() { p.local.peerSynced(e, m.copy) })
	case kindFlushed:
		p.post(func() { p.local.flushes.Peer(ft.FlushID{ID: m.id}) })
	case kindFlushedTo:
		p.post(func() { p.local.flushedTo(e, m.seq) })
	case kindSyncCommon:
		p.post(func() { p.local.syncCommon(m.point) })
	case kindCut:
		p.post(func() { p.local.ours.Asked(m.cut) })
	case kindPrepared:
		p.post(func() { p.local.prepared(m.seq) })
	case kindCommon:
		p.post(func() { p.local.common(m.seq) })
	}
}

// dial says hello to the process that target names, at its host.
func (p *proc) dial(target *proc, h ft.Hello) {
	w := p.w
	p.attempts++
	n := p.attempts
	p.dialing = n
	w.after(dialWait, func() {
		if p.dialing == n {
			p.dialing = 0
		}
	})
	refused := func() {
		w.after(w.delay(), func() {
			if target.host.reaches() && !p.dead {
				p.soon(func() { p.post(func() { p.refused(target.id, n) }) })
			}
		})
	}
	w.after(w.delay(), func() {
		switch {
		case !p.host.reaches() || p.dead:
		case target.dead:
			refused()
		default:
			target.soon(func() { target.post(func() { target.greeted(p, h, n, refused) }) })
		}
	})
}

// nic is the guest's one network port.
var nic = machine.Port{Kind: machine.PortNIC}
