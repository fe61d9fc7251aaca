package replay_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// R9, R14: what an output or a sender waits for is not quiet.
func TestQuietEntriesAreThoseThatNothingWaitsFor(t *testing.T) {
	for name, c := range map[string]struct {
		body  replay.Body
		quiet bool
	}{
		"a horizon":           {replay.Horizon{}, true},
		"an own completion":   {replay.OwnDone{}, true},
		"the clock":           {replay.Input{In: machine.SetClock{}}, true},
		"a disk's completion": {replay.Input{In: machine.DiskDone{}}, true},
		"typing":              {replay.Input{In: machine.ConsoleInput{}}, true},
		"entropy":             {replay.Input{In: machine.Entropy{}}, true},
		"a frame, whose switch waits to forget it": {replay.Input{In: machine.Frame{}}, false},
		"a stop":   {replay.Input{In: machine.Stop{}}, false},
		"a marker": {replay.Marker{}, false},
		"a digest": {replay.DigestCheck{}, false},
		"an Arm":   {replay.Arm{}, false},
	} {
		if got := replay.Quiet(c.body); got != c.quiet {
			t.Errorf("%s: quiet %v", name, got)
		}
	}
}
