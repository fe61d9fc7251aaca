package virtio

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

const statusUntouched = 0xee

// request is one block request in guest memory.
type request struct {
	head uint16
	data machine.GPA
	len  int
	at   machine.GPA // of the status byte
}

// ask makes a request available: header, data of n bytes, status, in an area of
// 64 KiB of its own.
func (d *driver) ask(slot int, kind uint32, sector uint64, data []byte, n int) request {
	area := dataArea + machine.GPA(slot)*0x1_0000
	var h [blockHeader]byte
	binary.LittleEndian.PutUint32(h[0:], kind)
	binary.LittleEndian.PutUint64(h[8:], sector)
	d.ram.Write(area, h[:])
	r := request{data: area + 0x100, len: n, at: area + 0x80}
	d.ram.Write(r.at, []byte{statusUntouched})
	out, in := []segment{readable(area, blockHeader)}, []segment{}
	if len(data) > 0 {
		d.ram.Write(r.data, data)
		out = append(out, readable(r.data, len(data)))
	}
	if n > 0 {
		in = append(in, readable(r.data, n))
	}
	in = append(in, readable(r.at, 1))
	r.head = d.indirect(0, area+0xf000, out, in)
	d.push(0, r.head)
	return r
}

func (d *driver) status(r request) byte { return d.bytes(r.at, 1)[0] }

func (d *driver) block() *Block { return d.dev.(*Block) }

func (d *driver) done(id uint64, status machine.DiskStatus, data []byte) {
	d.Helper()
	if err := d.block().Complete(machine.DiskDone{Disk: 3, ID: id, Status: status, Bytes: data}); err != nil {
		d.Fatal(err)
	}
}

func (d *driver) pending() []machine.Output { return d.block().Pending(nil) }

var disk3 = machine.Port{Kind: machine.PortDisk, Index: 3}

func TestBlockConfig(t *testing.T) {
	d := newDriver(t, newTestBlock)
	if got := d.dev.Load(regConfig, 8); got != 1<<20 {
		t.Errorf("capacity %d", got)
	}
	for _, c := range []struct {
		off  uint64
		want uint64
	}{{8, blockSizeMax}, {12, blockSegMax}, {20, sectorSize}} {
		if got := d.dev.Load(regConfig+c.off, 4); got != c.want {
			t.Errorf("offset %d: %d, want %d", c.off, got, c.want)
		}
	}
	if MaxDiskRequest > 1<<20 {
		t.Error("a request must fit 1 MiB")
	}
}

func TestBlockLife(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	want := pattern(1024, 5)
	w := d.ask(0, blockOut, 40, want, 0)
	r := d.ask(1, blockIn, 99, nil, 1536)
	f := d.ask(2, blockFlush, 0, nil, 0)
	d.kick(0)
	outs := d.out.take()
	expect := []machine.Output{
		{Port: disk3, Op: machine.DiskWrite, ID: 1, Sector: 40, Bytes: want},
		{Port: disk3, Op: machine.DiskRead, ID: 2, Sector: 99, Length: 1536},
		{Port: disk3, Op: machine.DiskFlush, ID: 3},
	}
	if !reflect.DeepEqual(outs, expect) {
		t.Fatalf("emitted %v", outs)
	}
	if !reflect.DeepEqual(d.pending(), expect) {
		t.Fatalf("pending %v", d.pending())
	}
	if len(d.reap(0)) != 0 || d.dev.IRQ() {
		t.Fatal("answered before the host")
	}
	// The bytes left at the kick: what the guest does to its buffer later is
	// of no consequence.
	d.ram.Write(w.data, make([]byte, 1024))
	if !bytes.Equal(d.pending()[0].Bytes, want) {
		t.Fatal("the bytes of the write changed after the kick")
	}
	// In another order than they were asked.
	d.done(3, machine.DiskOK, nil)
	d.reapOne(0, usedElem{f.head, 1})
	d.interrupted(true)
	data := pattern(1536, 8)
	d.done(2, machine.DiskOK, data)
	d.reapOne(0, usedElem{r.head, 1537})
	d.interrupted(true)
	if !bytes.Equal(d.bytes(r.data, r.len), data) {
		t.Error("the data of the read is not in RAM")
	}
	d.done(1, machine.DiskIOError, nil)
	d.reapOne(0, usedElem{w.head, 1})
	if d.status(f) != 0 || d.status(r) != 0 || d.status(w) != 1 {
		t.Errorf("status bytes %d %d %d", d.status(f), d.status(r), d.status(w))
	}
	if len(d.pending()) != 0 || len(d.out.take()) != 0 {
		t.Error("something is left")
	}
	d.healthy()
}

