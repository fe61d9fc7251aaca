package sim

import (
	"encoding/binary"
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// tracked is a read of a paired primary's, as the checker knows it.
type tracked struct {
	machine.Output
	logged, read bool // in the log; by the backup
	over         bool // the pairing, or the read had an error
}

// asked: p's guest has made a request.
func (c *checker) asked(p *proc, o machine.Output) {
	s := p.shared
	switch {
	case !p.logging:
	case o.Op == machine.DiskRead:
		s.tracked = append(s.tracked, &tracked{Output: o})
	case changes(o):
		for _, t := range s.tracked {
			if overlap(t.Output, o) {
				s.mustRead[o.ID] = append(s.mustRead[o.ID], t)
			}
		}
	}
}

func (s *sharing) track(id uint64) *tracked {
	for _, t := range s.tracked {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// over: of p's pairing nobody waits for a read any more.
func (c *checker) over(p *proc) {
	for _, t := range p.shared.tracked {
		t.over = true
	}
	p.shared.tracked = nil
}

// completed: p has given a completion to its guest and the log.
func (c *checker) completed(p *proc, done machine.DiskDone) {
	if t := p.shared.track(done.ID); t != nil {
		t.logged = true
		t.over = t.over || done.Status != machine.DiskOK
	}
}

// read: the disk has done a read of p's.
func (c *checker) read(p *proc, o machine.Output) {
	if q := p.peer; !p.live && q != nil && q.peer == p {
		if t := q.shared.track(o.ID); t != nil {
			t.read = true
			c.w.ownReads++
		}
	}
}

// changed: "the gate of a write that overlaps an earlier read needs the backup's
// 'read done' as well".
func (c *checker) changed(p *proc, o machine.Output) {
	for _, t := range p.shared.mustRead[o.ID] {
		if !t.read && !t.over && (t.logged || !p.m.st.off) {
			c.fail("request %d of %v reaches the disk before the backup has done request %d", o.ID, p, t.ID)
		}
	}
}

// brings: what a guest reads is what was written before it asked, or an error
// that the disk itself has told. A read that was made again at going live may
// bring what was written beside it; so may one of which the old primary was told
// an error, and the log does not say so.
func (c *checker) brings(p *proc, done machine.DiskDone) {
	if done.Status != machine.DiskOK {
		if !slices.Contains(c.unreadable, done.ID) {
			c.fail("%v tells its guest that request %d has failed", p, done.ID)
		}
		return
	}
	s := p.shared
	made := p.m.pendingCopy(done.ID)
	i := slices.IndexFunc(s.reissued, func(r toyRequest) bool { return r.ID == done.ID })
	for n, values := range made.wants {
		v := binary.LittleEndian.Uint64(done.Bytes[n*512:])
		beside := i >= 0 && slices.Contains(s.reissued[i].wants[n], v) || slices.Contains(c.unreadable, done.ID) && slices.Contains(values, v)
		if v != values[0] && !beside {
			c.fail("request %d of %v reads from the disk %x in sector %d; %x was written there", done.ID, p, v, made.Sector+uint64(n), values[0])
		}
	}
}

// alone: a VM without a backup waits for nobody.
func (c *checker) alone(p *proc) {
	if p.logging || p.g.Mode() != ft.GateOpen {
		return
	}
	for _, r := range p.shared.waits {
		if !r.released {
			c.fail("request %d of %v, which is alone, waits for a backup", r.ID, p)
		}
	}
}

// tooLong is a time after which a request that waits does so for ever: of a chain
// of them each may wait for a slow read.
const tooLong = 600

// waits: nothing waits for ever.
func (c *checker) waits(p *proc) {
	for _, o := range p.m.Pending(nil) {
		if at := p.shared.madeAt[o.ID]; o.Port.Kind == machine.PortDisk && c.w.now-at > tooLong {
			s := p.shared
			c.w.tracef("%v at %d: stopped %v, halted %v, trouble %v, trying %v, %d run, %d inputs; the gate is full %v", p, p.m.Icount(), s.stopped, s.halted, s.trouble, s.trying, s.running, len(p.inputs), p.g.Full())
			for _, t := range s.mustRead[o.ID] {
				c.w.tracef("it follows request %d: logged %v, read by the backup %v, over %v", t.ID, t.logged, t.read, t.over)
			}
			if q := p.peer; q != nil && q.shared.own != nil {
				c.w.tracef("%v %v: %d entries to do, %d reads done of %d, says %d", q, q.r.State(), len(q.received), q.shared.own.Count(), s.logged, q.shared.told)
			}
			for _, r := range s.waits {
				c.w.tracef("request %d (%v) of sectors %d to %d: released %v, runs %v", r.ID, r.Op, r.Sector, r.Sector+sectorsOf(r.Output)-1, r.released, r.running)
			}
			c.fail("request %d of %v (%v) waits since %d", o.ID, p, o.Op, at)
			return
		}
	}
}

// pendingCopy is a request that waits for its completion.
func (t *Toy) pendingCopy(id uint64) toyRequest {
	i := t.find(machine.PortDisk, id)
	if i < 0 {
		return toyRequest{}
	}
	r := t.st.pending[i]
	r.wants = slices.Clone(r.wants)
	for n := range r.wants {
		r.wants[n] = slices.Clone(r.wants[n])
	}
	return r
}
