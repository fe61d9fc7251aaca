package replay

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
)

// Compared counts what a Replayer has compared without finding a difference.
type Compared struct{ Markers, Digests uint64 }

// Replayer re-executes a machine from the log. It leaves the machine's outputs
// to its caller, who collects them by Machine.Outputs.
type Replayer struct {
	m        machine.Machine
	last     Point          // the last entry that is done
	agreed   machine.Icount // where State was last seen to agree with the log's
	compared Compared
	own      OwnRequests
	waiting  bool  // for a request of own
	err      error // sticks: the machine's State cannot be trusted after it
}

// NewReplayer replays the entries after start into m. It is a mistake of the
// caller if m is not at a position at or after start.Pos.
func NewReplayer(m machine.Machine, start Point) *Replayer {
	return &Replayer{m: m, last: start, agreed: start.Pos}
}

// Last is the last entry that was replayed.
func (r *Replayer) Last() Point { return r.last }

// Compared is what was compared so far.
func (r *Replayer) Compared() Compared { return r.compared }

// Advance brings the machine nearer to e, the entry after the last one, but
// not beyond position max, and applies e once its position is reached: an
// input is delivered, a marker or digest compared. It returns early, with done
// false, when an output wants attention, or when a request of this replica's own
// that e completes is not done (WaitsForOwn). After the first error every later
// call returns it: *Divergence, or an entry out of order.
func (r *Replayer) Advance(e Entry, max machine.Icount) (done bool, err error) {
	if r.err == nil {
		done, r.err = r.advance(e, max)
	}
	return done, r.err
}

// Apply is Advance without a limit: it runs the machine up to e and applies it.
// The outputs are collected afterwards.
func (r *Replayer) Apply(e Entry) error {
	_, err := r.ApplyUntil(e, machine.Never)
	return err
}

// maxStuck is how often a machine may come back from Run where it was.
const maxStuck = 1000

// ApplyUntil is Apply, but not beyond position max; done says whether e was
// applied, which it is not either while WaitsForOwn.
func (r *Replayer) ApplyUntil(e Entry, max machine.Icount) (done bool, err error) {
	for stuck := 0; ; {
		before := r.m.Icount()
		done, err := r.Advance(e, max)
		if done || err != nil || r.waiting || r.m.Icount() >= max {
			return done, err
		}
		if stuck++; r.m.Icount() > before {
			stuck = 0
		} else if stuck > maxStuck {
			panic(fmt.Sprintf("replay: BUG: the machine stands at %d with outputs ready", before))
		}
	}
}

func (r *Replayer) advance(e Entry, max machine.Icount) (bool, error) {
	r.waiting = false
	switch {
	case e.Seq != r.last.Seq+1:
		return false, fmt.Errorf("replay: entry %d follows entry %d: the log has a gap", e.Seq, r.last.Seq)
	case e.Pos < r.last.Pos:
		return false, fmt.Errorf("replay: entry %d at position %d lies before entry %d at %d", e.Seq, e.Pos, r.last.Seq, r.last.Pos)
	case e.Pos < r.m.Icount():
		return false, r.differ(e, "the position", e.Pos, fmt.Sprintf("already %d", r.m.Icount()))
	}
	for until := min(e.Pos, max); r.m.Icount() < until; {
		before := r.m.Icount()
		exit := r.m.Run(until)
		now := r.m.Icount()
		switch {
		case now < before || now > until:
			panic(fmt.Sprintf("replay: BUG: Run(%d) went from %d to %d", until, before, now))
		case now == until:
		case exit == machine.OutputReady:
			return false, nil
		case exit == machine.Reached:
			panic(fmt.Sprintf("replay: BUG: Run(%d) says reached at %d", until, now))
		case exit == machine.PoweredOff || exit == machine.Idle && now == before:
			return false, r.differ(e, "the next entry's position", e.Pos, fmt.Sprintf("never reached: the machine is %v at %d", exit, now))
		}
	}
	if r.m.Icount() < e.Pos {
		return false, nil
	}
	if own, ok := e.Body.(OwnDone); ok {
		if done, err := r.applyOwn(e, own); !done || err != nil {
			return false, err
		}
	} else if err := r.apply(e); err != nil {
		return false, err
	}
	r.last = Point{Seq: e.Seq, Pos: e.Pos}
	return true, nil
}

func (r *Replayer) apply(e Entry) error {
	switch b := e.Body.(type) {
	case Input:
		return r.deliver(e, b.In)
	case Marker:
		if mark := r.m.Mark(); mark != b.Mark {
			return r.differ(e, "the output mark", markString(b.Mark), markString(mark))
		}
		r.compared.Markers++
	case DigestCheck:
		a := r.m.Account()
		if a.Digest != b.Digest {
			d := r.differ(e, "the digest", b.Digest, a.Digest)
			d.account = &a
			return d
		}
		r.agreed = e.Pos
		r.compared.Digests++
	case Horizon, Arm:
	default:
		return fmt.Errorf("replay: entry %d has a body of unknown type %T", e.Seq, e.Body)
	}
	return nil
}

func (r *Replayer) deliver(e Entry, in machine.Input) error {
	if err := r.m.Deliver(in); err != nil {
		return r.differ(e, fmt.Sprintf("the delivery of %T", in), "accepted", fmt.Sprintf("refused (%v)", err))
	}
	return nil
}

func (r *Replayer) differ(e Entry, what string, log, here any) *Divergence {
	return &Divergence{Seq: e.Seq, Pos: r.m.Icount(), Since: r.agreed, What: what, Log: fmt.Sprint(log), Here: fmt.Sprint(here)}
}

func markString(m machine.Mark) string {
	return fmt.Sprintf("%d outputs with hash %016x", m.Count, m.Hash)
}
