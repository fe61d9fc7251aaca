// Package arbitertest has the tests that every arbiter must pass, and a store of
// cells in memory to try them on.
package arbitertest

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
)

// Process is a process id that differs for every n.
func Process(n int) ft.ProcessID {
	return ft.ProcessID{0: 0xa0, 14: byte(n >> 8), 15: byte(n)}
}

// Run runs the tests. Each gets its own open, which returns another use of one
// and the same place at each call, as two hosts have it. The place is empty at
// the start of a test.
func Run(t *testing.T, place func(t *testing.T) (open func() arbiter.Arbiter)) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func() arbiter.Arbiter)
	}{
		{"one winner", oneWinner},
		{"one power-on", onePowerOn},
		{"a new run", newRun},
		{"cells apart", cellsApart},
		{"names", names},
		{"copies", copies},
		{"copies of a late statement", lateStatement},
		{"marked before the record", markedFirst},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, place(t)) })
	}
}

// DESIGN R16: "one atomic test-and-set ... Asking again is part of the claim
// and gives the same answer".
func oneWinner(t *testing.T, open func() arbiter.Arbiter) {
	const races, racers = 50, 4
	hosts := [racers]arbiter.Arbiter{open(), open(), open(), open()}
	for epoch := ft.Epoch(1); epoch <= races; epoch++ {
		cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: epoch}
		owners := race(t, hosts[:], 0, func(a arbiter.Arbiter, who ft.ProcessID) (ft.ProcessID, error) {
			return a.Claim(ft.Claim{Cell: cell, By: who})
		})
		winners := 0
		for i, o := range owners {
			if o != owners[0] {
				t.Fatalf("epoch %d: process %d was told %v, process 0 %v", epoch, i, o, owners[0])
			}
			if o == Process(i) {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("epoch %d: %d winners; the owner is %v", epoch, winners, owners[0])
		}
		again := race(t, hosts[:], 0, func(a arbiter.Arbiter, who ft.ProcessID) (ft.ProcessID, error) {
			return a.Claim(ft.Claim{Cell: cell, By: who})
		})
		for i, o := range again {
			if o != owners[0] {
				t.Fatalf("epoch %d: process %d asked again and was told %v; before, %v", epoch, i, o, owners[0])
			}
		}
	}
}