func TestBlockAnsweredAtOnce(t *testing.T) {
	const capacity = 1 << 20
	for _, c := range []struct {
		name   string
		kind   uint32
		sector uint64
		out    int
		in     int
		status byte
	}{
		{"unknown type", 77, 0, 0, 0, 2},
		{"secure erase", 14, 0, 16, 0, 2},
		{"read at the end", blockIn, capacity, 0, 512, 1},
		{"read over the end", blockIn, capacity - 1, 0, 1024, 1},
		{"read with a sector that wraps", blockIn, 1<<64 - 1, 0, 1024, 1},
		{"read of nothing", blockIn, 0, 0, 0, 1},
		{"read of half a sector", blockIn, 0, 0, 256, 1},
		{"write over the end", blockOut, capacity, 512, 0, 1},
		{"write of nothing", blockOut, 0, 0, 0, 1},
		{"write of half a sector", blockOut, 0, 700, 0, 1},
		{"short buffer for the id", blockGetID, 0, 0, 19, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, newTestBlock)
			d.start(0, 16)
			r := d.ask(0, c.kind, c.sector, make([]byte, c.out), c.in)
			d.kick(0)
			if outs := d.out.take(); len(outs) != 0 || len(d.pending()) != 0 {
				t.Fatalf("emitted %v", outs)
			}
			if d.status(r) != c.status {
				t.Errorf("status %d, want %d", d.status(r), c.status)
			}
			// Only what was written without a gap counts.
			want := uint32(1)
			if c.in > 0 {
				want = 0
			}
			d.reapOne(0, usedElem{r.head, want})
			d.interrupted(true)
			d.healthy()
		})
	}
}

func TestBlockGetID(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	r := d.ask(0, blockGetID, 0, nil, 20)
	d.kick(0)
	if got := string(d.bytes(r.data, 20)); got != "lockstep-disk3\x00\x00\x00\x00\x00\x00" {
		t.Errorf("id %q", got)
	}
	if d.status(r) != 0 || len(d.out.take()) != 0 {
		t.Error("status or output")
	}
	d.reapOne(0, usedElem{r.head, 21})
}

func TestBlockLargestRequest(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	for _, n := range []int{MaxDiskRequest, MaxDiskRequest + sectorSize} {
		var h [blockHeader]byte
		d.ram.Write(dataArea, h[:])
		out, in := []segment{readable(dataArea, blockHeader)}, []segment{readable(dataArea+0x1000, n), readable(dataArea+0x100, 1)}
		d.push(0, d.indirect(0, dataArea+0x200, out, in))
		d.kick(0)
	}
	outs := d.out.take()
	if len(outs) != 1 || outs[0].Length != MaxDiskRequest {
		t.Fatalf("emitted %v", outs)
	}
	if d.bytes(dataArea+0x100, 1)[0] != 1 {
		t.Error("a request that is too long must fail")
	}
}

func TestBlockReadOnly(t *testing.T) {
	d := newDriver(t, func(ram *mem.RAM, out *sink) device {
		return NewBlock(ram, out, 3, machine.DiskConfig{Sectors: 100, ReadOnly: true})
	})
	if f := d.features(); f&blockFeatureRO == 0 || f&blockFeatureFlush != 0 {
		t.Fatalf("features %#x", f)
	}
	d.start(0, 16)
	w := d.ask(0, blockOut, 0, make([]byte, 512), 0)
	f := d.ask(1, blockFlush, 0, nil, 0)
	r := d.ask(2, blockIn, 99, nil, 512)
	d.kick(0)
	if outs := d.out.take(); len(outs) != 1 || outs[0].Op != machine.DiskRead {
		t.Fatalf("emitted %v", outs)
	}
	if d.status(w) != 1 || d.status(f) != 2 || d.status(r) != statusUntouched {
		t.Errorf("status bytes %d %d %d", d.status(w), d.status(f), d.status(r))
	}
}

