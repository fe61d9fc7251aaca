// Package storage is the host half of virtual disks: a queue that keeps the
// guest's order where order matters, over a backend that holds the blocks. A
// shared disk is the paper's default: one image that both hosts reach and that
// only the live VM writes.
//
// What the backends of this package promise against a second writer (R19):
//
//   - File, a raw image: an exclusive lock is held on the very descriptor that
//     writes, so a second live replica waits for the first one's process to be
//     gone. The lock is advisory, is freed when that process dies (or, on a
//     network file system, when its lease ends), and a frozen process keeps it.
//   - Device, a block device: the same within one host, by an exclusive open.
//     Other hosts are not kept out: a device that two hosts reach must be fenced
//     by other means, like a block server with fence numbers.
//
// An error of the host is never the guest's: it stops the disk, which keeps its
// requests until it is resumed.
package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

const sectorSize = 512

// DefaultDepth is how many requests of one disk run side by side.
const DefaultDepth = 32

// DiskOptions are a disk's settings and whom it calls.
type DiskOptions struct {
	Index uint8
	// Depth bounds the requests that run side by side; 0 is DefaultDepth.
	Depth int
	// ZeroDiscards makes discarded blocks read as zeros, for a disk that both
	// replicas read: a discard leaves open what they read.
	ZeroDiscards bool
	// Done is called once for every request that has run: by Submit, or from
	// goroutines of the disk. Bytes are the callee's, who may Recycle them.
	Done func(machine.DiskDone)
	// Stopped is called once for each time that the disk stops; it must not call
	// the disk. It may be nil.
	Stopped func(Stop)
}

// Stop says why a disk has stopped. Its requests stay where they are, none of
// them has failed for the guest, and Resume tries all of them again. A Stop that
// wraps ErrFenced is for ever: another process is the live VM.
type Stop struct {
	Disk uint8
	Op   machine.DiskOp // that failed
	Err  error          // of the backend
}

func (s Stop) Error() string {
	return fmt.Sprintf("storage: disk %d has stopped: %v failed: %v", s.Disk, s.Op, s.Err)
}

// Unwrap is the backend's error.
func (s Stop) Unwrap() error { return s.Err }

// Disk is one virtual disk: the guest's requests, run on a Backend.
//
//	     Submit         Release            backend
//	guest -----> waits --------> may run ---------> done
//	               ^               |  ^      |
//	               +-- an earlier -+  +------+ an error of the host: stopped,
//	                   one overlaps           and again after Resume
type Disk struct {
	backend Backend
	opt     DiskOptions
	spares  spares

	// backend, if it is one of these
	prompt       Prompt
	promptWriter PromptWriter

	heavy atomic.Int32 // flushes, discards and zeroings that run

	mu      sync.Mutex
	queue   *queue
	claimed bool // writes are let in
	reading bool // reads are let in
	stopped *Stop
	closed  bool
	running int
	backoff backoff    // of prompt writes
	halted  bool       // nothing begins, for Claim
	quiet   *sync.Cond // running is 0
	wg      sync.WaitGroup
}

// NewDisk is a disk on a backend, which is the disk's from here on. Nothing runs
// before Claim or Follow.
func NewDisk(b Backend, opt DiskOptions) *Disk {
	if opt.Depth == 0 {
		opt.Depth = DefaultDepth
	}
	if opt.Stopped == nil {
		opt.Stopped = func(Stop) {}
	}
	d := &Disk{backend: b, opt: opt, queue: newQueue()}
	d.prompt, _ = b.(Prompt)
	d.promptWriter, _ = b.(PromptWriter)
	d.quiet = sync.NewCond(&d.mu)
	return d
}

// Sectors is the capacity in 512-byte sectors.
func (d *Disk) Sectors() uint64 { return d.backend.Sectors() }

// BlockSize is the backend's smallest unit of access in bytes.
func (d *Disk) BlockSize() uint32 { return d.backend.BlockSize() }

// Claim makes this process the one that writes, as Backend says. Reads that were
// let in before wait meanwhile.
func (d *Disk) Claim(ctx context.Context, number ft.Fence, waiting func(why string)) error {
	if waiting == nil {
		waiting = func(string) {}
	}
	d.mu.Lock()
	d.halted = true
	for d.running > 0 {
		d.quiet.Wait()
	}
	d.mu.Unlock()
	err := d.backend.Claim(ctx, number, waiting)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.halted = false
	if err != nil {
		return err
	}
	d.claimed, d.reading = true, true
	d.startLocked()
	return nil
}

// Follow lets reads in before Claim: a backup reads a shared disk for itself
// while the primary is the one that writes (reads: backup).
func (d *Disk) Follow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = true
}

