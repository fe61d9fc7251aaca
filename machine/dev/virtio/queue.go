package virtio

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// queue is a split virtqueue (2.7): three areas in guest memory, and how far
// the device has come in them.
type queue struct {
	max uint32 // largest size; fixed, not State

	num    uint32 // size as the driver set it; a power of two when ready
	ready  bool
	desc   uint64 // guest-physical: descriptor table
	driver uint64 // available ring
	device uint64 // used ring
	avail  uint16 // index of the next available entry to take
	used   uint16 // index of the next used entry to write
}

// set writes a register of a queue that is not ready.
func (q *queue) set(off uint64, w uint32) {
	low := func(a *uint64) { *a = *a&^0xffff_ffff | uint64(w) }
	high := func(a *uint64) { *a = *a&0xffff_ffff | uint64(w)<<32 }
	switch off {
	case regQueueNum:
		q.num = w
	case regQueueDescLow:
		low(&q.desc)
	case regQueueDescHigh:
		high(&q.desc)
	case regQueueDriverLow:
		low(&q.driver)
	case regQueueDriverHigh:
		high(&q.driver)
	case regQueueDeviceLow:
		low(&q.device)
	case regQueueDeviceHigh:
		high(&q.device)
	}
}

// valid says whether the queue can be made ready: its size a power of two that
// the device allows, its areas aligned (2.7) and within RAM.
func (q *queue) valid(ram *mem.RAM) bool {
	n := uint64(q.num)
	return q.num != 0 && q.num <= q.max && q.num&(q.num-1) == 0 &&
		q.desc%16 == 0 && q.driver%2 == 0 && q.device%4 == 0 &&
		ram.Contains(machine.GPA(q.desc), 16*n) &&
		ram.Contains(machine.GPA(q.driver), 6+2*n) &&
		ram.Contains(machine.GPA(q.device), 6+8*n)
}

// Places in the rings (2.7.6, 2.7.8).

func (q *queue) availFlags() machine.GPA { return machine.GPA(q.driver) }
func (q *queue) availIdx() machine.GPA   { return machine.GPA(q.driver + 2) }
func (q *queue) availEntry(i uint16) machine.GPA {
	return machine.GPA(q.driver + 4 + 2*(uint64(i)&uint64(q.num-1)))
}
func (q *queue) usedEvent() machine.GPA { return machine.GPA(q.driver + 4 + 2*uint64(q.num)) }
func (q *queue) usedFlags() machine.GPA { return machine.GPA(q.device) }
func (q *queue) usedIdx() machine.GPA   { return machine.GPA(q.device + 2) }
func (q *queue) usedEntry(i uint16) machine.GPA {
	return machine.GPA(q.device + 4 + 8*(uint64(i)&uint64(q.num-1)))
}
func (q *queue) availEvent() machine.GPA { return machine.GPA(q.device + 4 + 8*uint64(q.num)) }

// available is how many chains the driver has made available and the device has
// not taken; false if the driver's index is ahead by more than the queue holds.
func (m *MMIO) available(q *queue) (uint16, bool) {
	idx, ok := m.ram.Load16(q.availIdx())
	n := idx - q.avail
	if !ok || uint32(n) > q.num {
		return 0, false
	}
	return n, true
}

// peek reads the chain that comes i after the next one; false if it is malformed.
// The result is good until the next peek.
func (m *MMIO) peek(q *queue, i uint16) (*chain, bool) {
	head, ok := m.ram.Load16(q.availEntry(q.avail + i))
	return &m.scratch, ok && m.walk(q, head)
}

// serve takes the available chains of queue i in order, while more says so, and
// hands them to handle, which answers false if a chain breaks the rules.
func (m *MMIO) serve(i int, more func() bool, handle func(q *queue, c *chain) bool) {
	q := &m.queues[i]
	n, ok := m.available(q)
	if !ok {
		m.fail()
		return
	}
	was := q.used
	for ; n > 0 && more(); n-- {
		c, ok := m.peek(q, 0)
		if !ok {
			m.fail()
			return
		}
		q.avail++
		if !handle(q, c) {
			m.fail()
			return
		}
	}
	m.wantKick(q)
	m.signal(q, was)
}

// use gives a chain back to the driver with n bytes written to it (2.7.8).
func (m *MMIO) use(q *queue, head uint16, n uint32) {
	at := q.usedEntry(q.used)
	m.ram.Store32(at, uint32(head))
	m.ram.Store32(at+4, n)
	q.used++
	m.ram.Store16(q.usedIdx(), q.used)
}

// signal raises the interrupt for the chains used since the used index was was,
// unless the driver does not want it (2.7.7).
func (m *MMIO) signal(q *queue, was uint16) {
	if q.used == was {
		return
	}
	if m.has(featureEventIdx) {
		event, _ := m.ram.Load16(q.usedEvent())
		if q.used-event-1 >= q.used-was {
			return
		}
	} else if flags, _ := m.ram.Load16(q.availFlags()); flags&1 != 0 {
		return
	}
	m.interrupt |= interruptUsed
}

// wantKick asks the driver to notify when it makes the next chain available
// (2.7.10).
func (m *MMIO) wantKick(q *queue) {
	if m.has(featureEventIdx) {
		m.ram.Store16(q.availEvent(), q.avail)
	}
}

// needNoKick asks the driver not to notify. With the event index there is
// nothing to do: an event that is never moved on comes by once in 65536 chains.
func (m *MMIO) needNoKick(q *queue) {
	if !m.has(featureEventIdx) {
		m.ram.Store16(q.usedFlags(), 1)
	}
}
