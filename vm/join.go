package vm

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
)

// A backup joins at power-on, before the first instruction, or later a VM that
// runs alone: the State is sent between two slices, the log from there on. It is
// looked for where the run was told that it is, and by the winner of a claim
// where the process was that it has taken over from.

// joining is how a live replica comes to a backup.
type joining struct {
	peer   string // where to look for one; empty if none is wanted
	misfit bool   // that the one there does not fit was told
}

// wantBackupAt has a live replica look for its backup at an address.
func (r *Replica) wantBackupAt(address string) {
	if address == "" {
		return
	}
	r.joining.peer = address
	r.proto.WantBackup(true)
	r.event(EventNote, "the VM is not protected before a new backup is there: run `lockstep backup` for it at %s", address)
}

// seekBackup keeps an invitation out while a backup is wanted and none is there.
func (r *Replica) seekBackup() {
	switch r.proto.State() {
	case ft.Waiting:
	case ft.Alone:
		if !r.live.attached || r.out.off() {
			return
		}
	default:
		return
	}
	if r.primary == nil && r.joining.peer != "" {
		r.invite()
	}
}

// invite opens a pairing and dials the wanted backup.
func (r *Replica) invite() {
	p, err := r.end.OpenPrimary(logchan.Pairing{
		Run: r.run, Epoch: r.proto.NextEpoch(), Peer: r.joining.peer,
		OnAck: func(a logchan.Ack) {
			r.out.peerRead(a.Reads)
			r.out.acked(a.Gen, a.Epoch, a.Seq)
		},
	})
	switch {
	case err == nil:
	case r.proto.State() == ft.Waiting:
		r.neverRan(Refused, fmt.Errorf("vm: %w", err))
		return
	default:
		r.joining.peer = ""
		r.event(EventNote, "no backup is looked for any more: %v", err)
		return
	}
	r.primary = p
	r.out.tell(p.SetReleased)
}

// joined takes in a backup that has no State yet.
func (r *Replica) joined(e logchan.Event) {
	r.follow.lost, r.joining.misfit = false, false
	before := r.proto.Running()
	if !r.proto.Joined(e.Gen, e.Peer.Process) {
		return
	}
	if !before && r.proto.Running() {
		r.event(EventNote, "a backup has joined; the guest runs while its copy of the disks is made alike, and is not protected before that")
	}
}

// misfits takes in that a backup refuses for good: before the first instruction
// this ends the run; a VM that runs goes on looking for one that fits.
func (r *Replica) misfits(why error) {
	switch {
	case r.proto.State() == ft.Waiting:
		r.neverRan(Refused, why)
	case r.proto.State() == ft.Alone && !r.joining.misfit:
		r.joining.misfit = true
		r.event(EventNote, "no backup yet: %v", why)
	}
}

// misfit says whether a refusal means that these two will never fit: asking
// again is of no use.
func misfit(c logchan.RefuseCode) bool {
	switch c {
	case logchan.RefuseFormat, logchan.RefuseVM, logchan.RefuseConfig, logchan.RefuseRole:
		return true
	}
	return false
}
