package sim

import (
	"bytes"
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// runSlice is one slice of a live machine: Run, Outputs and marker, releases,
// clock, inputs, digest, one flush (DESIGN section 9).
func (p *proc) runSlice() {
	p.slices++
	if p.r.Running() && !p.g.Full() && (p.local == nil || !p.local.held) && (p.shared == nil || p.mayRun()) {
		until := p.m.Icount() + perSlice
		for p.m.Icount() < until {
			exit := p.m.Run(until)
			p.collect()
			if exit == machine.Idle || exit == machine.PoweredOff {
				break
			}
		}
		if p.mark(); p.release() {
			return
		}
		p.steerClock()
		p.deliverInputs()
	}
	for _, o := range p.requests {
		p.request(o)
	}
	p.requests = p.requests[:0]
	if p.local != nil {
		p.w.check.seesItsDisk(p)
		if p.local.syncSlice() {
			return
		}
	}
	if p.logging && p.local != nil {
		p.local.maybeCut()
	}
	if p.logging {
		if p.slices%16 == 0 {
			p.append(replay.DigestCheck{Digest: p.m.Digest()})
		} else if p.slices%4 == 0 {
			p.append(replay.Horizon{})
		}
	}
	if p.shared != nil {
		p.w.check.alone(p)
	}
	if p.m.Corrupt() != 0 {
		p.w.check.fail("%v reads from the disk what was not last written there", p)
	}
	p.flush()
}

// collect takes the machine's outputs: held ones into the gate.
func (p *proc) collect() {
	for _, o := range p.m.Outputs(nil) {
		shared := p.shared != nil && o.Port.Kind == machine.PortDisk
		if shared {
			p.collected(o)
		}
		if !o.Held() {
			if shared {
				continue
			}
			p.requests = append(p.requests, o)
			p.wrote(o)
			continue
		}
		p.remember(o)
		p.g.Hold(o)
	}
}

// mark covers what was held by a marker (R9).
func (p *proc) mark() {
	if !p.logging || !p.g.Uncovered() {
		return
	}
	if p.w.broken(BreakR9NoMarker) {
		p.g.Cover(p.seq)
		return
	}
	p.append(replay.Marker{Mark: p.m.Mark()})
	p.g.Cover(p.seq)
	if p.w.broken(BreakR11NoWait) {
		p.g.Acked(p.connGen(), p.r.Epoch(), p.seq)
	}
}

func (p *proc) connGen() uint64 {
	if p.conn == nil {
		return 0
	}
	return p.conn.gen
}

func (p *proc) steerClock() {
	timer, ok := p.m.NextTimer()
	c := p.m.Clock()
	if now := p.w.hostTime(); ok && p.m.st.waiting && now >= timer && now > c.At(p.m.Icount()) {
		p.deliver(input{in: machine.SetClock{Clock: machine.Clock{T0: now, I0: p.m.Icount(), Mul: c.Mul}}})
	}
}

// arrive takes an input from an adapter into the mailbox of the machine.
func (p *proc) arrive(in input) {
	if p.live {
		p.inputs = append(p.inputs, in)
	}
}

func (p *proc) deliverInputs() {
	if p.local != nil {
		p.local.deliverFlushes()
	}
	rest := p.inputs[:0]
	for _, in := range p.inputs {
		if in.frame != 0 && p.m.RxRoom(nic) == 0 && !p.m.st.off {
			rest = append(rest, in) // waits in the host half
			continue
		}
		p.deliver(in)
	}
	p.inputs = rest
}

func (p *proc) deliver(in input) {
	pos := p.m.Icount()
	done, disk := in.in.(machine.DiskDone)
	shared := disk && p.shared != nil && !p.m.st.off
	if shared {
		p.w.check.brings(p, done)
	}
	if err := p.m.Deliver(in.in); err != nil {
		if shared {
			p.w.check.fail("%v is given what does not fit: %v", p, err)
		}
		return // a completion that was logged before the failover, or the toy is off
	}
	if shared {
		body, awaited := p.logDone(done)
		if p.logging {
			p.append(body)
		}
		if p.logging && awaited {
			p.append(replay.Marker{Mark: p.m.Mark()})
		}
		return
	}
	if disk && p.local != nil {
		if done.Status != machine.DiskOK {
			p.w.check.fail("%v tells its guest that a disk of two copies has failed", p)
		}
		p.local.forget(done.ID)
		p.knowsFlushed(pos)
		in.in = machine.DiskDone{ID: done.ID} // the backup reads its own copy
	}
	if p.logging {
		p.seq++
		p.log = append(p.log, replay.Entry{Seq: p.seq, Pos: pos, Body: replay.Input{In: in.in}})
	}
	if in.frame != 0 {
		p.confirms = append(p.confirms, confirm{in.frame, p.seq})
		if p.g.Mode() == ft.GateOpen {
			p.confirmUpTo(p.seq)
		}
	}
}

// confirmUpTo tells the switch which frames are logged.
func (p *proc) confirmUpTo(seq replay.Seq) {
	for len(p.confirms) > 0 && p.confirms[0].seq <= seq {
		p.w.sw.confirm(p, p.confirms[0].frame)
		p.confirms = p.confirms[1:]
	}
}

func (p *proc) append(b replay.Body) {
	p.seq++
	p.log = append(p.log, replay.Entry{Seq: p.seq, Pos: p.m.Icount(), Body: b})
}

// flush sends the entries that were not sent on this connection.
func (p *proc) flush() {
	if !p.logging || p.conn == nil || p.sent >= p.seq {
		return
	}
	first := len(p.log) - int(p.seq-p.sent)
	m := message{kind: kindEntries, released: p.g.Released()}
	m.entries = append(m.entries, p.log[first:]...)
	p.sent = p.seq
	p.conn.send(m)
}

// request hands a request that is not held to its adapter. The toy makes no
// request that overlaps a pending one.
func (p *proc) request(o machine.Output) {
	if o.Port.Kind == machine.PortEntropy {
		b := words(p.w.rnd.Uint64())
		p.w.after(p.w.rnd.Between(1, 5), func() { p.later(func() { p.arrive(input{in: machine.Entropy{Bytes: b}}) }) })
		return
	}
	if o.Local {
		p.local.start(o)
		return
	}
	p.w.disk.submit(p, p.number(p.r.Number()), o)
}

// wrote remembers a write to a local disk.
func (p *proc) wrote(o machine.Output) {
	if o.Local && o.Op == machine.DiskWrite {
		p.made = append(p.made, written{o.Sector, blockOf(o.Bytes)})
	}
}

// knowsFlushed remembers what the machine takes for flushed.
func (p *proc) knowsFlushed(pos machine.Icount) {
	if n := len(p.flushed); n == 0 || p.flushed[n-1].ids != p.m.st.flushID {
		p.flushed = append(p.flushed, flushedAt{pos, p.m.st.flushID})
	}
}

// readAck is the goroutine that reads acknowledgements and releases what they
// free.
func (p *proc) readAck(e *end, seq replay.Seq) {
	if !p.live || !p.g.Acked(e.gen, p.r.Epoch(), seq) {
		return
	}
	for len(p.log) > 0 && p.log[0].Seq <= seq && p.conn == e {
		p.log = p.log[1:]
	}
	p.confirmUpTo(seq)
	if p.release() {
		return
	}
	p.post(func() {
		p.r.Acked(e.gen, seq)
		p.w.check.protected = p.w.check.protected || p.r.State() == ft.Protected && p.peer.r.Armed()
	})
}

// release hands to the adapters what the gate lets out. True means that the
// process died over it.
func (p *proc) release() bool {
	for _, o := range p.g.Release(nil) {
		p.w.check.released(p, o)
		n := p.number(p.r.Number())
		switch o.Port.Kind {
		case machine.PortNIC:
			p.w.sw.fromGuest(p, n, o.Bytes)
		case machine.PortDisk:
			if p.shared != nil {
				p.letGo(o)
				break
			}
			p.writes++
			p.w.disk.submit(p, n, o)
		case machine.PortPower:
			p.off = true
			p.powerOff()
		}
		if p.hook("release") {
			return true
		}
	}
	return false
}

func (p *proc) diskDone(o machine.Output, done machine.DiskDone) {
	if !p.live {
		return
	}
	if o.Held() {
		p.writes--
	}
	p.arrive(input{in: done})
	p.powerOff()
}

// powerOff lets the power-off take effect once all earlier writes are done.
func (p *proc) powerOff() {
	if p.off && p.writes == 0 && (p.local == nil || p.local.busy() == 0) && (p.shared == nil || p.disksIdle()) {
		p.post(p.r.PowerOffReleased)
	}
}

// seed starts a pairing: the State as it is now, and the log from here.
func (p *proc) seed(s ft.Seed) bool {
	if p.local != nil {
		p.local.beginSync(s)
		return false
	}
	return p.sendState(s, ft.Point{}, 0)
}

func (p *proc) sendState(s ft.Seed, point ft.Point, blocks int) bool {
	w, e := p.w, p.conn
	p.collect() // outputs of this position belong to what is sent
	p.mark()
	if e == nil || e.gen != s.Gen {
		return false
	}
	p.sealed = false
	p.logging, p.log, p.sent = true, nil, p.seq
	p.beginReads()
	var b bytes.Buffer
	if err := p.m.Save(&b); err != nil {
		panic("BUG: sim: " + err.Error())
	}
	state := &stateOf{snapshot: b.Bytes(), point: point, blocks: blocks, made: slices.Clip(p.made), flushed: slices.Clip(p.flushed), seq: p.seq, released: p.g.Released(), history: p.hist[:len(p.hist):len(p.hist)]}
	if p.state = nil; p.local == nil {
		p.state = state
	}
	e.sendState(state)
	if p.hook("seed") {
		return true
	}
	w.after(w.rnd.Between(1, 40), func() { p.later(func() { p.r.Seeded(s.Gen) }) })
	return false
}

func (p *proc) resume(rs ft.Resume) {
	if p.local != nil {
		p.local.again()
	}
	if !p.live {
		if p.shared != nil && p.conn != nil && p.r.State() != ft.Joining {
			p.conn.send(p.ack(kindAck))
		}
		return
	}
	p.g.Connection(rs.Epoch, rs.Gen)
	p.g.Acked(rs.Gen, rs.Epoch, rs.Received)
	if p.w.broken(BreakR17ReleaseAtReconnect) {
		p.g.Acked(rs.Gen, rs.Epoch, p.sent)
	}
	for len(p.log) > 0 && p.log[0].Seq <= rs.Received {
		p.log = p.log[1:]
	}
	p.confirmUpTo(rs.Received)
	// A Hello may be older than the last acknowledgement on the old connection.
	p.sent = max(rs.Received, p.seq-replay.Seq(len(p.log)))
	if q := p.peer; p.state != nil && !q.hasState { // as it says in its Hello
		p.sent = p.state.seq
		p.conn.sendState(p.state)
	}
	if p.r.State() == ft.Seeding {
		p.r.Seeded(rs.Gen) // who resumes has the State
	}
	p.r.Acked(rs.Gen, rs.Received)
	if !p.release() {
		p.flush()
	}
}

func (p *proc) appendArm(e ft.Epoch) {
	w := p.w
	if !p.logging {
		return
	}
	p.append(replay.Arm{Epoch: uint64(e)})
	seq := p.seq
	if w.broken(BreakR18ArmBeforeGate) {
		w.after(w.rnd.Between(10, 60), func() {
			if !p.dead && p.r.Epoch() == e && (p.r.State() == ft.Gated || p.r.State() == ft.Protected) {
				p.g.Obey(ft.GateOrder{Mode: ft.GatePaired, Epoch: e, Gen: p.connGen()})
				p.g.Arm(e, seq)
			}
		})
	}
	p.g.Arm(e, seq)
	p.r.ArmAppended(seq)
	if w.broken(BreakR18ArmOutOfOrder) && p.peer != nil {
		q := p.peer
		w.after(1, func() {
			q.later(func() {
				if q.r != nil {
					q.r.ArmSeen(e)
				}
			})
		})
	}
	p.flush()
}

// remember keeps the identity of every held output, by its Count.
func (p *proc) remember(o machine.Output) {
	p.hist = append(p.hist, identity(o))
	if len(p.hist) != int(o.Count) {
		panic("BUG: sim: outputs are not counted without gaps")
	}
}

func identity(o machine.Output) uint64 {
	o.Count = 0
	return machine.Mark{}.Add(o).Hash | 1
}
