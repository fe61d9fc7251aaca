package ft

import "github.com/lockstep-vm/lockstep/replay"

// Joined reports that a process which was answered AnswerJoin waits on
// connection gen for the State. The epoch of the pairing is Epoch. False means
// that no backup is wanted any more: close the connection.
func (r *Replica) Joined(gen uint64, peer ProcessID) bool {
	if r.state != Waiting && r.state != Alone || !r.cfg.Backup {
		return false
	}
	// Only the winner of an epoch opens the next (R15). A pairing that was cut
	// off before its Arm was written used up nothing.
	r.epoch, r.peer, r.gen = r.won+1, peer, gen
	r.synced, r.theirs, r.naming = false, CopyID{}, false
	r.seeded, r.arm, r.silent, r.dial, r.ask, r.pinging = false, 0, 0, 0, 0, false
	r.enter(Seeding, "a backup has joined")
	if r.local() && r.home == Waiting {
		// Copying may take hours. The guest runs meanwhile, as it does when a
		// backup joins after a failover.
		r.home = Alone
		r.gate(GateOrder{Mode: GateOpen})
	}
	r.rd.Seed = &Seed{Epoch: r.epoch, Gen: gen, Peer: peer}
	return true
}

// NextEpoch is the epoch that a pairing which begins now will have.
func (r *Replica) NextEpoch() Epoch { return r.won + 1 }

// Seeded reports that the whole State is written to connection gen. The gate
// is not closed for the pairing before the arbiter has shown that it lives: a
// failed attempt must not freeze a healthy VM (R18).
func (r *Replica) Seeded(gen uint64) {
	if r.state != Seeding || gen != r.gen || r.seeded {
		return
	}
	r.seeded = true
	r.askBeforeClosing()
}

// askBeforeClosing asks for the arbiter's sign of life once the backup has all.
func (r *Replica) askBeforeClosing() {
	if r.complete() {
		r.alive = false
		r.rd.Ping, r.ask = true, r.cfg.AskEvery
	}
}

// close is Seeding -> Gated: first nothing leaves any more that is not
// acknowledged in this epoch, only then Arm is appended (R18).
func (r *Replica) close() {
	r.enter(Gated, "waiting until Arm is acknowledged")
	r.ask = 0
	r.number = PrimaryFence(r.cfg.Run, r.epoch)
	r.gate(GateOrder{Mode: GatePaired, Epoch: r.epoch, Gen: r.gen})
	switch {
	case !r.local():
		r.rd.AppendArm = r.epoch
	case r.cfg.Flush == FlushBoth:
		r.rd.CatchUp = true
	default:
		r.name()
	}
}

// ArmAppended reports that Arm stands in the log as entry seq, whether or not
// it was sent.
func (r *Replica) ArmAppended(seq replay.Seq) {
	if r.state == Gated {
		r.arm = seq
	}
}

// Acked reports that the backup has, by connection gen, acknowledged every
// entry up to seq.
func (r *Replica) Acked(gen uint64, seq replay.Seq) {
	if gen != r.gen || gen == 0 {
		return
	}
	r.Heard(gen)
	if r.state == Gated && r.arm != 0 && seq >= r.arm {
		r.enter(Protected, "Arm is acknowledged")
	}
}

// cutOff is Seeding -> Waiting or Alone: Arm was never written, so no backup
// can claim this epoch.
func (r *Replica) cutOff(why string) {
	r.epoch, r.peer, r.ask = r.won, ProcessID{}, 0
	r.synced, r.theirs = false, CopyID{}
	r.rd.CatchUp = false
	r.rd.Drop = r.gen != 0
	r.rd.Seed, r.rd.Ping = nil, false
	r.gen = 0
	r.number = WinnerFence(r.cfg.Run, r.won)
	r.enter(r.home, why)
	if r.home == Alone {
		r.gate(GateOrder{Mode: GateOpen})
	} else {
		r.gate(GateOrder{Mode: GateClosed})
	}
}

// primaryLosesPeer is Gated or Protected -> Claiming. A primary in Gated whose
// Arm was never appended may open its gate again; after that it must win (R18).
// So must one that has asked the record to name the backup's copy: that copy
// would be stale with the first write, and only a won claim takes it out.
func (r *Replica) primaryLosesPeer(why string) {
	if r.state == Gated && r.arm == 0 && !r.naming {
		r.rd.AppendArm = 0
		r.cutOff(why)
		return
	}
	r.rd.Seal = true
	r.gate(GateOrder{Mode: GateSealed})
	r.claim(why)
}
