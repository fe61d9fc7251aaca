package virtio

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// transmit writes a frame behind its header at addr and gives the segments.
func (d *driver) frame(addr machine.GPA, frame []byte) []segment {
	d.ram.Write(addr, make([]byte, netHeader))
	d.ram.Write(addr+netHeader, frame)
	return []segment{readable(addr, netHeader), readable(addr+netHeader, len(frame))}
}

// Without the event index the driver's flag suppresses interrupts (2.7.7).
func TestInterruptFlag(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(featureEventIdx, 8, 8)
	d.send(netTransmit, d.frame(dataArea, pattern(60, 1)), nil)
	d.interrupted(true)
	d.ram.Store16(d.queues[netTransmit].driver, 1)
	d.send(netTransmit, d.frame(dataArea, pattern(60, 2)), nil)
	d.interrupted(false)
	if got := len(d.reap(netTransmit)); got != 2 {
		t.Errorf("%d used", got)
	}
}

// With the event index the device interrupts when it passes used_event, and only
// then (2.7.7.2), the flag notwithstanding.
func TestUsedEvent(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(0, 8, 8)
	q := d.queues[netTransmit]
	d.ram.Store16(q.driver, 1)
	event := func(v uint16) { d.ram.Store16(q.driver+4+2*8, v) }
	send := func(n int) {
		for i := range n {
			d.push(netTransmit, d.chain(netTransmit, d.frame(dataArea, pattern(60, byte(i))), nil))
		}
		d.kick(netTransmit)
	}
	event(2)
	send(1)
	d.interrupted(false)
	send(1)
	d.interrupted(false)
	send(1) // the third: index 2
	d.interrupted(true)
	send(1)
	d.interrupted(false)
	event(5)
	send(3) // passes it within a batch
	d.interrupted(true)
	// Around the end of the 16-bit index.
	for q.avail != 0xfffe {
		event(q.avail + 100)
		send(int(min(8, 0xfffe-q.avail)))
	}
	d.set(regInterruptACK, 3)
	event(0xffff)
	send(1)
	d.interrupted(false)
	send(1)
	d.interrupted(true)
	event(0)
	send(1)
	d.interrupted(true)
	d.healthy()
}

// The device says for which chain it wants the next kick (2.7.10).
func TestAvailEvent(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(0, 8, 8)
	event := func(q int) uint16 {
		v, _ := d.ram.Load16(d.queues[q].device + 4 + 8*8)
		return v
	}
	for want := uint16(1); want < 20; want++ {
		d.send(netTransmit, d.frame(dataArea, pattern(60, 1)), nil)
		if got := event(netTransmit); got != want {
			t.Fatalf("avail_event is %d, want %d", got, want)
		}
	}
	// Receive buffers need no kick: neither by flag nor by event.
	d.send(netReceive, nil, []segment{readable(dataArea, 2048)})
	if flags, _ := d.ram.Load16(d.queues[netReceive].device); flags != 0 || event(netReceive) != 0 {
		t.Errorf("receive queue: flags %d, event %d", flags, event(netReceive))
	}
	d.start(featureEventIdx, 8, 8)
	d.send(netReceive, nil, []segment{readable(dataArea, 2048)})
	if flags, _ := d.ram.Load16(d.queues[netReceive].device); flags != 1 {
		t.Error("the device wants kicks of the receive queue")
	}
}

// Any framing will do (2.7.4.1): the same request as one piece, in pieces, and
// behind an indirect table.
func TestFraming(t *testing.T) {
	frame := pattern(200, 9)
	whole := append(make([]byte, netHeader), frame...)
	pieces := func(sizes ...int) (segs []segment) {
		at := dataArea
		for _, n := range sizes {
			segs = append(segs, readable(at, n))
			at += machine.GPA(n)
		}
		return append(segs, readable(at, len(whole)-int(at-dataArea)))
	}
	for _, segs := range [][]segment{pieces(), pieces(12), pieces(5, 10, 100), pieces(1, 1, 1, 1, 1, 1)} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprint(len(segs), table), func(t *testing.T) {
				d := newDriver(t, newTestNet)
				d.start(0, 8, 8)
				d.ram.Write(dataArea, whole)
				if table {
					d.push(netTransmit, d.indirect(netTransmit, dataArea+0x8000, segs, nil))
					d.kick(netTransmit)
				} else {
					d.send(netTransmit, segs, nil)
				}
				outs := d.out.take()
				if len(outs) != 1 || !bytes.Equal(outs[0].Bytes, frame) {
					t.Fatalf("emitted %v", outs)
				}
				d.reapOne(netTransmit, usedElem{0, 0})
			})
		}
	}
}

// Direct descriptors, then one indirect table at the end (2.7.5.3.2).
func TestDirectThenIndirect(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(0, 8, 8)
	frame := pattern(60, 4)
	segs := d.frame(dataArea, frame)
	q := d.queues[netTransmit]
	table := dataArea + 0x8000
	writeDesc(d.ram, q.desc, 5, segs[0].addr, segs[0].len, descNext, 2)
	writeDesc(d.ram, q.desc, 2, table, descSize, descIndirect|descWrite, 0) // the write flag is ignored
	writeDesc(d.ram, table, 0, segs[1].addr, segs[1].len, 0, 0)
	d.push(netTransmit, 5)
	d.kick(netTransmit)
	if outs := d.out.take(); len(outs) != 1 || !bytes.Equal(outs[0].Bytes, frame) {
		t.Fatalf("emitted %v", outs)
	}
	d.reapOne(netTransmit, usedElem{5, 0})
}

