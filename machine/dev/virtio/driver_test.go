package virtio

import (
	"encoding/binary"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// device is what every guest half offers.
type device interface {
	Load(off uint64, size uint8) uint64
	Store(off uint64, size uint8, v uint64)
	IRQ() bool
	Reset()
	SaveState(e *snapshot.Encoder)
	LoadState(d *snapshot.Decoder) error
}

// sink collects what a device emits.
type sink struct{ outs []machine.Output }

func (s *sink) Emit(o machine.Output) { s.outs = append(s.outs, o) }

func (s *sink) take() []machine.Output {
	outs := s.outs
	s.outs = nil
	return outs
}

// driver is the driver side of a device, as an operating system has it: it lays
// out virtqueues in RAM, makes buffers available and takes used ones.
type driver struct {
	testing.TB
	ram    *mem.RAM
	out    *sink
	dev    device
	queues []*driverQueue
	event  bool // VIRTIO_F_RING_EVENT_IDX was negotiated
}

type driverQueue struct {
	num                  uint32
	desc, driver, device machine.GPA
	free                 uint16 // next descriptor; tests never run out
	avail, used          uint16
}

const (
	testRAM   = 4 << 20
	queueArea = mem.Base + 0x1_0000
	dataArea  = mem.Base + 0x10_0000
)

func newDriver(t testing.TB, make func(*mem.RAM, *sink) device) *driver {
	ram, out := mem.New(testRAM), &sink{}
	return &driver{TB: t, ram: ram, out: out, dev: make(ram, out)}
}

func (d *driver) get(reg uint64) uint32    { return uint32(d.dev.Load(reg, 4)) }
func (d *driver) set(reg uint64, v uint32) { d.dev.Store(reg, 4, uint64(v)) }

func (d *driver) features() uint64 {
	d.set(regDeviceFeaturesSel, 0)
	low := d.get(regDeviceFeatures)
	d.set(regDeviceFeaturesSel, 1)
	return uint64(d.get(regDeviceFeatures))<<32 | uint64(low)
}

// negotiate goes as far as FEATURES_OK with the given features.
func (d *driver) negotiate(features uint64) {
	d.set(regStatus, 0)
	d.set(regStatus, statusAcknowledge)
	d.set(regStatus, statusAcknowledge|statusDriver)
	d.set(regDriverFeaturesSel, 0)
	d.set(regDriverFeatures, uint32(features))
	d.set(regDriverFeaturesSel, 1)
	d.set(regDriverFeatures, uint32(features>>32))
	d.set(regStatus, statusAcknowledge|statusDriver|statusFeaturesOK)
	d.event = features&featureEventIdx != 0
	d.queues = nil
}

// start brings the device up with all offered features but those without, and
// queues of the given sizes.
func (d *driver) start(without uint64, sizes ...uint32) {
	d.Helper()
	d.negotiate(d.features() &^ without)
	if d.get(regStatus)&statusFeaturesOK == 0 {
		d.Fatal("the device refused its own features")
	}
	for i, n := range sizes {
		base := queueArea + machine.GPA(i)*0x8000
		q := &driverQueue{num: n, desc: base, driver: base + 0x4000, device: base + 0x6000}
		d.queues = append(d.queues, q)
		d.ram.Write(base, make([]byte, 0x8000))
		d.place(i)
		d.set(regQueueReady, 1)
		if d.get(regQueueReady) != 1 {
			d.Fatalf("queue %d is not ready", i)
		}
	}
	d.set(regStatus, d.get(regStatus)|statusDriverOK)
	d.healthy()
}

// place writes the registers of queue i but for QueueReady.
func (d *driver) place(i int) {
	q := d.queues[i]
	d.set(regQueueSel, uint32(i))
	d.set(regQueueNum, q.num)
	d.set(regQueueDescLow, uint32(q.desc))
	d.set(regQueueDescHigh, uint32(q.desc>>32))
	d.set(regQueueDriverLow, uint32(q.driver))
	d.set(regQueueDriverHigh, uint32(q.driver>>32))
	d.set(regQueueDeviceLow, uint32(q.device))
	d.set(regQueueDeviceHigh, uint32(q.device>>32))
}

func (d *driver) healthy() {
	d.Helper()
	if s := d.get(regStatus); s != statusAcknowledge|statusDriver|statusFeaturesOK|statusDriverOK {
		d.Fatalf("status is %#x, not that of a live device", s)
	}
}

// broken asserts that the device asks for a reset and is quiet.
func (d *driver) broken() {
	d.Helper()
	if d.get(regStatus)&statusNeedsReset == 0 {
		d.Fatal("the device did not set DEVICE_NEEDS_RESET")
	}
	if d.get(regInterruptStatus)&interruptConfig == 0 || !d.dev.IRQ() {
		d.Fatal("no configuration interrupt")
	}
	d.out.take()
	for i := range d.queues {
		d.set(regQueueNotify, uint32(i))
	}
	if n := len(d.out.take()); n != 0 {
		d.Fatalf("the broken device emitted %d outputs", n)
	}
}

func writeDesc(ram *mem.RAM, table machine.GPA, i uint16, addr machine.GPA, n uint32, flags, next uint16) {
	var b [descSize]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(addr))
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
	ram.Write(table+descSize*machine.GPA(i), b[:])
}

