package sim

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/ft"
)

// Disks says where the toy's disk lies.
type Disks uint8

const (
	// DisksShared: one disk with a fence, which only the live VM writes.
	DisksShared Disks = iota
	// DisksLocal: each host has a copy; a flush is done when the live one's is.
	DisksLocal
	// DisksLocalBoth: each host has a copy; a flush is done when both are.
	DisksLocalBoth
	// DisksReadByBackup: one disk with a fence, which the backup reads for itself.
	DisksReadByBackup
)

// block is what a sector holds: which write put it there, and its value. Ids
// grow, over runs too.
type block struct{ id, value uint64 }

// torn is the id of a sector that the power was lost over; those of requests
// are greater.
const torn = 1

func blockOf(b []byte) block {
	return block{value: binary.LittleEndian.Uint64(b), id: binary.LittleEndian.Uint64(b[8:])}
}

func (b block) bytes() []byte {
	p := make([]byte, 512)
	binary.LittleEndian.PutUint64(p, b.value)
	binary.LittleEndian.PutUint64(p[8:], b.id)
	return p
}

// localCopy is the disk of one host: an image on a layer that forgets, in whole
// or in part, what was not synced when the power is lost; and beside it a label,
// whose parts are replaced one by one.
type localCopy struct {
	w        *World
	cache    [toySectors]block
	stable   [toySectors]block
	unsynced [toySectors][]block // since the last sync

	label, stableLabel label
	// failing: the host cannot write to the image or sync it.
	failing bool
}

// label is what a copy says of itself, and its write-intent map, as
// storage/local's sidecar has it: bits of a generation that is neither base nor
// the next one do not count.
type label struct {
	ft.Image
	base  uint64
	halfs [2]half // of a generation, by its last bit
}

// half is the map of one generation.
type half struct{ generation, bits uint64 }

func newCopy(w *World, host int) *localCopy {
	c := &localCopy{w: w}
	c.label.ID = ft.CopyID{byte(host + 1)}
	c.stableLabel = c.label
	return c
}

// intent is the map as the label has it.
func (l *label) intent() *ft.Intent {
	k := ft.Kept{Since: l.Since, Prepared: l.Prepared, Generation: l.base, Newer: []uint64{l.of(l.base)}}
	if next := l.base + 1; l.halfs[next%2].generation == next {
		k.Generation, k.Older, k.Newer = next, k.Newer, []uint64{l.of(next)}
	}
	m, err := ft.LoadIntent(toySectors, k)
	if err != nil {
		panic("BUG: sim: " + err.Error())
	}
	return m
}

func (l *label) of(generation uint64) uint64 {
	if h := l.halfs[generation%2]; h.generation == generation {
		return h.bits
	}
	return 0
}

func (c *localCopy) write(sector uint64, b block) {
	c.cache[sector] = b
	c.unsynced[sector] = append(c.unsynced[sector], b)
}

// sync makes durable what was written.
func (c *localCopy) sync() {
	c.stable = c.cache
	c.unsynced = [toySectors][]block{}
}

// commit makes the label durable, but for the map.
func (c *localCopy) commit() { c.stableLabel.Image, c.stableLabel.base = c.label.Image, c.label.base }

// commitHalf makes what is noted in the newer half durable.
func (c *localCopy) commitHalf(m *ft.Intent) {
	k := m.Kept()
	c.label.halfs[k.Generation%2] = half{k.Generation, k.Newer[0]}
	c.stableLabel.halfs = c.label.halfs
}

// powerLoss leaves of each unsynced sector any of its versions, or a torn one.
func (c *localCopy) powerLoss(rnd *Rand) {
	for s, versions := range c.unsynced {
		if len(versions) == 0 {
			continue
		}
		switch i := rnd.Intn(len(versions) + 2); {
		case i < len(versions):
			c.stable[s] = versions[i]
		case i == len(versions):
			c.stable[s] = block{id: torn, value: rnd.Uint64()}
		}
	}
	if rnd.OneIn(6) { // the map is damaged too
		c.stableLabel.halfs, c.stableLabel.Since, c.stableLabel.Prepared = [2]half{}, ft.Point{}, ft.Point{}
	}
	c.cache, c.label = c.stable, c.stableLabel
	c.unsynced = [toySectors][]block{}
}

// power loses the power of a host.
func (h *host) losePower() {
	w := h.w
	h.down = true
	if h.copy != nil {
		h.copy.powerLoss(w.rnd)
	}
	w.after(w.rnd.Between(100, 900), func() {
		if h.down {
			h.down = false
			w.respawn(h)
		}
	})
}
