package vm

import (
	"crypto/rand"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// While a pair runs its copies get a new common point now and then (ft/cut.go),
// so that the next re-synchronisation compares what was written since that, and
// not what was since the pairing. The owner only cuts, in memory; what has to
// become durable does so beside it, in localCut.work, while guest and replay go on.
//
// A cut is not free: each region that the guest writes again costs a sync of the
// sidecar again, and both copies are flushed. So the primary cuts when there is
// something to be had, and rarely enough that ten such syncs a second are the most
// there can be on the average.
const (
	cutEvery   = 30 * time.Second // at least, between two cuts
	cutRegions = 256              // at least, in the map
	cutRate    = 300              // regions that are noted again in a cutEvery, at most
	cutLook    = time.Second      // between two looks at the map
)

// localCut is the common point of one pairing.
type localCut struct {
	primary ft.PrimaryCut
	backup  ft.BackupCut

	began   int64 // primary: host time of the last cut, or of the pairing
	look    int64 // host time at which to look at the map again
	folding bool

	worked chan struct{} // closed when all work that was begun is done; nil for none
}

// beginCuts begins a pairing's.
func (l *localDisks) beginCuts(now int64) { l.cut = &localCut{began: now, worked: l.cutDone()} }

// cutDone is closed when nothing works on the maps any more; nil if nothing does.
func (l *localDisks) cutDone() chan struct{} {
	if l.cut == nil {
		return nil
	}
	return l.cut.worked
}

// work does f for every copy beside the owner, after the work before, and then
// has the owner do done. A copy that fails is as one that fails the guest's flush.
func (c *localCut) work(r *Replica, f func(*local.Copy) error, done func()) {
	before, worked := c.worked, make(chan struct{})
	c.worked = worked
	r.local.tasks.Go(func() {
		defer close(worked)
		if before != nil {
			<-before
		}
		for i, copy := range r.local.copies {
			if copy == nil {
				continue
			}
			if err := f(copy); err != nil {
				r.box.do(func() { r.copyFailed(storage.Stop{Disk: uint8(i), Op: machine.DiskFlush, Err: err}) })
				return
			}
		}
		r.box.do(func() {
			if r.local.cut == c {
				done()
			}
		})
	})
}

// moveCommonPoint is done by the owner between two slices.
func (r *Replica) moveCommonPoint() {
	if r.local == nil || r.local.cut == nil {
		return
	}
	switch r.proto.State() {
	case ft.Protected:
		r.commitCut()
		if r.running() && r.cutDue() {
			r.beginCut()
		}
	case ft.Replaying:
		if r.follow.replayer != nil && r.local.cut.backup.Due(r.last.Seq) {
			r.followCut()
		}
	}
}

// cutDue is the primary's policy.
func (r *Replica) cutDue() bool {
	c, now := r.local.cut, r.now()
	if now < c.look || c.primary.Open() || c.folding {
		return false
	}
	c.look = now + int64(min(cutLook, r.cfg.cutEvery))
	n := r.local.marked()
	wait := max(r.cfg.cutEvery, time.Duration(n)*r.cfg.cutEvery/cutRate)
	return n >= r.cfg.cutRegions && now-c.began >= int64(wait)
}

// marked is how many regions are in the maps.
func (l *localDisks) marked() (n uint64) {
	for _, c := range l.copies {
		if c != nil {
			n += c.Marked()
		}
	}
	return n
}

// beginCut cuts at a digest: copies of replicas that have diverged must not lose
// what tells them apart.
func (r *Replica) beginCut() {
	c := r.local.cut
	point := ft.Point{Gen: ft.PairGeneration(r.run, r.proto.Epoch())}
	if _, err := rand.Read(point.ID[:]); err != nil {
		panic("BUG: crypto/rand does not fail: " + err.Error())
	}
	if !r.cutAll(point) {
		return
	}
	c.began = r.now()
	c.primary.Begin(ft.CutAsk{Seq: r.digest(), Point: point})
	r.tellCut()
	r.flush()
}

// cutAll cuts the maps of all copies with what the guest has pending. If an
// earlier cut was given up, that is folded first, and false.
func (r *Replica) cutAll(p ft.Point) bool {
	c := r.local.cut
	if c.folding {
		return false
	}
	pending := make([][]local.Range, len(r.local.copies))
	for _, o := range r.m.Pending(nil) {
		if o.Port.Kind == machine.PortDisk && r.local.is(o.Port.Index) {
			pending[o.Port.Index] = append(pending[o.Port.Index], changes(o))
		}
	}
	for i, copy := range r.local.copies {
		if copy != nil && !copy.Cut(p, pending[i]) {
			c.folding = true
			c.work(r, (*local.Copy).Fold, func() { c.folding = false })
			return false
		}
	}
	return true
}

// changes is what a request may change; of no length for one that does not.
func changes(o machine.Output) local.Range {
	r := local.Range{Off: int64(o.Sector) * 512}
	switch o.Op {
	case machine.DiskWrite:
		r.Len = int64(len(o.Bytes))
	case machine.DiskDiscard, machine.DiskZero:
		r.Len = int64(o.Sectors) * 512
	}
	return r
}

// tellCut tells the backup, also on every new connection, how far the common
// point is.
func (r *Replica) tellCut() {
	if r.local == nil || r.local.cut == nil || r.primary == nil {
		return
	}
	c := &r.local.cut.primary
	if seq := c.Common(); seq != 0 {
		r.primary.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteCommon, Seq: seq})
	}
	if a, some := c.Ask(); some {
		r.primary.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteCut, Seq: a.Seq, Point: a.Point.ID})
	}
}

// commitCut commits the primary's map when the backup is prepared.
func (r *Replica) commitCut() {
	c := r.local.cut
	p, now := c.primary.Commit()
	if !now {
		return
	}
	c.work(r, func(copy *local.Copy) error { return copy.Commit(p) }, func() {
		c.primary.Committed()
		r.tellCut()
	})
}

// followCut cuts the backup's map, and prepares its copy for the point.
func (r *Replica) followCut() {
	c := r.local.cut
	ask := c.backup.Ask()
	if !r.cutAll(ask.Point) {
		return
	}
	c.backup.Begin()
	c.work(r, func(copy *local.Copy) error { return copy.Prepare(ask.Point) }, func() {
		c.backup.Prepared(ask.Seq)
		r.tellPrepared()
	})
}

// tellPrepared tells the primary, also on every new connection.
func (r *Replica) tellPrepared() {
	if r.backup == nil || r.local.cut == nil {
		return
	}
	if seq := r.local.cut.backup.Tell(); seq != 0 {
		r.backup.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NotePrepared, Seq: seq})
	}
}

// cutNotes takes what the primary tells.
func (r *Replica) cutNotes() {
	c := r.local.cut
	for _, n := range r.backup.DiskNotes(nil) {
		switch {
		case c == nil:
		case n.Kind == logchan.NoteCut:
			c.backup.Asked(ft.CutAsk{Seq: n.Seq, Point: ft.Point{Gen: ft.PairGeneration(r.run, r.proto.Epoch()), ID: n.Point}})
		case n.Kind == logchan.NoteCommon:
			if p, now := c.backup.Common(n.Seq); now {
				c.work(r, func(copy *local.Copy) error { return copy.Commit(p) }, func() {})
			}
		}
	}
}
