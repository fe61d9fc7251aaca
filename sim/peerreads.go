package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// The primary's half of reads by the backup (DESIGN section 7): this file joins
// ft.PeerReads to the gate, the log and the channel, as vm does.

// collected takes a request of a live machine.
func (p *proc) collected(o machine.Output) {
	s := p.shared
	s.madeAt[o.ID] = p.w.now
	s.submit(o)
	p.w.check.asked(p, o)
	s.reads.Made(o)
}

// letGo is a request that the gate has let go.
func (p *proc) letGo(o machine.Output) {
	s := p.shared
	if s.reads.Released(ft.RequestOf(o)) || p.w.broken(BreakReadsNoWait) {
		s.release(o.ID)
	} else {
		p.w.waited++
		p.hook("write waits")
	}
}

// runNow releases what the backup's reads have held.
func (p *proc) runNow(requests []ft.Request) {
	for _, req := range requests {
		if !p.w.broken(BreakReadsNoWait) {
			p.shared.release(req.ID)
		}
	}
}

// logDone logs a completion: that of a read that the backup does without its
// data, and with a marker if a change waits for it.
func (p *proc) logDone(done machine.DiskDone) (replay.Body, bool) {
	s := p.shared
	if done.Status != machine.DiskOK && p.w.broken(BreakReadsFailedHolds) {
		return replay.Input{In: done}, false
	}
	c, run := s.reads.Completed(done)
	p.runNow(run)
	p.w.check.completed(p, done)
	if !c.Own {
		return replay.Input{In: done}, false
	}
	if p.logging {
		s.logged++
	}
	return replay.NewOwnDone(done), c.Awaited
}

// peerRead is the goroutine that reads acknowledgements: the backup has done so
// many reads.
func (p *proc) peerRead(e *end, m message) {
	s, n := p.shared, m.reads
	if s == nil || !p.live || !p.logging || e.peer.p != p.peer {
		return
	}
	if n > s.logged {
		p.w.check.fail("%v says that it has done %d reads of %d", e.peer.p, n, s.logged)
	}
	if p.w.broken(BreakReadsEarlierPairing) {
		s.peerTold = max(s.peerTold, n)
		n = s.peerTold
	}
	s.executed = m.executed
	p.runNow(s.reads.PeerDone(n))
}

// beginReads begins a pairing.
func (p *proc) beginReads() {
	if s := p.shared; s != nil {
		s.logged, s.executed = 0, p.m.Icount()
		p.w.check.over(p)
		p.runNow(s.reads.Begin())
	}
}

// endReads is a VM that goes on alone.
func (p *proc) endReads() {
	s := p.shared
	if s == nil || p.w.broken(BreakReadsNeverEnd) {
		return
	}
	p.w.check.over(p)
	p.runNow(s.reads.End())
	if q := p.peer; q != nil && q.peer == p {
		q.shared.orphan = true
	}
}

// disksIdle says, of a guest that is off, whether all that it has written is done.
func (p *proc) disksIdle() bool {
	s := p.shared
	if !p.w.broken(BreakReadsOffWaits) {
		p.runNow(s.reads.PoweredOff())
	}
	return !s.reads.Waiting() && (s.idle() || s.trouble && s.stopped && s.running == 0)
}