func readable(addr machine.GPA, n int) segment { return segment{addr, uint32(n)} }

// chain writes a direct descriptor chain and says where it starts.
func (d *driver) chain(qi int, out, in []segment) uint16 {
	q := d.queues[qi]
	head := q.free % uint16(q.num)
	all := append(append([]segment(nil), out...), in...)
	for i, s := range all {
		flags := uint16(0)
		if i < len(all)-1 {
			flags |= descNext
		}
		if i >= len(out) {
			flags |= descWrite
		}
		at := (head + uint16(i)) % uint16(q.num)
		writeDesc(d.ram, q.desc, at, s.addr, s.len, flags, (at+1)%uint16(q.num))
	}
	q.free += uint16(len(all))
	return head
}

// indirect writes the chain into a table at addr and one descriptor for it.
func (d *driver) indirect(qi int, table machine.GPA, out, in []segment) uint16 {
	all := append(append([]segment(nil), out...), in...)
	for i, s := range all {
		flags := uint16(0)
		if i < len(all)-1 {
			flags |= descNext
		}
		if i >= len(out) {
			flags |= descWrite
		}
		writeDesc(d.ram, table, uint16(i), s.addr, s.len, flags, uint16(i+1))
	}
	q := d.queues[qi]
	head := q.free % uint16(q.num)
	writeDesc(d.ram, q.desc, head, table, uint32(len(all))*descSize, descIndirect, 0)
	q.free++
	return head
}

// push makes the chain at head available.
func (d *driver) push(qi int, head uint16) {
	q := d.queues[qi]
	d.ram.Store16(q.driver+4+2*machine.GPA(uint32(q.avail)%q.num), head)
	q.avail++
	d.ram.Store16(q.driver+2, q.avail)
}

func (d *driver) kick(qi int) { d.set(regQueueNotify, uint32(qi)) }

// send makes a chain available and kicks.
func (d *driver) send(qi int, out, in []segment) uint16 {
	head := d.chain(qi, out, in)
	d.push(qi, head)
	d.kick(qi)
	return head
}

type usedElem struct {
	head uint16
	len  uint32
}

// reap takes what the device has used.
func (d *driver) reap(qi int) []usedElem {
	q := d.queues[qi]
	idx, _ := d.ram.Load16(q.device + 2)
	var got []usedElem
	for ; q.used != idx; q.used++ {
		at := q.device + 4 + 8*machine.GPA(uint32(q.used)%q.num)
		id, _ := d.ram.Load32(at)
		n, _ := d.ram.Load32(at + 4)
		got = append(got, usedElem{uint16(id), n})
	}
	if d.event {
		d.ram.Store16(q.driver+4+2*machine.GPA(q.num), q.used) // tell me of the next one
	}
	return got
}

// reapOne expects exactly one used chain.
func (d *driver) reapOne(qi int, want usedElem) {
	d.Helper()
	got := d.reap(qi)
	if len(got) != 1 || got[0] != want {
		d.Fatalf("used %v, want one: %v", got, want)
	}
}

// interrupted asserts the interrupt line and acknowledges.
func (d *driver) interrupted(want bool) {
	d.Helper()
	if got := d.get(regInterruptStatus)&interruptUsed != 0; got != want || d.dev.IRQ() != want {
		d.Fatalf("used-buffer interrupt is %v and the line %v, want %v", got, d.dev.IRQ(), want)
	}
	d.set(regInterruptACK, interruptUsed)
	if d.dev.IRQ() {
		d.Fatal("the line stays up after the acknowledgement")
	}
}

func (d *driver) bytes(at machine.GPA, n int) []byte {
	d.Helper()
	b := make([]byte, n)
	if !d.ram.Read(at, b) {
		d.Fatalf("the test reads outside RAM at %#x", at)
	}
	return b
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8) + seed
	}
	return b
}

func newTestBlock(ram *mem.RAM, out *sink) device {
	return NewBlock(ram, out, 3, machine.DiskConfig{Sectors: 1 << 20})
}

func newTestNet(ram *mem.RAM, out *sink) device {
	return NewNet(ram, out, 2, machine.NICConfig{MAC: [6]byte{2, 3, 4, 5, 6, 7}})
}

func newTestConsole(ram *mem.RAM, out *sink) device { return NewConsole(ram, out, ConsoleIndex) }
func newTestRNG(ram *mem.RAM, out *sink) device     { return NewRNG(ram, out) }

// state is the device's State as bytes.
func state(dev device) []byte {
	e := snapshot.NewEncoder(nil)
	dev.SaveState(e)
	return e.Bytes()
}

// cut replaces the device by a new one loaded from its State.
func (d *driver) cut(fresh func(*mem.RAM, *sink) device) {
	d.Helper()
	was := state(d.dev)
	next := fresh(d.ram, d.out)
	dec := snapshot.NewDecoder(was)
	if err := next.LoadState(dec); err != nil {
		d.Fatalf("load: %v", err)
	}
	if dec.Rest() != 0 {
		d.Fatalf("load left %d bytes", dec.Rest())
	}
	if string(state(next)) != string(was) {
		d.Fatal("State is not the same after saving and loading")
	}
	d.dev = next
}
