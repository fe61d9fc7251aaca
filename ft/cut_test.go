package ft

import "testing"

// One common point while both run, and what is told again when the connection is
// lost at each step.
func TestCommonPointWhileBothRun(t *testing.T) {
	var primary PrimaryCut
	var backup BackupCut
	p := Point{ID: [16]byte{1}}
	asks := func(want bool) CutAsk {
		t.Helper()
		a, some := primary.Ask()
		if some != want {
			t.Errorf("the backup is asked: %v", some)
		}
		return a
	}
	asks(false)
	primary.Begin(CutAsk{Seq: 7, Point: p})
	for range 2 {
		backup.Asked(asks(true))
	}
	if backup.Due(6) || !backup.Due(7) || !backup.Due(9) {
		t.Error("the backup does not cut when it has executed up to the entry")
	}
	if _, now := backup.Common(7); now || backup.Tell() != 0 {
		t.Error("a backup is prepared that has not cut")
	}
	backup.Begin()
	backup.Asked(asks(true)) // on another connection
	if backup.Due(9) || backup.Tell() != 0 {
		t.Error("the backup cuts twice, or says that it is prepared before it is")
	}
	if _, now := primary.Commit(); now {
		t.Error("the primary commits alone")
	}
	backup.Prepared(6) // of an earlier one
	if backup.Tell() != 0 {
		t.Error("prepared for another entry")
	}
	backup.Prepared(7)
	primary.Prepared(6)
	if _, now := primary.Commit(); now {
		t.Error("the primary commits on an old word")
	}
	for range 2 {
		primary.Prepared(backup.Tell())
	}
	if got, now := primary.Commit(); !now || got != p {
		t.Error("the primary does not commit")
	}
	asks(false)
	if _, now := primary.Commit(); now || !primary.Open() || primary.Common() != 0 {
		t.Error("the primary commits twice, or says that it has before it has")
	}
	primary.Committed()
	if primary.Open() {
		t.Error("still open")
	}
	if got, now := backup.Common(primary.Common()); !now || got != p {
		t.Error("the backup does not commit")
	}
	if _, now := backup.Common(primary.Common()); now || backup.Tell() != 0 {
		t.Error("the backup commits twice")
	}
	primary.Begin(CutAsk{Seq: 8, Point: Point{ID: [16]byte{2}}})
	backup.Asked(asks(true))
	if _, now := backup.Common(primary.Common()); now || !backup.Due(8) || primary.Common() != 7 {
		t.Error("the next one is taken for the last")
	}
}
