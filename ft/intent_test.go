package ft

import (
	"slices"
	"testing"
)

// has compares the blocks in the map.
func (m *Intent) has(t *testing.T, want ...uint64) {
	t.Helper()
	var got []uint64
	for b := range m.blocks {
		if m.Union()[b/64]>>(b%64)&1 != 0 {
			got = append(got, b)
		}
	}
	if !slices.Equal(got, want) || m.Count() != uint64(len(want)) {
		t.Errorf("the map has %v, want %v", got, want)
	}
}

// DESIGN section 7: "each copy keeps a durable write-intent map".
func TestIntent(t *testing.T) {
	p, q := Point{ID: [16]byte{1}}, Point{ID: [16]byte{2}}
	m := NewIntent(130)
	m.Note(3, 4)
	m.Note(129, 129)
	if !m.Noted(3, 4) || m.Noted(3, 5) {
		t.Error("Noted does not say what was noted")
	}
	m.Cut(p)
	if m.Noted(129, 129) {
		t.Error("a block that was noted before a Cut does for a write after it")
	}
	m.Note(129, 129) // it is pending
	m.Note(64, 64)
	m.has(t, 3, 4, 64, 129) // nothing leaves before Commit
	m.Prepare(p)
	m.has(t, 3, 4, 64, 129)
	m.Commit(q) // of another one
	m.has(t, 3, 4, 64, 129)
	m.Commit(p)
	m.has(t, 64, 129)
	if k := m.Kept(); k.Since != p || !k.Prepared.None() || k.Older != nil || k.Generation != 1 {
		t.Errorf("kept %+v", k)
	}
	m.Cut(q)
	m.Note(5, 5)
	m.Prepare(q)
	again, err := LoadIntent(130, m.Kept())
	if err != nil {
		t.Fatal(err)
	}
	again.has(t, 5, 64, 129)
	again.Fold() // the other copy was lost before it said anything
	again.has(t, 5, 64, 129)
	if k := again.Kept(); k.Since != p || k.Prepared != q || again.IsCut() {
		t.Errorf("kept %+v", k)
	}
	again.Commit(q)
	again.Note(6, 6)
	m.has(t, 5, 64, 129) // that was a map of its own
	again.Rebase(Point{})
	again.has(t, 5, 6, 64, 129)
	if k := again.Kept(); !k.Since.None() || !k.Prepared.None() {
		t.Errorf("kept %+v", k)
	}
	if _, err := LoadIntent(130, Kept{Newer: make([]uint64, 2)}); err == nil {
		t.Error("a map of another size is taken")
	}
}
