package vm

import (
	"errors"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/replay"
)

// protocol reports what has happened to the protocol core and carries out what
// it intends.
func (r *Replica) protocol() {
	if r.proto == nil {
		r.tickStatus()
		return
	}
	if r.follow.inquiry != nil {
		r.waitForAnswer()
		return
	}
	r.reportPeer()
	r.diskNotes()
	r.moveCommonPoint()
	r.retryDisks()
	r.obey()
	r.seekBackup()
	if r.out.off() && r.disksIdle() {
		r.proto.PowerOffReleased()
		r.obey()
	}
	if !r.panicked && r.out.panicked() {
		r.panicked = true
		r.event(EventPanic, "the guest's kernel panicked; the VM is stopped")
		r.stop()
	}
	if r.tickStatus() {
		r.proto.Tick()
		r.obey()
		r.watchDisks()
		r.obey()
	}
}

// tickStatus says whether a tick is due and publishes the status with it. Ticks
// that this process is late for are dropped: time that it slept is not the
// peer's silence.
func (r *Replica) tickStatus() bool {
	now := time.Duration(r.now())
	if now < r.nextTick {
		return false
	}
	r.nextTick = now + r.cfg.tick()
	r.publish()
	return true
}

// reportPeer tells the core of acknowledgements and signs of life.
func (r *Replica) reportPeer() {
	var heard time.Time
	switch {
	case r.primary != nil:
		heard = r.primary.LastHeard()
		if a, ok := r.primary.Acked(); ok && (a.Seq != r.acked.Seq || a.Gen != r.acked.Gen) {
			r.acked = a
			before := r.proto.State()
			r.proto.Acked(a.Gen, a.Seq)
			if before == ft.Gated && r.proto.State() == ft.Protected {
				r.event(EventProtected, "protected: the backup is armed for epoch %d", r.proto.Epoch())
				if s := r.survives(); s != "" {
					r.event(EventNote, "%s", s)
				}
			}
		}
	case r.backup != nil:
		heard = r.backup.LastHeard()
	}
	if heard.After(r.heard) {
		r.heard = heard
		r.proto.Heard(r.gen)
	}
}

// watchChannel passes the channel's events on to the owner.
func (r *Replica) watchChannel() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case e := <-r.end.Events():
			r.box.do(func() { r.channelEvent(e) })
		}
	}
}

func (r *Replica) channelEvent(e logchan.Event) {
	if e.Over() {
		return
	}
	if r.follow.inquiry != nil {
		r.answerEvent(e)
		return
	}
	if r.backup != nil {
		r.take() // what came in before the event
	}
	switch e.Kind {
	case logchan.Connected:
		r.connected(e)
	case logchan.Closed, logchan.DialFailed:
		if r.proto == nil {
			return
		}
		if e.Kind == logchan.Closed {
			r.proto.Closed(e.Gen)
		}
		if e.Refused {
			r.proto.Refused(r.proto.Peer())
		} else if misfit(e.Code) {
			r.misfits(e.Err)
		}
	case logchan.PeerRefused:
		switch e.Code {
		case logchan.RefuseClosed, logchan.RefuseBusy:
			// A lost peer that asks, or one that was too quick: nothing to tell.
		default:
			r.event(EventNote, "%v", e.Err)
		}
	case logchan.StateSent:
		r.proto.Seeded(e.Gen)
	case logchan.StateReady:
		if r.stateReady() {
			r.load()
		}
	case logchan.PeerBye:
		r.peerBye(e)
	case logchan.Inquired:
		r.answer(e.Seq)
	}
	if r.proto != nil {
		r.obey()
	}
}

