package sim

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// arbiter is the test-and-set and the run record. A claim is durable before it
// is answered; a cell is never deleted (R16).
type arbiter struct {
	w     *World
	cells []cell
	// copies is what the run record names.
	copies ft.Copies
	ended  bool
	down   bool
	// lossy: one answer in this many is lost.
	lossy int
}

type cell struct {
	run   ft.Run
	epoch ft.Epoch
	by    ft.ProcessID
}

func (a *arbiter) init(w *World) {
	a.w = w
	if w.rnd.OneIn(3) {
		a.lossy = w.rnd.Between(2, 6)
	}
}

// ask carries a question to the arbiter and its answer back, if both arrive.
func (a *arbiter) ask(p *proc, question func() func()) {
	w := a.w
	reachable := func() bool { return !a.down && !p.host.down && !p.host.cutAll && !p.host.cutArbiter }
	w.after(w.delay(), func() {
		if !reachable() {
			return
		}
		answer := question()
		if w.rnd.OneIn(a.lossy) && !w.faults.over {
			return
		}
		w.after(w.delay(), func() {
			if reachable() && !p.dead {
				p.soon(func() { p.post(answer) })
			}
		})
	})
}

func (a *arbiter) testAndSet(x ft.Cell, by ft.ProcessID, copies ft.Copies) ft.Result {
	i := slices.IndexFunc(a.cells, func(c cell) bool { return c.run == x.Run && c.epoch == x.Epoch })
	if i < 0 {
		a.w.tracef("arbiter: epoch %d is %v's", x.Epoch, by)
		a.cells = append(a.cells, cell{x.Run, x.Epoch, by})
		if !a.w.broken(BreakLocalClaimKeepsCopies) {
			a.name(copies)
		}
		return ft.Won
	}
	if a.cells[i].by == by {
		return ft.Won
	}
	return ft.Lost
}

// name adds a statement about the copies to the run record.
func (a *arbiter) name(c ft.Copies) {
	a.copies = a.copies.Later(c)
	if a.w.local() {
		a.w.tracef("arbiter: the record names %+v", a.copies)
	}
}

// restart forgets, if the world is broken so.
func (a *arbiter) restart() {
	if a.w.broken(BreakR16Forget) {
		a.cells = nil
	}
}

// ethernet is the switch with its fence. It keeps the frames for the guest
// until the live port confirms them as logged.
type ethernet struct {
	w      *World
	number ft.Fence // highest seen
	port   *proc
	kept   []kept
	nextID uint64
}

type kept struct {
	id    uint64
	bytes []byte
}

// attach is how a port announces itself with its number; false is a refusal.
func (s *ethernet) attach(p *proc, n ft.Fence) bool {
	if n.Less(s.number) && !s.w.broken(BreakR19NoSwitchFence) {
		return false
	}
	s.number, s.port = n, p
	for _, k := range s.kept {
		s.give(k)
	}
	return true
}

// fromGuest takes a frame from a port. What one process sends arrives in
// order: a frame with its old number must not come after one with its new.
func (s *ethernet) fromGuest(p *proc, n ft.Fence, b []byte) {
	w := s.w
	p.sends = max(p.sends, w.now+w.delay())
	w.after(p.sends-w.now, func() {
		if p.host.cutAll || p.host.cutSwitch || p.host.down {
			return
		}
		if n.Less(s.number) && !w.broken(BreakR19NoSwitchFence) {
			w.tracef("switch: refuses %v's %v", p.id, n)
			w.after(w.delay(), func() { p.later(func() { p.r.FencedOff() }) })
			return
		}
		s.number = n
		w.check.accepted(p, "switch")
		w.client.frame(b)
	})
}

// toGuest takes a frame for the guest.
func (s *ethernet) toGuest(b []byte) {
	s.nextID++
	k := kept{s.nextID, b}
	if s.kept = append(s.kept, k); len(s.kept) > 32 {
		s.kept = s.kept[1:]
	}
	s.give(k)
}

