package sim

import (
	"math/bits"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// syncing is a synchronisation of the backup's copy with the primary's.
type syncing struct {
	seed  ft.Seed
	todo  uint64 // sectors to copy
	point ft.Point
	known bool // the backup has said what it has
	taken bool // the State is taken; what is left is up to the log
	sent  int  // blocks
}

const (
	allSectors = 1<<toySectors - 1
	perSync    = 2 // sectors that are copied in one slice
)

// beginSync is the start of a pairing with local disks: copies first, then the
// State.
func (d *localDisk) beginSync(s ft.Seed) {
	d.p.sealed = false
	d.cut, d.ours, d.catchUp = new(ft.PrimaryCut), new(ft.BackupCut), 0
	d.fold()
	d.sync = &syncing{seed: s, point: d.p.w.newPoint(s.Epoch)}
	d.tell(message{kind: kindSyncAsk, copy: d.c.label})
}

// current says whether this is the synchronisation under way, on connection e.
func (d *localDisk) current(s *syncing, e *end) bool {
	return s != nil && d.sync == s && d.p.r.State() == ft.Seeding && d.p.conn == e
}

// syncAsked is at the backup: its image is no disk from here on.
func (d *localDisk) syncAsked(e *end, from label) {
	d.got = 0
	d.cut, d.ours = new(ft.PrimaryCut), new(ft.BackupCut)
	d.fold()
	have := d.c.label
	d.m.Rebase(ft.PlanSync(from.Image, have.Image).Common)
	d.c.label.Syncing = !d.p.w.broken(BreakLocalArmUnsynced)
	if d.p.w.broken(BreakLocalArmUnsynced) {
		d.p.r.CopySynced(e.gen, d.c.label.ID)
	}
	d.keep(func() {
		if e.open {
			e.send(message{kind: kindSyncHave, copy: have})
		}
	})
}

// syncKnown is at the primary: what the backup has, and what must be copied.
func (d *localDisk) syncKnown(e *end, theirs label) {
	s := d.sync
	if !d.current(s, e) || s.known {
		return
	}
	w := d.p.w
	plan := ft.PlanSync(d.c.label.Image, theirs.Image)
	s.known = true
	if w.broken(BreakLocalArmUnsynced) {
		d.p.r.CopySynced(e.gen, theirs.ID)
		w.arbiter.name(ft.ArmedCopies(w.run, s.seed.Epoch, d.c.label.ID, theirs.ID))
	}
	switch {
	case plan.Full && !w.broken(BreakLocalNoFullCopy):
		s.todo |= allSectors
	case w.broken(BreakLocalOwnMapOnly):
		s.todo |= d.m.Union()[0]
	case w.broken(BreakLocalTheirMapOnly):
		s.todo |= theirs.intent().Union()[0]
	default:
		s.todo |= d.m.Union()[0] | theirs.intent().Union()[0]
	}
	if !plan.Full {
		w.partial++
	}
	w.tracef("%v synchronises %v: %d sectors, full %v %s", d.p, e.peer.p, bits.OnesCount64(s.todo), plan.Full, plan.Why)
}

// syncSlice copies a few sectors, between two slices of the guest. The last of
// them go in one such pause, and with them the State.
func (d *localDisk) syncSlice() bool {
	s := d.sync
	e := d.p.conn
	if s == nil || e == nil || !s.known || s.taken || !d.current(s, e) {
		return false
	}
	last := bits.OnesCount64(s.todo) <= perSync
	for n := 0; s.todo != 0 && (last || n < perSync); n++ {
		sector := uint64(bits.TrailingZeros64(s.todo))
		s.todo &^= 1 << sector
		s.sent++
		e.send(message{kind: kindBlock, id: sector, block: d.c.cache[sector]})
	}
	if !last {
		return d.p.hook("synchronising")
	}
	s.taken = true
	d.cutNow(s.point)
	return d.p.sendState(s.seed, s.point, s.sent)
}

// synced is at the backup: blocks and State are there.
func (d *localDisk) synced(e *end, point ft.Point, blocks int, loaded func()) {
	if d.got != blocks {
		return // a connection that loses something in the middle ends soon
	}
	d.later(1, 12, func() {
		if d.broken() {
			d.p.later(func() { d.dropped("flush error") })
			return
		}
		if !d.p.w.broken(BreakLocalSyncUnflushed) {
			d.c.sync()
		}
		d.p.later(func() {
			if d.p.r.State() != ft.Joining {
				return
			}
			loaded()
			d.cutNow(point)
			d.m.Prepare(point)
			d.c.label.Gen = ft.PairGeneration(d.p.w.run, d.p.r.Epoch())
			d.c.label.Syncing = false
			d.keep(func() {
				d.p.later(func() {
					if d.p.r.State() != ft.Joining {
						return
					}
					d.p.r.CopySynced(e.gen, d.c.label.ID)
					d.tell(message{kind: kindSynced, copy: d.c.label})
					d.p.r.StateLoaded()
					for _, o := range d.p.m.Pending(nil) {
						if o.Local {
							d.start(o)
						}
					}
					d.p.hook("synced")
				})
			})
		})
	})
}

// peerSynced is at the primary: the backup's copy is complete and flushed.
func (d *localDisk) peerSynced(e *end, theirs label) {
	s := d.sync
	if !d.current(s, e) || !s.taken {
		return
	}
	d.later(1, 12, func() {
		if d.broken() {
			d.peerSynced(e, theirs) // tries again while the pairing lasts
			return
		}
		if !d.current(s, e) {
			return
		}
		if !d.p.w.broken(BreakLocalSyncUnflushed) {
			d.c.sync()
		}
		marked := func(i *ft.Image) { i.Gen = ft.PairGeneration(d.p.w.run, s.seed.Epoch) }
		d.commit(s.point, marked, func() {
			d.p.later(func() {
				if !d.current(s, e) {
					return
				}
				d.sync = nil
				d.tell(message{kind: kindSyncCommon, point: s.point})
				if d.p.w.broken(BreakLocalNameBeforeGate) {
					d.p.w.arbiter.name(ft.ArmedCopies(d.p.w.run, s.seed.Epoch, d.c.label.ID, theirs.ID))
				}
				d.p.r.CopySynced(e.gen, theirs.ID)
			})
		})
	})
}

// syncCommon is at the backup: the primary has the point of the synchronisation too.
func (d *localDisk) syncCommon(point ft.Point) {
	if d.m.MayCommit(point) && !d.p.live {
		d.commit(point, func(*ft.Image) {}, func() {})
	}
}

// catchUp has the backup flush its copy up to here.
func (p *proc) catchUp() {
	if p.w.broken(BreakLocalNoCatchUp) {
		p.r.CaughtUp(p.connGen())
		return
	}
	p.append(replay.DigestCheck{Digest: p.m.Digest()})
	p.local.catchUp = p.seq
	p.flush()
}

// name asks the run record to name both copies.
func (p *proc) name(n ft.Name) {
	w := p.w
	w.arbiter.ask(p, func() func() {
		w.arbiter.name(n.Copies)
		return func() { p.r.Named(n.Epoch) }
	})
}
