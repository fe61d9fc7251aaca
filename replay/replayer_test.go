package replay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
)

// session runs a toy as a primary would, with inputs at random positions, and
// records it.
type session struct {
	rng     *rand.Rand
	m       *sim.Toy
	log     bytes.Buffer
	rec     *replay.Recorder
	entries []replay.Entry
	outputs []machine.Output
	marked  machine.Mark
	digests map[machine.Icount]machine.Digest // at every digest entry
}

var toyConfig = sim.ToyConfig{Seed: 42}

func record(t testing.TB, seed uint64, slices int) *session {
	t.Helper()
	s := &session{rng: rand.New(rand.NewPCG(seed, 0)), m: sim.NewToy(toyConfig), digests: map[machine.Icount]machine.Digest{}}
	var err error
	if s.rec, err = replay.NewRecorder(&s.log, replay.Header{VM: "toy"}); err != nil {
		t.Fatal(err)
	}
	for n := range slices {
		exit := s.m.Run(s.m.Icount() + machine.Icount(1+s.rng.IntN(400)))
		s.collect(t)
		if exit == machine.Idle {
			clock := s.m.Clock()
			next, ok := s.m.NextTimer()
			if !ok {
				t.Fatal("the toy waits for nothing")
			}
			now := clock.At(s.m.Icount())
			s.input(t, machine.SetClock{Clock: machine.Clock{T0: max(now, next), I0: s.m.Icount(), Mul: clock.Mul}})
		}
		s.serve(t)
		if s.rng.IntN(3) == 0 && s.m.RxRoom(machine.Port{Kind: machine.PortNIC}) > 0 {
			s.input(t, machine.Frame{Bytes: []byte{byte(n), byte(s.rng.IntN(256))}})
		}
		if n%10 == 9 {
			s.digests[s.m.Icount()] = s.m.Digest()
			s.append(t, replay.DigestCheck{Digest: s.m.Digest()})
		}
		s.append(t, replay.Horizon{})
		if n%4 == 0 {
			if err := s.rec.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.append(t, replay.DigestCheck{Digest: s.m.Digest()})
	if err := s.rec.End(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *session) append(t testing.TB, b replay.Body) {
	t.Helper()
	e := replay.Entry{Seq: s.rec.Last().Seq + 1, Pos: s.m.Icount(), Body: b}
	if err := s.rec.Append(e); err != nil {
		t.Fatal(err)
	}
	s.entries = append(s.entries, e)
}

func (s *session) input(t testing.TB, in machine.Input) {
	t.Helper()
	if err := s.m.Deliver(in); err != nil {
		t.Fatal(err)
	}
	s.append(t, replay.Input{In: in})
}

// collect takes the outputs and covers them by a marker (R9).
func (s *session) collect(t testing.TB) {
	s.outputs = s.m.Outputs(s.outputs)
	if m := s.m.Mark(); m != s.marked {
		s.marked = m
		s.append(t, replay.Marker{Mark: m})
	}
}

// serve answers some of the pending requests.
func (s *session) serve(t testing.TB) {
	for _, o := range s.m.Pending(nil) {
		if s.rng.IntN(3) > 0 {
			continue
		}
		if o.Port.Kind == machine.PortEntropy {
			s.input(t, machine.Entropy{Bytes: bytes.Repeat([]byte{byte(s.rng.IntN(256))}, int(o.Length))})
			return // only the oldest is answered
		}
		done := machine.DiskDone{ID: o.ID}
		if o.Op == machine.DiskRead {
			done.Bytes = bytes.Repeat([]byte{byte(o.Sector)}, int(o.Length))
		}
		s.input(t, done)
	}
}

// DESIGN section 2: "Then record, replay, compare." The same log replayed
// twice, once in one piece and once in random slices, gives the same outputs
// and the same State.
func TestReplayGivesTheSameStateAndOutputs(t *testing.T) {
	s := record(t, 1, 400)
	for _, max := range []int{0, 1, 97} {
		m := sim.NewToy(toyConfig)
		log, err := replay.NewReader(bytes.NewReader(s.log.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		r := replay.NewReplayer(m, log.Header().Start)
		var outputs []machine.Output
		for {
			e, err := log.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for done := false; !done && err == nil; {
				if max == 0 {
					done, err = true, r.Apply(e)
				} else {
					done, err = r.Advance(e, m.Icount()+machine.Icount(s.rng.IntN(max)+1))
				}
				outputs = m.Outputs(outputs)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if m.Digest() != s.m.Digest() || m.Mark() != s.m.Mark() || m.Icount() != s.m.Icount() {
			t.Errorf("slices of %d: the machine is another one", max)
		}
		if r.Last() != s.rec.Last() || r.Compared().Digests != 41 || r.Compared().Markers == 0 {
			t.Errorf("slices of %d: at %+v, compared %+v", max, r.Last(), r.Compared())
		}
		if got, want := held(outputs), held(s.outputs); got != want || got.Count == 0 {
			t.Errorf("slices of %d: outputs %+v, want %+v", max, got, want)
		}
	}
}

// held is the mark over a list of outputs, with console bytes one by one.
func held(outputs []machine.Output) machine.Mark {
	var m machine.Mark
	for _, o := range outputs {
		switch {
		case !o.Held():
		case o.Port.Kind == machine.PortConsole:
			for i := range o.Bytes {
				one := o
				one.Bytes, one.Pos = o.Bytes[i:i+1], 0
				m = m.Add(one)
			}
		default:
			m = m.Add(o)
		}
	}
	return m
}

func TestAdvanceStopsAtMax(t *testing.T) {
	m := sim.NewToy(toyConfig)
	r := replay.NewReplayer(m, replay.Point{})
	e := replay.Entry{Seq: 1, Pos: 1 << 40, Body: replay.Horizon{}}
	if done, err := r.Advance(e, 0); done || err != nil || m.Icount() != 0 {
		t.Errorf("%v %v at %d", done, err, m.Icount())
	}
	if done, err := r.Advance(e, 3); done || err != nil || m.Icount() > 3 {
		t.Errorf("%v %v at %d", done, err, m.Icount())
	}
	if r.Last() != (replay.Point{}) {
		t.Errorf("at %+v", r.Last())
	}
}

// What is changed in the log is found at the entry that shows it first.
func TestDivergenceIsFoundAtItsPlace(t *testing.T) {
	s := record(t, 2, 200)
	first := func(match func(replay.Body) bool) int {
		for i, e := range s.entries {
			if i > len(s.entries)/2 && match(e.Body) {
				return i
			}
		}
		t.Fatal("no such entry")
		return 0
	}
	is := func(b replay.Body) string {
		switch b := b.(type) {
		case replay.Marker:
			return "marker"
		case replay.DigestCheck:
			return "digest"
		case replay.Input:
			if _, ok := b.In.(machine.Frame); ok {
				return "frame"
			}
		}
		return ""
	}
	for name, c := range map[string]struct {
		kind   string
		change func(e *replay.Entry)
		what   string
		later  bool // it shows only at a later entry
	}{
		"mark":     {"marker", func(e *replay.Entry) { e.Body = replay.Marker{Mark: machine.Mark{Count: 1 << 40, Hash: 5}} }, "the output mark", false},
		"digest":   {"digest", func(e *replay.Entry) { e.Body = replay.DigestCheck{} }, "the digest", false},
		"content":  {"frame", func(e *replay.Entry) { e.Body = replay.Input{In: machine.Frame{Bytes: []byte("other")}} }, "", true},
		"kind":     {"frame", func(e *replay.Entry) { e.Body = replay.Horizon{} }, "", true},
		"delivery": {"frame", func(e *replay.Entry) { e.Body = replay.Input{In: machine.DiskDone{ID: 1 << 50}} }, "the delivery of machine.DiskDone", false},
	} {
		at := first(func(b replay.Body) bool { return is(b) == c.kind })
		entries := append([]replay.Entry(nil), s.entries...)
		c.change(&entries[at])
		m := sim.NewToy(toyConfig)
		r := replay.NewReplayer(m, replay.Point{})
		var err error
		found := 0
		for i, e := range entries {
			if err = r.Apply(e); err != nil {
				found = i
				break
			}
		}
		var d *replay.Divergence
		if !errors.As(err, &d) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.later && found <= at || !c.later && (found != at || d.What != c.what) {
			t.Errorf("%s: changed entry %d, found at %d: %v", name, at, found, d)
		}
		if d.Seq != entries[found].Seq || d.Pos != m.Icount() || d.Log == d.Here {
			t.Errorf("%s: %+v", name, d)
		}
		// It sticks: nothing more is executed.
		before := m.Icount()
		if again := r.Apply(entries[found+1]); again != err || m.Icount() != before {
			t.Errorf("%s: goes on with %v", name, again)
		}
	}
}

func TestOrderOfEntriesIsChecked(t *testing.T) {
	for name, es := range map[string][]replay.Entry{
		"gap":      {{Seq: 2, Body: replay.Horizon{}}},
		"repeat":   {{Seq: 1, Body: replay.Horizon{}}, {Seq: 1, Body: replay.Horizon{}}},
		"backward": {{Seq: 1, Pos: 5, Body: replay.Horizon{}}, {Seq: 2, Pos: 4, Body: replay.Horizon{}}},
	} {
		r := replay.NewReplayer(sim.NewToy(toyConfig), replay.Point{})
		var err error
		for _, e := range es {
			err = r.Apply(e)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "replay: entry") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A machine that waits, or is off, before the next entry's position is not the
// one that was recorded.
func TestEntryThatIsNeverReached(t *testing.T) {
	s := record(t, 3, 100)
	m := sim.NewToy(toyConfig)
	r := replay.NewReplayer(m, replay.Point{})
	last := replay.Entry{}
	for _, e := range s.entries {
		if _, clock := e.Body.(replay.Input); clock {
			if _, clock = e.Body.(replay.Input).In.(machine.SetClock); clock {
				break
			}
		}
		if err := r.Apply(e); err != nil {
			t.Fatal(err)
		}
		last = e
	}
	var d *replay.Divergence
	err := r.Apply(replay.Entry{Seq: last.Seq + 1, Pos: last.Pos + 1_000_000, Body: replay.Horizon{}})
	if !errors.As(err, &d) || !strings.Contains(d.Here, "idle") {
		t.Errorf("%v", err)
	}
}

// The machine may not be ahead of the log either.
func TestMachineAheadOfTheLog(t *testing.T) {
	m := sim.NewToy(toyConfig)
	r := replay.NewReplayer(m, replay.Point{})
	for m.Icount() < 10 {
		m.Run(10)
	}
	var d *replay.Divergence
	if err := r.Apply(replay.Entry{Seq: 1, Pos: 5, Body: replay.Horizon{}}); !errors.As(err, &d) || d.What != "the position" {
		t.Errorf("%v", err)
	}
}
