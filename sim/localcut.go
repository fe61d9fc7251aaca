package sim

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// The common point moves while both replicas run (ft/cut.go).

// newPoint is a common point that nobody had.
func (w *World) newPoint(e ft.Epoch) ft.Point {
	p := ft.Point{Gen: ft.PairGeneration(w.run, e)}
	w.points++
	p.ID = [16]byte{byte(w.points), byte(w.points >> 8)}
	return p
}

// maybeCut is the primary's: now and then it cuts its map.
func (d *localDisk) maybeCut() {
	if d.p.r.State() != ft.Protected || d.cut.Open() || d.sync != nil || !d.p.w.rnd.OneIn(4) {
		return
	}
	if d.m.IsCut() {
		d.fold()
		return
	}
	// Copies of replicas that have diverged must not lose what tells them apart.
	d.p.append(replay.DigestCheck{Digest: d.p.m.Digest()})
	point := d.p.w.newPoint(d.p.r.Epoch())
	d.cutNow(point)
	d.cut.Begin(ft.CutAsk{Seq: d.p.seq, Point: point})
	d.tellCut()
}

// tellCut tells the backup how far the common point is.
func (d *localDisk) tellCut() {
	if seq := d.cut.Common(); seq != 0 {
		d.tell(message{kind: kindCommon, seq: seq})
	}
	if a, some := d.cut.Ask(); some {
		d.tell(message{kind: kindCut, cut: a})
	}
}

// prepared is the backup's word that it has the point of entry seq.
func (d *localDisk) prepared(seq replay.Seq) {
	d.cut.Prepared(seq)
	d.commitCut()
}

func (d *localDisk) commitCut() {
	point, now := d.cut.Commit()
	if !now {
		return
	}
	cut := d.cut
	d.flushed(func() bool { return d.cut == cut }, func() {
		d.commit(point, func(*ft.Image) {}, func() {
			if d.cut == cut {
				cut.Committed()
				d.tellCut()
			}
		})
	})
}

// flushed flushes the own copy and goes on, if that is wanted yet.
func (d *localDisk) flushed(wanted func() bool, then func()) {
	d.later(1, 12, func() {
		if !wanted() || d.p.r.State().Final() {
			return
		}
		if d.broken() {
			d.p.later(func() { d.dropped("flush error") })
			return
		}
		if !d.p.w.broken(BreakLocalCutUnflushed) {
			d.c.sync()
		}
		then()
	})
}

// cutIfDue is the backup's, between two slices of its replay.
func (d *localDisk) cutIfDue() {
	at := d.p.done
	if d.p.w.broken(BreakLocalCutEarly) {
		at = ^replay.Seq(0)
	}
	if d.p.r.State() != ft.Replaying || !d.ours.Due(at) || d.p.w.rnd.OneIn(3) {
		return
	}
	if d.m.IsCut() {
		d.fold()
		return
	}
	ours, ask := d.ours, d.ours.Ask()
	d.cutNow(ask.Point)
	ours.Begin()
	d.flushed(func() bool { return d.ours == ours }, func() {
		d.m.Prepare(ask.Point)
		d.keep(func() {
			if d.ours == ours {
				ours.Prepared(ask.Seq)
				d.tellPrepared()
			}
		})
	})
}

func (d *localDisk) tellPrepared() {
	if seq := d.ours.Tell(); seq != 0 {
		d.tell(message{kind: kindPrepared, seq: seq})
	}
}

// common is the primary's word that both copies have the point of entry seq.
func (d *localDisk) common(seq replay.Seq) {
	if point, now := d.ours.Common(seq); now && !d.p.live {
		d.commit(point, func(*ft.Image) {}, func() { d.p.w.commits++ })
	}
}

// flushTo flushes the backup's copy up to a digest that it has compared.
func (d *localDisk) flushTo(seq replay.Seq) {
	if d.p.w.cfg.Disks != DisksLocalBoth {
		return
	}
	d.later(1, 12, func() {
		if d.p.live || d.p.r.State().Final() {
			return
		}
		if d.broken() {
			d.p.later(func() { d.dropped("flush error") })
			return
		}
		d.c.sync()
		d.confirmed = max(d.confirmed, seq)
		d.tell(message{kind: kindFlushedTo, seq: d.confirmed})
	})
}

// flushedTo is the backup's word that its copy is flushed up to entry seq.
func (d *localDisk) flushedTo(e *end, seq replay.Seq) {
	if d.catchUp != 0 && seq >= d.catchUp {
		d.p.r.CaughtUp(e.gen) // which may be a connection that was lost since
	}
}
