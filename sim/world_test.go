package sim

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone and print what happens")
	seedsFlag = flag.Int("seeds", 0, "run this many seeds instead of the usual number")
)

func TestWorld(t *testing.T) {
	if *seedFlag != 0 {
		r := Run(Config{Seed: *seedFlag, Trace: func(s string) { os.Stdout.WriteString(s + "\n") }})
		t.Logf("%+v", r)
		if r.Violation != "" {
			t.Errorf("seed %d: %s", r.Seed, r.Violation)
		}
		return
	}
	n := 500
	if *seedsFlag != 0 {
		n = *seedsFlag
	}
	t0 := time.Now()
	bad := 0
	var served, failovers, excused, ended, claims uint64
	for s := 1; s <= n; s++ {
		r := Run(Config{Seed: uint64(s)})
		served += r.Served
		failovers += uint64(r.Failovers)
		claims += uint64(r.Claims)
		if r.Excused {
			excused++
		}
		if r.Ended {
			ended++
		}
		if r.Violation != "" {
			t.Errorf("seed %d: %s\n  %q", r.Seed, r.Violation, r.Faults)
			if bad++; bad > 8 {
				break
			}
		}
	}
	t.Logf("%d seeds in %v: served %d, failovers %d, claims %d, excused %d, ended %d", n, time.Since(t0), served, failovers, claims, excused, ended)
}
