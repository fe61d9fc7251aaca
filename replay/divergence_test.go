package replay_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
)

// The parts come in the order registers, devices, pages; a page that only one
// side has changed differs, and one that both changed alike does not.
func TestDifferences(t *testing.T) {
	sum := func(b byte) [16]byte { return [16]byte{b} }
	account := func() machine.Account {
		return machine.Account{
			Base:      0x8000_0000,
			Registers: []machine.Register{{Name: "pc", Value: 16}, {Name: "a0", Value: 1}},
			Devices:   []machine.PartSum{{Name: machine.HartPart, Sum: sum(1)}, {Name: "uart", Sum: sum(2)}},
			Pages:     []machine.PageSum{{Page: 3, Sum: sum(3)}, {Page: 7, Sum: sum(4)}},
		}
	}
	for name, c := range map[string]struct {
		change func(a *machine.Account)
		want   []string
	}{
		"nothing":  {func(*machine.Account) {}, nil},
		"register": {func(a *machine.Account) { a.Registers[1].Value = 255 }, []string{"register a0: 0x1 there, 0xff here"}},
		"hart alone": {func(a *machine.Account) { a.Devices[0].Sum = sum(9) },
			[]string{"device hart: hash 0100000000000000 there, hash 0900000000000000 here"}},
		"register and hart": {func(a *machine.Account) { a.Registers[0].Value, a.Devices[0].Sum = 32, sum(9) }, []string{"register pc: 0x10 there, 0x20 here"}},
		"all": {func(a *machine.Account) { a.Pages[1].Sum, a.Devices[1].Sum, a.Registers[0].Value = sum(9), sum(9), 0 },
			[]string{"register pc: 0x10 there, 0x0 here", "device uart: hash 0200000000000000 there, hash 0900000000000000 here",
				"page 7 at 0x80007000: hash 0400000000000000 there, hash 0900000000000000 here"}},
		"page of one side": {func(a *machine.Account) { a.Pages = a.Pages[1:] },
			[]string{"page 3 at 0x80003000: hash 0300000000000000 there, not changed in the interval here"}},
		"page of the other": {func(a *machine.Account) { a.Pages = append(a.Pages, machine.PageSum{Page: 9, Sum: sum(5)}) },
			[]string{"page 9 at 0x80009000: not changed in the interval there, hash 0500000000000000 here"}},
		"pages": {func(a *machine.Account) { a.Pages = []machine.PageSum{{Page: 2, Sum: sum(3)}} },
			[]string{"page 2 at 0x80002000, the lowest of 3 pages: not changed in the interval there, hash 0300000000000000 here"}},
		"position":        {func(a *machine.Account) { a.Pos = 5 }, []string{"the position: 0 there, 5 here"}},
		"other registers": {func(a *machine.Account) { a.Registers[0].Name = "x" }, []string{"the registers that there are: 2 there, 2 here"}},
		"more devices":    {func(a *machine.Account) { a.Devices = append(a.Devices, machine.PartSum{}) }, []string{"the devices that there are: 2 there, 3 here"}},
	} {
		here := account()
		c.change(&here)
		var got []string
		for _, d := range replay.Differences(account(), here) {
			got = append(got, d.String())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// DESIGN R8: a digest that differs tells since when, and the account of the
// other side where. One of another digest tells nothing.
func TestDivergenceIsExplained(t *testing.T) {
	s := record(t, 9, 100)
	good, bad := sim.NewToy(toyConfig), sim.NewToy(toyConfig)
	rg, rb := replay.NewReplayer(good, replay.Point{}), replay.NewReplayer(bad, replay.Point{})
	var since machine.Icount
	digests := 0
	for _, e := range s.entries {
		if _, ok := e.Body.(replay.DigestCheck); ok {
			if digests++; digests == 4 {
				bad.Flip("register")
				err := rb.Apply(e)
				var d *replay.Divergence
				ok := errors.As(err, &d)
				if !ok || d.Since != since || d.Pos != e.Pos || d.Seq != e.Seq || !d.Explainable() {
					t.Fatalf("%+v, want the interval (%d, %d]", err, since, e.Pos)
				}
				if _, err := rg.ApplyUntil(replay.Entry{Seq: e.Seq, Pos: e.Pos, Body: replay.Horizon{}}, e.Pos); err != nil {
					t.Fatal(err)
				}
				account := good.Account()
				other := account
				other.Pos++
				if d.Explain(other); len(d.Parts) > 0 || d.Unexplained == "" {
					t.Errorf("explained by an account of another position: %+v", d.Parts)
				}
				if d.Explain(account); len(d.Parts) != 1 || d.Parts[0].What != "register r3" {
					t.Errorf("parts %+v", d.Parts)
				}
				if r := d.Report(); !strings.Contains(r, "first difference: register r3: 0x") {
					t.Errorf("report %q", r)
				}
				return
			}
			since = e.Pos
		}
		if err := rg.Apply(e); err != nil {
			t.Fatal(err)
		}
		if err := rb.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("too few digests in the log")
}
