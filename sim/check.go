package sim

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// checker watches the invariants. It knows everything, and trusts no number,
// role or state that the protocol keeps.
type checker struct {
	w         *World
	violation string
	// out is the identity of every output that was ever released, by Count-1;
	// 0 is one that was not.
	out       []uint64
	lastLive  *proc
	failovers int
	winners   []cell
	protected bool // a backup was armed, and both sides knew
	// excused says why nobody may be left: a side died that the protocol
	// cannot do without.
	excused string
	// promised is, for each sector, the newest write that was flushed before
	// an output that has left.
	promised [toySectors]uint64
	// unreadable are reads of which the disk itself has told an error.
	unreadable []uint64
}

// fail records the first violation.
func (c *checker) fail(format string, args ...any) {
	if c.violation == "" {
		c.violation = fmt.Sprintf("at %d: ", c.w.now) + fmt.Sprintf(format, args...)
		c.w.tracef("VIOLATION %s", c.violation)
	}
}

// wentLive: every output that ever left is in the past of who goes live, at
// the same place with the same content.
func (c *checker) wentLive(p *proc) {
	if c.lastLive != nil {
		c.failovers++
		p.liveAt = c.lastLive.liveAt + 1
	} else {
		p.liveAt = 1
	}
	c.w.tracef("%v goes live at %d with %d outputs", p, p.m.Icount(), len(p.hist))
	c.lastLive = p
	p.liveHist = len(p.hist)
	c.seesItsDisk(p)
	for i, id := range c.out {
		switch {
		case id == 0:
		case i >= len(p.hist):
			c.fail("%v goes live after %d outputs, but output %d has left", p, len(p.hist), i+1)
			return
		case p.hist[i] != id:
			c.fail("%v goes live, but its output %d is not the one that has left", p, i+1)
			return
		}
	}
}

// released: an output may repeat, never contradict; and who is not the live
// one any more releases only what the live one knows.
func (c *checker) released(p *proc, o machine.Output) {
	i, id := int(o.Count)-1, identity(o)
	for len(c.out) <= i {
		c.out = append(c.out, 0)
	}
	if c.out[i] != 0 && c.out[i] != id {
		c.fail("%v releases an output %d that contradicts the one that has left", p, o.Count)
	}
	c.out[i] = id
	c.told(p, o)
	switch l := c.lastLive; {
	case l == p:
	case p.liveAt == 0:
		c.fail("%v releases output %d and is not live", p, o.Count)
	case i >= l.liveHist || l.hist[i] != id:
		c.fail("%v releases output %d, which %v, live now, does not have", p, o.Count, l)
	}
}

// accepted: nothing of an older fence number takes effect.
func (c *checker) accepted(p *proc, where string) {
	if c.lastLive != p {
		c.fail("the %s accepts something of %v, and %v is live", where, p, c.lastLive)
	}
}

// opened: at most one side is live on its own.
func (c *checker) opened(p *proc) {
	for _, q := range c.w.procs {
		if q != p && !q.dead && q.g.Mode() == ft.GateOpen {
			c.fail("%v opens its gate, and %v's is open", p, q)
		}
	}
}

// won: at most one process wins an epoch.
func (c *checker) won(p *proc, e ft.Epoch) {
	for _, x := range c.winners {
		if x.run == c.w.run && x.epoch == e && x.by != p.id {
			c.fail("%v and %v have both won epoch %d", p.id, x.by, e)
		}
	}
	c.winners = append(c.winners, cell{c.w.run, e, p.id})
}

// ending: a run is recorded as ended only by who has released the power-off.
func (c *checker) ending(p *proc) {
	if !p.m.st.off || !p.off {
		c.fail("%v records the run as ended and its guest is not off", p)
	}
	if s := p.shared; s != nil && !s.trouble && !s.idle() {
		c.fail("%v records the run as ended and its disk is not idle", p)
	}
}

// crashed decides whether the protocol can do without p. It must, if p was
// protected: only the death of the side that won or sent a claim, before the
// next Arm, or of both sides, may leave nobody.
func (c *checker) crashed(p *proc) {
	if p.r == nil || c.excused != "" || c.w.cfg.OneFault {
		return
	}
	q := p.host.other().proc
	armed := q != nil && q.r != nil && q.peer == p && q.r.Armed() && !q.r.State().Final()
	switch s := p.r.State(); s {
	case ft.Waiting, ft.Alone, ft.Seeding, ft.Claiming, ft.Fencing:
		c.excuse(p)
	case ft.Gated, ft.Protected, ft.Yielding, ft.Ending:
		if !armed {
			c.excuse(p)
		}
	case ft.Replaying, ft.Draining, ft.Sealed:
		if p.r.Armed() && (q == nil || q.r == nil || q.peer != p || !q.r.Live()) {
			c.excuse(p)
		}
	}
}

func (c *checker) excuse(p *proc) {
	c.excused = fmt.Sprintf("%v died in %v", p, p.r.State())
	c.w.tracef("excused: %s", c.excused)
}

// atEnd: everything is healed, so somebody must be live and serve the client,
// unless that cannot be asked for.
func (c *checker) atEnd() {
	if c.violation != "" || c.excused != "" || c.w.arbiter.ended {
		return
	}
	for _, p := range c.w.procs {
		if p.dead || p.r == nil || !p.r.Live() {
			continue
		}
		if p.shared != nil {
			c.waits(p)
		}
		if c.w.now-max(c.w.client.lastAt, c.w.began) > 400 {
			s := &p.m.st
			c.w.tracef("%v at %d, clock %d of %d, timer %d, waiting %v, off %v, %d frames, %d pending; gate %v full %v, %d inputs; switch's port %v, keeps %d",
				p, s.pos, s.clock.At(s.pos), c.w.hostTime(), s.timer, s.waiting, s.off, len(s.rx), len(s.pending), p.g.Mode(), p.g.Full(), len(p.inputs), c.w.sw.port, len(c.w.sw.kept))
			c.fail("%v is %v (%s) but the client got no answer since %d", p, p.r.State(), p.r.Reason(), c.w.client.lastAt)
		}
		return
	}
	c.fail("nobody is live")
}