// "If VIRTIO_BLK_F_FLUSH was not negotiated, a completed write is stable": 5.2.6.2.
func TestBlockWriteThrough(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(blockFeatureFlush, 16)
	w := d.ask(0, blockOut, 7, make([]byte, 512), 0)
	d.kick(0)
	d.out.take()
	d.done(1, machine.DiskOK, nil)
	outs := d.out.take()
	if len(outs) != 1 || outs[0].Op != machine.DiskFlush || outs[0].ID != 2 {
		t.Fatalf("emitted %v", outs)
	}
	if len(d.reap(0)) != 0 {
		t.Fatal("the driver was told before the flush")
	}
	d.cut(newTestBlock)
	d.done(2, machine.DiskOK, nil)
	d.reapOne(0, usedElem{w.head, 1})
	if d.status(w) != 0 {
		t.Error("status")
	}
	w = d.ask(0, blockOut, 7, make([]byte, 512), 0)
	d.kick(0)
	d.done(3, machine.DiskIOError, nil)
	d.reapOne(0, usedElem{w.head, 1})
	if d.status(w) != 1 {
		t.Error("status of a failed write")
	}
}

func TestBlockCompletionsThatDoNotFit(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	d.ask(0, blockIn, 0, nil, 512)
	d.ask(1, blockOut, 0, make([]byte, 512), 0)
	d.kick(0)
	was := string(state(d.dev))
	for _, c := range []machine.DiskDone{
		{Disk: 3, ID: 0},
		{Disk: 3, ID: 3},
		{Disk: 2, ID: 2},
		{Disk: 3, ID: 2, Status: 3},
		{Disk: 3, ID: 2, Bytes: make([]byte, 512)},
		{Disk: 3, ID: 1},
		{Disk: 3, ID: 1, Bytes: make([]byte, 511)},
		{Disk: 3, ID: 1, Bytes: make([]byte, 1024)},
		{Disk: 3, ID: 1, Status: machine.DiskIOError, Bytes: make([]byte, 512)},
	} {
		if err := d.block().Complete(c); err == nil {
			t.Errorf("%d/%d status %d with %d bytes was taken", c.Disk, c.ID, c.Status, len(c.Bytes))
		}
	}
	if string(state(d.dev)) != was {
		t.Error("an error changed State")
	}
	d.done(1, machine.DiskOK, make([]byte, 512))
	if err := d.block().Complete(machine.DiskDone{Disk: 3, ID: 1, Bytes: make([]byte, 512)}); err == nil {
		t.Error("the same completion was taken twice")
	}
}

// What the guest forgets by a reset the host still completes; nothing of it
// reaches the guest.
func TestBlockForgotten(t *testing.T) {
	forget := map[string]func(d *driver){
		"reset":      func(d *driver) { d.set(regStatus, 0) },
		"failed":     func(d *driver) { d.set(regStatus, statusFailed) },
		"queue stop": func(d *driver) { d.set(regQueueSel, 0); d.set(regQueueReady, 0) },
		"rule broken": func(d *driver) {
			d.set(regQueueNotify, 9)
			d.broken()
		},
	}
	for name, f := range forget {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, newTestBlock)
			d.start(0, 16)
			r := d.ask(0, blockIn, 4, nil, 512)
			d.ask(1, blockOut, 5, pattern(512, 3), 0)
			d.kick(0)
			emitted := d.out.take()
			ram := d.bytes(mem.Base, testRAM)
			f(d)
			if !reflect.DeepEqual(d.pending(), emitted) {
				t.Fatalf("pending %v", d.pending())
			}
			d.cut(newTestBlock)
			line := d.dev.IRQ()
			d.done(1, machine.DiskOK, pattern(512, 1))
			d.done(2, machine.DiskOK, nil)
			if !bytes.Equal(d.bytes(mem.Base, testRAM), ram) {
				t.Error("a forgotten request wrote to RAM")
			}
			if d.dev.IRQ() != line || len(d.pending()) != 0 {
				t.Error("a forgotten request interrupted, or is left")
			}
			// Numbers go on: an old completion can never meet a new request.
			d.start(0, 16)
			r = d.ask(0, blockIn, 4, nil, 512)
			d.kick(0)
			if outs := d.out.take(); len(outs) != 1 || outs[0].ID != 3 {
				t.Fatalf("emitted %v", outs)
			}
			d.done(3, machine.DiskOK, pattern(512, 2))
			d.reapOne(0, usedElem{r.head, 513})
		})
	}
}

