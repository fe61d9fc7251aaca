package storage

import (
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

// promptBytes bounds a write that is tried promptly: to copy more takes longer
// than to hand it to another thread, which does it beside the guest.
const promptBytes = 64 << 10

// Submit queues a request of the guest. Requests are submitted in the order in
// which they left the machine. A held one runs when it is released. A read or
// write for which nothing has to be waited for is done when Submit returns: to
// hand it to another thread would take longer.
func (d *Disk) Submit(o machine.Output) {
	r := d.add(o)
	if r == nil {
		return
	}
	bytes, ok := d.promptly(r)
	if !ok {
		d.wg.Go(func() { d.work(r) })
		return
	}
	d.finish(r)
	d.opt.Done(machine.DiskDone{Disk: d.opt.Index, ID: r.ID, Bytes: bytes})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveLocked()
	d.startLocked()
}

// add adds a request and begins what may run; one that may be tried at once it
// begins for the caller.
func (d *Disk) add(o machine.Output) *request {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.claimed && !(d.reading && o.Op == machine.DiskRead) {
		panic("BUG: storage: a request before the disk is claimed")
	}
	d.queue.add(o)
	if d.running < d.opt.Depth && d.queue.only(o.ID) && d.triesLocked(o) {
		if r := d.nextLocked(); r != nil {
			d.running++
			return r
		}
	}
	d.startLocked()
	return nil
}

// triesLocked says whether a request is to be tried promptly. Beside a flush or a
// discard a write may have to wait for it.
func (d *Disk) triesLocked(o machine.Output) bool {
	switch o.Op {
	case machine.DiskRead:
		return d.prompt != nil
	case machine.DiskWrite:
		return d.promptWriter != nil && len(o.Bytes) <= promptBytes && d.heavy.Load() == 0 && d.backoff.allows(time.Now())
	}
	return false
}

// promptly does one request if it needs no waiting, and is what a read has read.
func (d *Disk) promptly(r *request) ([]byte, bool) {
	off := int64(r.Sector) * sectorSize
	if r.Op == machine.DiskRead {
		bytes := d.spares.take(int(r.Length))
		if !d.prompt.ReadPromptly(bytes, off) {
			d.spares.give(bytes)
			return nil, false
		}
		return bytes, true
	}
	done, waited := attempt(func() bool { return d.promptWriter.WritePromptly(r.Bytes, off) })
	if waited {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.backoff.waited(time.Now())
	}
	return nil, done
}
