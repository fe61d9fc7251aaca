package replay_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
)

// A broken toy has a fault after its n-th instruction, as often as it comes
// there, which is mended after heals, if that is not 0. Once forgets the fault
// when a State is loaded, as a cache would.
type broken struct {
	*sim.Toy
	at, heals machine.Icount
	part      string
	once      bool
}

func (b *broken) Run(until machine.Icount) machine.Exit {
	for _, at := range []machine.Icount{b.at, b.heals} {
		if from := b.Icount(); at != 0 && from < at && at <= until {
			if exit := b.Toy.Run(at); b.Icount() == at {
				b.Flip(b.part)
			} else {
				return exit
			}
			if at == until {
				return machine.Reached
			}
		}
	}
	return b.Toy.Run(until)
}

func (b *broken) Load(r io.Reader) error {
	if b.once {
		b.at = 0
	}
	return b.Toy.Load(r)
}

// compare replays a session's log on two machines.
func compare(t testing.TB, s *session, a, b machine.Machine, every machine.Icount) (*replay.Finding, error) {
	t.Helper()
	log, err := replay.NewReader(bytes.NewReader(s.log.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	c := replay.Comparison{A: replay.Side{Name: "a", Machine: a}, B: replay.Side{Name: "b", Machine: b}, Every: every}
	return c.Run(log.Next)
}

// A fault is found at the very instruction, whichever side has it, wherever it
// is, and however the entries lie.
func TestFaultIsFoundToTheInstruction(t *testing.T) {
	tb := t
	s := record(t, 3, 400)
	end := uint64(s.m.Icount())
	rapid.Check(t, func(t *rapid.T) {
		bad := &broken{Toy: sim.NewToy(toyConfig),
			at:   machine.Icount(rapid.Uint64Range(1, end-1).Draw(t, "at")),
			part: rapid.SampledFrom([]string{"register", "page", "device"}).Draw(t, "part"),
		}
		good := sim.NewToy(toyConfig)
		every := machine.Icount(rapid.SampledFrom([]uint64{1, 7, 100, 1000, 1 << 40}).Draw(t, "every"))
		a, b := machine.Machine(bad), machine.Machine(good)
		if rapid.Bool().Draw(t, "the reference is at fault") {
			a, b = b, a
		}
		f, err := compare(tb, s, a, b, every)
		if err != nil || f == nil {
			t.Fatalf("found %+v, %v", f, err)
		}
		if !f.Exact || f.At != bad.at-1 || f.Entry != nil || !f.Fetched || f.PC != machine.GVA(f.At) {
			t.Fatalf("found %+v, want the attempt after %d", f, bad.at-1)
		}
		if f.Since >= bad.at || f.Seen < bad.at || f.Seen-f.Since > every {
			t.Fatalf("seen between %d and %d with checks every %d", f.Since, f.Seen, every)
		}
		want := map[string]string{"register": "register r3", "page": "page 0 at 0x0", "device": "device toy"}[bad.part]
		if len(f.Parts) != 1 || f.Parts[0].What != want {
			t.Fatalf("parts %v, want %s", f.Parts, want)
		}
		if bad.part == "page" && (f.Bytes == nil || f.Bytes.Addr < 16 || len(f.Bytes.A) != 1 || f.Bytes.A[0]^f.Bytes.B[0] != 1) {
			t.Fatalf("bytes %+v", f.Bytes)
		}
	})
}

// Machines that agree are compared to the end of the log.
func TestMachinesThatAgree(t *testing.T) {
	s := record(t, 4, 200)
	a, b := sim.NewToy(toyConfig), sim.NewToy(toyConfig)
	f, err := compare(t, s, a, b, 50)
	if f != nil || err != io.EOF {
		t.Fatalf("found %+v, %v", f, err)
	}
	if a.Icount() != s.m.Icount() || a.Digest() != s.m.Digest() || b.Digest() != s.m.Digest() {
		t.Error("the log was not executed to its end")
	}
}

// If both agree, but not with the log, the machine that was recorded differed.
func TestRecordingDiffers(t *testing.T) {
	s := record(t, 5, 200)
	other := sim.ToyConfig{Seed: 43}
	f, err := compare(t, s, sim.NewToy(other), sim.NewToy(other), 50)
	var d *replay.Divergence
	if f != nil || !errors.As(err, &d) || d.Pos < d.Since {
		t.Errorf("found %+v, %v", f, err)
	}
}

// Comparison's own word: "a difference that is gone again at the next check is
// not seen; a smaller Every sees more".
func TestFaultThatHealsIsSeenOnlyByACheckInBetween(t *testing.T) {
	s := record(t, 6, 200)
	// A place without entries in between.
	var at machine.Icount
	for i := 1; i < len(s.entries); i++ {
		if s.entries[i].Pos-s.entries[i-1].Pos > 20 {
			at = s.entries[i-1].Pos + 5
		}
	}
	for every, seen := range map[machine.Icount]bool{1: true, 10_000: false} {
		bad := &broken{Toy: sim.NewToy(toyConfig), at: at, heals: at + 2, part: "device"}
		f, err := compare(t, s, bad, sim.NewToy(toyConfig), every)
		if (f != nil) != seen || f == nil && err != io.EOF || f != nil && f.At != at-1 {
			t.Errorf("checks every %d: %+v, %v", every, f, err)
		}
	}
}

// A difference that does not come again from a snapshot is told with its
// interval.
func TestFaultThatALoadMends(t *testing.T) {
	s := record(t, 7, 200)
	bad := &broken{Toy: sim.NewToy(toyConfig), at: s.m.Icount() / 2, part: "register", once: true}
	at := bad.at
	f, err := compare(t, s, bad, sim.NewToy(toyConfig), 50)
	if err != nil || f == nil || f.Exact || !strings.Contains(f.Why, "cached") || f.Since >= at || f.Seen < at {
		t.Errorf("found %+v, %v", f, err)
	}
}

// A deaf toy takes an input otherwise than others do.
type deaf struct {
	*sim.Toy
	at machine.Icount
}

func (d *deaf) Deliver(in machine.Input) error {
	if f, ok := in.(machine.Frame); ok && d.Icount() >= d.at {
		return d.Toy.Deliver(machine.Frame{NIC: f.NIC, Bytes: append(f.Bytes, 0)})
	}
	return d.Toy.Deliver(in)
}

// What differs may be the delivery of an entry.
func TestDeliveryThatDiffers(t *testing.T) {
	s := record(t, 8, 200)
	var want replay.Entry
	for _, e := range s.entries {
		if in, ok := e.Body.(replay.Input); ok && e.Pos > s.m.Icount()/2 {
			if _, ok := in.In.(machine.Frame); ok {
				want = e
				break
			}
		}
	}
	f, err := compare(t, s, &deaf{sim.NewToy(toyConfig), want.Pos}, sim.NewToy(toyConfig), 30)
	if err != nil || f == nil || !f.Exact || f.Entry == nil || f.Entry.Seq != want.Seq || f.At != want.Pos {
		t.Errorf("found %+v, %v; want entry %d at %d", f, err, want.Seq, want.Pos)
	}
}
