package sim

import "testing"

// DESIGN section 7, "reads: backup", in every world in which the backup reads a
// shared disk for itself, slowly or with errors: it reads what the primary has
// read, no write reaches the disk before it has, nothing waits for ever, and no
// guest hears of an error of a host.
//
//	go test ./sim -run TestWorldsInWhichTheBackupReads -seeds 200000
//	go test ./sim -run TestWorlds -v -seed 4711 -disks 3    one, step by step
func TestWorldsInWhichTheBackupReads(t *testing.T) {
	n := max(*seedsFlag/10, 1)
	if testing.Short() {
		n = min(n, 100)
	}
	var served, failovers, excused, ended, reads, waits int
	for s := range uint64(n) {
		r := Run(Config{Seed: *firstFlag + s, Disks: DisksReadByBackup})
		if r.Violation != "" {
			t.Fatalf("seed %d: %s\nfaults: %q\nto see it: go test ./sim -run TestWorlds -v -seed %d -disks %d", r.Seed, r.Violation, r.Faults, r.Seed, DisksReadByBackup)
		}
		served += int(r.Served)
		failovers += r.Failovers
		reads += r.OwnReads
		waits += r.Waited
		if r.Excused {
			excused++
		}
		if r.Ended {
			ended++
		}
	}
	t.Logf("%d worlds: %d requests served, %d failovers, %d reads by backups, %d writes waited for one, %d runs ended as planned, %d excused from having a survivor",
		n, served, failovers, reads, waits, ended, excused)
	// A simulator in which nothing happens finds nothing.
	if served < 20*n || failovers < n/6 || reads < 10*n || waits < n || ended < n/20 || excused > n/2 {
		t.Error("too little happens in these worlds")
	}
}

// DESIGN section 6: "One fault always leaves someone live", here too.
func TestOneFaultWhileTheBackupReads(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 50
	}
	failovers := 0
	for s := range uint64(n) {
		r := Run(Config{Seed: *firstFlag + s, OneFault: true, Disks: DisksReadByBackup})
		if r.Violation != "" {
			t.Fatalf("seed %d: %s\nfault: %q", r.Seed, r.Violation, r.Faults)
		}
		failovers += r.Failovers
	}
	if failovers < n/10 {
		t.Errorf("%d failovers in %d worlds", failovers, n)
	}
}

// Each part of the rule is needed: each is broken by a switch of the
// configuration and must be found, as the harm that it prevents.
func TestBrokenRulesOfReadsAreFound(t *testing.T) {
	const other, early, wrong, waits = "has read something else", "reaches the disk before", "reads from the disk", "waits since"
	harm := map[Break][]string{
		BreakReadsNoWait:         {other, early},
		BreakReadsToldOnce:       {waits},
		BreakReadsEarlierPairing: {other, early},
		BreakReadsUnordered:      {other},
		BreakReadsOldState:       {other},
		BreakReadsNotTriedAgain:  {other, "tells its guest"},
		BreakReadsRepeated:       {wrong},
		BreakReadsStray:          {"does not fit"},
		BreakReadsFailedHolds:    {waits, "reads of"},
		BreakReadsNeverEnd:       {"which is alone"},
		BreakReadsOffWaits:       {"no answer"},
		BreakReadsStandStill:     {waits},
	}
	// The word of a read is lost with its connection.
	resetAt := map[Break]string{BreakReadsToldOnce: "read"}
	from := map[Break]uint64{BreakReadsStray: 1000, BreakReadsOffWaits: 300} // rare
	for b := BreakReadsNoWait; b < BreakLocalClaimKeepsCopies; b++ {
		t.Run(b.String(), func(t *testing.T) {
			found(t, harm[b], max(from[b], 1), 2500, Config{Break: b, Disks: DisksReadByBackup, ResetAt: resetAt[b]})
		})
	}
}
