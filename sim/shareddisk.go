package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// sharing is a process's part in a shared disk that the backup reads.
type sharing struct {
	queue
	writer bool // this process has claimed the disk
	slow   bool // its reads take long while it follows,
	flaky  int  // and one in so many fails

	// As primary.
	executed machine.Icount // by the backup
	reads    ft.PeerReads
	logged   uint64 // completions of reads that the backup does
	peerTold uint64 // the most that any backup has said, for a rule that is broken
	trouble  bool   // an error of the host: the guest stands still
	trying   bool
	nextTry  int
	tracked  []*tracked
	mustRead map[uint64][]*tracked // by the change that follows them
	reissued []toyRequest          // reads made again at going live
	madeAt   map[uint64]int        // of requests

	// As backup.
	own     *ft.OwnReads
	looked  replay.Seq // entries up to here were looked at
	told    uint64     // reads done,
	sent    uint64     // and said, for a rule that is broken
	count   uint64     // reads received,
	awaited uint64     // and those of them that something may wait for
	orphan  bool       // its primary goes on alone
}

// retryRead is how long a disk waits before it tries again.
const retryRead = 30

// maxLag is how far a backup may lag before its primary is slowed down.
const maxLag = 300

func (w *World) readByBackup() bool { return w.cfg.Disks == DisksReadByBackup }

func (p *proc) share() {
	w := p.w
	p.shared = &sharing{mustRead: map[uint64][]*tracked{}, madeAt: map[uint64]int{}, slow: w.rnd.OneIn(3)}
	if w.rnd.OneIn(3) {
		p.shared.flaky = w.rnd.Between(2, 8)
	}
	p.shared.perform = p.perform
}

// perform carries a request to the disk and its outcome back.
func (p *proc) perform(r *queued) {
	w, s := p.w, p.shared
	n := p.number(p.r.Number())
	delay := w.rnd.Between(1, 6)
	switch {
	case s.slow && !s.writer && !w.faults.over:
		delay = w.rnd.Between(10, 120)
	case w.rnd.OneIn(12) && !w.faults.over:
		delay = w.rnd.Between(30, 300)
	}
	w.after(delay, func() {
		if p.dead && r.Op == machine.DiskRead {
			return
		}
		done, what := w.disk.perform(p, n, r.Output)
		w.after(w.delay(), func() {
			p.soon(func() { p.performed(r, done, what) })
		})
	})
}

// outcome is what became of a request.
type outcome uint8

const (
	performed outcome = iota
	failed            // an error of the host: the guest never hears of it
	full              // no room
	fenced
)

// perform does a request of p's, who shows its number if it has claimed.
func (d *disk) perform(p *proc, n ft.Fence, o machine.Output) (done machine.DiskDone, what outcome) {
	w := d.w
	done = machine.DiskDone{ID: o.ID}
	follows := !p.shared.writer
	switch {
	case !follows && n.Less(d.fence):
		w.tracef("disk: refuses %v's %v", p.id, n)
		return done, fenced
	case w.faults.over:
	case p.host.badDisk, follows && w.rnd.OneIn(p.shared.flaky):
		return done, failed
	case d.full && changes(o):
		return done, full
	case !follows && o.Op == machine.DiskRead && w.rnd.OneIn(d.errors):
		// The medium itself says so: that is the guest's to know.
		w.check.unreadable = append(w.check.unreadable, o.ID)
		done.Status = machine.DiskIOError
		return done, performed
	}
	if !follows {
		w.check.accepted(p, "disk")
	}
	switch o.Op {
	case machine.DiskRead:
		for i := range sectorsOf(o) {
			done.Bytes = append(done.Bytes, block{value: d.values[o.Sector+i]}.bytes()...)
		}
		w.check.read(p, o)
	case machine.DiskWrite, machine.DiskZero:
		w.check.changed(p, o)
		for i := range sectorsOf(o) {
			d.values[o.Sector+i] = valueAt(o, i)
		}
	}
	return done, performed
}

// performed is in the disk's own goroutine: the driving one hears of it.
func (p *proc) performed(r *queued, done machine.DiskDone, what outcome) {
	s := p.shared
	first := !s.stopped
	if what == failed && !s.writer && p.w.broken(BreakReadsNotTriedAgain) {
		done.Status, what = machine.DiskIOError, performed
	}
	if what != performed {
		s.stopped = true
	}
	s.left(r, what == performed)
	switch what {
	case performed:
		s.begin()
		p.post(func() { p.took(r.Output, done) })
	case fenced:
		p.post(p.r.FencedOff)
	default:
		if first {
			p.post(func() { p.diskStopped(what) })
		}
	}
}

// took is a completion that comes out of the mailbox.
func (p *proc) took(o machine.Output, done machine.DiskDone) {
	s := p.shared
	req := ft.RequestOf(o)
	switch {
	case !p.live:
		s.own.Done(done)
		p.tellReads()
	case s.own != nil && !p.w.broken(BreakReadsStray) && s.own.Stray(req):
	default:
		p.arrive(input{in: done})
	}
}

// claimedDisk is the end of a claim: this process is the one that writes.
func (p *proc) claimedDisk() {
	if s := p.shared; s != nil {
		s.writer = true
		s.claimed()
	}
}

// diskStopped is an error of the host. A backup tries again for as long as it
// takes; a protected primary leaves the VM to its backup.
func (p *proc) diskStopped(what outcome) {
	w, s := p.w, p.shared
	if !p.live {
		w.after(retryRead, func() { p.soon(s.resume) })
		return
	}
	w.tracef("%v: the disk has stopped", p)
	s.trouble, s.trying, s.nextTry = true, false, w.now+w.rnd.Between(20, 60)
	if what == failed && p.r.State() == ft.Protected {
		p.r.CopyFailed("the disk has stopped")
	}
}

// retryDisk tries a disk that has stopped, and lets the guest go on when what it
// kept is done.
func (p *proc) retryDisk() {
	s := p.shared
	switch {
	case !s.trouble:
	case s.trying && s.settled() && (s.idle() || !p.w.broken(BreakReadsStandStill)):
		s.trouble = false
	case !s.trying && p.w.now >= s.nextTry && p.r.State() != ft.Yielding && !p.off:
		s.trying = true
		s.resume()
	}
}

// mayRun: the guest stands still while its disk does, and is slowed down while
// the backup lags.
func (p *proc) mayRun() bool {
	s := p.shared
	lags := p.logging && p.m.Icount() > s.executed+maxLag
	return !s.trouble && (!lags || p.slices%8 == 0)
}