// A table may hold a chain as long as the largest queue, whatever the size of
// the queue that it is in.
func TestLongestIndirectChain(t *testing.T) {
	for _, n := range []int{netQueueMax, netQueueMax + 1} {
		d := newDriver(t, newTestNet)
		d.start(0, 2, 2)
		var segs []segment
		for i := range n {
			segs = append(segs, readable(dataArea+machine.GPA(i), 1))
		}
		d.push(netTransmit, d.indirect(netTransmit, dataArea+0x8000, segs, nil))
		d.kick(netTransmit)
		if n > netQueueMax {
			d.broken()
		} else if outs := d.out.take(); len(outs) != 1 || len(outs[0].Bytes) != n-netHeader {
			t.Fatalf("emitted %v", outs)
		}
	}
}

// What a hostile driver may write into its queue. Each makes the device quiet,
// and a reset heals it.
func TestHostileQueues(t *testing.T) {
	const end = mem.Base + testRAM
	table := dataArea + 0x8000
	tx := func(d *driver) machine.GPA { return d.queues[netTransmit].desc }
	for _, c := range []struct {
		name    string
		without uint64
		prepare func(d *driver)
	}{
		{"loop of one", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, dataArea, 64, descNext, 0) }},
		{"loop of two", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, dataArea, 64, descNext, 1)
			writeDesc(d.ram, tx(d), 1, dataArea, 64, descNext, 0)
		}},
		{"next beyond the table", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, dataArea, 64, descNext, 8)
			writeDesc(d.ram, tx(d), 8, dataArea, 64, 0, 0)
		}},
		{"zero length", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, dataArea, 0, 0, 0) }},
		{"below RAM", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, mem.Base-1, 64, 0, 0) }},
		{"over the end", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, end-63, 64, 0, 0) }},
		{"address wraps", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, 0xffff_ffff_ffff_ffc0, 0x100, 0, 0) }},
		{"4 GiB", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, dataArea, 0xffff_ffff, 0, 0) }},
		{"to be written", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, dataArea, 64, descWrite, 0) }},
		{"read after write", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, dataArea, 64, descWrite|descNext, 1)
			writeDesc(d.ram, tx(d), 1, dataArea, 64, 0, 0)
		}},
		{"shorter than the header", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, dataArea, netHeader-1, 0, 0) }},
		{"indirect not negotiated", featureIndirect, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, table, descSize, descIndirect, 0)
			writeDesc(d.ram, table, 0, dataArea, 64, 0, 0)
		}},
		{"indirect and next", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, table, descSize, descIndirect|descNext, 1)
			writeDesc(d.ram, table, 0, dataArea, 64, 0, 0)
		}},
		{"nested", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, table, descSize, descIndirect, 0)
			writeDesc(d.ram, table, 0, table, descSize, descIndirect, 0)
		}},
		{"table of odd length", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, table, descSize+1, descIndirect, 0)
			writeDesc(d.ram, table, 0, dataArea, 64, 0, 0)
		}},
		{"empty table", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, table, 0, descIndirect, 0) }},
		{"table outside RAM", 0, func(d *driver) { writeDesc(d.ram, tx(d), 0, end-8, descSize, descIndirect, 0) }},
		{"table as large as RAM, looping", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, dataArea, 2<<20, descIndirect, 0)
			writeDesc(d.ram, dataArea, 0, dataArea, 64, descNext, 1)
			writeDesc(d.ram, dataArea, 1, dataArea, 64, descNext, 0)
		}},
		{"next beyond the indirect table", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, table, descSize, descIndirect, 0)
			writeDesc(d.ram, table, 0, dataArea, 64, descNext, 1)
			writeDesc(d.ram, table, 1, dataArea, 64, 0, 0)
		}},
		{"head beyond the table", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 8, dataArea, 64, 0, 0)
			d.ram.Store16(d.queues[netTransmit].driver+4, 8)
		}},
		{"index ahead by more than the queue", 0, func(d *driver) {
			writeDesc(d.ram, tx(d), 0, dataArea, 64, 0, 0)
			d.ram.Store16(d.queues[netTransmit].driver+2, 9)
		}},
		{"index going back", 0, func(d *driver) { d.ram.Store16(d.queues[netTransmit].driver+2, 0xffff) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, newTestNet)
			d.start(c.without, 8, 8)
			d.push(netTransmit, 0)
			c.prepare(d)
			d.kick(netTransmit)
			d.broken()
			if n := len(d.reap(netTransmit)); n != 0 {
				t.Errorf("%d chains were used", n)
			}
			d.cut(newTestNet)
			d.start(0, 8, 8)
			d.send(netTransmit, d.frame(dataArea, pattern(60, 1)), nil)
			if n := len(d.out.take()); n != 1 {
				t.Errorf("%d frames after the reset", n)
			}
		})
	}
}

// A queue may be stopped and started again.
func TestQueueStopped(t *testing.T) {
	d := newDriver(t, newTestNet)
	d.start(0, 8, 8)
	d.send(netTransmit, d.frame(dataArea, pattern(60, 1)), nil)
	d.set(regQueueSel, netTransmit)
	d.set(regQueueReady, 0)
	if d.get(regQueueReady) != 0 {
		t.Fatal("still ready")
	}
	q := d.queues[netTransmit]
	d.ram.Write(q.desc, make([]byte, 0x8000))
	q.avail, q.used, q.free = 0, 0, 0
	d.set(regQueueReady, 1)
	d.send(netTransmit, d.frame(dataArea, pattern(60, 2)), nil)
	if n := len(d.out.take()); n != 2 {
		t.Errorf("%d frames", n)
	}
	d.reapOne(netTransmit, usedElem{0, 0})
	d.healthy()
}