// A guest that resets and asks again without end: what waits stays bounded, and
// what found no place goes on when there is some.
func TestBlockPendingIsBounded(t *testing.T) {
	d := newDriver(t, newTestBlock)
	total := 0
	for range 12 {
		d.start(0, 16)
		for range 16 {
			d.ask(0, blockIn, 1, nil, 512)
		}
		d.kick(0)
		total += len(d.out.take())
	}
	if total != MaxDiskPending || len(d.pending()) != MaxDiskPending {
		t.Fatalf("%d requests emitted, %d wait", total, len(d.pending()))
	}
	d.cut(newTestBlock)
	// The last 16 are not even taken; two places become free.
	for i, id := range []uint64{5, 128} {
		d.done(id, machine.DiskIOError, nil)
		if outs := d.out.take(); len(outs) != 1 || outs[0].ID != 129+uint64(i) {
			t.Fatalf("emitted %v", outs)
		}
	}
	for _, o := range d.pending() {
		d.done(o.ID, machine.DiskIOError, nil)
	}
	for _, o := range d.pending() {
		d.done(o.ID, machine.DiskIOError, nil)
	}
	if got := len(d.reap(0)); got != 16 {
		t.Errorf("%d of 16 requests were answered", got)
	}
	d.healthy()
}

func TestBlockHostileRequests(t *testing.T) {
	hdr := func(kind byte) func(d *driver) {
		return func(d *driver) { d.ram.Write(dataArea, append([]byte{kind}, make([]byte, 15)...)) }
	}
	for _, c := range []struct {
		name    string
		prepare func(d *driver)
		out, in []segment
	}{
		{"no status", hdr(blockOut), []segment{readable(dataArea, 16), readable(dataArea, 512)}, nil},
		{"short header", hdr(blockOut), []segment{readable(dataArea, 15)}, []segment{readable(dataArea, 1)}},
		{"only a status", hdr(blockOut), nil, []segment{readable(dataArea, 1)}},
		{"read with data to write", hdr(blockIn), []segment{readable(dataArea, 16), readable(dataArea, 512)}, []segment{readable(dataArea, 513)}},
		{"write with data to read", hdr(blockOut), []segment{readable(dataArea, 16), readable(dataArea, 512)}, []segment{readable(dataArea, 513)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, newTestBlock)
			d.start(0, 16)
			c.prepare(d)
			d.send(0, c.out, c.in)
			d.broken()
			if len(d.pending()) != 0 {
				t.Error("a request waits")
			}
		})
	}
}

// A descriptor to read behind one to write (2.7.4.2), in a request that would be
// good without it.
func TestBlockReadableBehindWritable(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	d.ram.Write(dataArea, []byte{blockFlush})
	desc := d.queues[0].desc
	writeDesc(d.ram, desc, 0, dataArea, blockHeader, descNext, 1)
	writeDesc(d.ram, desc, 1, dataArea+0x100, 1, descNext|descWrite, 2)
	writeDesc(d.ram, desc, 2, dataArea+0x200, 1, 0, 0)
	d.push(0, 0)
	d.kick(0)
	d.broken()
}

// The driver acknowledges what it has seen, and no more (4.2.2).
func TestInterruptsAreAcknowledgedOneByOne(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	d.ask(0, blockGetID, 0, nil, 20)
	d.kick(0)
	d.set(regQueueNotify, 9)
	if got := d.get(regInterruptStatus); got != interruptUsed|interruptConfig {
		t.Fatalf("interrupt status %d", got)
	}
	d.set(regInterruptACK, interruptUsed)
	if got := d.get(regInterruptStatus); got != interruptConfig || !d.dev.IRQ() {
		t.Errorf("interrupt status %d", got)
	}
	d.set(regInterruptACK, interruptConfig)
	if d.dev.IRQ() {
		t.Error("the line stays up")
	}
}
