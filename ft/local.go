package ft

// This file is what the protocol has to do for local disks (DESIGN section 7).
// The order of a pairing, of which each step is durable before the next:
//
//	backup   its image is marked as being synchronised
//	both     blocks are copied while the guest runs; what it writes meanwhile
//	         is copied again; the last of them while it stands still, and there
//	         the State is taken and both maps are Cut
//	backup   flush; map.Adopt, generation of the pairing, no longer marked;
//	         State loaded; CopySynced; it tells the primary
//	primary  flush; map.Adopt, generation of the pairing; CopySynced
//	primary  sign of life of the arbiter; the gate is closed (Gated)
//	primary  with FlushBoth: the backup is flushed up to here (CatchUp)
//	primary  the run record names both copies (Name, Named)
//	primary  Arm is appended, and acknowledged: Protected

func (r *Replica) local() bool { return r.cfg.Copy != CopyID{} }

// complete: the backup has the whole State, local disks too.
func (r *Replica) complete() bool { return r.seeded && (r.synced || !r.local()) }

// CopySynced reports that the backup's copy is complete, flushed and marked with
// the pairing's generation. A backup reports it, with its own copy, before it
// tells its primary; the primary, with the backup's, when it was told on
// connection gen and its own copy is flushed and marked too.
func (r *Replica) CopySynced(gen uint64, backup CopyID) {
	if gen != r.gen || gen == 0 || r.synced || !r.local() {
		return
	}
	switch {
	case r.backup && (r.state == Joining || r.state == Replaying):
		r.synced = true
	case r.state == Seeding && backup != CopyID{} && backup != r.cfg.Copy:
		r.synced, r.theirs = true, backup
		r.askBeforeClosing()
	}
}

// CaughtUp reports, on connection gen, that the backup's copy is flushed up to
// the entry that CatchUp asked for.
func (r *Replica) CaughtUp(gen uint64) {
	if r.state == Gated && gen == r.gen && gen != 0 && r.cfg.Flush == FlushBoth && r.local() && !r.naming {
		r.name()
	}
}

// name asks the record to name both copies. From here on the primary must win
// this epoch's claim before it may go on alone.
func (r *Replica) name() {
	r.naming, r.ask = true, r.cfg.AskEvery
	r.rd.Name = &Name{Epoch: r.epoch, Copies: ArmedCopies(r.cfg.Run, r.epoch, r.cfg.Copy, r.theirs)}
}

// Named reports that the run record names the copies of epoch e. Only then Arm
// is appended: a backup whose copy is not named must not be armed.
func (r *Replica) Named(e Epoch) {
	if r.state == Gated && e == r.epoch && r.naming && r.arm == 0 && r.rd.AppendArm == 0 {
		r.ask = 0
		r.rd.Name, r.rd.AppendArm = nil, e
	}
}

// FlushNeedsPeer says whether a guest's flush is done only when the backup's
// copy is flushed as well: whenever the record may name that copy.
func (r *Replica) FlushNeedsPeer() bool {
	if !r.local() || r.cfg.Flush != FlushBoth || r.backup {
		return false
	}
	switch r.state {
	case Gated, Protected, Claiming, Yielding:
		return true
	case Ending:
		return r.peer != ProcessID{}
	}
	return false
}

// yieldFor is how many time-outs a primary that yields waits for the backup's
// claim before it sends its own.
const yieldFor = 8

// CopyFailed reports that the host could not read, write or flush the own copy
// of a local disk. The guest is never told. True means that the other replica
// has to go on without this copy: its claim takes it out of the record. False
// means that nobody else can: keep the request, stand still, and try again from
// time to time or when a person says so, reporting each new failure.
func (r *Replica) CopyFailed(what string) (dropped bool) {
	switch r.state {
	case Joining, Replaying:
		r.halt("its copy of the disks has failed: %s", what)
		return true
	case Protected:
		r.enter(Yielding, "its copy of the disks has failed: "+what)
		r.gate(GateOrder{Mode: GateSealed})
		r.rd.Seal = true
		r.gen, r.dial, r.ask = 0, 0, yieldFor*r.cfg.Timeout
		r.rd.Dial, r.rd.Resume = false, nil
		return true
	}
	return r.state.Final()
}
