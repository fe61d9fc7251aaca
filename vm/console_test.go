package vm

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// heard is what a reader of a console was shown, piece by piece.
type heard struct {
	pieces []machine.Output
}

func (h *heard) at(offset uint64, b []byte) error {
	h.pieces = append(h.pieces, machine.Output{Offset: offset, Bytes: bytes.Clone(b)})
	return nil
}

// text is all of it, and the offset at which it begins; an error if a byte came
// twice or not at all.
func (h *heard) text() (offset uint64, text []byte, err error) {
	for i, p := range h.pieces {
		if i == 0 {
			offset = p.Offset
		}
		if p.Offset != offset+uint64(len(text)) {
			return 0, nil, fmt.Errorf("%q at %d follows %q", p.Bytes, p.Offset, text)
		}
		text = append(text, p.Bytes...)
	}
	return offset, text, nil
}

// A reader by offset gets the console's tail when the replica takes over, and
// then what goes on from there, each byte once.
func TestConsoleResumesByOffset(t *testing.T) {
	var h heard
	c := newConsoleWriter(nil, h.at)
	c.resume(5, []byte("fghij"))
	c.write(machine.Output{Offset: 7, Bytes: []byte("hi")}) // not known to be released
	c.write(machine.Output{Offset: 9, Bytes: []byte("jkl")})
	c.write(machine.Output{Port: machine.Port{Index: 1}, Offset: 12, Bytes: []byte("other")})
	c.write(machine.Output{Offset: 12, Bytes: []byte("m")})
	c.close()
	if offset, text, err := h.text(); err != nil || offset != 5 || string(text) != "fghijklm" {
		t.Errorf("%q at %d, %v", text, offset, err)
	}

	var screen bytes.Buffer
	c = newConsoleWriter(&screen, nil)
	c.resume(5, []byte("fghij"))
	c.write(machine.Output{Offset: 7, Bytes: []byte("hi")})
	c.close()
	if screen.String() != "hi" {
		t.Errorf("a terminal shows %q: it wants what is new", screen.String())
	}
}

// What a slow reader has not taken in time is gone, and its offsets say so.
func TestConsoleBacklogIsBounded(t *testing.T) {
	var h heard
	begun, on := make(chan bool, 2), make(chan bool)
	c := newConsoleWriter(nil, func(offset uint64, b []byte) error {
		begun <- true
		<-on
		return h.at(offset, b)
	})
	c.write(machine.Output{Bytes: []byte("0123")})
	<-begun
	c.write(machine.Output{Offset: 4, Bytes: []byte("4567")})
	c.write(machine.Output{Offset: 8, Bytes: make([]byte, consoleBacklog-2)})
	close(on)
	c.close()
	if n := len(h.pieces); n != 2 || h.pieces[1].Offset != 6 || len(h.pieces[1].Bytes) != consoleBacklog || string(h.pieces[1].Bytes[:2]) != "67" {
		t.Errorf("%d pieces; the last is at %d, %d bytes", n, h.pieces[n-1].Offset, len(h.pieces[n-1].Bytes))
	}
}

// The tail passes the gate: a replica that is not alone yet, or that halts,
// shows nothing.
func TestConsoleTailWaitsForTheGate(t *testing.T) {
	for _, mode := range []ft.GateMode{ft.GateOpen, ft.GateHalted} {
		var h heard
		x := newOutlet(func() int64 { return 0 }, func() {})
		x.console = newConsoleWriter(nil, h.at)
		x.resume(2, []byte("cde"))
		x.hold([]machine.Output{{Port: machine.Port{Kind: machine.PortConsole}, Count: 1, Offset: 4, Bytes: []byte("e")}}, 0)
		x.console.mu.Lock()
		early := x.console.next
		x.console.mu.Unlock()
		x.obey(ft.GateOrder{Mode: mode})
		x.console.close()
		want := map[ft.GateMode]string{ft.GateOpen: "cde"}[mode]
		if _, text, err := h.text(); err != nil || string(text) != want || early != 0 {
			t.Errorf("gate %v: the console shows %q, %v; before it %d bytes", mode, text, err, early)
		}
	}
}
