package dev

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// The tail is the end of all that was written, however it was cut into pieces.
func TestConsoleLogKeepsTheTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ConsoleLog
		var all []byte
		for range rapid.IntRange(0, 6).Draw(t, "writes") {
			n := rapid.SampledFrom([]int{0, 1, 17, machine.ConsoleTailSize - 1, machine.ConsoleTailSize, machine.ConsoleTailSize + 3}).Draw(t, "n")
			p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
			if l.Offset() != uint64(len(all)) {
				t.Fatalf("offset %d, want %d", l.Offset(), len(all))
			}
			l.Append(p)
			all = append(all, p...)
		}
		e := snapshot.NewEncoder(nil)
		l.Save(e)
		var loaded ConsoleLog
		if err := loaded.Load(snapshot.NewDecoder(e.Bytes())); err != nil {
			t.Fatal(err)
		}
		if loaded.ring != l.ring || loaded.total != l.total {
			t.Fatal("not the same after saving and loading")
		}
		at, tail := loaded.Tail()
		from := max(0, len(all)-machine.ConsoleTailSize)
		if at != uint64(from) || !bytes.Equal(tail, all[from:]) {
			t.Fatalf("tail at %d with %d bytes, want it at %d", at, len(tail), from)
		}
	})
}

func TestConsoleLogRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		offset uint64
		n      int
	}{{1, 5}, {1<<64 - 10, machine.ConsoleTailSize}, {0, machine.ConsoleTailSize + 1}} {
		e := snapshot.NewEncoder(nil)
		e.Section("console log")
		e.U64(c.offset)
		e.Blob(make([]byte, c.n))
		if err := new(ConsoleLog).Load(snapshot.NewDecoder(e.Bytes())); err == nil {
			t.Errorf("offset %d with %d bytes was loaded", c.offset, c.n)
		}
	}
}

func TestConsoleSessions(t *testing.T) {
	var s ConsoleSessions
	fresh := func(session, offset uint64, text string) string {
		t.Helper()
		b, err := s.Fresh(machine.ConsoleInput{Session: session, Offset: offset, Bytes: []byte(text)})
		if err != nil {
			return "gap"
		}
		s.Take(session, len(b))
		return string(b)
	}
	for _, c := range []struct {
		session, offset uint64
		text, want      string
	}{
		{1, 1, "x", "gap"},
		{1, 0, "abc", "abc"},
		{1, 0, "abc", ""},
		{1, 2, "cd", "d"},
		{1, 5, "f", "gap"},
		{2, 0, "z", "z"},
		{1, 4, "e", "e"},
		{1, 0, "", ""},
	} {
		if got := fresh(c.session, c.offset, c.text); got != c.want {
			t.Errorf("session %d offset %d %q: %q, want %q", c.session, c.offset, c.text, got, c.want)
		}
	}
	if s.Next(1) != 5 || s.Next(2) != 1 || s.Next(3) != 0 {
		t.Errorf("next %d %d %d", s.Next(1), s.Next(2), s.Next(3))
	}
	// The session that has been silent longest makes room: first 2, then 1.
	for i := range uint64(MaxConsoleSessions - 1) {
		fresh(100+i, 0, "q")
	}
	if len(s.list) != MaxConsoleSessions || s.Next(2) != 0 || s.Next(1) != 5 {
		t.Errorf("%d sessions, next %d %d", len(s.list), s.Next(2), s.Next(1))
	}
	e := snapshot.NewEncoder(nil)
	s.Save(e)
	var loaded ConsoleSessions
	if err := loaded.Load(snapshot.NewDecoder(e.Bytes())); err != nil {
		t.Fatal(err)
	}
	f := snapshot.NewEncoder(nil)
	loaded.Save(f)
	if !bytes.Equal(e.Bytes(), f.Bytes()) {
		t.Error("not the same after saving and loading")
	}
}

func TestConsoleSessionsRefuseWhatCannotBe(t *testing.T) {
	twice := snapshot.NewEncoder(nil)
	twice.Section("console sessions")
	twice.U32(2)
	for range 2 {
		twice.U64(7)
		twice.U64(1)
	}
	many := snapshot.NewEncoder(nil)
	many.Section("console sessions")
	many.U32(MaxConsoleSessions + 1)
	many.Blob(make([]byte, 16*(MaxConsoleSessions+1)))
	for _, e := range []*snapshot.Encoder{twice, many} {
		if new(ConsoleSessions).Load(snapshot.NewDecoder(e.Bytes())) == nil {
			t.Error("loaded")
		}
	}
}
