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
// or in part, what was not synced when the power is lost; and beside it a label
// that is replaced as a whole.
type localCopy struct {
	w        *World
	cache    [toySectors]block
	stable   [toySectors]block
	unsynced [toySectors][]block // since the last sync

	label, stableLabel label
	// failing: the host cannot write to the image or sync it.
	failing bool
}

// label is what a copy says of itself, and its write-intent map.
type label struct {
	ft.Image
	bits uint64
}

func newCopy(w *World, host int) *localCopy {
	c := &localCopy{w: w}
	c.label.ID = ft.CopyID{byte(host + 1)}
	c.stableLabel = c.label
	return c
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

// commit makes the label durable.
func (c *localCopy) commit() { c.stableLabel = c.label }

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
		c.stableLabel.bits, c.stableLabel.Since = 0, ft.Point{}
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
