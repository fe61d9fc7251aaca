package ft

import (
	"fmt"
	"math/bits"
)

// Intent is the write-intent map of one image: the blocks that may differ from
// the other copy's. Its owner keeps it on the disk beside the image. The rules:
//
//   - A write may begin when its blocks are Noted, durably: one that has begun
//     may be found on the disk, or not, or in part.
//   - A block leaves the map only when both copies are the same in it, durably:
//     Cut, flush the own image, hear that the peer has done both, then Commit.
//     Until then both halves count. What is noted in the older half alone does
//     not do for a write that begins after the Cut: that half is forgotten.
//   - The map goes on through failovers, pairings that fail and restarts, until
//     a synchronisation is complete (Commit, of its point).
type Intent struct {
	blocks     uint64
	since      Point
	prepared   Point
	generation uint64
	next       Point    // of the Cut that is under way
	older      []uint64 // before it; nil if none is
	newer      []uint64
}

// Kept is what is kept of an Intent on the disk. Blocks are in words of 64, the
// lowest bit first.
type Kept struct {
	// Since is the common point from which on the map is complete; zero if there
	// is none.
	Since Point
	// Prepared is a later point that this copy has, durably, without having heard
	// that the other one has it too. The map counts from Since yet.
	Prepared Point
	// Generation numbers the half that writes are noted in. A Cut begins the next
	// one, so that it is told from the half before it.
	Generation uint64
	Older      []uint64 // of Generation-1; nil if that does not count
	Newer      []uint64
}

// NewIntent is an empty map of an image of so many blocks, without a common
// point.
func NewIntent(blocks uint64) *Intent {
	return &Intent{blocks: blocks, newer: make([]uint64, words64(blocks))}
}

func words64(blocks uint64) uint64 { return (blocks + 63) / 64 }

// LoadIntent is the map that was kept.
func LoadIntent(blocks uint64, k Kept) (*Intent, error) {
	if uint64(len(k.Newer)) != words64(blocks) || k.Older != nil && len(k.Older) != len(k.Newer) {
		return nil, fmt.Errorf("ft: a write-intent map of %d and %d words for %d blocks; synchronise in full", len(k.Older), len(k.Newer), blocks)
	}
	m := &Intent{blocks: blocks, since: k.Since, prepared: k.Prepared, generation: k.Generation}
	m.newer = append(m.newer, k.Newer...)
	m.older = append(m.older, k.Older...)
	return m, nil
}

// Kept is what is to be kept. Its words change with the map.
func (m *Intent) Kept() Kept {
	return Kept{m.since, m.prepared, m.generation, m.older, m.newer}
}

// IsCut says whether a Cut is under way.
func (m *Intent) IsCut() bool { return m.older != nil }

// Union is every block in the map: what a synchronisation has to compare, with
// the other copy's.
func (m *Intent) Union() []uint64 {
	all := append([]uint64(nil), m.newer...)
	for i, w := range m.older {
		all[i] |= w
	}
	return all
}

// Count is how many blocks are in the map.
func (m *Intent) Count() (n uint64) {
	for i, w := range m.newer {
		if m.older != nil {
			w |= m.older[i]
		}
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// Noted says whether blocks first to last are all in the half that writes are
// noted in. When that is durable, a write to them may begin.
func (m *Intent) Noted(first, last uint64) bool {
	for b := first; b <= last; b++ {
		if m.newer[b/64]>>(b%64)&1 == 0 {
			return false
		}
	}
	return true
}

// Note puts blocks first to last into the map.
func (m *Intent) Note(first, last uint64) {
	if first > last || last >= m.blocks {
		panic(fmt.Sprintf("BUG: ft: blocks %d to %d of %d", first, last, m.blocks))
	}
	for b := first; b <= last; b++ {
		m.newer[b/64] |= 1 << (b % 64)
	}
}

// Cut makes the present position of the log the next common point p, if it comes
// to Commit. All writes before it have to be noted already. The caller then notes
// the blocks of those whose completion is not in the log before this position:
// the copies may still differ in them.
func (m *Intent) Cut(p Point) {
	if m.IsCut() {
		panic("BUG: ft: a Cut while another one is under way")
	}
	m.next, m.older, m.newer = p, m.newer, make([]uint64, len(m.newer))
	m.generation++
}

// Fold gives up a Cut: all of the map counts from the old common point on.
func (m *Intent) Fold() {
	m.next, m.newer, m.older = Point{}, m.Union(), nil
}

// Prepare notes that this copy has a point that was Cut: it is flushed. Durably,
// before the other copy is told so and may Commit it.
func (m *Intent) Prepare(p Point) { m.prepared = p }

// Commit takes out what was written before the Cut. Both copies must have
// executed up to it, or been made alike, and be flushed since; what is noted
// since must be durable. A crash before that is durable leaves a map that is too
// large, which is harmless. The backup Prepares first, then the primary Commits,
// then the backup. If the Cut for p was given up, or the process was another one
// then, it does nothing.
func (m *Intent) Commit(p Point) {
	if m.MayCommit(p) {
		m.since, m.prepared, m.next, m.older = p, Point{}, Point{}, nil
	}
}

// MayCommit says whether the Cut that is under way is the one for p.
func (m *Intent) MayCommit(p Point) bool { return m.older != nil && m.next == p }

// Rebase is how a synchronisation towards this copy begins: the map counts from
// the point that the two copies are to be compared from (SyncPlan.Common), or,
// if that is none, it does not count.
func (m *Intent) Rebase(p Point) {
	m.Fold()
	m.since, m.prepared = p, Point{}
}
