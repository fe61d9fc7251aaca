package ft

import "github.com/lockstep-vm/lockstep/replay"

// This file is how two copies get a common point while both run, so that their
// maps need not grow for as long as a pair lasts (DESIGN section 7). Each step is
// durable before the next is told:
//
//	primary   Cut at entry seq, for a new point; tells both (PrimaryCut.Ask)
//	backup    once it has executed up to seq: Cut, flush, Prepare; tells seq
//	primary   flush, Commit; tells seq
//	backup    Commit
//
// The backup may cut later than at seq: what it writes meanwhile the primary has
// written or has pending since seq, and so has it in its map. Whatever is lost
// with a connection is said again on the next one.

// CutAsk is what a primary asks of its backup.
type CutAsk struct {
	Seq   replay.Seq
	Point Point
}

// PrimaryCut is a primary's part, in one pairing.
type PrimaryCut struct {
	ask        CutAsk
	open       bool
	peer       bool // the backup is prepared
	committing bool
	common     replay.Seq // of the last one that is durable here; 0 for none
}

// Open says whether a cut is under way; there is one at a time.
func (c *PrimaryCut) Open() bool { return c.open }

// Begin notes that the own map was Cut at entry seq.
func (c *PrimaryCut) Begin(a CutAsk) {
	if c.open || a.Seq <= c.common {
		panic("BUG: ft: a cut at an entry before the last one's")
	}
	*c = PrimaryCut{ask: a, open: true, common: c.common}
}

// Prepared is the backup's word that its copy has the point of entry seq.
func (c *PrimaryCut) Prepared(seq replay.Seq) {
	c.peer = c.peer || c.open && seq == c.ask.Seq
}

// Commit says once that the own map is to be committed, and for which point.
func (c *PrimaryCut) Commit() (p Point, now bool) {
	if !c.peer || c.committing {
		return Point{}, false
	}
	c.committing = true
	return c.ask.Point, true
}

// Committed reports that the own map is committed, durably.
func (c *PrimaryCut) Committed() {
	c.common, c.open, c.peer, c.committing = c.ask.Seq, false, false, false
}

// Common is the entry whose point is the common one, for the backup; 0 if there
// is none. It is told when it is there and, before Ask, on every new connection.
func (c *PrimaryCut) Common() replay.Seq { return c.common }

// Ask is what the backup is asked for: when it begins and on every new connection.
func (c *PrimaryCut) Ask() (a CutAsk, some bool) {
	return c.ask, c.open && !c.peer
}

// BackupCut is a backup's part, in one pairing.
type BackupCut struct {
	ask      CutAsk
	cut      bool
	prepared bool
	done     bool // committed, or there is none
}

// Asked takes in what the primary asks for; again is harmless.
func (c *BackupCut) Asked(a CutAsk) {
	if a.Seq > c.ask.Seq {
		*c = BackupCut{ask: a}
	}
}

// Due says whether the map is to be cut, by a backup that has executed the log
// up to entry seq.
func (c *BackupCut) Due(seq replay.Seq) bool {
	return c.ask.Seq != 0 && !c.cut && seq >= c.ask.Seq
}

// Ask is what the primary asks for.
func (c *BackupCut) Ask() CutAsk { return c.ask }

// Begin notes that the map was Cut.
func (c *BackupCut) Begin() { c.cut = true }

// Prepared reports that the copy is flushed since and the map prepared for the
// point of entry seq.
func (c *BackupCut) Prepared(seq replay.Seq) {
	c.prepared = c.prepared || c.cut && seq == c.ask.Seq
}

// Tell is the entry for which the primary is told that this copy is prepared:
// when it is and on every new connection. 0 is none.
func (c *BackupCut) Tell() replay.Seq {
	if !c.prepared || c.done {
		return 0
	}
	return c.ask.Seq
}

// Common is the primary's word that the point of entry seq is common, and says
// once that the map is to be committed.
func (c *BackupCut) Common(seq replay.Seq) (p Point, now bool) {
	if !c.prepared || c.done || seq != c.ask.Seq {
		return Point{}, false
	}
	c.done = true
	return c.ask.Point, true
}
