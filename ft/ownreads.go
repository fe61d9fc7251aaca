package ft

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// OwnReads is the backup's half of reads by the backup (paper, section 4.2;
// DESIGN section 7): it says when a read of the replayed machine may begin. A
// read must not see less than the guest had written before it, so it begins when
// no earlier change of its blocks is under way in the replayed machine, or once
// its completion is in the log: the primary has read by then, and so the change
// was done.
//
//	made ──a change is under way──► held ──it is done, or logged──► begun ──► done
//	  └───────────none, or logged──────────────────────────────────►
type OwnReads struct {
	reads   map[Request]*ownRead
	held    []*ownRead // made and not begun, in the guest's order
	changes []change   // made and not completed
	logged  []Request  // completions in the log, in its order, from the first that is not done
	count   uint64     // those before them
	strays  map[Request]bool
}

type ownRead struct {
	out    machine.Output
	logged bool
	begun  bool
	done   *machine.DiskDone
}

type change struct {
	Request
	blocks
}

// NewOwnReads is for a backup whose State has these pending requests. It does
// not do the reads among them: the log has their outcome.
func NewOwnReads(pending []machine.Output) *OwnReads {
	b := &OwnReads{reads: map[Request]*ownRead{}, strays: map[Request]bool{}}
	for _, o := range pending {
		if o.Port.Kind == machine.PortDisk && changes(o) {
			b.Made(o)
		}
	}
	return b
}

func (b *OwnReads) read(req Request) *ownRead {
	r := b.reads[req]
	if r == nil {
		r = &ownRead{}
		b.reads[req] = r
	}
	return r
}

// Made notes a request of the replayed machine, in the guest's order, and says
// whether it is a read that begins now.
func (b *OwnReads) Made(o machine.Output) (begin bool) {
	switch {
	case changes(o):
		b.changes = append(b.changes, change{RequestOf(o), blocksOf(o)})
	case o.Op == machine.DiskRead:
		r := b.read(RequestOf(o))
		r.out = o
		if r.begun = r.logged || !b.changing(o); !r.begun {
			b.held = append(b.held, r)
		}
		return r.begun
	}
	return false
}

func (b *OwnReads) changing(o machine.Output) bool {
	return slices.ContainsFunc(b.changes, func(c change) bool { return c.overlap(blocksOf(o)) })
}

// Logged notes that the log has the completion of a read that this replica does
// for itself: received, not executed. It returns the reads that begin now.
func (b *OwnReads) Logged(req Request) []machine.Output {
	b.read(req).logged = true
	b.logged = append(b.logged, req)
	b.advance()
	return b.begin()
}

// Done notes what a read has read.
func (b *OwnReads) Done(d machine.DiskDone) {
	req := Request{Disk: d.Disk, ID: d.ID}
	if b.Stray(req) {
		return
	}
	b.reads[req].done = &d
	b.advance()
}

func (b *OwnReads) advance() {
	for len(b.logged) > 0 && b.reads[b.logged[0]].done != nil {
		b.logged = b.logged[1:]
		b.count++
	}
}

// Count is how many reads are done, in the order of the log: PeerReads.PeerDone.
func (b *OwnReads) Count() uint64 { return b.count }

// Result is what a read has read; false if it is not done.
func (b *OwnReads) Result(req Request) (machine.DiskDone, bool) {
	if r := b.reads[req]; r != nil && r.done != nil {
		return *r.done, true
	}
	return machine.DiskDone{}, false
}

// Completed notes that the replayed machine was given a completion. It returns
// the reads that begin now.
func (b *OwnReads) Completed(req Request) []machine.Output {
	if r := b.reads[req]; r != nil {
		delete(b.reads, req)
		b.held = slices.DeleteFunc(b.held, func(h *ownRead) bool { return h == r })
		if r.begun && r.done == nil {
			b.strays[req] = true
		}
	}
	b.changes = slices.DeleteFunc(b.changes, func(c change) bool { return c.Request == req })
	return b.begin()
}

// begin takes the reads out of held that may begin.
func (b *OwnReads) begin() (begin []machine.Output) {
	b.held = slices.DeleteFunc(b.held, func(r *ownRead) bool {
		r.begun = r.logged || !b.changing(r.out)
		if r.begun {
			begin = append(begin, r.out)
		}
		return r.begun
	})
	return begin
}

// Begun says whether a read was begun, of which a replica that goes live waits
// for the result instead of doing it again.
func (b *OwnReads) Begun(req Request) bool { return b.reads[req] != nil && b.reads[req].begun }

// Stray says, once, whether what a read has read is of no use: the log had
// another outcome meanwhile.
func (b *OwnReads) Stray(req Request) bool {
	stray := b.strays[req]
	delete(b.strays, req)
	return stray
}
