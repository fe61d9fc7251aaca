package vm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// Local disks (DESIGN section 7): this file joins the protocol's decisions about
// copies (ft/copies.go, ft/local.go) to this host's images (storage/local).
//
//	power-on   ft.PowerOn, images synced and marked, run recorded, claim 0
//	pairing    localsync.go
//	requests   each replica does those of its own machine; the log has completions
//	claim      images marked, then the arbiter is asked

// localDisks is this host's copy of the VM's local disks. A nil one is that of a
// VM without any.
type localDisks struct {
	copies []*local.Copy // one for each disk; nil for a shared one
	id     ft.CopyID     // of all of them together
	both   bool          // a flush waits for both copies

	tasks sync.WaitGroup
	cut   *localCut  // of the newest pairing; nil before the first
	sync  *localSync // of the pairing that begins; nil if none does
	last  *localSync // the newest, which may still be giving up
	// following: this replica did the requests of a machine that it loaded.
	following bool

	// What this replica's own disks have done for a machine that follows, until
	// the log has its completion.
	done map[ft.Request]machine.DiskDone
	// earlier are the reads without a completion in the State that the pairing
	// began with. The primary may have done them before a write that the backup's
	// copy came with: their data is in the log.
	earlier map[ft.Request]bool
	localFlushes
}

// localConfig refuses what cannot be done with local disks.
func (c *Config) localConfig() error {
	disks, flush := 0, 0
	for i := range c.Disks {
		d := &c.Disks[i]
		if !c.Machine.Disks[i].Local {
			continue
		}
		disks++
		switch {
		case d.ReadOnly:
			return fmt.Errorf("vm: disk %d: a local disk is written; for one that is only read write mode: shared, and give each host the same image", i)
		case d.BackupReads:
			return fmt.Errorf("vm: disk %d: each replica reads its own copy of a local disk; leave reads out", i)
		case storage.Scheme(d.Path) != "":
			return fmt.Errorf("vm: disk %d: %s: a local disk is an image on each host", i, d.Path)
		case c.RecordState != "":
			return fmt.Errorf("vm: disk %d: the log of a VM with local disks has no data of reads, so a recording of it cannot be replayed; record a VM that runs alone", i)
		}
		if d.FlushBoth {
			flush++
		}
	}
	switch {
	case disks == 0:
		return nil
	case c.Arbiter == "":
		return errors.New("vm: local disks need an arbiter, also for a VM that runs alone: its run record says which copy is current; add `arbiter: file:DIRECTORY` to the spec")
	case flush != 0 && flush != disks:
		return errors.New("vm: flush: both is for all local disks of a VM or for none")
	}
	return nil
}

// openCopies opens and locks this host's images. One that was never used gets
// its sidecar here, as part of the same copy as the others.
func (r *Replica) openCopies() error {
	l := &localDisks{copies: make([]*local.Copy, len(r.cfg.Disks)), done: map[ft.Request]machine.DiskDone{}}
	l.asked = map[ft.FlushID]bool{}
	var fresh []int
	any := false
	for i := range r.cfg.Disks {
		if !r.cfg.Machine.Disks[i].Local {
			continue
		}
		any, l.both = true, r.cfg.Disks[i].FlushBoth
		c, err := r.openCopy(i, local.Options{Copy: l.id})
		switch {
		case errors.Is(err, local.ErrNoSidecar):
			fresh = append(fresh, i)
			continue
		case err != nil:
			return errors.Join(err, l.close(0))
		}
		l.copies[i], l.id = c, c.Status().Copy
	}
	if !any {
		return nil
	}
	if l.id == (ft.CopyID{}) {
		if _, err := rand.Read(l.id[:]); err != nil {
			return fmt.Errorf("vm: %w", err)
		}
	}
	for _, i := range fresh {
		c, err := r.openCopy(i, local.Options{Copy: l.id, Adopt: true})
		if err != nil {
			return errors.Join(err, l.close(0))
		}
		l.copies[i] = c
	}
	r.local = l
	return nil
}

func (r *Replica) openCopy(i int, o local.Options) (*local.Copy, error) {
	o.FS, o.VM = r.cfg.files, fmt.Sprintf("%s/%d", r.cfg.Name, i)
	return local.Open(r.ctx, r.cfg.Disks[i].Path, o)
}

// backend is what a local disk's requests are done on.
func (l *localDisks) backend(disk uint8, wrap func(storage.Backend) storage.Backend) storage.Backend {
	if wrap != nil {
		return wrap(l.copies[disk])
	}
	return l.copies[disk]
}

