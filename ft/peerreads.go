package ft

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// PeerReads is the primary's half of reads by the backup (paper, section 4.2;
// DESIGN section 7): a change of a shared disk runs once the gate has let it go
// and the backup, too, has done every earlier read of the same blocks. Until
// then the backup would read what the guest wrote later.
//
// The backup tells how many it has done, in the order in which the log has their
// completions, and tells it again on every connection. That a read is done stays
// true whatever happens to the connection.
//
//	a read:    made ──completed: number n in the log──► the backup says n ──► gone
//	              └──completed with an error: its outcome is in the log ────► gone
//	a change:  made ──the gate lets it go, the reads before it are gone──► runs
//
// The zero value is a VM that is alone: no read is the backup's.
type PeerReads struct {
	on      bool
	reads   []*peerRead           // in the guest's order
	made    map[Request]*peerRead // those of them that are not completed
	waiting map[Request]*afterReads
	logged  uint64
}

// peerRead is a read that the backup has not done, as far as is known.
type peerRead struct {
	Request
	blocks
	number uint64 // in the log, from 1; 0 before it is completed
	before []*afterReads
}

// afterReads is a change that follows reads.
type afterReads struct {
	Request
	left     int // reads
	released bool
}

// Begin starts a pairing: the backup does the reads that are made from here on.
// It returns, like the other methods, the changes that may run now, in the
// guest's order.
func (p *PeerReads) Begin() []Request {
	run := p.End()
	p.on, p.made, p.waiting = true, map[Request]*peerRead{}, map[Request]*afterReads{}
	return run
}

// End ends it: nobody is waited for.
func (p *PeerReads) End() []Request {
	run := p.drop(func(*peerRead) bool { return true })
	*p = PeerReads{}
	return run
}

// Made notes a request for a disk that the backup reads, in the guest's order.
func (p *PeerReads) Made(o machine.Output) {
	switch {
	case !p.on:
	case o.Op == machine.DiskRead:
		r := &peerRead{Request: RequestOf(o), blocks: blocksOf(o)}
		p.reads = append(p.reads, r)
		p.made[r.Request] = r
	case changes(o):
		c := &afterReads{Request: RequestOf(o)}
		for _, r := range p.reads {
			if r.overlap(blocksOf(o)) {
				r.before = append(r.before, c)
				c.left++
			}
		}
		if c.left > 0 {
			p.waiting[c.Request] = c
		}
	}
}

// Completed notes a completion that goes into the log now.
func (p *PeerReads) Completed(d machine.DiskDone) (c ReadDone, run []Request) {
	req := Request{Disk: d.Disk, ID: d.ID}
	done := p.made[req]
	delete(p.made, req)
	switch {
	case done == nil:
		return ReadDone{}, nil
	case d.Status != machine.DiskOK:
		return ReadDone{}, p.drop(func(r *peerRead) bool { return r == done })
	}
	p.logged++
	done.number = p.logged
	return ReadDone{Own: true, Awaited: len(done.before) > 0}, nil
}

// ReadDone is how the log tells of a completion.
type ReadDone struct {
	Own     bool // the backup completes the request with what it has read itself,
	Awaited bool // and a change that the guest has made before waits for that
}

// Released notes that the gate has let a request go, and says whether it may run.
func (p *PeerReads) Released(req Request) bool {
	c := p.waiting[req]
	if c == nil {
		return true
	}
	c.released = true
	return false
}

// PeerDone notes that the backup has done the first n reads of the log.
func (p *PeerReads) PeerDone(n uint64) []Request {
	return p.drop(func(r *peerRead) bool { return r.number != 0 && r.number <= n })
}

// PoweredOff notes that the guest is off: no further completion goes into the
// log, so the backup completes no further read.
func (p *PeerReads) PoweredOff() []Request {
	clear(p.made)
	return p.drop(func(r *peerRead) bool { return r.number == 0 })
}

// Waiting says whether a change that the gate has let go waits for the backup.
func (p *PeerReads) Waiting() bool {
	return slices.ContainsFunc(p.reads, func(r *peerRead) bool {
		return slices.ContainsFunc(r.before, func(c *afterReads) bool { return c.released })
	})
}

// drop drops the reads that are gone.
func (p *PeerReads) drop(gone func(*peerRead) bool) (run []Request) {
	kept := p.reads[:0]
	for _, r := range p.reads {
		if !gone(r) {
			kept = append(kept, r)
			continue
		}
		for _, c := range r.before {
			if c.left--; c.left > 0 {
				continue
			}
			delete(p.waiting, c.Request)
			if c.released {
				run = append(run, c.Request)
			}
		}
	}
	clear(p.reads[len(kept):])
	p.reads = kept
	return run
}