// race asks on every host at once, each as its own process: first and following.
func race[T any](t *testing.T, hosts []arbiter.Arbiter, first int, ask func(arbiter.Arbiter, ft.ProcessID) (T, error)) []T {
	t.Helper()
	answers := make([]T, len(hosts))
	var wg sync.WaitGroup
	for i, a := range hosts {
		wg.Go(func() {
			var err error
			if answers[i], err = ask(a, Process(first+i)); err != nil {
				t.Errorf("process %d: %v", first+i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return answers
}

// DESIGN R15: "The VM's run record ... begins a new run by compare-and-set".
func onePowerOn(t *testing.T, open func() arbiter.Arbiter) {
	hosts := []arbiter.Arbiter{open(), open(), open(), open()}
	type result struct {
		run ft.Run
		err error
	}
	for round := uint64(1); round <= 10; round++ {
		results := race(t, hosts, int(round)*len(hosts), func(a arbiter.Arbiter, who ft.ProcessID) (result, error) {
			run, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: who})
			return result{run, err}, nil
		})
		var began ft.Run
		for i, r := range results {
			switch {
			case r.err == nil && began.Ordinal != 0:
				t.Fatalf("round %d: both %v and %v began", round, began, r.run)
			case r.err == nil:
				began = r.run
			case !errors.Is(r.err, arbiter.ErrTaken) && !errors.Is(r.err, arbiter.ErrNotEnded):
				t.Fatalf("round %d: process %d: %v", round, i, r.err)
			}
		}
		if began.Ordinal != round {
			t.Fatalf("round %d: the run that began is %v", round, began)
		}
		if err := hosts[round%2].EndRun("web", began); err != nil {
			t.Fatal(err)
		}
		for i, host := range hosts {
			if last, any, err := host.Last("web"); err != nil || !any || !last.Ended || last.Run != began {
				t.Fatalf("round %d: host %d reads the record %v, %v, %v; want the end of %v", round, i, last, any, err, began)
			}
		}
	}
}

// DESIGN R15: a new run begins "only if the last run is recorded as ended or a
// person orders it, never by time-out".
func newRun(t *testing.T, open func() arbiter.Arbiter) {
	a, b := open(), open()
	if _, any, err := b.Last("web"); any || err != nil {
		t.Fatalf("the record of a VM that was never on: %v, %v", any, err)
	}
	first, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(1)})
	if err != nil || first.Ordinal != 1 || first.ID == ([16]byte{}) {
		t.Fatalf("first run: %v, %v", first, err)
	}
	if again, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(1)}); err != nil || again != first {
		t.Fatalf("the same process asked again: %v, %v; want %v", again, err, first)
	}
	if _, err := b.BeginRun(arbiter.PowerOn{VM: "web", By: Process(2)}); !errors.Is(err, arbiter.ErrNotEnded) {
		t.Fatalf("second power-on while the first runs: %v", err)
	}
	want := arbiter.Record{Run: first, Process: Process(1)}
	if rec, any, err := b.Last("web"); err != nil || !any || rec != want {
		t.Fatalf("record of the first run: %v, %v, %v; want %v", rec, any, err, want)
	}
	for range 2 { // again is no error
		if err := a.EndRun("web", first); err != nil {
			t.Fatal(err)
		}
	}
	want.Ended = true
	if rec, _, err := b.Last("web"); err != nil || rec != want {
		t.Fatalf("record of the ended run: %v, %v; want %v", rec, err, want)
	}
	second, err := b.BeginRun(arbiter.PowerOn{VM: "web", By: Process(2)})
	if err != nil || second.Ordinal != 2 || second.ID == first.ID {
		t.Fatalf("run after the end: %v, %v", second, err)
	}
	forced, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(3), Force: true})
	if err != nil || forced.Ordinal != 3 {
		t.Fatalf("forced run: %v, %v", forced, err)
	}
	// More than nine: ordinals are numbers, not text.
	for n := uint64(4); n <= 12; n++ {
		run, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: Process(int(n)), Force: true})
		if err != nil || run.Ordinal != n {
			t.Fatalf("run %d: %v, %v", n, run, err)
		}
	}
}

// Neither another VM, nor another run, nor another epoch shares a cell.
func cellsApart(t *testing.T, open func() arbiter.Arbiter) {
	a := open()
	cells := []ft.Cell{
		{VM: "web", Run: ft.Run{Ordinal: 1, ID: [16]byte{1}}, Epoch: 1},
		{VM: "web2", Run: ft.Run{Ordinal: 1, ID: [16]byte{1}}, Epoch: 1},
		{VM: "web", Run: ft.Run{Ordinal: 2, ID: [16]byte{1}}, Epoch: 1},
		{VM: "web", Run: ft.Run{Ordinal: 1, ID: [16]byte{2}}, Epoch: 1},
		{VM: "web", Run: ft.Run{Ordinal: 1, ID: [16]byte{1}}, Epoch: 0},
		{VM: "web", Run: ft.Run{Ordinal: 1, ID: [16]byte{1}}, Epoch: 11},
	}
	for i, cell := range cells {
		if owner, err := a.Claim(ft.Claim{Cell: cell, By: Process(i)}); err != nil || owner != Process(i) {
			t.Errorf("%v: owner %v, %v; want %v", cell, owner, err, Process(i))
		}
	}
	if _, err := a.BeginRun(arbiter.PowerOn{VM: "web2", By: Process(1)}); err != nil {
		t.Error(err)
	}
	if _, any, err := a.Last("web"); err != nil || any {
		t.Errorf("the power-on of web2 shows in the record of web: %v, %v", any, err)
	}
	if err := a.Ping(); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func names(t *testing.T, open func() arbiter.Arbiter) {
	a := open()
	for _, vm := range []string{"../x", "", ".x", "a/b", "web\n", strings.Repeat("x", 64)} {
		if _, err := a.BeginRun(arbiter.PowerOn{VM: vm, By: Process(1)}); err == nil || !strings.Contains(err.Error(), "cannot name a VM") {
			t.Errorf("BeginRun of %q: %v", vm, err)
		}
		if _, err := a.Claim(ft.Claim{Cell: ft.Cell{VM: vm}, By: Process(1)}); err == nil || !strings.Contains(err.Error(), "cannot name a VM") {
			t.Errorf("Claim of %q: %v", vm, err)
		}
	}
}
