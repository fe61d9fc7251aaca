package virtio

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

func (d *driver) net() *Net { return d.dev.(*Net) }

func TestNetTransmit(t *testing.T) {
	d := newDriver(t, newTestNet)
	if f := d.features(); f != featuresCommon|netFeatureMAC|netFeatureStatus {
		t.Fatalf("features %#x", f)
	}
	d.start(0, 8, 8)
	for _, c := range []struct {
		size int
		sent bool
	}{{13, false}, {14, true}, {1514, true}, {MaxFrame, true}, {MaxFrame + 1, false}} {
		frame := pattern(c.size, 3)
		head := d.send(netTransmit, d.frame(dataArea, frame), nil)
		outs := d.out.take()
		if c.sent != (len(outs) == 1) {
			t.Fatalf("%d bytes: emitted %d", c.size, len(outs))
		}
		if c.sent && (outs[0].Port != machine.Port{Kind: machine.PortNIC, Index: 2} || !bytes.Equal(outs[0].Bytes, frame)) {
			t.Fatalf("%d bytes: emitted something else", c.size)
		}
		d.reapOne(netTransmit, usedElem{head, 0})
		d.interrupted(true)
	}
	d.healthy()
}

func TestNetReceive(t *testing.T) {
	d := newDriver(t, newTestNet)
	frame := pattern(100, 6)
	if d.net().Room() != 0 || d.net().Receive(frame) == nil {
		t.Fatal("a device without a driver takes a frame")
	}
	d.start(0, 8, 8)
	if d.net().Room() != 0 || d.net().Receive(frame) == nil {
		t.Fatal("a queue without buffers takes a frame")
	}
	// One buffer in two pieces; the header and the frame run across them.
	d.push(netReceive, d.chain(netReceive, nil, []segment{readable(dataArea, 50), readable(dataArea+0x1000, 1500)}))
	d.push(netReceive, d.chain(netReceive, nil, []segment{readable(dataArea+0x2000, netHeader+60)}))
	if got := d.net().Room(); got != 2 {
		t.Fatalf("room for %d", got)
	}
	was := string(state(d.dev))
	for _, n := range []int{0, 13, MaxFrame + 1} {
		if d.net().Receive(make([]byte, n)) == nil {
			t.Errorf("a frame of %d bytes was taken", n)
		}
	}
	if string(state(d.dev)) != was {
		t.Fatal("an error changed State")
	}
	if err := d.net().Receive(frame); err != nil {
		t.Fatal(err)
	}
	d.reapOne(netReceive, usedElem{0, netHeader + 100})
	d.interrupted(true)
	got := append(d.bytes(dataArea, 50), d.bytes(dataArea+0x1000, 62)...)
	want := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}, frame...)
	if !bytes.Equal(got, want) {
		t.Errorf("RAM holds %x", got)
	}
	// A frame one byte too long for the next buffer is lost; the buffer stays.
	if err := d.net().Receive(frame[:61]); err != nil {
		t.Fatal(err)
	}
	if len(d.reap(netReceive)) != 0 || d.net().Room() != 1 {
		t.Error("the frame that does not fit used the buffer")
	}
	if err := d.net().Receive(frame[:60]); err != nil {
		t.Fatal(err)
	}
	d.reapOne(netReceive, usedElem{2, netHeader + 60})
	if d.net().Room() != 0 {
		t.Error("room is left")
	}
	d.healthy()
}

func TestNetRoomIsCapped(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(0, 256, 256)
	for range 256 {
		d.push(netReceive, d.chain(netReceive, nil, []segment{readable(dataArea, 2048)}))
	}
	if got := d.net().Room(); got != MaxNetRoom {
		t.Errorf("room for %d", got)
	}
	d.queues[netReceive].avail += 100
	d.push(netReceive, 0)
	if got := d.net().Room(); got != 0 {
		t.Errorf("room for %d behind an impossible index", got)
	}
}

// A buffer that the device may not write to, or without room for a header.
func TestNetHostileReceive(t *testing.T) {
	for _, segs := range [][2][]segment{
		{{readable(dataArea, 2048)}, nil},
		{{readable(dataArea, 12)}, {readable(dataArea, 2048)}},
		{nil, {readable(dataArea, netHeader-1)}},
		{nil, {readable(0x1000, 2048)}},
	} {
		d := newDriver(t, newTestNet)
		d.start(0, 8, 8)
		d.push(netReceive, d.chain(netReceive, segs[0], segs[1]))
		if err := d.net().Receive(pattern(100, 1)); err != nil {
			t.Fatal(err)
		}
		d.broken()
		if d.net().Room() != 0 {
			t.Error("the broken device has room")
		}
		if !bytes.Equal(d.bytes(dataArea, 100), make([]byte, 100)) {
			t.Error("RAM was written")
		}
	}
}
