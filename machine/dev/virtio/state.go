package virtio

import (
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

func (m *MMIO) saveState(e *snapshot.Encoder) {
	e.Section("virtio")
	e.U32(m.id)
	e.U32(m.status)
	e.U32(m.deviceFeaturesSel)
	e.U32(m.driverFeaturesSel)
	e.U64(m.driverFeatures)
	e.U32(m.queueSel)
	e.U32(m.interrupt)
	for i := range m.queues {
		q := &m.queues[i]
		e.U32(q.num)
		e.Bool(q.ready)
		e.U64(q.desc)
		e.U64(q.driver)
		e.U64(q.device)
		e.U16(q.avail)
		e.U16(q.used)
	}
}

func (m *MMIO) loadState(d *snapshot.Decoder) error {
	d.Section("virtio")
	if id := d.U32(); d.Err() == nil && id != m.id {
		d.Fail(fmt.Errorf("virtio: device type %d in the snapshot where %d belongs", id, m.id))
	}
	m.status = d.U32()
	m.deviceFeaturesSel = d.U32()
	m.driverFeaturesSel = d.U32()
	m.driverFeatures = d.U64()
	m.queueSel = d.U32()
	m.interrupt = d.U32()
	for i := range m.queues {
		q := &m.queues[i]
		q.num = d.U32()
		q.ready = d.Bool()
		q.desc = d.U64()
		q.driver = d.U64()
		q.device = d.U64()
		q.avail = d.U16()
		q.used = d.U16()
		if q.ready && !q.valid(m.ram) {
			d.Fail(fmt.Errorf("virtio: queue %d of device type %d is ready but impossible", i, m.id))
		}
	}
	const known = statusAcknowledge | statusDriver | statusDriverOK | statusFeaturesOK | statusNeedsReset | statusFailed
	agreed := m.status&statusFeaturesOK != 0
	switch {
	case m.status&^known != 0,
		m.status&statusDriverOK != 0 && !agreed,
		agreed && (m.status&statusDriver == 0 || !m.acceptable()),
		m.interrupt&^(interruptUsed|interruptConfig) != 0:
		d.Fail(fmt.Errorf("virtio: status %#x, interrupt %#x, features %#x of device type %d cannot be together", m.status, m.interrupt, m.driverFeatures, m.id))
	}
	return d.Err()
}

func saveSegments(e *snapshot.Encoder, segs []segment) {
	e.U32(uint32(len(segs)))
	for _, s := range segs {
		e.U64(uint64(s.addr))
		e.U32(s.len)
	}
}

// loadSegments reads at most limit segments, each of them in RAM, and their
// length in all.
func (m *MMIO) loadSegments(d *snapshot.Decoder, limit uint32) (segs []segment, total uint64) {
	n := d.U32()
	if n > limit {
		d.Fail(fmt.Errorf("virtio: %d segments where at most %d are possible", n, limit))
	}
	for ; n > 0 && d.Err() == nil; n-- {
		s := segment{addr: machine.GPA(d.U64()), len: d.U32()}
		if s.len == 0 || !m.ram.Contains(s.addr, uint64(s.len)) {
			d.Fail(fmt.Errorf("virtio: a segment of %d bytes at %#x is not in RAM", s.len, s.addr))
		}
		segs, total = append(segs, s), total+uint64(s.len)
	}
	return segs, total
}

// holds checks a request whose buffers may still be written to.
func (m *MMIO) holds(d *snapshot.Decoder, q *queue, head uint16, forgotten bool, segs []segment) {
	switch {
	case d.Err() != nil:
	case forgotten && (head != 0 || len(segs) != 0):
		d.Fail(errors.New("virtio: a forgotten request has buffers"))
	case !forgotten && (!m.live() || !q.ready || uint32(head) >= q.num || len(segs) == 0):
		d.Fail(errors.New("virtio: a request waits on a queue that is not in use"))
	}
}

// SaveState writes the device's State.
func (b *Block) SaveState(e *snapshot.Encoder) {
	b.saveState(e)
	e.U64(b.nextID)
	e.U32(uint32(len(b.pending)))
	for i := range b.pending {
		r := &b.pending[i]
		e.U64(r.id)
		e.U8(uint8(r.op))
		e.U64(r.sector)
		e.U32(r.length)
		e.U64(r.sectors)
		e.Bool(r.unmap)
		e.Blob(r.bytes)
		e.Bool(r.forgotten)
		e.U16(r.head)
		saveSegments(e, r.in)
	}
}

// LoadState replaces the device's State and checks it.
func (b *Block) LoadState(d *snapshot.Decoder) error {
	if err := b.loadState(d); err != nil {
		return err
	}
	b.nextID = d.U64()
	if d.Err() == nil && (b.nextID == 0 || b.nextID > 1<<63) {
		d.Fail(fmt.Errorf("virtio: the next disk request cannot have the number %d", b.nextID))
	}
	n := d.U32()
	if n > MaxDiskPending {
		d.Fail(fmt.Errorf("virtio: %d disk requests where at most %d are possible", n, MaxDiskPending))
	}
	b.pending = nil
	last := uint64(0)
	for ; n > 0 && d.Err() == nil; n-- {
		r := blockRequest{
			id: d.U64(), op: machine.DiskOp(d.U8()), sector: d.U64(), length: d.U32(),
			sectors: d.U64(), unmap: d.Bool(),
			bytes: d.Blob(MaxDiskRequest), forgotten: d.Bool(), head: d.U16(),
		}
		var total uint64
		r.in, total = b.loadSegments(d, MaxDiskPending)
		b.holds(d, &b.queues[0], r.head, r.forgotten, r.in)
		if d.Err() == nil && (r.id <= last || r.id >= b.nextID || !b.possible(&r, total)) {
			d.Fail(fmt.Errorf("virtio: disk request %d is impossible", r.id))
		}
		last = r.id
		b.pending = append(b.pending, r)
	}
	return d.Err()
}

// possible checks what start checks, for a request that comes from a snapshot;
// in is the length of its writable segments.
func (b *Block) possible(r *blockRequest, in uint64) bool {
	data := r.sectors == 0 && !r.unmap
	switch r.op {
	case machine.DiskRead:
		return data && b.inRange(r.sector, uint64(r.length)) && len(r.bytes) == 0 &&
			(r.forgotten || in == uint64(r.length)+1)
	case machine.DiskWrite:
		return data && !b.cfg.ReadOnly && b.inRange(r.sector, uint64(r.length)) && uint64(len(r.bytes)) == uint64(r.length)
	case machine.DiskFlush:
		return data && !b.cfg.ReadOnly && r.sector == 0 && r.length == 0 && len(r.bytes) == 0
	case machine.DiskDiscard:
		return b.possibleRange(r, maxDiscardSectors) && !r.unmap
	case machine.DiskZero:
		return b.possibleRange(r, maxZeroSectors)
	}
	return false
}

func (b *Block) possibleRange(r *blockRequest, limit uint64) bool {
	return !b.cfg.ReadOnly && r.sectors <= limit && b.holdsSectors(r.sector, r.sectors) &&
		r.length == 0 && len(r.bytes) == 0
}

// SaveState writes the device's State.
func (n *Net) SaveState(e *snapshot.Encoder) { n.saveState(e) }

// LoadState replaces the device's State and checks it.
func (n *Net) LoadState(d *snapshot.Decoder) error { return n.loadState(d) }

// SaveState writes the device's State.
func (c *Console) SaveState(e *snapshot.Encoder) {
	c.saveState(e)
	c.log.Save(e)
	c.sessions.Save(e)
}

// LoadState replaces the device's State and checks it.
func (c *Console) LoadState(d *snapshot.Decoder) error {
	if err := c.loadState(d); err != nil {
		return err
	}
	if err := c.log.Load(d); err != nil {
		return err
	}
	return c.sessions.Load(d)
}

// SaveState writes the device's State.
func (r *RNG) SaveState(e *snapshot.Encoder) {
	r.saveState(e)
	e.U32(r.length)
	e.Bool(r.forgotten)
	e.U16(r.head)
	saveSegments(e, r.in)
}

// LoadState replaces the device's State and checks it.
func (r *RNG) LoadState(d *snapshot.Decoder) error {
	if err := r.loadState(d); err != nil {
		return err
	}
	r.length = d.U32()
	r.forgotten = d.Bool()
	r.head = d.U16()
	var total uint64
	r.in, total = r.loadSegments(d, rngQueueMax)
	none := r.length == 0 && !r.forgotten && r.head == 0 && len(r.in) == 0
	if !none {
		r.holds(d, &r.queues[0], r.head, r.forgotten, r.in)
		if r.length == 0 || r.length > MaxEntropy || !r.forgotten && total < uint64(r.length) {
			d.Fail(fmt.Errorf("virtio: an entropy request of %d bytes is impossible", r.length))
		}
	}
	return d.Err()
}
