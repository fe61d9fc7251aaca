package sim

import (
	"flag"
	"slices"
	"testing"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the world of this seed alone and print everything that happens in it")
	firstFlag = flag.Uint64("first", 1, "the first seed")
	seedsFlag = flag.Int("seeds", 3000, "how many seeds to run")
	disksFlag = flag.Int("disks", 0, "where the disk of the world of -seed lies (a number of type Disks)")
	breakFlag = flag.Int("break", 0, "break this rule (a number of type Break) in the world of -seed")
)

// R20: "The same code runs under a seeded simulator that drops, delays,
// reorders, partitions, pauses and crashes." In every world: at most one side is
// live; every output that left is in the survivor's past; nothing of an older
// fence number takes effect; nothing that a client was told is lost.
//
//	go test ./sim -run TestWorlds -seeds 100000        many more
//	go test ./sim -run TestWorlds -v -seed 4711        one, step by step
func TestWorlds(t *testing.T) {
	if *seedFlag != 0 {
		r := Run(Config{Seed: *seedFlag, Break: Break(*breakFlag), Disks: Disks(*disksFlag), Trace: func(line string) { t.Log(line) }})
		if r.Violation != "" {
			t.Errorf("seed %d: %s", r.Seed, r.Violation)
		}
		return
	}
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 300)
	}
	var served, failovers, excused, ended, late int
	for s := range uint64(n) {
		r := Run(Config{Seed: *firstFlag + s})
		if r.Violation != "" {
			t.Fatalf("seed %d: %s\nfaults: %q\nto see it: go test ./sim -run TestWorlds -v -seed %d", r.Seed, r.Violation, r.Faults, r.Seed)
		}
		served += int(r.Served)
		failovers += r.Failovers
		if r.Excused {
			excused++
		}
		if r.Ended {
			ended++
		}
		if r.Epoch > 2 {
			late++
		}
	}
	t.Logf("%d worlds: %d requests served, %d failovers, %d runs ended as planned, %d came beyond epoch 2, %d excused from having a survivor",
		n, served, failovers, ended, late, excused)
	// A simulator in which nothing happens finds nothing.
	if served < 30*n || failovers < n/5 || ended < n/20 || late < n/10 || excused > n/2 {
		t.Error("too little happens in these worlds")
	}
}

// DESIGN section 6: "One fault always leaves someone live".
func TestOneFaultLeavesSomeoneLive(t *testing.T) {
	n := 600
	if testing.Short() {
		n = 100
	}
	var struck, failovers int
	for s := range uint64(n) {
		r := Run(Config{Seed: *firstFlag + s, OneFault: true})
		if r.Violation != "" {
			t.Fatalf("seed %d: %s\nfault: %q", r.Seed, r.Violation, r.Faults)
		}
		struck += len(r.Faults)
		failovers += r.Failovers
	}
	t.Logf("%d worlds, %d faults, %d failovers", n, struck, failovers)
	if struck < n/2 || failovers < n/10 {
		t.Error("too little happens in these worlds")
	}
}

// A seed is only worth printing if it repeats the world to the last step.
func TestSeedRepeatsItsWorld(t *testing.T) {
	for seed := range uint64(10) {
		trace := func() (lines []string) {
			Run(Config{Seed: seed + 1, Trace: func(line string) { lines = append(lines, line) }})
			return
		}
		if a, b := trace(), trace(); !slices.Equal(a, b) || len(a) < 10 {
			t.Fatalf("seed %d does not repeat itself", seed+1)
		}
	}
}
