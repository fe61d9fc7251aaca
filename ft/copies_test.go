package ft

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var (
	copyA, copyB = CopyID{1}, CopyID{2}
	run1, run2   = Run{Ordinal: 1, ID: [16]byte{1}}, Run{Ordinal: 2, ID: [16]byte{2}}
)

// DESIGN section 7: "Power-on only from a named copy, and unattended only from
// the primary's".
func TestPowerOn(t *testing.T) {
	armed := ArmedCopies(run1, 3, copyA, copyB)
	pair := PairGeneration(run1, 3)
	for name, c := range map[string]struct {
		record Copies
		img    Image
		both   bool
		order  Order
		needs  Order
		why    string // empty: it may
	}{
		"first power-on":                    {img: Image{ID: copyA}},
		"no id":                             {why: "import the image"},
		"the primary's":                     {record: armed, img: Image{ID: copyA, Gen: pair}},
		"marked for a claim":                {record: armed, img: Image{ID: copyA, Gen: WinnerGeneration(run1, 3)}},
		"the backup's":                      {record: armed, img: Image{ID: copyB, Gen: pair}, needs: OrderBackup, why: "may lack what was released"},
		"the backup's, ordered":             {record: armed, img: Image{ID: copyB, Gen: pair}, order: OrderBackup},
		"the backup's, both flushed":        {record: armed, img: Image{ID: copyB, Gen: pair}, both: true},
		"not named":                         {record: ClaimedCopies(run1, 3, copyB), img: Image{ID: copyA, Gen: pair}, order: OrderBackup, needs: OrderStale, why: "stale"},
		"not named, ordered":                {record: ClaimedCopies(run1, 3, copyB), img: Image{ID: copyA, Gen: pair}, order: OrderStale},
		"an older image":                    {record: armed, img: Image{ID: copyA, Gen: PairGeneration(run1, 2)}, needs: OrderStale, why: "put back from a backup"},
		"an image of a run that lost":       {record: armed, img: Image{ID: copyA, Gen: PairGeneration(Run{Ordinal: 1, ID: [16]byte{9}}, 3)}, needs: OrderStale, why: "older"},
		"an arbiter that knows nothing":     {img: Image{ID: copyA, Gen: pair}, needs: OrderStale, why: "this arbiter knows nothing"},
		"half synchronised":                 {record: armed, img: Image{ID: copyA, Gen: pair, Syncing: true}, order: OrderStale, why: "synchronisation did not end"},
		"the zero copy where no backup was": {record: ClaimedCopies(run1, 3, copyB), img: Image{Gen: pair}, order: OrderStale, why: "no id"},
	} {
		err := PowerOn(c.record, c.img, c.both, c.order)
		var p *PowerOnError
		switch {
		case c.why == "" && err != nil, c.why != "" && err == nil:
			t.Errorf("%s: %v", name, err)
		case err != nil && (!errors.As(err, &p) || p.Needs != c.needs || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: needs %d: %v", name, p.Needs, err)
		}
	}
}

// A statement that reaches the record late changes nothing.
func TestLaterStatementCounts(t *testing.T) {
	order := []Copies{{}, ClaimedCopies(run1, 0, copyA), ArmedCopies(run1, 1, copyA, copyB), ClaimedCopies(run1, 1, copyB), ArmedCopies(run1, 2, copyB, copyA), ClaimedCopies(run2, 0, copyA)}
	for i, x := range order {
		for j, y := range order {
			if got, want := x.Later(y), order[max(i, j)]; got != want {
				t.Errorf("of %v and %v counts %v", x.Gen, y.Gen, got.Gen)
			}
		}
	}
}

// DESIGN section 7: "each copy keeps a durable write-intent map; without it, a
// full copy".
func TestPlanSync(t *testing.T) {
	p, q := Point{ID: [16]byte{1}}, Point{ID: [16]byte{2}}
	for _, c := range []struct {
		a, b   Image
		common Point // none for a full one
	}{
		{Image{ID: copyA, Since: p}, Image{ID: copyB, Since: p}, p},
		{Image{ID: copyA, Since: p}, Image{ID: copyB, Since: q}, Point{}},
		{Image{ID: copyA, Since: p}, Image{ID: copyB}, Point{}},
		{Image{ID: copyA}, Image{ID: copyB}, Point{}},
		{Image{ID: copyA, Since: p}, Image{ID: copyA, Since: p}, Point{}},
		{Image{ID: copyA, Since: q}, Image{ID: copyB, Since: p, Prepared: q}, q}, // it did not hear of the commit,
		{Image{ID: copyB, Since: p, Prepared: q}, Image{ID: copyA, Since: q}, q}, // and has gone on alone
		{Image{ID: copyA, Since: p}, Image{ID: copyB, Since: p, Prepared: q}, p},
		{Image{ID: copyA, Since: q}, Image{ID: copyB, Since: p}, Point{}}, // put back from a backup
	} {
		if got := PlanSync(c.a, c.b); got.Full != c.common.None() || got.Common != c.common || got.Why == "" {
			t.Errorf("%+v and %+v: %+v", c.a, c.b, got)
		}
	}
}

// DESIGN section 7: "complete a guest's flush only when both copies are flushed".
func TestFlushes(t *testing.T) {
	var f Flushes
	x, y := FlushID{Disk: 0, ID: 4}, FlushID{Disk: 1, ID: 4}
	f.Ask(x)
	f.Ask(y)
	f.Own(x)
	f.Peer(y)
	if got := f.Take(true, nil); got != nil {
		t.Errorf("taken early: %v", got)
	}
	f.Peer(x)
	if got := f.Take(true, nil); !slices.Equal(got, []FlushID{x}) {
		t.Errorf("taken: %v", got)
	}
	f.Own(y)
	f.Peer(x) // late, and of nothing that waits
	if got := f.Take(true, nil); !slices.Equal(got, []FlushID{y}) {
		t.Errorf("taken: %v", got)
	}
	f.Ask(x)
	f.Own(x)
	if got := f.Take(false, nil); !slices.Equal(got, []FlushID{x}) {
		t.Errorf("alone: %v", got)
	}
}

func localPrimary(f FlushMode) *Replica {
	c := testConfig(1)
	c.Copy, c.Flush = copyA, f
	r := NewPrimary(c)
	r.Ready()
	r.Joined(1, ProcessID{2})
	r.Seeded(1)
	return r
}

// DESIGN section 7, "a copy is added at Arm, after re-sync"; R18.
func TestArmingWithLocalDisks(t *testing.T) {
	r := localPrimary(FlushBoth)
	if rd := r.Ready(); rd.Ping || rd.Gate == nil || rd.Gate.Mode != GateOpen || !r.Running() {
		t.Fatalf("before the copy is synchronised the guest runs unprotected: %+v", rd)
	}
	r.CopySynced(9, copyB) // another connection
	r.CopySynced(1, copyB)
	if rd := r.Ready(); !rd.Ping {
		t.Fatalf("synchronised: %+v", rd)
	}
	r.ArbiterAlive(true)
	rd := r.Ready()
	if r.State() != Gated || !rd.CatchUp || rd.Name != nil || rd.AppendArm != 0 || !r.FlushNeedsPeer() {
		t.Fatalf("gated: %+v", rd)
	}
	r.CaughtUp(1)
	if rd = r.Ready(); rd.Name == nil || rd.Name.Copies != ArmedCopies(r.cfg.Run, 1, copyA, copyB) || rd.AppendArm != 0 {
		t.Fatalf("caught up: %+v", rd)
	}
	r.Named(1)
	if rd = r.Ready(); rd.AppendArm != 1 {
		t.Fatalf("named: %+v", rd)
	}
}

// "From here on the primary must win": a copy that the record may name would be
// stale with the first write of a primary that just opens its gate again.
func TestCutOffAfterNamingClaims(t *testing.T) {
	r := localPrimary(FlushOwn)
	r.CopySynced(1, copyB)
	r.ArbiterAlive(true)
	if rd := r.Ready(); rd.Name == nil {
		t.Fatalf("%+v", rd)
	}
	r.Refused(ProcessID{2})
	if rd := r.Ready(); rd.Claim == nil || rd.Claim.Copies != ClaimedCopies(r.cfg.Run, 1, copyA) || rd.Gate.Mode != GateSealed {
		t.Fatalf("%v: %+v", r.State(), rd)
	}
}

// DESIGN section 7: "A write error on one copy drops that copy from the record,
// never the guest."
func TestFailedCopy(t *testing.T) {
	r := localPrimary(FlushOwn)
	if r.CopyFailed("EIO") || r.State() != Seeding {
		t.Error("the only copy is dropped")
	}
	r.CopySynced(1, copyB)
	r.ArbiterAlive(true)
	r.Named(1)
	r.ArmAppended(5)
	r.Acked(1, 5)
	if !r.CopyFailed("EIO") || r.State() != Yielding || r.Running() {
		t.Fatalf("protected: %v", r.State())
	}
	if rd := r.Ready(); !rd.Seal || rd.Claim != nil {
		t.Errorf("yielding: %+v", rd)
	}
	var claim *Claim
	for range 100 * r.cfg.Timeout {
		r.Tick()
		if rd := r.Ready(); rd.Claim != nil {
			claim = rd.Claim
			break
		}
	}
	if claim == nil {
		t.Error("a backup that does not take over leaves nobody")
	}
	c := testConfig(2)
	c.Copy = copyB
	b := NewBackup(c, 1, ProcessID{1}, 1)
	b.StateLoaded()
	b.ArmSeen(1)
	if b.Armed() {
		t.Error("armed without its copy")
	}
	b.CopySynced(1, copyB)
	b.ArmSeen(1)
	if !b.Armed() || !b.CopyFailed("EIO") || b.State() != Halted {
		t.Errorf("backup: armed %v, %v", b.Armed(), b.State())
	}
}
