package local

import (
	"sync"
	"sync/atomic"

	"github.com/lockstep-vm/lockstep/ft"
)

// intent is the durable side of the write-intent map, whose rules are ft's: a
// region's bit is durable before the first write into it begins; one sync of the
// sidecar serves all who wait for one.
type intent struct {
	file File
	h    *header // layout only

	mu      sync.Mutex
	turn    *sync.Cond
	syncing bool
	failed  error
	wanted  *ft.Intent
	base    uint64 // the older generation that counts for the sidecar
	// newer is what of wanted's newer half is in the sidecar. A write looks there
	// first, and takes no lock.
	newer atomic.Pointer[generation]
}

// generation is the map of one generation in the sidecar.
type generation struct {
	number  uint64
	durable *bitmap
	dirty   *bitmap // sectors of the map whose wanted bits are not all durable
}

// maxAhead is how many regions a sequential writer's sync notes in advance.
const maxAhead = 64

func newGeneration(h *header, number uint64) *generation {
	n := h.regions()
	return &generation{number, newBitmap(n), newBitmap((n + sectorBits - 1) / sectorBits)}
}

// loadIntent reads the map. lost says that the sidecar has a generation from
// beyond its header: what it says cannot be relied on.
func loadIntent(file File, h *header) (m *intent, lost bool, err error) {
	m = &intent{file: file, h: h, base: h.Generation}
	m.turn = sync.NewCond(&m.mu)
	sectors := (h.regions() + sectorBits - 1) / sectorBits
	area := make([]byte, sectors*sectorSize)
	older, newer := newGeneration(h, m.base), newGeneration(h, m.base+1)
	cut := false
	for _, g := range []*generation{older, newer} {
		if _, err := file.ReadAt(area, h.sectorAt(g.number, 0)); err != nil {
			return nil, false, err
		}
		for n := range sectors {
			sector := area[n*sectorSize : (n+1)*sectorSize]
			have, damaged := decodeMapSector(sector)
			if have > m.base+1 {
				return nil, true, nil
			}
			if have == g.number || damaged {
				addMapSector(g.durable, n, sector, damaged)
				cut = cut || g == newer
			}
		}
	}
	kept := ft.Kept{Since: h.Common, Prepared: h.Prepared, Generation: older.number, Newer: older.durable.snapshot()}
	m.newer.Store(older)
	if cut {
		kept.Generation, kept.Older, kept.Newer = newer.number, kept.Newer, newer.durable.snapshot()
		m.newer.Store(newer)
	}
	m.wanted, err = ft.LoadIntent(h.regions(), kept)
	return m, false, err
}

// marked says whether the bits of regions first to last are durable.
func (m *intent) marked(first, last uint64) bool { return m.newer.Load().durable.hasRange(first, last) }

// mark returns once they are.
func (m *intent) mark(first, last uint64) error {
	if m.marked(first, last) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if !m.wanted.Noted(first, last) { // perhaps for a cut since
			m.note(first, min(last+m.ahead(first), m.h.regions()-1))
		}
		switch {
		case m.failed != nil:
			return m.failed
		case m.marked(first, last):
			return nil
		case m.syncing:
			m.turn.Wait()
		default:
			m.flush()
		}
	}
}

// note is called with mu.
func (m *intent) note(first, last uint64) {
	m.wanted.Note(first, last)
	m.newer.Load().dirty.setRange(first/sectorBits, last/sectorBits)
}

// ahead is how many regions to note beyond a write at region first: as many as
// lie noted right before it. A bit too many costs a comparison of hashes at the
// next re-synchronisation.
func (m *intent) ahead(first uint64) uint64 {
	n := uint64(0)
	for n < maxAhead && first > n && m.wanted.Noted(first-n-1, first-n-1) {
		n++
	}
	return n
}

// flush makes durable what is noted in the newer half when it begins. It is
// called with mu, and gives it up meanwhile.
func (m *intent) flush() {
	type write struct {
		n uint64
		b []byte
	}
	var writes []write
	g, words := m.newer.Load(), m.wanted.Kept().Newer
	for n, ok := g.dirty.next(0); ok; n, ok = g.dirty.next(n + 1) {
		g.dirty.clear(n)
		writes = append(writes, write{n, encodeMapSector(g.number, words, n)})
	}
	m.syncing = true
	m.mu.Unlock()
	var err error
	for _, w := range writes {
		if _, err = m.file.WriteAt(w.b, m.h.sectorAt(g.number, w.n)); err != nil {
			break
		}
	}
	if err == nil {
		err = m.file.Sync()
	}
	m.mu.Lock()
	m.syncing = false
	if err != nil {
		m.failed = err
	} else {
		for _, w := range writes {
			addMapSector(g.durable, w.n, w.b, false)
		}
	}
	m.turn.Broadcast()
}

// settle returns once all that is noted in the newer half is durable.
func (m *intent) settle() error {
	for m.failed == nil {
		_, dirty := m.newer.Load().dirty.next(0)
		switch {
		case m.syncing:
			m.turn.Wait()
		case dirty:
			m.flush()
		default:
			return nil
		}
	}
	return m.failed
}

// cut begins the next generation, in memory only, with the regions in pending
// noted. It does not wait, and does nothing if the one before still counts.
func (m *intent) cut(p Point, pending []Range) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.newer.Load()
	if m.base != g.number {
		return false
	}
	m.wanted.Cut(p)
	m.newer.Store(newGeneration(m.h, g.number+1))
	for _, r := range pending {
		if r.Len > 0 {
			m.note(r.regions(m.h))
		}
	}
	return true
}

// isCut says whether two generations count.
func (m *intent) isCut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.base != m.newer.Load().number
}

func (m *intent) mayCommit(p Point) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted.MayCommit(p)
}

// fold notes all of the older generation in the newer one as well, durably.
func (m *intent) fold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.base == m.newer.Load().number {
		return nil
	}
	m.wanted.Fold()
	m.newer.Load().dirty.setAll()
	if err := m.settle(); err != nil {
		return err
	}
	m.base = m.newer.Load().number
	return nil
}

// commit forgets the older generation, once the newer one is durable.
func (m *intent) commit(p Point) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.settle(); err != nil {
		return err
	}
	m.wanted.Commit(p)
	m.base = m.newer.Load().number
	return nil
}

// do is for what changes only the points.
func (m *intent) do(f func(*ft.Intent)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.wanted)
}

// fill puts into a header what the map has for it.
func (m *intent) fill(h *header) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.wanted.Kept()
	h.Generation, h.Common, h.Prepared = m.base, k.Since, k.Prepared
}

// union is every region in the map.
func (m *intent) union() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted.Union()
}

func (m *intent) count() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted.Count()
}
