package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// The backup's half of reads by the backup: this file joins ft.OwnReads to the
// disk, the log and the channel, as vm does.

// beginOwn lets a backup read, from its State on.
func (p *proc) beginOwn() {
	s := p.shared
	if s == nil {
		return
	}
	pending := p.m.Pending(nil)
	if p.w.broken(BreakReadsOldState) {
		pending = nil
	}
	s.own, s.looked = ft.NewOwnReads(pending), p.done
}

// countOwn is the goroutine that reads entries.
func (p *proc) countOwn(en replay.Entry) {
	s := p.shared
	if s == nil {
		return
	}
	if _, own := en.Body.(replay.OwnDone); own {
		s.count++
	} else if !replay.Quiet(en.Body) {
		s.awaited = s.count
	}
}

// look takes entries that have come in.
func (p *proc) look() {
	s := p.shared
	if s == nil {
		return
	}
	for _, en := range p.received {
		if en.Seq <= s.looked {
			continue
		}
		s.looked = en.Seq
		if o, ok := en.Body.(replay.OwnDone); ok {
			p.beginRead(s.own.Logged(ft.Request{ID: o.ID}))
		}
	}
	if s.own != nil {
		p.tellReads()
	}
}

func (p *proc) beginRead(reads []machine.Output) {
	for _, o := range reads {
		p.shared.submit(o)
	}
}

// replayed takes a request of the replayed machine.
func (p *proc) replayed(o machine.Output) {
	if p.w.broken(BreakReadsUnordered) && changes(o) {
		return
	}
	if p.shared.own.Made(o) {
		p.beginRead([]machine.Output{o})
	}
}

// applyOwn delivers what this replica has read; false if it is not done yet, or
// is something else than the primary has read.
func (p *proc) applyOwn(en replay.Entry, b replay.OwnDone) bool {
	s := p.shared
	req := ft.Request{ID: b.ID}
	done, ok := s.own.Result(req)
	switch {
	case !ok:
		return false
	case done.Status != machine.DiskOK || replay.NewOwnDone(done) != b:
		if s.orphan { // and has lost: what the guest has written since is no secret
			p.r.Diverged("read")
			return false
		}
		p.diverged("entry %d: request %d has read something else", en.Seq, b.ID)
		return false
	}
	if err := p.m.Deliver(done); err != nil {
		p.diverged("entry %d: %v", en.Seq, err)
		return false
	}
	p.completedHere(req)
	return true
}

func (p *proc) completedHere(req ft.Request) {
	if s := p.shared; s != nil {
		p.beginRead(s.own.Completed(req))
	}
}

// tellReads tells of reads: at once if something may wait for them.
func (p *proc) tellReads() {
	s := p.shared
	n := s.own.Count()
	if n == s.told {
		return
	}
	before := s.told
	s.told = n
	if before < s.awaited && p.conn != nil && !p.sealed {
		p.conn.send(p.ack(kindAck))
	}
	p.hook("read")
}

// ack is what a backup acknowledges; it tells of all reads that are done.
func (p *proc) ack(k kind) message {
	m := message{kind: k, ack: p.have}
	if s := p.shared; s != nil {
		m.reads, m.executed = s.told, p.m.Icount()
		if p.w.broken(BreakReadsToldOnce) && s.sent == s.told {
			m.reads = 0
		}
		s.sent = s.told
	}
	return m
}

// reissue makes the requests of the State again, but for reads that this replica
// has begun.
func (p *proc) reissue() {
	w, s := p.w, p.shared
	var pending, reads []machine.Output
	for _, o := range p.m.Pending(nil) {
		switch {
		case o.Port.Kind != machine.PortDisk:
		case o.Op == machine.DiskRead && w.broken(BreakReadsRepeated):
			reads = append(reads, o)
		default:
			pending = append(pending, o)
		}
	}
	pending = append(pending, reads...)
	for _, o := range pending {
		s.madeAt[o.ID] = w.now
		req := ft.RequestOf(o)
		done, read := s.own.Result(req)
		switch {
		case read && !w.broken(BreakReadsRepeated):
			p.arrive(input{in: done})
			continue
		case s.own.Begun(req) && !read:
			continue
		case !s.own.Begun(req):
			s.reissued = append(s.reissued, p.m.pendingCopy(o.ID))
		}
		s.submit(o)
		if o.Held() {
			w.check.released(p, o)
			s.release(o.ID)
		}
	}
}
