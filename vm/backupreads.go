package vm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/storage"
)

// Reads by the backup (paper, section 4.2): this file joins ft.PeerReads, at the
// primary, and ft.OwnReads, at the backup, to the disks, the log and the channel.

// retryOwnEvery is how long a backup waits before it tries a read again.
const retryOwnEvery = 200 * time.Millisecond

// hash is what two replicas must agree in: the guest's computer, and which disks
// the backup reads.
func (c *Config) hash() [32]byte {
	h := c.Machine.Hash()
	for i := range c.Disks {
		if c.Disks[i].BackupReads {
			h = sha256.Sum256(append(append(h[:], "reads: backup"...), byte(i)))
		}
		if c.Disks[i].FlushBoth {
			h = sha256.Sum256(append(append(h[:], "flush: both"...), byte(i)))
		}
	}
	return h
}

// recordsReads refuses a backup's recording that nothing could replay.
func (c *Config) recordsReads() error {
	for i := range c.Disks {
		if c.Disks[i].BackupReads && c.RecordState != "" {
			return fmt.Errorf("vm: disk %d: the log of a VM with reads: backup has no data of reads, so a recording of it cannot be replayed; write reads: primary to record at the backup", i)
		}
	}
	return nil
}

// followable refuses reads: backup for what two hosts cannot read.
func (d *Disk) followable(b storage.Backend) error {
	if !d.BackupReads {
		return nil
	}
	if err := storage.CanFollow(b); err != nil {
		return errors.Join(fmt.Errorf("vm: reads: backup: %w; write reads: primary", err), b.Close())
	}
	return nil
}

// readByBackup notes a request for a disk that the backup reads.
func (r *Replica) readByBackup(o machine.Output) {
	if r.cfg.Disks[o.Port.Index].BackupReads {
		r.out.made(o)
	}
}

// logInput logs an input: the completion of what the backup does for itself
// without its data.
func (r *Replica) logInput(in machine.Input) replay.Seq {
	switch d, ok := in.(machine.DiskDone); {
	case !ok:
	case r.local.is(d.Disk):
		if r.live.seeded(r.primary) && r.local.completesOwn(d) {
			return r.append(replay.NewOwnDone(d))
		}
	case r.cfg.Disks[d.Disk].BackupReads:
		if c := r.out.completed(d); c.Own {
			return r.logRead(d, c.Awaited)
		}
	}
	return r.append(replay.Input{In: in})
}

// logRead logs a read that the backup does. It tells at once of those in front of
// a marker, so one that a change waits for gets a marker of its own.
func (r *Replica) logRead(d machine.DiskDone, awaited bool) replay.Seq {
	seq := r.append(replay.NewOwnDone(d))
	if awaited {
		r.mark()
	}
	return seq
}

func (x *outlet) made(o machine.Output) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reads.Made(o)
}

// completed notes a completion that goes into the log.
func (x *outlet) completed(d machine.DiskDone) ft.ReadDone {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, run := x.reads.Completed(d)
	x.runLocked(run)
	return c
}

// beginReads begins a pairing.
func (x *outlet) beginReads() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runLocked(x.reads.Begin())
}

// peerRead takes in how many reads of the log the backup has done.
func (x *outlet) peerRead(n uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runLocked(x.reads.PeerDone(n))
}

// waitsForPeer says, of a guest that is off, whether what it has written waits
// until the backup has read.
func (x *outlet) waitsForPeer() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runLocked(x.reads.PoweredOff())
	return x.reads.Waiting()
}

func (x *outlet) runLocked(requests []ft.Request) {
	for _, req := range requests {
		x.disks[req.Disk].Release(req.ID)
	}
}

// ownReads are the reads that this replica does for itself while it follows,
// and what is left of them once it is live. A nil one does none.
type ownReads struct {
	*ft.OwnReads
	disks []*storage.Disk        // nil for those that are not read
	told  uint64                 // of Count
	note  bool                   // a failure was told
	fails map[uint8]storage.Stop // of disks that nothing could be read from since
}

