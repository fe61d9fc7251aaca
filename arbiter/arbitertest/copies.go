package arbitertest

import (
	"errors"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
)

var copyA, copyB, copyC = ft.CopyID{0: 0xa, 15: 1}, ft.CopyID{0: 0xb, 15: 2}, ft.CopyID{0: 0xc, 15: 3}

// vm drives one VM with local disks against two uses of an arbiter.
type vm struct {
	t      *testing.T
	a, b   arbiter.Arbiter
	run    ft.Run
	marked ft.Generation // of the image, at the power-on
}

func (v *vm) powerOn(n int, c ft.CopyID) {
	v.t.Helper()
	p := arbiter.PowerOn{VM: "web", By: Process(n), Force: true, Copy: c}
	if c != (ft.CopyID{}) {
		p.Mark = func(g ft.Generation) error { v.marked = g; return nil }
	}
	var err error
	if v.run, err = v.a.BeginRun(p); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vm) cell(e ft.Epoch) ft.Cell { return ft.Cell{VM: "web", Run: v.run, Epoch: e} }

func (v *vm) claim(a arbiter.Arbiter, e ft.Epoch, n int, c ft.CopyID) ft.ProcessID {
	v.t.Helper()
	claim := ft.Claim{Cell: v.cell(e), By: Process(n)}
	if c != (ft.CopyID{}) {
		claim.Copies = ft.ClaimedCopies(v.run, e, c)
	}
	owner, err := a.Claim(claim)
	if err != nil {
		v.t.Fatal(err)
	}
	return owner
}

func (v *vm) name(e ft.Epoch, primary, backup ft.CopyID) error {
	return v.a.NameCopies(v.cell(e), ft.ArmedCopies(v.run, e, primary, backup))
}

func (v *vm) want(what string, want ft.Copies) {
	v.t.Helper()
	for i, host := range []arbiter.Arbiter{v.a, v.b} {
		if rec, any, err := host.Last("web"); err != nil || !any || rec.Copies != want {
			v.t.Fatalf("%s: host %d reads %+v, %v, %v; want %+v", what, i, rec.Copies, any, err, want)
		}
	}
}

// DESIGN section 7: "The run record names the current copies: the winner's
// alone, by the claim itself; a copy is added at Arm, after re-sync".
func copies(t *testing.T, open func() arbiter.Arbiter) {
	v := &vm{t: t, a: open(), b: open()}
	v.powerOn(1, copyA)
	v.want("power-on", ft.ClaimedCopies(v.run, 0, copyA))
	v.claim(v.a, 0, 1, copyA)
	v.want("claim of epoch 0", ft.ClaimedCopies(v.run, 0, copyA))
	for range 2 { // again is no error
		if err := v.name(1, copyA, copyB); err != nil {
			t.Fatal(err)
		}
	}
	v.want("armed", ft.ArmedCopies(v.run, 1, copyA, copyB))
	if err := v.name(1, copyA, copyC); err == nil || !strings.Contains(err.Error(), "another pairing") {
		t.Fatalf("the copies of an epoch named twice: %v", err)
	}
	if owner := v.claim(v.b, 1, 2, copyB); owner != Process(2) {
		t.Fatalf("owner %v", owner)
	}
	if owner := v.claim(v.a, 1, 1, copyA); owner != Process(2) {
		t.Fatalf("the loser's copy changed the owner to %v", owner)
	}
	v.want("the backup has won", ft.ClaimedCopies(v.run, 1, copyB))
	// More than nine epochs: they are numbers, not text.
	for e := ft.Epoch(2); e <= 12; e++ {
		if err := v.name(e, copyB, copyC); err != nil {
			t.Fatal(err)
		}
		v.want("armed again", ft.ArmedCopies(v.run, e, copyB, copyC))
		if e < 12 {
			v.claim(v.a, e, 2, copyB)
		}
	}
	last := ft.ArmedCopies(v.run, 12, copyB, copyC)
	v.powerOn(3, ft.CopyID{})
	v.claim(v.a, 0, 3, ft.CopyID{})
	v.want("a run without local disks", last)
	v.powerOn(4, copyB)
	v.want("the next run", ft.ClaimedCopies(v.run, 0, copyB))
}

// ft.Copies: "one which reaches the arbiter late changes nothing".
func lateStatement(t *testing.T, open func() arbiter.Arbiter) {
	v := &vm{t: t, a: open(), b: open()}
	v.powerOn(1, copyA)
	v.claim(v.b, 1, 2, copyB)
	if err := v.name(1, copyA, copyB); err != nil {
		t.Fatal(err)
	}
	v.want("armed after the claim", ft.ClaimedCopies(v.run, 1, copyB))
	first := v.run
	v.powerOn(2, copyB)
	late := ft.Cell{VM: "web", Run: first, Epoch: 7}
	if err := v.a.NameCopies(late, ft.ArmedCopies(first, 7, copyA, copyC)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.a.Claim(ft.Claim{Cell: late, By: Process(1), Copies: ft.ClaimedCopies(first, 7, copyA)}); err != nil {
		t.Fatal(err)
	}
	v.want("statements of an earlier run", ft.ClaimedCopies(v.run, 0, copyB))
	// Of a run that is not in the record: its process was refused.
	other := ft.Run{Ordinal: v.run.Ordinal, ID: [16]byte{1}}
	if _, err := v.a.Claim(ft.Claim{Cell: ft.Cell{VM: "web", Run: other, Epoch: 9}, By: Process(1), Copies: ft.ClaimedCopies(other, 9, copyA)}); err != nil {
		t.Fatal(err)
	}
	v.want("a claim of a run that never was", ft.ClaimedCopies(v.run, 0, copyB))
}

// ft.Generation: "An image is marked, durably, before the record is asked to
// name it so: a copy that is current is never behind the record".
func markedFirst(t *testing.T, open func() arbiter.Arbiter) {
	v := &vm{t: t, a: open(), b: open()}
	v.powerOn(1, copyA)
	if v.marked != ft.WinnerGeneration(v.run, 0) {
		t.Fatalf("the image is marked %v, and the run is %v", v.marked, v.run)
	}
	before := v.run
	full := errors.New("the disk is full")
	for _, mark := range []func(ft.Generation) error{
		func(ft.Generation) error { return full },
		func(ft.Generation) error {
			v.want("while the image is marked", ft.ClaimedCopies(before, 0, copyA))
			return full
		},
	} {
		_, err := v.a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(2), Force: true, Copy: copyB, Mark: mark})
		if !errors.Is(err, full) {
			t.Fatalf("power-on with an image that cannot be marked: %v", err)
		}
		if rec, _, err := v.b.Last("web"); err != nil || rec.Run != before {
			t.Fatalf("it began run %v, %v", rec.Run, err)
		}
	}
	v.marked = ft.Generation{}
	v.powerOn(1, copyB) // asked again: the same run, with what it began with
	if v.run != before || v.marked != (ft.Generation{}) {
		t.Errorf("asked again: run %v marked %v; want %v, and no second mark", v.run, v.marked, before)
	}
	_, err := v.a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(3), Copy: copyB, Mark: func(ft.Generation) error {
		t.Error("an image is marked though the last run is not ended")
		return nil
	}})
	if !errors.Is(err, arbiter.ErrNotEnded) {
		t.Errorf("power-on while the first runs: %v", err)
	}
}