// close closes the copies from index first on: those before it belong to disks.
func (l *localDisks) close(first int) error {
	var err error
	for i := first; l != nil && i < len(l.copies); i++ {
		if l.copies[i] != nil {
			err = errors.Join(err, l.copies[i].Close())
		}
	}
	return err
}

// outrun tells what to do on a host that was not quick enough to power the VM on.
// Its copy of the disks may be marked with a run that is not the VM's.
func (l *localDisks) outrun(err error) error {
	if l == nil || !errors.Is(err, arbiter.ErrTaken) && !errors.Is(err, arbiter.ErrNotEnded) {
		return err
	}
	return fmt.Errorf("%w. This host's copy of the disks has the contents that it had; if the VM runs on the other host, run `lockstep backup` here, and it is brought up to date", err)
}

// is says whether a disk is a local one.
func (l *localDisks) is(disk uint8) bool {
	return l != nil && int(disk) < len(l.copies) && l.copies[disk] != nil
}

func (l *localDisks) copyID() ft.CopyID {
	if l == nil {
		return ft.CopyID{}
	}
	return l.id
}

func (l *localDisks) flushMode() ft.FlushMode {
	if l != nil && l.both {
		return ft.FlushBoth
	}
	return ft.FlushOwn
}

// image is what all images say together: the copy is as old as its oldest image.
func (l *localDisks) image() ft.Image {
	img := ft.Image{ID: l.id}
	first := true
	for _, c := range l.copies {
		if c == nil {
			continue
		}
		s := c.Status()
		i := s.Image()
		if first || i.Gen.Less(img.Gen) {
			img.Gen = i.Gen
		}
		img.Syncing = img.Syncing || i.Syncing
		first = false
	}
	return img
}

// powerOnFrom says how the run record is to name this host's copy, or why the VM
// must not be powered on from it.
func (r *Replica) powerOnFrom(p *arbiter.PowerOn) error {
	l := r.local
	if l == nil {
		return nil
	}
	last, _, err := r.arb.Last(r.cfg.Name)
	if err != nil {
		return err
	}
	if err := ft.PowerOn(last.Copies, l.image(), l.both, r.cfg.Order); err != nil {
		var refused *ft.PowerOnError
		if errors.As(err, &refused) && refused.Needs != ft.OrderNone {
			return fmt.Errorf("%w. The order is --use-copy %v", err, refused.Needs)
		}
		return err
	}
	// What a computer reads after its power-on is on the disk.
	for _, c := range l.copies {
		if c == nil {
			continue
		}
		if s := c.Status(); s.State == local.Stale && r.cfg.Order < ft.OrderStale {
			return fmt.Errorf("vm: this host's copy of the disks was dropped (%s): start the VM on the other host, and this copy is brought up to date; if that one is lost for good, --use-copy %v takes this one", s.Reason, ft.OrderStale)
		}
		if err := c.Sync(); err != nil {
			return err
		}
	}
	p.Copy = l.id
	p.Mark = func(gen ft.Generation) error {
		if gen.Run.Ordinal != last.Run.Ordinal+1 {
			return arbiter.ErrTaken // the record is not the one that was looked at
		}
		return l.mark(gen, r.cfg.Order != ft.OrderNone)
	}
	return nil
}

// mark notes in the images, durably, what the record is about to say of them.
func (l *localDisks) mark(gen ft.Generation, ordered bool) error {
	if l == nil {
		return nil
	}
	for _, c := range l.copies {
		if c == nil {
			continue
		}
		enter := c.Enter
		if ordered {
			enter = c.Take
		}
		if err := enter(gen); err != nil {
			return err
		}
	}
	return nil
}

// nameCopies has the record name both copies of a pairing that is to be armed.
func (r *Replica) nameCopies(n ft.Name) {
	cell := ft.Cell{VM: r.cfg.Name, Run: r.run, Epoch: n.Epoch}
	r.task(func() {
		err := r.local.mark(n.Copies.Gen, false)
		if err == nil {
			err = r.arb.NameCopies(cell, n.Copies)
		}
		r.box.do(func() {
			if err != nil {
				r.event(EventNote, "the run record cannot name the copies, asking on: %v", err)
				return
			}
			r.proto.Named(n.Epoch)
		})
	})
}

