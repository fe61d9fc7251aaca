package virtio

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// span is the data of a discard or zeroing.
func span(sector uint64, sectors, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, sectors)
	return binary.LittleEndian.AppendUint32(b, flags)
}

func newBlockWith(cfg machine.DiskConfig) func(*mem.RAM, *sink) device {
	return func(ram *mem.RAM, out *sink) device { return NewBlock(ram, out, 3, cfg) }
}

func TestDiscardAndZeroLeaveAsRequests(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	a := d.ask(0, blockDiscard, 0, span(8, 16, 0), 0)
	z := d.ask(1, blockZero, 0, span(1<<20-8, 8, 0), 0)
	u := d.ask(2, blockZero, 0, span(0, maxZeroSectors, blockUnmap), 0)
	d.kick(0)
	want := []machine.Output{
		{Port: disk3, Op: machine.DiskDiscard, ID: 1, Sector: 8, Sectors: 16},
		{Port: disk3, Op: machine.DiskZero, ID: 2, Sector: 1<<20 - 8, Sectors: 8},
		{Port: disk3, Op: machine.DiskZero, ID: 3, Sectors: maxZeroSectors, Unmap: true},
	}
	if outs := d.out.take(); !reflect.DeepEqual(outs, want) {
		t.Fatalf("emitted %+v", outs)
	}
	for _, o := range want {
		if !o.Held() {
			t.Errorf("a %v is not held", o.Op)
		}
	}
	// A replica that loads this State issues the same again.
	d.cut(newTestBlock)
	if !reflect.DeepEqual(d.pending(), want) {
		t.Fatalf("pending %+v", d.pending())
	}
	for i, r := range []request{a, z, u} {
		d.done(uint64(i+1), machine.DiskOK, nil)
		d.reapOne(0, usedElem{r.head, 1})
		if d.status(r) != 0 {
			t.Errorf("status %d", d.status(r))
		}
	}
	d.healthy()
}

func TestDiscardAndZeroRefused(t *testing.T) {
	const capacity = 1 << 20
	for _, c := range []struct {
		name   string
		kind   uint32
		data   []byte
		status byte
	}{
		{"nothing", blockDiscard, span(0, 0, 0), 1},
		{"at the end", blockDiscard, span(capacity, 1, 0), 1},
		{"over the end", blockDiscard, span(capacity-1, 2, 0), 1},
		{"a sector that wraps", blockDiscard, span(1<<64-1, 2, 0), 1},
		{"zeros over the end", blockZero, span(capacity-1, 2, 0), 1},
		{"more zeros than the limit", blockZero, span(0, maxZeroSectors+1, 0), 1},
		{"more than all", blockDiscard, span(0, 1<<32-1, 0), 1},
		{"unmap in a discard", blockDiscard, span(0, 8, blockUnmap), 2},
		{"an unknown flag in a discard", blockDiscard, span(0, 8, 2), 2},
		{"an unknown flag in a zeroing", blockZero, span(0, 8, 3), 2},
		{"an unknown flag over the end", blockZero, span(capacity, 8, 4), 2},
		{"two ranges", blockDiscard, append(span(0, 8, 0), span(8, 8, 0)...), 1},
		{"half a range", blockZero, span(0, 8, 0)[:8], 1},
		{"no range", blockZero, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, newTestBlock)
			d.start(0, 16)
			r := d.ask(0, c.kind, 0, c.data, 0)
			d.kick(0)
			if outs := d.out.take(); len(outs) != 0 || d.status(r) != c.status {
				t.Errorf("status %d, want %d; emitted %v", d.status(r), c.status, outs)
			}
			d.healthy()
		})
	}
	huge := newDriver(t, newBlockWith(machine.DiskConfig{Sectors: 1 << 40}))
	huge.start(0, 16)
	r := huge.ask(0, blockDiscard, 0, span(0, maxDiscardSectors+1, 0), 0)
	huge.kick(0)
	if huge.status(r) != 1 {
		t.Error("a discard over the limit was taken")
	}
}

func TestDiscardAndZeroMustBeNegotiated(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(blockFeatureDiscard|blockFeatureZero, 16) // not taken
	a, z := d.ask(0, blockDiscard, 0, span(0, 8, 0), 0), d.ask(1, blockZero, 0, span(0, 8, 0), 0)
	d.kick(0)
	if len(d.out.take()) != 0 || d.status(a) != 2 || d.status(z) != 2 {
		t.Errorf("status bytes %d %d", d.status(a), d.status(z))
	}
	ro := newDriver(t, newBlockWith(machine.DiskConfig{Sectors: 64, ReadOnly: true}))
	if f := ro.features(); f&(blockFeatureDiscard|blockFeatureZero) != 0 {
		t.Errorf("a read-only disk offers %#x", f)
	}
}

// A completed zeroing is stable for a driver that cannot flush (5.2.6.2).
func TestZeroWriteThrough(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(blockFeatureFlush, 16)
	r := d.ask(0, blockZero, 0, span(0, 8, 0), 0)
	d.kick(0)
	d.out.take()
	d.done(1, machine.DiskOK, nil)
	if outs := d.out.take(); len(outs) != 1 || outs[0].Op != machine.DiskFlush || len(d.reap(0)) != 0 {
		t.Fatalf("emitted %v", outs)
	}
	d.done(2, machine.DiskOK, nil)
	d.reapOne(0, usedElem{r.head, 1})
}

