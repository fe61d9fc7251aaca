package ft

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/replay"
)

// StateLoaded reports that the whole State is in place; entries after it may
// be executed.
func (r *Replica) StateLoaded() {
	if r.state == Joining {
		r.enter(Replaying, "the State is complete")
	}
}

// ArmSeen reports that Arm of epoch e was received in its place in the log,
// with every entry before it (R18). It need not be executed. The driver reports
// it before a Closed of the same connection.
func (r *Replica) ArmSeen(e Epoch) {
	if r.backup && e == r.epoch && (r.state == Replaying || r.state == Draining) && (!r.local() || r.synced) {
		r.armed = true
	}
}

// backupLosesPeer is Replaying -> Draining. A backup that is not armed never
// claims (R18).
func (r *Replica) backupLosesPeer(why string) {
	if !r.armed {
		r.gone("not armed: " + why)
		return
	}
	r.enter(Draining, why)
	r.rd.Drain = true
	if r.gen == 0 && r.dial == 0 {
		r.dialNow()
	}
}

func (r *Replica) gone(why string) {
	r.enter(Gone, why)
	r.rd = Ready{Seal: true, Drop: r.gen != 0, Stop: true}
	r.gen, r.dial, r.ask = 0, 0, 0
}

// Drained reports that everything received up to entry seq is executed, and
// that every marker and digest in it agreed. In Draining this was all there
// was, so the channel is sealed now: the end of the log must not move any more
// once a claim is under way (R13).
func (r *Replica) Drained(seq replay.Seq) {
	r.done = max(r.done, seq)
	switch r.state {
	case Draining:
		r.enter(Sealed, r.reason)
		r.dial = 0
		r.rd.Seal, r.rd.Dial = true, false
	case Sealed:
		r.claimIfDone()
	}
}

// Sealed reports that the channel is sealed and that entry end is the last one
// received. Entries that came in since Drained are executed before the claim.
func (r *Replica) Sealed(end replay.Seq) {
	if r.state != Sealed || r.end != 0 {
		return
	}
	r.end, r.gen = end, 0
	r.claimIfDone()
}

// claimIfDone is Sealed -> Claiming, when the fixed log is executed to its end.
// A backup that has diverged never gets here.
func (r *Replica) claimIfDone() {
	switch {
	case r.end == 0:
	case r.done >= r.end:
		r.claim(r.reason)
	default:
		r.rd.Drain = true
	}
}

// fence is Claiming -> Fencing (R19).
func (r *Replica) fence() {
	n := r.number
	r.enter(Fencing, fmt.Sprintf("won the claim of epoch %d", r.won))
	r.rd.Fence = &n
}

// Fenced reports that the fence is raised: nothing that carries an older number
// can take effect any more. The backup goes live.
func (r *Replica) Fenced() {
	if r.state != Fencing {
		return
	}
	r.backup, r.armed = false, false
	r.alone(r.reason)
	r.rd.GoLive, r.rd.Open = true, true
}

// Diverged reports that a marker or digest did not agree, or that an entry did
// not fit the State. This replica must never go live (R8).
func (r *Replica) Diverged(what string) {
	if r.backup && !r.state.Final() {
		r.halt("diverged: %s", what)
	}
}

// PeerEnded reports that the peer said that the run has ended as planned. Only
// death and silence are failovers.
func (r *Replica) PeerEnded() {
	switch r.state {
	case Joining, Replaying, Draining:
		r.enter(Ended, "the run has ended")
		r.rd = Ready{Seal: true, Stop: true}
		r.gen, r.dial = 0, 0
	}
}
