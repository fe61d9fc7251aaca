package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// greeted is a Hello that came in; the mailbox has taken it out.
func (p *proc) greeted(from *proc, h ft.Hello, attempt int, refused func()) {
	if p.r == nil {
		return
	}
	a := p.r.Greet(h)
	if p.w.broken(BreakR17ResumeWithWinner) && a == ft.AnswerClosed && h.Process != p.r.Peer() && p.peer == from && p.liveAt != 0 {
		p.resumeAsWinner(from, attempt)
		return
	}
	// When both dial at once, one of the two attempts must win on both sides.
	if a == ft.AnswerResume && p.dialing != 0 && string(p.id[:]) > string(from.id[:]) {
		return
	}
	p.w.tracef("%v answers %v: %v", p, from, a)
	switch {
	case a.Refused():
		refused()
		return
	case a == ft.AnswerBusy:
		return
	}
	mine, theirs := connect(p, from)
	theirs.gen = uint64(attempt) // until it is established: the attempt
	p.dialing = 0
	p.nextGen++
	mine.gen = p.nextGen
	answer := p.r.Hello()
	answer.Received = p.have
	if a == ft.AnswerJoin {
		answer.Epoch = p.r.NextEpoch()
		mine.send(message{kind: kindAnswer, answer: a, hello: answer})
		p.use(mine)
		p.peer = from
		p.r.Joined(mine.gen, h.Process)
		return
	}
	mine.send(message{kind: kindAnswer, answer: a, hello: answer})
	if p.r.Connected(mine.gen, h.Received) {
		p.use(mine)
	} else {
		mine.close()
	}
}

// answered is the answer to this process's own dial.
func (p *proc) answered(e *end, m message) {
	attempt := int(e.gen)
	p.nextGen++
	e.gen = p.nextGen
	if m.answer == ft.AnswerJoin {
		if p.r != nil || p.dialing != attempt {
			e.close()
			return
		}
		p.dialing, p.peer = 0, e.peer.p
		p.m = NewToy(p.w.program)
		p.r = ft.NewBackup(p.config(), m.hello.Epoch, m.hello.Process, e.gen)
		p.use(e)
		return
	}
	p.post(func() {
		if p.dialing != attempt {
			e.close()
			return
		}
		p.dialing = 0
		received := m.hello.Received
		if !p.live {
			received = p.have
		}
		if p.r == nil || p.conn != nil && p.conn.gen > e.gen || !p.r.Connected(e.gen, received) {
			e.close()
			return
		}
		p.use(e)
	})
}

// use makes e the connection; an older one is closed.
func (p *proc) use(e *end) {
	if p.conn != nil && p.conn != e {
		p.conn.close()
	}
	p.conn = e
}

func (p *proc) closed(e *end) {
	if p.conn == e {
		p.conn = nil
	}
	if p.r != nil {
		p.r.Closed(e.gen)
	}
}

func (p *proc) heard(e *end) {
	p.r.Heard(e.gen)
	if s := p.r.State(); p.w.broken(BreakR16TakeBack) && p.conn == e && (s == ft.Protected || s == ft.Replaying && p.r.Armed()) {
		saved := *p.r
		p.saved, p.savedGen = &saved, e.gen
	}
}

func (p *proc) refused(peer ft.ProcessID, attempt int) {
	if p.dialing == attempt {
		p.dialing = 0
	}
	if p.r != nil {
		p.r.Refused(peer)
	}
}

// act carries out what Ready asks for, in its order.
func (p *proc) act() {
	if p.r == nil {
		return
	}
	rd := p.r.Ready()
	if rd.Empty() {
		return
	}
	w := p.w
	w.tracef("%v %v (%s): %s", p, rd.State, rd.Reason, intentions(rd))
	if p.hook("ready") {
		return
	}
	if rd.Seal {
		p.seal()
	}
	if rd.Gate != nil {
		p.obey(*rd.Gate, rd)
	}
	if rd.Seed != nil && p.seed(*rd.Seed) {
		return
	}
	if rd.Resume != nil {
		p.resume(*rd.Resume)
	}
	if rd.CatchUp {
		p.catchUp()
	}
	if rd.Name != nil {
		if p.hook("before naming") {
			return
		}
		p.name(*rd.Name)
		if p.hook("after naming") {
			return
		}
	}
	if rd.AppendArm != 0 {
		if p.hook("before arm") {
			return
		}
		p.appendArm(rd.AppendArm)
		if p.hook("after arm") {
			return
		}
	}
	if rd.Drop && p.conn != nil {
		p.conn.close()
		p.conn = nil
	}
	if rd.Dial && p.dialing == 0 && p.peer != nil {
		h := p.r.Hello()
		h.Received = p.have
		p.dial(p.peer, h)
	}
	if rd.Ping {
		w.arbiter.ask(p, func() func() { return func() { p.r.ArbiterAlive(true) } })
	}
	if rd.Claim != nil {
		if p.hook("before claim") {
			return
		}
		p.claim(*rd.Claim)
		if p.hook("after claim") {
			return
		}
	}
	p.drain = p.drain || rd.Drain
	if rd.Fence != nil {
		p.fence(*rd.Fence)
		if p.hook("fencing") {
			return
		}
	}
	if rd.GoLive {
		if p.hook("before going live") {
			return
		}
		p.goLive()
	}
	if rd.Open {
		p.obey(ft.GateOrder{Mode: ft.GateOpen}, rd)
		p.release()
		// A power-off that has passed the old primary's gate, or is older than
		// the State that was sent, may not have taken effect: "ended" may not be
		// in the run record. Whoever goes live with a guest that is off says so.
		if p.m.st.off && !p.dead {
			p.off = true
			p.powerOff()
		}
		if p.hook("live") {
			return
		}
	}
	if rd.EndRun {
		p.endRun()
	}
	if rd.Bye && p.conn != nil {
		p.conn.send(message{kind: kindBye})
	}
	if rd.Stop {
		p.exit()
	}
}

