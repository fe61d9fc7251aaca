package sim

import "testing"

// DESIGN section 7, "Local disks": in every world with a copy on each host, and
// hosts that lose their power in mid-write, the guest sees the disk that it
// wrote; a power-on begins with everything that was flushed and told, with
// nothing that was not written, and never from a stale copy.
//
//	go test ./sim -run TestLocalWorlds -seeds 100000
//	go test ./sim -run TestWorlds -v -seed 4711 -disks 1    one, step by step
func TestLocalWorlds(t *testing.T) {
	for _, disks := range []Disks{DisksLocal, DisksLocalBoth} {
		t.Run(disks.String(), func(t *testing.T) {
			n := max(*seedsFlag/10, 1)
			if testing.Short() {
				n = min(n, 100)
			}
			var served, failovers, runs, refused, partial, commits, excused int
			for s := range uint64(n) {
				r := Run(Config{Seed: *firstFlag + s, Disks: disks})
				if r.Violation != "" {
					t.Fatalf("seed %d: %s\nfaults: %q\nto see it: go test ./sim -run TestWorlds -v -seed %d -disks %d", r.Seed, r.Violation, r.Faults, r.Seed, disks)
				}
				served += int(r.Served)
				failovers += r.Failovers
				runs += r.Runs
				refused += r.Refused
				partial += r.Partial
				commits += r.Commits
				if r.Excused {
					excused++
				}
			}
			t.Logf("%d worlds: %d requests served in the last runs, %d failovers, %d power-ons, %d refused, %d synchronisations of a part, %d common points, %d excused",
				n, served, failovers, runs, refused, partial, commits, excused)
			// A simulator in which nothing happens finds nothing.
			if served < 20*n || failovers < n/6 || runs < n*3/2 || refused < n/3 || partial < n/2 || commits < 2*n {
				t.Error("too little happens in these worlds")
			}
		})
	}
}

// Each line of DESIGN section 7 is a data loss otherwise: each is broken by a
// switch of the configuration and must be found, as the harm that it prevents.
func TestBrokenLocalRulesAreFound(t *testing.T) {
	const stale, lost, invented, other = "the VM was last", "was flushed", "did not write", "digests differ"
	harm := map[Break][]string{
		BreakLocalClaimKeepsCopies:  {stale},
		BreakLocalNameBeforeGate:    {lost},
		BreakLocalArmUnsynced:       {lost, invented},
		BreakLocalStalePowerOn:      {stale, lost},
		BreakLocalBackupUnattended:  {stale, lost},
		BreakLocalFlushOwn:          {lost},
		BreakLocalNoCatchUp:         {lost},
		BreakLocalOwnMapOnly:        {other, invented},
		BreakLocalTheirMapOnly:      {other, lost, invented},
		BreakLocalNoFullCopy:        {other, lost, invented},
		BreakLocalSyncedOnce:        {other, lost},
		BreakLocalSyncUnflushed:     {other, lost, invented, "the guest has written"},
		BreakLocalIntentLate:        {other},
		BreakLocalCutForgetsPending: {other, invented},
		BreakLocalOlderHalfDoes:     {other, invented},
		BreakLocalCommitUnsettled:   {other, invented},
		BreakLocalCutUnflushed:      {other, invented, lost},
		BreakLocalCutEarly:          {other, invented},
		BreakLocalNoHold:            {other, lost},
		BreakLocalErrorIgnored:      {"the guest has written"},
		BreakLocalErrorToGuest:      {"tells its guest"},
		BreakLocalPowerOnUnflushed:  {invented, lost},
	}
	// Where the harm needs both hosts to go at one moment, they do.
	at := map[Break]string{
		BreakLocalNameBeforeGate: "before naming",
		BreakLocalNoCatchUp:      "after arm",
		BreakLocalArmUnsynced:    "after arm",
	}
	from := map[Break]uint64{BreakLocalNameBeforeGate: 900} // rare
	for b := BreakLocalClaimKeepsCopies; b < numBreaks; b++ {
		t.Run(b.String(), func(t *testing.T) {
			cfg := Config{Break: b, PowerCutAt: at[b]}
			own, both := cfg, cfg
			own.Disks, both.Disks = DisksLocal, DisksLocalBoth
			found(t, harm[b], max(from[b], 1), 1500, own, both)
		})
	}
}
