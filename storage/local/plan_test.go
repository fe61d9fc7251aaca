package local

import (
	"errors"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
)

// A copy that was prepared for a pairing has that pairing's generation. If the
// pairing was cut off then, it is not ahead of the live copy, which has won the
// epoch before: it is brought up to date again. A copy that has won an epoch since
// is ahead.
func TestPreparedCopyOfAPairingThatWasCutOffIsNoLaterOne(t *testing.T) {
	status := func(id byte, gen ft.Generation) Status {
		return Status{Copy: ft.CopyID{id}, VM: "vm/disk0", Gen: gen, State: InUse, Sectors: 2048, RegionSize: 1 << 20, Regions: 1, Common: Point{ID: [16]byte{1}}}
	}
	for _, tt := range []struct {
		source, target ft.Generation
		ok             bool
	}{
		{ft.WinnerGeneration(testRun, 0), ft.PairGeneration(testRun, 1), true},
		{ft.WinnerGeneration(testRun, 4), ft.PairGeneration(testRun, 5), true},
		{ft.PairGeneration(testRun, 5), ft.PairGeneration(testRun, 5), true},
		{ft.WinnerGeneration(testRun, 0), ft.WinnerGeneration(testRun, 1), false},
		{ft.PairGeneration(testRun, 5), ft.WinnerGeneration(testRun, 5), false},
		{ft.WinnerGeneration(testRun, 4), ft.PairGeneration(testRun, 6), false},
		{ft.WinnerGeneration(testRun, 4), ft.WinnerGeneration(ft.Run{Ordinal: testRun.Ordinal + 1}, 0), false},
	} {
		p, err := MakePlan(status(1, tt.source), status(2, tt.target), []uint64{1}, []uint64{0})
		if tt.ok && (err != nil || p.Full) || !tt.ok && !errors.Is(err, ErrClaimed) {
			t.Errorf("a source of %v and a target of %v: %+v, %v", tt.source, tt.target, p, err)
		}
	}
}