// copyFailed takes an error of this host's copy: the guest never hears of it. The
// copy is dropped if the other replica can go on; else false, and the request
// waits.
func (r *Replica) copyFailed(s storage.Stop) bool {
	if !r.local.is(s.Disk) || r.proto == nil {
		return false
	}
	what := fmt.Sprintf("disk %d (%s): %v failed: %v", s.Disk, r.cfg.Disks[s.Disk].Path, s.Op, s.Err)
	switch r.proto.State() {
	case ft.Joining, ft.Replaying:
		r.bye(logchan.ByeHalted) // the primary need not wait for silence
	}
	if !r.proto.CopyFailed(what) {
		return false
	}
	if !r.proto.State().Final() { // Yielding: what has failed is kept
		r.stops.of[s.Disk] = &diskStop{Stop: s}
	}
	r.event(EventDiskStopped, "%s; this copy is dropped and the other replica is to go on", what)
	return true
}

// drop marks the copy of a replica that has halted: the other one has gone on.
func (l *localDisks) drop(why string) {
	if l == nil {
		return
	}
	for _, c := range l.copies {
		if c != nil {
			_ = c.MarkStale(why) // the record says so as well
		}
	}
}

// beginLocal lets this replica do the requests of the machine that it has
// loaded, beginning with those that were under way.
func (r *Replica) beginLocal() {
	if r.local == nil {
		return
	}
	r.local.following = true
	for i, d := range r.disks {
		if r.local.is(uint8(i)) {
			d.Use()
		}
	}
	r.local.beginEarlier(r.m)
	for _, o := range r.m.Pending(nil) {
		if !r.local.earlier[ft.RequestOf(o)] {
			r.madeLocal(o)
		}
	}
}

// beginEarlier notes the reads that a State for a backup has pending.
func (l *localDisks) beginEarlier(m machine.Machine) {
	if l == nil {
		return
	}
	l.earlier = map[ft.Request]bool{}
	for _, o := range m.Pending(nil) {
		if o.Port.Kind == machine.PortDisk && l.is(o.Port.Index) && o.Op == machine.DiskRead {
			l.earlier[ft.RequestOf(o)] = true
		}
	}
}

// completesOwn says, of a completion for the log, whether the backup does the
// request on its own copy.
func (l *localDisks) completesOwn(d machine.DiskDone) bool {
	req := ft.Request{Disk: d.Disk, ID: d.ID}
	earlier := l.earlier[req]
	delete(l.earlier, req)
	return !earlier
}

// madeLocal does a request of the machine that follows.
func (r *Replica) madeLocal(o machine.Output) {
	if o.Port.Kind == machine.PortDisk && r.local.is(o.Port.Index) {
		r.local.noteFlush(o)
		r.disks[o.Port.Index].Submit(o)
	}
}

// applied forgets a request whose completion was replayed.
func (l *localDisks) applied(e replay.Entry) {
	switch b := e.Body.(type) {
	case replay.OwnDone:
		if l.is(b.Disk) {
			delete(l.done, ft.Request{Disk: b.Disk, ID: b.ID})
			delete(l.asked, ft.FlushID{Disk: b.Disk, ID: b.ID})
		}
	case replay.Input:
		if d, ok := b.In.(machine.DiskDone); ok && l.is(d.Disk) {
			delete(l.earlier, ft.Request{Disk: d.Disk, ID: d.ID})
		}
	}
}

// keepLocal says whether a pending request of a replica that goes live is done
// on its own copy already, or under way: it is not begun twice.
func (r *Replica) keepLocal(o machine.Output) bool {
	if o.Port.Kind != machine.PortDisk || !r.local.is(o.Port.Index) || !r.local.following {
		return false
	}
	req := ft.RequestOf(o)
	if r.local.earlier[req] {
		return false
	}
	if r.local.asked[ft.FlushID(req)] {
		r.local.flushes.Ask(ft.FlushID(req))
	}
	if d, ok := r.local.done[req]; ok {
		delete(r.local.done, req)
		r.box.putDisk(d)
	}
	return true
}

// ownRequests are all that a replica does for itself while it follows.
type ownRequests struct {
	reads *ownReads
	local *localDisks
}

// Done implements replay.OwnRequests.
func (w ownRequests) Done(disk uint8, id uint64) (machine.DiskDone, bool) {
	if w.local.is(disk) {
		d, ok := w.local.done[ft.Request{Disk: disk, ID: id}]
		return d, ok
	}
	if w.reads == nil {
		return machine.DiskDone{}, false
	}
	return w.reads.Done(disk, id)
}