func (s *ethernet) give(k kept) {
	w, p := s.w, s.port
	w.after(w.delay(), func() {
		if p == nil || p.host.cutAll || p.host.cutSwitch || p.host.down {
			return
		}
		p.later(func() { p.arrive(input{in: machine.Frame{Bytes: k.bytes}, frame: k.id}) })
	})
}

// confirm says that frame id is logged. Only the live port may say so.
func (s *ethernet) confirm(p *proc, id uint64) {
	if s.port == p {
		s.kept = slices.DeleteFunc(s.kept, func(k kept) bool { return k.id == id })
	}
}

// disk is the shared disk with its fence (R19).
type disk struct {
	w       *World
	fence   ft.Fence
	sectors [toySectors][]byte
	// Of one that the backup reads:
	values [toySectors]uint64
	full   bool
	errors int // one read of a writer's in so many brings an error of the medium's
}

// submit carries out a request some time later; a write may be very late.
func (d *disk) submit(p *proc, n ft.Fence, o machine.Output) {
	w := d.w
	delay := w.rnd.Between(1, 6)
	if w.rnd.OneIn(12) && !w.faults.over {
		delay = w.rnd.Between(30, 500)
	}
	w.after(delay, func() {
		if n.Less(d.fence) && !w.broken(BreakR19NoFence) {
			w.tracef("disk: refuses %v's %v", p.id, n)
			w.after(w.delay(), func() { p.later(func() { p.r.FencedOff() }) })
			return
		}
		w.check.accepted(p, "disk")
		done := machine.DiskDone{ID: o.ID}
		switch o.Op {
		case machine.DiskWrite:
			d.sectors[o.Sector] = o.Bytes
		case machine.DiskRead:
			done.Bytes = make([]byte, o.Length)
			copy(done.Bytes, d.sectors[o.Sector])
		}
		w.after(w.delay(), func() { p.later(func() { p.diskDone(o, done) }) })
	})
}

// raise is the winner's fence.
func (d *disk) raise(n ft.Fence) bool {
	if n.Less(d.fence) {
		return false
	}
	d.fence = n
	return true
}

// client sends numbered requests, one at a time, and repeats each until it is
// answered. It knows what the answer's hash must be.
type client struct {
	w        *World
	number   uint64 // of the request in flight
	payload  uint64
	hash     uint64 // after the last answer
	answered uint64
	answer   []byte // to the last answered request
	lastAt   int
}

func (c *client) init(w *World) {
	c.w = w
	w.after(w.rnd.Between(5, 40), c.next)
	w.after(w.rnd.Between(5, 90), c.noise)
}

func (c *client) next() {
	if c.w.client != c {
		return // of a run that is over
	}
	c.number++
	c.payload = c.w.rnd.Uint64()
	c.send()
}

func (c *client) send() {
	if c.answered >= c.number || c.w.client != c {
		return
	}
	c.w.sw.toGuest(Request(c.number, c.payload))
	c.w.after(retransmit, func(n uint64) func() {
		return func() {
			if n == c.number {
				c.send()
			}
		}
	}(c.number))
}

// noise is a frame that is no request.
func (c *client) noise() {
	if c.w.client != c {
		return
	}
	c.w.sw.toGuest(words(c.w.rnd.Uint64()))
	c.w.after(c.w.rnd.Between(20, 90), c.noise)
}

// frame is what the guest sent.
func (c *client) frame(b []byte) {
	if len(b) != 24 {
		return
	}
	n := binary.LittleEndian.Uint64(b)
	switch {
	case n == c.number && c.answered < n:
		c.hash = RequestHash(c.hash, c.payload)
		if got := binary.LittleEndian.Uint64(b[8:]); got != c.hash {
			c.w.check.fail("the answer to request %d has hash %x; with every acknowledged request before it, it is %x", n, got, c.hash)
		}
		c.answered, c.answer, c.lastAt = n, b, c.w.now
		c.w.after(c.w.rnd.Between(1, 20), c.next)
	case n == c.answered && !bytes.Equal(b, c.answer):
		c.w.check.fail("request %d is answered a second time with other words", n)
	case n > c.number:
		c.w.check.fail("the guest answers request %d, which was never sent", n)
	}
}