func intentions(rd ft.Ready) string {
	s := ""
	add := func(on bool, name string) {
		if on {
			s += " " + name
		}
	}
	add(rd.Seal, "seal")
	if rd.Gate != nil {
		add(true, "gate "+rd.Gate.Mode.String())
	}
	add(rd.Seed != nil, "seed")
	add(rd.Resume != nil, "resume")
	add(rd.CatchUp, "catch up")
	add(rd.Name != nil, "name")
	add(rd.AppendArm != 0, "arm")
	add(rd.Drop, "drop")
	add(rd.Dial, "dial")
	add(rd.Ping, "ping")
	add(rd.Claim != nil, "claim")
	add(rd.Drain, "drain")
	add(rd.Fence != nil, "fence")
	add(rd.GoLive, "go live")
	add(rd.Open, "open")
	add(rd.EndRun, "end run")
	add(rd.Bye, "bye")
	add(rd.Halt, "halt")
	add(rd.Stop, "stop")
	return s
}

// seal closes the channel for good. Nothing is read after it.
func (p *proc) seal() {
	p.dialing = 0
	p.logging = p.logging && p.w.broken(BreakR16TakeBack)
	if p.w.broken(BreakR13AckAfterEnd) && !p.live && p.conn != nil {
		p.endFixed = true
		e := p.conn
		p.conn = nil
		p.w.after(p.w.rnd.Between(5, 80), func() { p.sealed = true; e.close() })
	} else {
		p.sealed = true
		if p.conn != nil {
			p.conn.close()
			p.conn = nil
		}
	}
	p.r.Sealed(p.have)
}

func (p *proc) obey(o ft.GateOrder, rd ft.Ready) {
	if rd.AppendArm != 0 && p.w.broken(BreakR18ArmBeforeGate) {
		return // appendArm does it, too late
	}
	p.g.Obey(o)
	switch o.Mode {
	case ft.GateOpen:
		p.w.check.opened(p)
		p.endReads()
		p.logging, p.log = false, nil
		p.confirmUpTo(^replay.Seq(0))
	case ft.GateClosed:
		p.logging, p.log = false, nil
	}
}

func (p *proc) claim(c ft.Claim) {
	w := p.w
	if p.local != nil && p.local.c.stableLabel.Gen != c.Copies.Gen {
		// The image is marked before the record is asked.
		p.local.c.label.Gen = c.Copies.Gen
		p.local.keep(func() { p.later(func() { p.claim(c) }) })
		return
	}
	answered := false
	w.arbiter.ask(p, func() func() {
		res := w.arbiter.testAndSet(c.Cell, c.By, c.Copies)
		return func() {
			answered = true
			if res == ft.Won && p.r.State() == ft.Claiming {
				w.check.won(p, c.Cell.Epoch)
			}
			p.r.ClaimResult(c.Cell.Epoch, res)
		}
	})
	w.after(rpcWait, func() {
		if !answered && !p.dead {
			p.later(func() { p.unanswered(c.Cell.Epoch) })
		}
	})
}

func (p *proc) unanswered(e ft.Epoch) {
	if p.w.broken(BreakR16TakeBack) && p.saved != nil && p.r.State() == ft.Claiming {
		p.w.tracef("%v takes its claim back", p)
		*p.r = *p.saved
		p.saved, p.sealed, p.drain = nil, false, false
		p.r.Closed(p.savedGen)
		if p.live {
			p.g.Obey(ft.GateOrder{Mode: ft.GatePaired, Epoch: e, Gen: 0})
			p.g.Arm(e, 1)
		}
		return
	}
	p.r.ClaimResult(e, ft.Unknown)
}

// fence raises the disk's fence and attaches to the switch, and asks again until
// both have answered.
func (p *proc) fence(n ft.Fence) {
	w := p.w
	n = p.number(n)
	raised := false
	raise := func() bool { return w.disk.raise(n) }
	if w.broken(BreakR19FenceLate) {
		raise = func() bool {
			w.after(w.rnd.Between(20, 150), func() { w.disk.raise(n) })
			return true
		}
	}
	if s := p.shared; s != nil && !s.halted {
		s.halt(func() { p.fence(n) }) // reads that were begun are waited for
		return
	}
	var try func()
	try = func() {
		if p.dead || raised {
			return
		}
		w.after(rpcWait, try)
		if p.paused || p.host.down || p.host.cutAll || p.host.cutSwitch {
			return
		}
		w.after(w.delay(), func() {
			if raised {
				return
			}
			if !raise() || !w.sw.attach(p, n) {
				p.later(p.r.FencedOff)
				return
			}
			w.after(w.delay(), func() {
				if !raised {
					raised = true
					p.later(func() {
						p.claimedDisk()
						p.r.Fenced()
					})
				}
			})
		})
	}
	try()
}

// number is what adapters are shown.
func (p *proc) number(n ft.Fence) ft.Fence {
	if p.w.broken(BreakR19OneNumber) {
		n.Number &^= 1
	}
	return n
}

func (p *proc) endRun() {
	w := p.w
	answered := false
	run := w.run
	w.arbiter.ask(p, func() func() {
		if w.run != run {
			return func() {}
		}
		w.check.ending(p)
		w.arbiter.ended = true
		return func() { answered = true; p.r.RunEnded(true) }
	})
	w.after(rpcWait, func() {
		if !answered && !p.dead {
			p.later(func() { p.r.RunEnded(false) })
		}
	})
}
