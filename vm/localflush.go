package vm

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// With flush: both a guest's flush is done when both copies are flushed, so that
// either may power the VM on unattended. The live replica holds completions in
// ft.Flushes; the backup tells of each flush that it has executed.

type localFlushes struct {
	flushes ft.Flushes
	asked   map[ft.FlushID]bool // flushes without a delivered completion

	catchUp   replay.Seq // primary: the backup is to be flushed up to here; 0 if not asked
	confirmed replay.Seq // backup: it is flushed up to here
}

// noteFlush notes a flush of the guest, and says whether it was one to note.
func (l *localDisks) noteFlush(o machine.Output) bool {
	if l == nil || !l.both || o.Op != machine.DiskFlush {
		return false
	}
	l.asked[ft.FlushID(ft.RequestOf(o))] = true
	return true
}

// flushing says whether a flush of the guest may wait for the backup's copy.
func (l *localDisks) flushing() bool { return l != nil && len(l.asked) > 0 }

// deliverable is what of the completions the guest may have. It is asked at the
// moment of delivery, by the goroutine that obeys the protocol.
func (r *Replica) deliverable(done []machine.DiskDone) []machine.DiskDone {
	l := r.local
	if l == nil || !l.both {
		return done
	}
	kept := done[:0]
	for _, d := range done {
		if id := (ft.FlushID{Disk: d.Disk, ID: d.ID}); l.asked[id] {
			l.flushes.Own(id)
		} else {
			kept = append(kept, d)
		}
	}
	for _, id := range l.flushes.Take(r.proto.FlushNeedsPeer(), nil) {
		delete(l.asked, id)
		kept = append(kept, machine.DiskDone{Disk: id.Disk, ID: id.ID})
	}
	return kept
}

// flushedOwn tells the primary that the backup has executed a flush.
func (r *Replica) flushedOwn(d machine.DiskDone) {
	if r.local.asked[ft.FlushID{Disk: d.Disk, ID: d.ID}] {
		r.backup.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteFlushed, Disk: d.Disk, ID: d.ID})
	}
}

// flushAgain repeats on a new connection what may have been lost with the old.
func (r *Replica) flushAgain() {
	for req, d := range r.local.done {
		if r.local.asked[ft.FlushID(req)] {
			r.flushedOwn(d)
		}
	}
	if r.local.confirmed != 0 {
		r.backup.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteFlushedTo, Seq: r.local.confirmed})
	}
	r.tellPrepared()
}

// catchUp has the backup flush its copy up to here: every digest in the log asks
// for that.
func (r *Replica) catchUp() {
	r.local.catchUp = r.digest()
	r.flush()
}

// digest appends a digest.
func (r *Replica) digest() replay.Seq {
	r.live.lastDigest, r.live.digestTime = r.m.Icount(), r.now()
	r.check()
	return r.last.Seq
}

// flushTo flushes the backup's copy up to a digest that it has compared. All
// requests that are completed before it are done on the own copy.
func (r *Replica) flushTo(e replay.Entry) {
	if _, ok := e.Body.(replay.DigestCheck); !ok || r.local == nil || !r.local.both {
		return
	}
	l := r.local
	l.tasks.Go(func() {
		for _, c := range l.copies {
			if c == nil {
				continue
			}
			if err := c.Sync(); err != nil {
				return // the guest's next flush fails likewise, and is reported
			}
		}
		r.box.do(func() {
			if l.confirmed = max(l.confirmed, e.Seq); r.backup != nil {
				r.backup.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteFlushedTo, Seq: l.confirmed})
			}
		})
	})
}

// diskNotes takes what the other replica has told of its copy.
func (r *Replica) diskNotes() {
	switch {
	case r.local == nil:
		return
	case r.backup != nil:
		r.cutNotes()
	}
	if r.primary == nil {
		return
	}
	l := r.local
	for _, n := range r.primary.DiskNotes(nil) {
		switch n.Kind {
		case logchan.NoteFlushed:
			l.flushes.Peer(ft.FlushID{Disk: n.Disk, ID: n.ID})
		case logchan.NoteFlushedTo:
			if l.catchUp != 0 && n.Seq >= l.catchUp {
				r.proto.CaughtUp(n.Gen) // which may be a connection that was lost since
			}
		case logchan.NotePrepared:
			if l.cut != nil {
				l.cut.primary.Prepared(n.Seq)
			}
		case logchan.NoteSynced:
			if l.sync != nil {
				l.sync.theirs = n
			}
		}
	}
	r.reportSynced()
}
