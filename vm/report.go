package vm

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// How many accounts a primary keeps until the backup has compared the digests
// that they are of, and how large they may be together.
const (
	maxAccounts    = 64
	maxAccountSize = 16 << 20
)

// accounts are those of the newest digests in the log.
type accounts struct {
	kept []account
	size int // bytes, about
}

type account struct {
	seq replay.Seq
	machine.Account
}

func (a account) size() int {
	return 24 * (len(a.Registers) + len(a.Devices) + len(a.Pages))
}

// keep adds one and drops those that a backup which has executed up to a
// position cannot ask for any more, and the oldest if there are too many.
func (k *accounts) keep(a account, executed machine.Icount) {
	k.kept = append(k.kept, a)
	k.size += a.size()
	n := 0
	for n < len(k.kept) && (k.kept[n].Pos < executed || len(k.kept)-n > maxAccounts || k.size > maxAccountSize) {
		k.size -= k.kept[n].size()
		n++
	}
	rest := copy(k.kept, k.kept[n:])
	clear(k.kept[rest:])
	k.kept = k.kept[:rest]
}

// of is the account of the digest at entry seq; nil if it is not kept.
func (k *accounts) of(seq replay.Seq) *machine.Account {
	for i := range k.kept {
		if k.kept[i].seq == seq {
			return &k.kept[i].Account
		}
	}
	return nil
}

// check appends a digest to the log (R8).
func (r *Replica) check() {
	a := r.m.Account()
	seq := r.append(replay.DigestCheck{Digest: a.Digest})
	if !r.live.seeded(r.primary) {
		return
	}
	var executed machine.Icount
	if ack, ok := r.primary.Acked(); ok {
		executed = ack.Executed
	}
	r.live.accounts.keep(account{seq, a}, executed)
}

// beginAccounts makes the next account count from the State that a backup
// begins with, as the backup's own does.
func (r *Replica) beginAccounts() {
	r.m.Account()
	r.live.accounts = accounts{}
}

// answer tells a backup that has diverged what the digest at entry seq was taken
// over. The pairing ends in the ordinary way, when the backup halts.
func (r *Replica) answer(seq replay.Seq) {
	if r.primary != nil {
		r.primary.Answer(seq, r.live.accounts.of(seq))
	}
}

// An inquiry is a backup's wait for the primary's account.
//
//	Replaying ──a digest differs──► inquiry ──answer, loss or time-out──► Halted
//
// Meanwhile the protocol stands still: nothing that happens to the channel makes
// this replica claim.
type inquiry struct {
	divergence *replay.Divergence
	ticks      int // that are left
}

// diverge stops a backup whose machine is not the primary's: it must never go
// live (R8). It asks the primary first where they differ.
func (r *Replica) diverge(err error) {
	r.follow.diverged = true
	var d *replay.Divergence
	switch {
	case !errors.As(err, &d): // the log cannot be followed
		r.event(EventDiverged, "%v", err)
		r.haltDiverged(err)
		return
	case !d.Explainable():
		d.Unexplained = "it was not found by a digest"
	case !r.backup.Inquire(d.Seq):
		d.Unexplained = "there is no connection to the primary"
	default:
		r.follow.inquiry = &inquiry{divergence: d, ticks: r.cfg.timeoutTicks()}
		return
	}
	r.report(d)
}

// waitForAnswer counts the ticks down.
func (r *Replica) waitForAnswer() {
	q := r.follow.inquiry
	if r.tickStatus() {
		q.ticks--
	}
	switch {
	case r.stopped:
		r.unanswered("this replica was told to leave before the primary answered")
	case q.ticks <= 0:
		r.unanswered("the primary has not answered for %v", r.cfg.Timeout)
	}
}

// answerEvent takes what happens to the channel during an inquiry.
func (r *Replica) answerEvent(e logchan.Event) {
	switch e.Kind {
	case logchan.Answered:
		q := r.follow.inquiry
		if e.Account == nil {
			r.unanswered("the primary does not keep its account any more")
			return
		}
		q.divergence.Explain(*e.Account)
		r.report(q.divergence)
	case logchan.Closed:
		r.unanswered("the connection to the primary was lost: %v", e.Err)
	case logchan.PeerBye:
		r.unanswered("the primary has left")
	}
}

func (r *Replica) unanswered(format string, args ...any) {
	d := r.follow.inquiry.divergence
	d.Unexplained = fmt.Sprintf(format, args...)
	r.report(d)
}

// report tells of a divergence what there is to tell, and halts.
func (r *Replica) report(d *replay.Divergence) {
	r.follow.inquiry = nil
	r.cfg.OnEvent(Event{Time: time.Now(), Kind: EventDiverged, Text: d.Report(), Divergence: d})
	r.haltDiverged(d)
}

func (r *Replica) haltDiverged(why error) {
	r.bye(logchan.ByeHalted)
	r.proto.Diverged(why.Error())
	r.obey()
}