func (r *Replica) connected(e logchan.Event) {
	r.gen, r.heard = e.Gen, time.Time{}
	switch {
	case r.proto == nil:
		run, epoch, peer, ok := r.backup.Pairing()
		if !ok {
			panic("BUG: vm: connected without a pairing")
		}
		r.run = run
		r.proto = ft.NewBackup(r.cfg.protocol(run, r.self, r.local), epoch, peer, e.Gen)
		r.proto.OwnLink(len(r.nics) == 0 || r.links > 0)
		r.event(EventNote, "a primary has dialled: run %v, epoch %d; receiving its state", run, epoch)
		r.receive(e.Gen)
	case r.proto.State() == ft.Waiting || r.proto.State() == ft.Alone:
		r.joined(e)
	default:
		r.proto.Connected(e.Gen, e.Peer.Received)
		r.local.resumeSync(e.Gen)
		r.tellSynced()
		r.tellCut()
	}
}

func (r *Replica) peerBye(e logchan.Event) {
	if r.proto == nil {
		return
	}
	switch e.Bye {
	case logchan.ByeEnded:
		r.proto.PeerEnded()
	default:
		r.proto.Closed(e.Gen)
		r.proto.Refused(r.proto.Peer())
	}
}

// obey carries out Ready until nothing more is asked for.
func (r *Replica) obey() {
	for !r.stopped {
		rd := r.proto.Ready()
		if rd.State != r.seen {
			r.seen = rd.State
			r.entered(rd)
		}
		if rd.Empty() {
			return
		}
		r.perform(rd)
	}
}

// obeyCommand does what a command has led to before the next one is looked at:
// that one may be an event of a pairing that is over by now.
func (r *Replica) obeyCommand() {
	if r.proto != nil && r.follow.inquiry == nil {
		r.obey()
	}
}

// entered tells of a change of state.
func (r *Replica) entered(rd ft.Ready) {
	switch rd.State {
	case ft.Claiming, ft.Draining:
		if !r.follow.lost {
			r.follow.lost = true
			r.event(EventPeerLost, "the peer is lost: %s", rd.Reason)
		}
	case ft.Replaying:
		r.follow.lost = false
	case ft.Waiting:
		r.event(EventWaiting, "waiting for the backup at %s; nothing runs before it is there (%s)", r.cfg.Peer, rd.Reason)
		r.unpair()
	case ft.Alone:
		r.unpair()
	case ft.Halted:
		r.event(EventHalted, "halted: %s", rd.Reason)
	}
}

func (r *Replica) perform(rd ft.Ready) {
	if rd.Seal {
		r.seal()
	}
	if rd.Gate != nil {
		r.out.obey(*rd.Gate)
	}
	switch {
	case rd.Seed == nil:
	case r.local != nil:
		r.feed(*rd.Seed)
	default:
		r.seed()
	}
	if rd.Resume != nil && r.primary != nil {
		r.out.connection(rd.Resume.Epoch, rd.Resume.Gen)
		r.out.acked(rd.Resume.Gen, rd.Resume.Epoch, rd.Resume.Received)
		if a, ok := r.primary.Acked(); ok {
			r.out.acked(a.Gen, a.Epoch, a.Seq)
		}
	}
	if rd.CatchUp {
		r.catchUp()
	}
	if rd.Name != nil {
		r.nameCopies(*rd.Name)
	}
	if rd.AppendArm != 0 {
		seq := r.append(replay.Arm{Epoch: uint64(rd.AppendArm)})
		r.out.arm(rd.AppendArm, seq)
		r.proto.ArmAppended(seq)
		r.flush()
	}
	if rd.Ping {
		r.task(func() {
			err := r.arb.Ping()
			r.box.do(func() { r.proto.ArbiterAlive(err == nil) })
		})
	}
	if rd.Claim != nil {
		r.claim(*rd.Claim)
	}
	if rd.Fence != nil {
		r.fence(*rd.Fence)
	}
	if rd.GoLive {
		r.goLive()
	}
	if rd.Open {
		r.out.obey(ft.GateOrder{Mode: ft.GateOpen})
		if r.live.attached {
			r.event(EventLive, "live, alone: outputs leave at once; %s", rd.Reason)
		}
	}
	if rd.EndRun {
		r.endRun()
	}
	if rd.Bye {
		r.bye(logchan.ByeEnded)
	}
	if rd.Stop {
		r.stopFor(rd)
	}
}

