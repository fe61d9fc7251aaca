package dev

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// sink keeps what a device emits.
type sink struct{ out []machine.Output }

func (s *sink) Emit(o machine.Output) { s.out = append(s.out, o) }

func (s *sink) text() string {
	var b bytes.Buffer
	for _, o := range s.out {
		b.Write(o.Bytes)
	}
	return b.String()
}

// An access is a row of a device table: a load of want, or a store of value.
type access struct {
	store bool
	off   uint64
	size  uint8
	v     uint64
}

type registers interface {
	Load(off uint64, size uint8) uint64
	Store(off uint64, size uint8, v uint64)
}

func play(t *testing.T, d registers, rows []access) {
	t.Helper()
	for i, a := range rows {
		if a.store {
			d.Store(a.off, a.size, a.v)
		} else if got := d.Load(a.off, a.size); got != a.v {
			t.Fatalf("row %d: register %#x reads %#x, want %#x", i, a.off, got, a.v)
		}
	}
}

func get(off, v uint64) access { return access{off: off, size: 1, v: v} }
func put(off, v uint64) access { return access{store: true, off: off, size: 1, v: v} }

func TestUARTRegisters(t *testing.T) {
	for name, rows := range map[string][]access{
		"after power-on":       {get(1, 0), get(2, 1), get(3, 0), get(5, 0x60), get(6, 0xb0), get(7, 0)},
		"scratch":              {put(7, 0xa5), get(7, 0xa5)},
		"divisor latch":        {put(3, 0x83), put(0, 12), put(1, 34), get(0, 12), get(1, 34), put(3, 3), get(0, 0), get(1, 0)},
		"interrupt enables":    {put(1, 0xff), get(1, 0x0f)},
		"FIFO shows in IIR":    {put(2, 1), get(2, 0xc1), put(2, 0), get(2, 1)},
		"THRE on enable":       {put(1, 2), get(2, 2), get(2, 1)},
		"THRE once more":       {put(1, 2), get(2, 2), put(1, 0), put(1, 2), get(2, 2)},
		"THRE after a byte":    {put(1, 2), get(2, 2), put(0, 'x'), get(2, 2), get(2, 1)},
		"loop-back modem":      {put(4, 0x1a), get(6, 0x90), put(4, 0x15), get(6, 0x60)},
		"loop-back data":       {put(4, 0x10), put(0, 'y'), get(5, 0x61), get(0, 'y'), get(5, 0x60)},
		"loop-back overrun":    {put(4, 0x10), put(1, 4), put(0, 'y'), put(0, 'z'), get(2, 6), get(5, 0x63), get(5, 0x61), get(2, 1)},
		"unknown registers":    {put(8, 1), get(8, 0), get(0xff, 0)},
		"FCR needs its enable": {put(2, 0xc0), get(2, 1)},
	} {
		t.Run(name, func(t *testing.T) { play(t, NewUART(&sink{}), rows) })
	}
}

func TestUARTReceives(t *testing.T) {
	u := NewUART(&sink{})
	if got := u.RxRoom(); got != 1 {
		t.Errorf("room %d without FIFO, want 1", got)
	}
	play(t, u, []access{put(2, 0x41), put(1, 1)}) // trigger at 4
	if got := u.RxRoom(); got != 16 {
		t.Errorf("room %d with FIFO, want 16", got)
	}
	type in = machine.ConsoleInput
	for _, step := range []struct {
		in   in
		ok   bool
		room int
		iir  uint64
	}{
		{in{Session: 1, Bytes: []byte("abc")}, true, 13, 0xcc},
		{in{Session: 1, Bytes: []byte("abcd")}, true, 12, 0xc4},          // three of them again
		{in{Session: 1, Offset: 9, Bytes: []byte("x")}, false, 12, 0xc4}, // bytes are missing
		{in{Session: 2, Bytes: make([]byte, 13)}, false, 12, 0xc4},       // too many
		{in{Session: 2, Bytes: []byte("0123456789ab")}, true, 0, 0xc4},   // just enough
		{in{Session: 1, Offset: 4, Bytes: []byte{'e'}}, false, 0, 0xc4},  // full
		{in{Session: 1, Offset: 2, Bytes: []byte("cd")}, true, 0, 0xc4},  // nothing new
	} {
		if err := u.Input(step.in); (err == nil) != step.ok {
			t.Fatalf("input %q at %d: %v", step.in.Bytes, step.in.Offset, err)
		}
		if got := u.RxRoom(); got != step.room {
			t.Fatalf("room %d, want %d", got, step.room)
		}
		if got := u.Load(2, 1); got != step.iir || !u.IRQ() {
			t.Fatalf("IIR %#x, want %#x", got, step.iir)
		}
	}
	var read []byte
	for u.Load(5, 1)&1 != 0 {
		read = append(read, byte(u.Load(0, 1)))
	}
	if string(read) != "abcd0123456789ab" || u.IRQ() {
		t.Errorf("read %q, IRQ %v", read, u.IRQ())
	}
}

func TestUARTOutputAndReset(t *testing.T) {
	s := &sink{}
	u := NewUART(s)
	for _, c := range "hello" {
		u.Store(0, 1, uint64(c))
	}
	if s.text() != "hello" || s.out[4].Offset != 4 || s.out[4].Port != (machine.Port{Kind: machine.PortConsole}) {
		t.Errorf("emitted %+v", s.out)
	}
	u.Store(7, 1, 9)
	u.Reset()
	if u.Load(7, 1) != 0 {
		t.Error("a reset keeps the scratch register")
	}
	u.Print('!')
	if off, tail := u.Tail(); off != 0 || string(tail) != "hello!" || s.out[5].Offset != 5 {
		t.Errorf("after a reset the console went on with %d %q", off, tail)
	}
}

func TestUARTStateRoundTrip(t *testing.T) {
	u := NewUART(&sink{})
	play(t, u, []access{put(2, 0x81), put(1, 3), put(4, 3), put(7, 77), put(0, 'q')})
	if err := u.Input(machine.ConsoleInput{Session: 5, Bytes: []byte("in")}); err != nil {
		t.Fatal(err)
	}
	v := NewUART(&sink{})
	reload(t, u, v)
	if v.Load(7, 1) != 77 || v.RxRoom() != 14 || v.sessions.Next(5) != 2 {
		t.Error("the UART came back different")
	}
}

type stateful interface {
	SaveState(e *snapshot.Encoder)
	LoadState(d *snapshot.Decoder) error
}

// reload saves from, loads into to, and checks that to saves the same again
// and refuses every shorter State.
func reload(t *testing.T, from, to stateful) {
	t.Helper()
	e := snapshot.NewEncoder(nil)
	from.SaveState(e)
	for n := range min(len(e.Bytes()), 500) {
		if to.LoadState(snapshot.NewDecoder(e.Bytes()[:n])) == nil {
			t.Fatalf("a State of %d of %d bytes was accepted", n, len(e.Bytes()))
		}
	}
	if err := to.LoadState(snapshot.NewDecoder(e.Bytes())); err != nil {
		t.Fatal(err)
	}
	again := snapshot.NewEncoder(nil)
	to.SaveState(again)
	if !bytes.Equal(e.Bytes(), again.Bytes()) {
		t.Error("what was loaded saves differently")
	}
}

func TestUARTRefusesImpossibleState(t *testing.T) {
	u := NewUART(&sink{})
	u.fcr = 0xc0 // trigger without enable
	e := snapshot.NewEncoder(nil)
	u.SaveState(e)
	if NewUART(&sink{}).LoadState(snapshot.NewDecoder(e.Bytes())) == nil {
		t.Error("accepted")
	}
}