func TestBlocksOf4096(t *testing.T) {
	d := newDriver(t, newBlockWith(machine.DiskConfig{Sectors: 800, BlockSize: 4096}))
	if got := d.dev.Load(regConfig+20, 4); got != 4096 {
		t.Errorf("blk_size %d", got)
	}
	if exp, low := d.dev.Load(regConfig+24, 1), d.dev.Load(regConfig+26, 2); exp != 0 || low != 1 {
		t.Errorf("topology %d, %d", exp, low)
	}
	d.start(0, 16)
	for i, c := range []struct {
		kind   uint32
		sector uint64
		data   []byte
		n      int
		ok     bool
	}{
		{blockIn, 8, nil, 4096, true},
		{blockIn, 1, nil, 4096, false},
		{blockIn, 8, nil, 512, false},
		{blockOut, 4, make([]byte, 4096), 0, false},
		{blockOut, 8, make([]byte, 1024), 0, false},
		{blockDiscard, 0, span(8, 8, 0), 0, true},
		{blockDiscard, 0, span(4, 8, 0), 0, false},
		{blockZero, 0, span(8, 7, 0), 0, false},
	} {
		r := d.ask(0, c.kind, c.sector, c.data, c.n)
		d.kick(0)
		if outs := d.out.take(); len(outs) == 1 != c.ok || !c.ok && d.status(r) != 1 {
			t.Errorf("%d: emitted %v, status %d", i, outs, d.status(r))
		}
	}
	small := newDriver(t, newTestBlock)
	if exp, low := small.dev.Load(regConfig+24, 1), small.dev.Load(regConfig+26, 2); exp != 3 || low != 8 {
		t.Errorf("topology of 512: %d, %d", exp, low)
	}
}

func TestRangeLimitsInConfig(t *testing.T) {
	d := newDriver(t, newTestBlock)
	for off, want := range map[uint64]uint64{36: maxDiscardSectors, 40: 1, 44: 8, 48: maxZeroSectors, 52: 1} {
		if got := d.dev.Load(regConfig+off, 4); got != want {
			t.Errorf("offset %d: %d, want %d", off, got, want)
		}
	}
	if d.dev.Load(regConfig+56, 1) != 1 {
		t.Error("a zeroing may not unmap")
	}
}

func TestSerial(t *testing.T) {
	const serial = "ABCDEFGHIJ-123456789" // all 20 bytes, no zero behind
	d := newDriver(t, newBlockWith(machine.DiskConfig{Sectors: 8, Serial: serial}))
	d.start(0, 16)
	r := d.ask(0, blockGetID, 0, nil, 20)
	d.kick(0)
	if got := string(d.bytes(r.data, 20)); got != serial {
		t.Errorf("id %q", got)
	}
}

// What a local disk is asked for is no output (DESIGN section 7).
func TestLocalDisk(t *testing.T) {
	d := newDriver(t, newBlockWith(machine.DiskConfig{Sectors: 1 << 30 << 13, Local: true})) // 4 PiB
	d.start(0, 16)
	d.ask(0, blockOut, 1<<43-1, make([]byte, 512), 0)
	d.ask(1, blockIn, 1<<43-1, nil, 512)
	d.ask(2, blockFlush, 0, nil, 0)
	d.ask(3, blockZero, 0, span(1<<43-8, 8, 0), 0)
	d.kick(0)
	outs := d.out.take()
	if len(outs) != 4 {
		t.Fatalf("emitted %v", outs)
	}
	for _, o := range append(outs, d.pending()...) {
		if !o.Local || o.Held() {
			t.Errorf("a %v is held", o.Op)
		}
	}
}

func TestImpossibleRangesInASnapshot(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 16)
	d.ask(0, blockDiscard, 0, span(8, 16, 0), 0)
	d.kick(0)
	good := state(d.dev)
	for name, change := range map[string]func(r *blockRequest){
		"over the end":   func(r *blockRequest) { r.sector = 1 << 20 },
		"too long":       func(r *blockRequest) { r.sectors = 1 << 40 },
		"over the limit": func(r *blockRequest) { r.op, r.sectors = machine.DiskZero, maxZeroSectors+1 },
		"nothing":        func(r *blockRequest) { r.sectors = 0 },
		"unmap":          func(r *blockRequest) { r.unmap = true },
		"with bytes":     func(r *blockRequest) { r.bytes = make([]byte, 512) },
		"a flush":        func(r *blockRequest) { r.op, r.sector = machine.DiskFlush, 0 },
	} {
		b := d.block()
		was := b.pending[0]
		change(&b.pending[0])
		if err := newTestBlock(d.ram, d.out).LoadState(snapshot.NewDecoder(state(b))); err == nil {
			t.Errorf("%s: loaded", name)
		}
		b.pending[0] = was
	}
	if !bytes.Equal(state(d.dev), good) {
		t.Error("the test has changed State")
	}
}
