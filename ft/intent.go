package ft

import (
	"fmt"
	"math/bits"
)

// Intent is the write-intent map of one image: the blocks that may differ from
// the other copy's. Its owner keeps it on the disk beside the image. The rules:
//
//   - A block is in the durable map before a write to it begins, because a
//     write that has begun may be found on the disk, or not, or in part.
//   - A block leaves the map only when both copies are the same in it, durably:
//     Cut at a position of the log, flush the own image, hear that the peer has
//     done the same for that position, then Commit.
//   - The map goes on through failovers, pairings that fail and restarts, until
//     a synchronisation is complete (Adopt).
type Intent struct {
	since  Point
	blocks uint64
	bits   []uint64 // written since the common point
	next   []uint64 // since the Cut that is under way; nil if none is
}

// NewIntent is an empty map of an image of so many blocks, without a common
// point.
func NewIntent(blocks uint64) *Intent {
	return &Intent{blocks: blocks, bits: make([]uint64, words64(blocks))}
}

func words64(blocks uint64) uint64 { return (blocks + 63) / 64 }

// LoadIntent is the map that was kept as since and words.
func LoadIntent(blocks uint64, since Point, words []uint64) (*Intent, error) {
	if uint64(len(words)) != words64(blocks) {
		return nil, fmt.Errorf("ft: a write-intent map of %d words for %d blocks; synchronise in full", len(words), blocks)
	}
	return &Intent{since: since, blocks: blocks, bits: append([]uint64(nil), words...)}, nil
}

// Since is the common point; Words the map itself, 64 blocks in each word, the
// lowest bit first. Both are what is kept on the disk.
func (m *Intent) Since() Point    { return m.since }
func (m *Intent) Words() []uint64 { return m.bits }

// Has says whether a block is in the map.
func (m *Intent) Has(block uint64) bool { return m.bits[block/64]>>(block%64)&1 != 0 }

// Count is how many blocks are in the map.
func (m *Intent) Count() (n uint64) {
	for _, w := range m.bits {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// Write puts a block into the map, before every write to it. True means that it
// was not there: Words must be durable before the write begins.
func (m *Intent) Write(block uint64) (fresh bool) {
	if block >= m.blocks {
		panic(fmt.Sprintf("BUG: ft: block %d of %d", block, m.blocks))
	}
	fresh = !m.Has(block)
	m.bits[block/64] |= 1 << (block % 64)
	if m.next != nil {
		m.next[block/64] |= 1 << (block % 64)
	}
	return fresh
}

// Cut marks the present position of the log as the next common point. pending
// are the blocks of the writes that have begun and whose completion is not in
// the log before this position: the copies may still differ in them. It takes
// the place of an earlier Cut.
func (m *Intent) Cut(pending []uint64) {
	m.next = make([]uint64, len(m.bits))
	for _, b := range pending {
		m.Write(b)
	}
}

// Commit takes out what was written before the Cut. Both copies must have
// executed up to it and be flushed since. Words is made durable afterwards; a
// crash before that leaves a map that is too large, which is harmless.
func (m *Intent) Commit() {
	if m.next != nil {
		m.bits, m.next = m.next, nil
	}
}

// Adopt is Commit at the end of a synchronisation that was Cut where the State
// was taken: from here on the map is about the two copies that share the point.
// The backup adopts first, then tells the primary; so that the primary's map
// says at least as much.
func (m *Intent) Adopt(p Point) {
	m.Commit()
	m.since = p
}

// Lose forgets the common point: the other copy is unknown, or the map damaged.
func (m *Intent) Lose() { m.since = Point{} }
