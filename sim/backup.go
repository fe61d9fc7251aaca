package sim

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// readState takes the whole State in.
func (p *proc) readState(e *end, s *stateOf) {
	if p.sealed || p.live || p.hasState {
		return
	}
	p.hasState = true
	p.have, p.done, p.known = s.seq, s.seq, s.released
	load := func() {
		if err := p.m.Load(bytes.NewReader(s.snapshot)); err != nil {
			panic("BUG: sim: " + err.Error())
		}
		p.hist, p.made, p.flushed = s.history, s.made, s.flushed
	}
	p.post(func() {
		if p.r.State() != ft.Joining {
			return
		}
		if p.local != nil {
			p.local.synced(e, s.point, s.blocks, load)
			return
		}
		load()
		p.r.StateLoaded()
		p.beginOwn()
		if p.w.broken(BreakR18UnarmedClaims) {
			p.r.ArmSeen(p.r.Epoch())
		}
		p.hook("loaded")
	})
}

// readEntries is the goroutine that reads entries: check, keep and acknowledge
// are one step, under the lock that seal takes (R13).
func (p *proc) readEntries(e *end, m message) {
	w := p.w
	p.known = max(p.known, m.released)
	if p.live {
		if w.broken(BreakR17ResumeWithWinner) {
			e.send(message{kind: kindAck, ack: m.entries[len(m.entries)-1].Seq})
		}
		return
	}
	if w.broken(BreakR13AckBeforeReceipt) && !p.sealed {
		e.send(message{kind: kindAck, ack: m.entries[len(m.entries)-1].Seq})
		w.after(w.rnd.Between(1, 12), func() { p.soon(func() { p.keep(m.entries) }) })
		return
	}
	if p.keep(m.entries) {
		e.send(p.ack(kindAck))
	}
	p.hook("received")
}

// keep appends what is new to the received log; false means that nothing may be
// acknowledged.
func (p *proc) keep(entries []replay.Entry) bool {
	if p.sealed || !p.hasState {
		return false
	}
	for _, en := range entries {
		if en.Seq <= p.have {
			continue
		}
		if en.Seq != p.have+1 {
			return false
		}
		p.have = en.Seq
		if p.endFixed {
			continue // broken: acknowledged, never executed
		}
		p.received = append(p.received, en)
		p.countOwn(en)
		if arm, ok := en.Body.(replay.Arm); ok && !p.w.broken(BreakR18ArmOutOfOrder) {
			p.post(func() { p.r.ArmSeen(ft.Epoch(arm.Epoch)); p.hook("armed") })
		}
	}
	return true
}

// replaySlice executes a piece of the received log.
func (p *proc) replaySlice() {
	if p.r.State() == ft.Joining || p.r.State().Final() {
		return
	}
	p.look()
	until := p.m.Icount() + machine.Icount(p.speed)
	if p.local != nil {
		p.local.cutIfDue()
	}
	for len(p.received) > 0 {
		en := p.received[0]
		target := min(en.Pos, until)
		for p.m.Icount() < target {
			if exit := p.m.Run(target); exit == machine.Idle || exit == machine.PoweredOff {
				break
			}
		}
		p.collectReplayed()
		if p.m.Icount() < target {
			p.diverged("stands at %d before entry %d at %d", p.m.Icount(), en.Seq, en.Pos)
			return
		}
		if target < en.Pos {
			return
		}
		if !p.apply(en) {
			return
		}
		p.received, p.done = p.received[1:], en.Seq
	}
	if p.drain {
		p.drain = false
		p.r.Drained(p.done)
		p.hook("drained")
	}
}

func (p *proc) apply(en replay.Entry) bool {
	switch b := en.Body.(type) {
	case replay.Input:
		done, disk := b.In.(machine.DiskDone)
		if disk && p.local != nil {
			var ok bool
			if b.In, ok = p.local.apply(done); !ok {
				return false
			}
		}
		if err := p.m.Deliver(b.In); err != nil {
			p.diverged("entry %d: %v", en.Seq, err)
			return false
		}
		if disk && p.local != nil {
			p.knowsFlushed(en.Pos)
		}
		if disk {
			p.completedHere(ft.Request{ID: done.ID})
		}
	case replay.OwnDone:
		return p.applyOwn(en, b)
	case replay.Marker:
		if m := p.m.Mark(); m != b.Mark {
			p.diverged("entry %d: mark is %v, primary's %v", en.Seq, m, b.Mark)
			return false
		}
	case replay.DigestCheck:
		if p.m.Digest() != b.Digest {
			p.diverged("entry %d: digests differ", en.Seq)
			return false
		}
		if p.local != nil {
			p.local.flushTo(en.Seq)
		}
	}
	return true
}

func (p *proc) diverged(format string, args ...any) {
	p.w.check.fail("%v diverges: "+format, append([]any{p}, args...)...)
	p.r.Diverged("replay")
}

// collectReplayed keeps the outputs that the primary may not have released.
func (p *proc) collectReplayed() {
	for _, o := range p.m.Outputs(nil) {
		if p.shared != nil && o.Port.Kind == machine.PortDisk {
			p.replayed(o)
		}
		if o.Held() {
			p.remember(o)
			p.unsent = append(p.unsent, o)
		} else if o.Local {
			p.wrote(o)
			p.local.start(o)
		}
	}
	for len(p.unsent) > 0 && p.unsent[0].Count <= p.known {
		p.unsent = p.unsent[1:]
	}
}

// goLive attaches the host halves: what the old primary may not have released
// goes to the gate, and every request without a completion is issued again.
func (p *proc) goLive() {
	p.live = true
	if p.liveAt != 0 {
		return // power-on
	}
	p.seq = p.done
	p.w.check.wentLive(p)
	again := p.unsent
	again = slices.DeleteFunc(again, func(o machine.Output) bool { return o.Port.Kind == machine.PortDisk })
	for _, o := range p.m.Pending(nil) {
		if p.shared != nil && o.Port.Kind == machine.PortDisk {
			continue
		}
		if o.Held() {
			again = append(again, o)
		} else {
			p.request(o)
		}
	}
	slices.SortFunc(again, func(a, b machine.Output) int { return cmp.Compare(a.Count, b.Count) })
	for _, o := range again {
		p.g.Hold(o)
	}
	if p.shared != nil {
		p.reissue()
	}
	p.unsent = nil
}

// resumeAsWinner is a rule broken on purpose: R17 says "after a win anyone of
// the old pairing is answered closed".
func (p *proc) resumeAsWinner(from *proc, attempt int) {
	mine, theirs := connect(p, from)
	theirs.gen = uint64(attempt)
	p.nextGen++
	mine.gen = p.nextGen
	h := p.r.Hello()
	h.Received = p.done
	mine.send(message{kind: kindAnswer, answer: ft.AnswerResume, hello: h})
}
