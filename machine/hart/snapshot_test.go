package hart_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// A snapshot that is cut short is refused, and leaves the hart as it was.
func TestShortSnapshotIsRefused(t *testing.T) {
	w := newWorld(hartOptions)
	e := snapshot.NewEncoder(nil)
	w.Save(e)
	before := w.state()
	for n := range e.Bytes() {
		if w.Hart.Load(snapshot.NewDecoder(e.Bytes()[:n])) == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(e.Bytes()))
		}
	}
	if w.state() != before {
		t.Error("a refused snapshot changed the hart")
	}
}

// Whatever a damaged snapshot says, the hart refuses it or runs.
func TestDamagedSnapshotCannotCrash(t *testing.T) {
	e := snapshot.NewEncoder(nil)
	newWorld(hartOptions).Save(e)
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte(nil), e.Bytes()...)
		for range rapid.IntRange(1, 8).Draw(t, "bytes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "b")
		}
		w := newWorld(hartOptions)
		if w.Hart.Load(snapshot.NewDecoder(b)) == nil {
			w.Run(w.Icount + 100)
		}
	})
}
