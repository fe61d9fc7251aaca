package sim

import (
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// localDisk is a process's adapter to its host's copy: the same at a primary,
// which logs that a request is done, and at a backup, which waits for its own.
type localDisk struct {
	p   *proc
	c   *localCopy
	m   *ft.Intent
	ops []*localOp // requests without a delivered completion, oldest first

	flushes ft.Flushes
	// held: a request has failed and the guest stands still until it succeeds.
	held bool

	sync *syncing
	got  int // backup: blocks of the synchronisation
	// Of this pairing: the common point while both run.
	cut  *ft.PrimaryCut
	ours *ft.BackupCut

	catchUp   replay.Seq // primary: the backup is to be flushed up to here; 0 if not asked
	confirmed replay.Seq // backup: it is flushed up to here
}

type localOp struct {
	o     machine.Output
	begun bool // a write that may be found in the image
	done  bool
	data  block
}

func (w *World) local() bool { return w.cfg.Disks == DisksLocal || w.cfg.Disks == DisksLocalBoth }

func (p *proc) openCopy() {
	c := p.host.copy
	p.local = &localDisk{p: p, c: c, m: c.label.intent(), cut: new(ft.PrimaryCut), ours: new(ft.BackupCut)}
}

// keepMap makes the newer half of the map durable, some time later, and goes on.
func (d *localDisk) keepMap(then func()) {
	d.later(1, 4, func() {
		d.c.commitHalf(d.m)
		then()
	})
}

// keep makes the rest of the label durable.
func (d *localDisk) keep(then func()) {
	k := d.m.Kept()
	d.c.label.Since, d.c.label.Prepared = k.Since, k.Prepared
	d.later(1, 4, func() {
		d.c.commit()
		then()
	})
}

// fold gives up a Cut that was not committed.
func (d *localDisk) fold() {
	d.m.Fold()
	d.c.commitHalf(d.m)
	d.c.label.base = d.m.Kept().Generation
	d.c.commit()
}

// cutNow is Cut, with what is pending noted.
func (d *localDisk) cutNow(p ft.Point) {
	d.m.Cut(p)
	if !d.p.w.broken(BreakLocalCutForgetsPending) {
		for _, sector := range d.pending() {
			d.m.Note(sector, sector)
		}
	}
}

// commit makes a point the common one, in the label too.
func (d *localDisk) commit(p ft.Point, change func(*ft.Image), then func()) {
	last := func() {
		if !d.m.MayCommit(p) {
			return // it was given up meanwhile
		}
		d.m.Commit(p)
		d.c.label.base = d.m.Kept().Generation
		change(&d.c.label.Image)
		d.keep(then)
	}
	if d.p.w.broken(BreakLocalCommitUnsettled) {
		last()
	} else {
		d.keepMap(last)
	}
}

// noted says whether a write to a sector may begin.
func (d *localDisk) noted(sector uint64) bool {
	l := &d.c.stableLabel
	return l.of(d.m.Kept().Generation)>>sector&1 != 0
}

// later is how long the host's disk takes; a process that died asks for nothing
// more.
func (d *localDisk) later(lo, hi int, f func()) {
	w := d.p.w
	w.after(w.rnd.Between(lo, hi), func() {
		if !d.p.dead && !d.p.host.down {
			f()
		}
	})
}

func (d *localDisk) find(id uint64) *localOp {
	for _, op := range d.ops {
		if op.o.ID == id {
			return op
		}
	}
	return nil
}

func (d *localDisk) forget(id uint64) {
	d.ops = slices.DeleteFunc(d.ops, func(op *localOp) bool { return op.o.ID == id })
}

// start carries out a request, unless it is under way: after a failover the
// same process goes on with what it began as a backup.
func (d *localDisk) start(o machine.Output) {
	op := d.find(o.ID)
	if op != nil && op.done {
		d.p.post(func() { d.done(op) })
		return
	}
	if o.Op == machine.DiskFlush {
		d.flushes.Ask(ft.FlushID{ID: o.ID})
	}
	if op == nil {
		op = &localOp{o: o}
		d.ops = append(d.ops, op)
		d.run(op)
	}
}

func (d *localDisk) run(op *localOp) {
	w := d.p.w
	slow := 6
	if w.rnd.OneIn(12) && !w.faults.over {
		slow = w.rnd.Between(30, 200)
	}
	finish := func() {
		op.done = true
		d.p.later(func() { d.done(op) })
	}
	fails := func() bool {
		if !d.broken() {
			return false
		}
		if w.broken(BreakLocalErrorIgnored) {
			finish()
		} else {
			d.p.later(func() { d.failed(op) })
		}
		return true
	}
	switch op.o.Op {
	case machine.DiskRead:
		d.later(1, slow, func() {
			op.data = d.c.cache[op.o.Sector]
			finish()
		})
	case machine.DiskFlush:
		d.later(1, slow, func() {
			if fails() {
				return
			}
			d.c.sync()
			finish()
		})
	case machine.DiskWrite:
		write := func() {
			op.begun = true
			d.later(1, slow, func() {
				if fails() {
					return
				}
				d.c.write(op.o.Sector, blockOf(op.o.Bytes))
				if d.sync != nil && !w.broken(BreakLocalSyncedOnce) {
					d.sync.todo |= 1 << op.o.Sector
				}
				finish()
			})
		}
		if older := d.m.Kept().Older; older != nil && older[0]>>op.o.Sector&1 != 0 && w.broken(BreakLocalOlderHalfDoes) {
			write()
			return
		}
		d.m.Note(op.o.Sector, op.o.Sector)
		if d.noted(op.o.Sector) || w.broken(BreakLocalIntentLate) {
			write()
		} else {
			d.keepMap(write)
		}
	}
}

// pending are the sectors of writes whose completion is not in the log.
func (d *localDisk) pending() (sectors []uint64) {
	for _, o := range d.p.m.Pending(nil) {
		if o.Local && o.Op == machine.DiskWrite {
			sectors = append(sectors, o.Sector)
		}
	}
	return sectors
}

// done is a request that was carried out; the driving goroutine hears of it.
func (d *localDisk) done(op *localOp) {
	d.held = false
	switch {
	case d.find(op.o.ID) != op:
	case op.o.Op == machine.DiskFlush && d.p.live:
		d.flushes.Own(ft.FlushID{ID: op.o.ID})
	case op.o.Op == machine.DiskFlush:
		d.tell(message{kind: kindFlushed, id: op.o.ID})
	case d.p.live:
		in := machine.DiskDone{ID: op.o.ID}
		if op.o.Op == machine.DiskRead {
			in.Bytes = op.data.bytes()
		}
		d.p.arrive(input{in: in})
	}
	if d.p.live {
		d.p.powerOff()
	}
}

// busy is how many requests are not done.
func (d *localDisk) busy() (n int) {
	for _, op := range d.ops {
		if !op.done {
			n++
		}
	}
	return n
}

// deliverFlushes is done by the goroutine that obeys Ready, and at the moment
// of delivery: a flush that was done alone must not be delivered once the
// record may name the other copy.
func (d *localDisk) deliverFlushes() {
	need := d.p.r.FlushNeedsPeer() && !d.p.w.broken(BreakLocalFlushOwn)
	for _, f := range d.flushes.Take(need, nil) {
		d.p.deliver(input{in: machine.DiskDone{ID: f.ID}})
	}
}

// failed is a request that the host could not carry out.
func (d *localDisk) failed(op *localOp) {
	p := d.p
	if p.r == nil || p.r.State().Final() {
		return
	}
	if p.w.broken(BreakLocalErrorToGuest) {
		p.arrive(input{in: machine.DiskDone{ID: op.o.ID, Status: machine.DiskIOError}})
		return
	}
	if d.dropped("write error"); !p.r.State().Final() {
		d.held = true
		d.later(20, 60, func() { d.run(op) })
	}
}

// dropped reports that the own copy has failed; a backup is lost with it.
func (d *localDisk) dropped(what string) {
	if s := d.p.r.State(); s == ft.Joining || s == ft.Replaying {
		d.p.w.check.crashed(d.p)
	}
	d.p.w.tracef("%v: its copy has failed: %s", d.p, what)
	d.p.r.CopyFailed(what)
}

// broken says whether the host fails to write now.
func (d *localDisk) broken() bool { return d.c.failing && !d.p.w.faults.over }

// crash is kill -9: of the writes under way, some happen.
func (d *localDisk) crash() {
	for _, op := range d.ops {
		if op.begun && !op.done && d.p.w.rnd.OneIn(2) {
			d.c.write(op.o.Sector, blockOf(op.o.Bytes))
		}
	}
}

func (d *localDisk) tell(m message) {
	if d.p.conn != nil && !d.p.sealed {
		d.p.conn.send(m)
	}
}

// apply is a logged completion at a backup: it holds its replay until its own
// copy has done the request, and a read brings its own copy's data.
func (d *localDisk) apply(done machine.DiskDone) (in machine.DiskDone, ok bool) {
	op := d.find(done.ID)
	switch {
	case op == nil:
		d.p.diverged("request %d is done, and was never made", done.ID)
		return done, false
	case !op.done && !d.p.w.broken(BreakLocalNoHold):
		return done, false
	case op.o.Op == machine.DiskRead:
		done.Bytes = op.data.bytes()
	}
	d.forget(done.ID)
	return done, true
}

// again repeats, on a new connection, what may have been lost with the old one.
func (d *localDisk) again() {
	if d.p.live {
		d.tellCut()
		return
	}
	if d.p.r.State() == ft.Replaying {
		d.tell(message{kind: kindSynced, copy: d.c.label})
	}
	for _, op := range d.ops {
		if op.done && op.o.Op == machine.DiskFlush {
			d.tell(message{kind: kindFlushed, id: op.o.ID})
		}
	}
	if d.confirmed != 0 {
		d.tell(message{kind: kindFlushedTo, seq: d.confirmed})
	}
	d.tellPrepared()
}