// seal closes the channel for good (R13, R17).
func (r *Replica) seal() {
	if r.backup != nil {
		end := r.backup.Seal()
		r.take()
		r.proto.Sealed(end.Seq)
	}
	r.unpair()
}

// unpair ends the primary's part in a pairing, if there is one.
func (r *Replica) unpair() {
	if r.primary == nil {
		return
	}
	r.local.endSync()
	r.primary.Seal()
	r.out.tell(nil)
	r.primary, r.live.pairing, r.live.uncovered, r.acked = nil, false, false, logchan.Ack{}
}

// claim asks the arbiter beside the owner; no answer is reported as unknown.
func (r *Replica) claim(c ft.Claim) {
	r.task(func() {
		if err := r.local.mark(c.Copies.Gen, false); err != nil {
			r.box.do(func() {
				r.event(EventNote, "no claim before the copy of the disks is marked, trying on: %v", err)
				r.proto.ClaimResult(c.Cell.Epoch, ft.Unknown)
			})
			return
		}
		owner, err := r.arb.Claim(c)
		res := ft.Unknown
		switch {
		case err != nil:
			r.box.do(func() { r.event(EventNote, "the arbiter does not answer, asking on: %v", err) })
		case owner == c.By:
			res = ft.Won
		default:
			res = ft.Lost
		}
		r.box.do(func() {
			switch res {
			case ft.Won:
				r.event(EventClaimWon, "won the claim of epoch %d", c.Cell.Epoch)
			case ft.Lost:
				r.event(EventClaimLost, "lost the claim of epoch %d: the other side goes on", c.Cell.Epoch)
			}
			r.proto.ClaimResult(c.Cell.Epoch, res)
		})
	})
}

// fence takes over the disks and the switch's port with this replica's number,
// before anything is read or written (R19).
func (r *Replica) fence(number ft.Fence) {
	r.task(func() {
		err := r.takeOver(number)
		r.box.do(func() {
			if err != nil {
				r.finish(Halted, err)
				return
			}
			r.proto.Fenced()
		})
	})
}

// endRun writes "ended" into the run record.
func (r *Replica) endRun() {
	if r.arb == nil {
		r.proto.RunEnded(true)
		return
	}
	r.task(func() {
		err := r.arb.EndRun(r.cfg.Name, r.run)
		r.box.do(func() {
			if err != nil {
				r.event(EventNote, "the run record cannot be written, trying on: %v", err)
			}
			r.proto.RunEnded(err == nil)
		})
	})
}

// byeWait bounds how long a planned end waits for the peer to hear of it.
const byeWait = time.Second

func (r *Replica) bye(code logchan.ByeCode) {
	switch {
	case r.primary != nil:
		r.send()
		r.primary.Bye(code, byeWait)
		r.unpair()
	case r.backup != nil:
		r.backup.Bye(code, byeWait)
	}
}

// stopFor ends Run in the way that the final state says.
func (r *Replica) stopFor(rd ft.Ready) {
	switch rd.State {
	case ft.Ended:
		r.event(EventEnded, "the guest is off")
		if r.panicked || r.out.guestFailed() {
			r.finish(Panicked, nil)
		}
		r.finish(Ended, nil)
	case ft.Gone:
		r.event(EventNote, "not armed and left by the primary: %s", rd.Reason)
		r.finish(Gone, nil)
	default:
		r.local.drop(rd.Reason)
		r.finish(Halted, errors.New("vm: "+rd.Reason))
	}
}

func (r *Replica) disksIdle() bool {
	if r.out.waitsForPeer() {
		return false
	}
	for i, d := range r.disks {
		// What a disk that has stopped keeps was never done for the guest.
		if !d.Idle() && !(r.stops.of[i] != nil && d.Quiet()) {
			return false
		}
	}
	return true
}