// Use lets all requests in before Claim: each replica does what its machine asks
// of its own copy of a local disk.
func (d *Disk) Use() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.claimed, d.reading = true, true
}

// Release lets the held request id run: the gate has let it go.
func (d *Disk) Release(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.queue.release(id) {
		panic(fmt.Sprintf("BUG: storage: release of request %d, which is not held", id))
	}
	d.startLocked()
}

// Recycle gives back the bytes of a read: another one may be done into them.
func (d *Disk) Recycle(bytes []byte) {
	if len(bytes) > 0 {
		d.spares.give(bytes)
	}
}

// Idle says whether nothing that was released is left to do.
func (d *Disk) Idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.released == 0
}

// Quiet says whether nothing runs and nothing will: what is left, if anything,
// waits for Resume.
func (d *Disk) Quiet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running == 0 && (d.queue.released == 0 || d.stopped != nil)
}

// Settled says whether all that may run has run, without an error. What is left
// waits until it is released, or until something before it is.
func (d *Disk) Settled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running == 0 && d.stopped == nil && len(d.queue.ready) == 0
}

// Oldest is the oldest of the guest's requests that is not done, and which one it
// is, counted from 1; 0 if all are done.
func (d *Disk) Oldest() (nth uint64, op machine.DiskOp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.queue.oldest(); r != nil {
		return r.order, r.Op
	}
	return 0, 0
}

// Stopped is why the disk has stopped; false if it has not.
func (d *Disk) Stopped() (Stop, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped == nil {
		return Stop{}, false
	}
	return *d.stopped, true
}

// Resume tries what a stop has kept again, in the guest's order. The disk stops
// anew if that fails.
func (d *Disk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = nil
	d.startLocked()
}

// Close drops what has not begun, waits for what has, unless the backend can
// abandon it, and closes the backend.
func (d *Disk) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	if a, ok := d.backend.(Abandoner); ok {
		a.Abandon()
	}
	d.wg.Wait()
	return d.backend.Close()
}

// startLocked runs what may run, as deep as the disk goes.
func (d *Disk) startLocked() {
	for d.running < d.opt.Depth {
		r := d.nextLocked()
		if r == nil {
			return
		}
		d.running++
		d.wg.Go(func() { d.work(r) })
	}
}

func (d *Disk) nextLocked() *request {
	if d.closed || d.halted || d.stopped != nil {
		return nil
	}
	return d.queue.next()
}

// work runs r, and then whatever may run, until there is nothing.
func (d *Disk) work(r *request) {
	for r != nil {
		bytes, err := d.perform(r)
		if err == nil {
			d.finish(r)
			d.opt.Done(machine.DiskDone{Disk: d.opt.Index, ID: r.ID, Bytes: bytes})
		} else {
			d.stop(r, err)
		}
		d.mu.Lock()
		if r = d.nextLocked(); r == nil {
			d.leaveLocked()
		}
		d.mu.Unlock()
	}
}

// leaveLocked is the end of one that runs.
func (d *Disk) leaveLocked() {
	d.running--
	d.quiet.Broadcast()
}

// finish takes r out of the way of others and lets them run beside this one.
func (d *Disk) finish(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue.done(r)
	d.startLocked()
}

// stop keeps r for later. Of several that fail at once the first one is told.
func (d *Disk) stop(r *request, err error) {
	d.mu.Lock()
	d.queue.again(r)
	first := d.stopped == nil && !d.closed
	s := Stop{Disk: d.opt.Index, Op: r.Op, Err: err}
	var fenced ErrFenced
	if first || errors.As(err, &fenced) {
		d.stopped = &s
	}
	d.mu.Unlock()
	if first {
		d.opt.Stopped(s)
	}
}

// perform does one request and is what a read has read.
func (d *Disk) perform(r *request) ([]byte, error) {
	off, n := int64(r.Sector)*sectorSize, int64(r.Sectors)*sectorSize
	switch r.Op {
	case machine.DiskRead:
		bytes := d.spares.take(int(r.Length))
		return bytes, d.backend.ReadAt(bytes, off)
	case machine.DiskWrite:
		return nil, d.backend.WriteAt(r.Bytes, off)
	}
	d.heavy.Add(1)
	defer d.heavy.Add(-1)
	switch r.Op {
	case machine.DiskFlush:
		return nil, d.backend.Sync()
	case machine.DiskDiscard:
		if !d.opt.ZeroDiscards {
			return nil, d.backend.Discard(off, n)
		}
		fallthrough
	case machine.DiskZero:
		if u, ok := d.backend.(Unmapper); ok && (r.Unmap || r.Op == machine.DiskDiscard) {
			return nil, u.Unmap(off, n)
		}
		return nil, d.backend.Zero(off, n)
	}
	panic(fmt.Sprintf("BUG: storage: a request for %v", r.Op))
}
