package virtio

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

func (d *driver) console() *Console { return d.dev.(*Console) }

func TestConsoleTransmit(t *testing.T) {
	d := newDriver(t, newTestConsole)
	if f := d.features(); f != featuresCommon {
		t.Fatalf("features %#x", f)
	}
	d.start(0, 8, 8)
	offset := uint64(0)
	for _, s := range []string{"hello ", "world\n"} {
		d.ram.Write(dataArea, []byte(s))
		head := d.send(consoleTransmit, []segment{readable(dataArea, len(s))}, nil)
		outs := d.out.take()
		if len(outs) != 1 || string(outs[0].Bytes) != s || outs[0].Offset != offset ||
			outs[0].Port != (machine.Port{Kind: machine.PortConsole, Index: 1}) {
			t.Fatalf("emitted %v", outs)
		}
		offset += uint64(len(s))
		d.reapOne(consoleTransmit, usedElem{head, 0})
		d.interrupted(true)
	}
	// The log outlives a reset.
	d.start(0, 8, 8)
	d.cut(newTestConsole)
	if at, tail := d.console().Tail(); at != 0 || string(tail) != "hello world\n" {
		t.Errorf("tail %d %q", at, tail)
	}
	d.send(consoleTransmit, []segment{readable(dataArea, consoleMaxWrite)}, nil)
	if outs := d.out.take(); len(outs) != 1 || outs[0].Offset != 12 {
		t.Fatalf("emitted %v", outs)
	}
	if at, tail := d.console().Tail(); at != 12 || len(tail) != machine.ConsoleTailSize {
		t.Errorf("tail %d with %d bytes", at, len(tail))
	}
	d.send(consoleTransmit, []segment{readable(dataArea, consoleMaxWrite), readable(dataArea, 1)}, nil)
	d.broken()
}

func TestConsoleInput(t *testing.T) {
	d := newDriver(t, newTestConsole)
	input := func(session, offset uint64, s string) error {
		return d.console().Input(machine.ConsoleInput{Console: 1, Session: session, Offset: offset, Bytes: []byte(s)})
	}
	if d.console().Room() != 0 || input(7, 0, "x") == nil {
		t.Fatal("a device without a driver takes input")
	}
	d.start(0, 8, 8)
	h0 := d.chain(consoleReceive, nil, []segment{readable(dataArea, 4)})
	h1 := d.chain(consoleReceive, nil, []segment{readable(dataArea+0x100, 3), readable(dataArea+0x200, 3)})
	d.push(consoleReceive, h0)
	d.push(consoleReceive, h1)
	if got := d.console().Room(); got != 10 {
		t.Fatalf("room for %d", got)
	}
	was := string(state(d.dev))
	if input(7, 1, "x") == nil || input(7, 0, "12345678901") == nil ||
		d.console().Input(machine.ConsoleInput{Console: 0, Bytes: []byte("x")}) == nil {
		t.Error("input that does not fit was taken")
	}
	if string(state(d.dev)) != was {
		t.Fatal("an error changed State")
	}
	if err := input(7, 0, "abcdef"); err != nil {
		t.Fatal(err)
	}
	if got := d.reap(consoleReceive); len(got) != 2 || got[0] != (usedElem{h0, 4}) || got[1] != (usedElem{h1, 2}) {
		t.Fatalf("used %v", got)
	}
	d.interrupted(true)
	if !bytes.Equal(d.bytes(dataArea, 4), []byte("abcd")) || !bytes.Equal(d.bytes(dataArea+0x100, 2), []byte("ef")) {
		t.Error("RAM does not hold the input")
	}
	// Sent again, wholly and in part: no byte is typed twice, even after the
	// machine was saved and loaded.
	d.cut(newTestConsole)
	if err := input(7, 0, "abcdef"); err != nil || len(d.reap(consoleReceive)) != 0 {
		t.Errorf("the repeat was not dropped: %v", err)
	}
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(dataArea, 100)}))
	if err := input(7, 3, "defg"); err != nil {
		t.Fatal(err)
	}
	if got := d.reap(consoleReceive); len(got) != 1 || got[0].len != 1 || d.bytes(dataArea, 1)[0] != 'g' {
		t.Errorf("used %v", got)
	}
	if input(7, 8, "i") == nil {
		t.Error("a gap was taken")
	}
	d.healthy()
}

func TestConsoleRoomIsCapped(t *testing.T) {
	d := newDriver(t, newTestConsole)
	d.start(0, 8, 8)
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(dataArea, 100)}))
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(dataArea, 0x10_0000)}))
	if got := d.console().Room(); got != consoleRoomMax {
		t.Errorf("room for %d", got)
	}
	// A malformed chain ends the room.
	d.start(0, 8, 8)
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(dataArea, 100)}))
	d.push(consoleReceive, d.chain(consoleReceive, []segment{readable(dataArea, 100)}, nil))
	if got := d.console().Room(); got != 100 {
		t.Errorf("room for %d", got)
	}
}

// Input that lands on the descriptors of the chain after it.
func TestConsoleInputOverItsOwnQueue(t *testing.T) {
	d := newDriver(t, newTestConsole)
	d.start(0, 8, 8)
	q := d.queues[consoleReceive]
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(q.desc+descSize, 16)}))
	d.push(consoleReceive, d.chain(consoleReceive, nil, []segment{readable(dataArea, 100)}))
	if err := d.console().Input(machine.ConsoleInput{Console: 1, Bytes: make([]byte, 20)}); err != nil {
		t.Fatal(err)
	}
	d.broken()
}