// beginOwn lets this replica's disks be read while it follows.
func (r *Replica) beginOwn() {
	disks, any := make([]*storage.Disk, len(r.disks)), false
	for i, d := range r.disks {
		if r.cfg.Disks[i].BackupReads {
			d.Follow()
			disks[i], any = d, true
		}
	}
	if any {
		r.follow.own = &ownReads{OwnReads: ft.NewOwnReads(r.m.Pending(nil)), disks: disks, fails: map[uint8]storage.Stop{}}
	}
	if any || r.local != nil {
		r.follow.replayer.OwnFrom(ownRequests{r.follow.own, r.local})
	}
}

// Done implements replay.OwnRequests.
func (w *ownReads) Done(disk uint8, id uint64) (machine.DiskDone, bool) {
	return w.Result(ft.Request{Disk: disk, ID: id})
}

func (w *ownReads) reads(disk uint8) bool { return w != nil && w.disks[disk] != nil }

// failing is the last failure of a disk that nothing could be read from since; nil
// if there is none.
func (w *ownReads) failing(disk uint8) *storage.Stop {
	if w == nil {
		return nil
	}
	if s, fails := w.fails[disk]; fails {
		return &s
	}
	return nil
}

func (w *ownReads) begin(reads []machine.Output) {
	for _, o := range reads {
		w.disks[o.Port.Index].Submit(o)
	}
}

// made takes a request of the replayed machine.
func (w *ownReads) made(o machine.Output) {
	if o.Port.Kind == machine.PortDisk && w.reads(o.Port.Index) && w.Made(o) {
		w.begin([]machine.Output{o})
	}
}

// received takes entries that have come in.
func (w *ownReads) received(entries []replay.Entry) {
	if w == nil {
		return
	}
	for _, e := range entries {
		if o, ok := e.Body.(replay.OwnDone); ok && int(o.Disk) < len(w.disks) && w.reads(o.Disk) {
			w.begin(w.Logged(ft.Request{Disk: o.Disk, ID: o.ID}))
		}
	}
}

// applied takes an entry that was replayed.
func (w *ownReads) applied(e replay.Entry) {
	if w == nil {
		return
	}
	switch b := e.Body.(type) {
	case replay.OwnDone:
		w.begin(w.Completed(ft.Request{Disk: b.Disk, ID: b.ID}))
	case replay.Input:
		if d, ok := b.In.(machine.DiskDone); ok && w.reads(d.Disk) {
			w.begin(w.Completed(ft.Request{Disk: d.Disk, ID: d.ID}))
		}
	}
}

// collectOwn takes what this replica has read, and tells the primary.
func (r *Replica) collectOwn() {
	w := r.follow.own
	for _, d := range r.box.takeDisks() {
		switch {
		case r.local.is(d.Disk):
			r.local.done[ft.Request{Disk: d.Disk, ID: d.ID}] = d
			r.flushedOwn(d)
		case w != nil:
			delete(w.fails, d.Disk)
			w.OwnReads.Done(d)
		}
	}
	if w == nil {
		return
	}
	if n := w.Count(); n > w.told {
		w.told = n
		r.backup.SetReads(n)
	}
}

// retryOwn has a read of a backup that has failed tried again: the log waits for
// it, and the guest never hears of it.
func (r *Replica) retryOwn(s storage.Stop) bool {
	w := r.follow.own
	if r.backup == nil || w == nil || !w.reads(s.Disk) {
		return false
	}
	w.fails[s.Disk] = s
	if !w.note {
		w.note = true
		r.event(EventNote, "%v; trying again every %v for %v, the log waits", s, retryOwnEvery, failingRead)
	}
	time.AfterFunc(retryOwnEvery, r.disks[s.Disk].Resume)
	return true
}

// keep says whether a pending request of a replica that goes live was begun
// before: it is not done again.
func (w *ownReads) keep(r *Replica, o machine.Output) bool {
	if o.Port.Kind != machine.PortDisk || !w.reads(o.Port.Index) || !w.Begun(ft.RequestOf(o)) {
		return false
	}
	if d, done := w.Result(ft.RequestOf(o)); done {
		r.box.putDisk(d)
	}
	return true
}

// useful is what of the completions the guest waits for.
func (w *ownReads) useful(done []machine.DiskDone) []machine.DiskDone {
	if w == nil {
		return done
	}
	kept := done[:0]
	for _, d := range done {
		if !w.Stray(ft.Request{Disk: d.Disk, ID: d.ID}) {
			kept = append(kept, d)
		}
	}
	return kept
}
