package local

import (
	"fmt"
	"sync"
)

// intent is the durable write-intent map: which regions were written since the
// last common point. A region's bit is durable before the first write into it
// begins; one sync of the sidecar serves all who wait for one.
type intent struct {
	file File
	h    *header // layout only

	mu      sync.Mutex
	turn    *sync.Cond
	syncing bool
	failed  error
	base    uint64 // the older generation that counts
	current uint64 // the one that writes are noted in: base, or base+1 after a cut
	maps    [2]*generation
}

// generation is the map of one of the two generations that count.
type generation struct {
	wanted  *bitmap // in memory
	durable *bitmap // in the sidecar
	dirty   *bitmap // sectors of the map whose wanted bits are not all durable
}

// maxAhead is how many regions a sequential writer's sync notes in advance.
const maxAhead = 64

func newGeneration(h *header) *generation {
	n := h.regions()
	return &generation{newBitmap(n), newBitmap(n), newBitmap((n + sectorBits - 1) / sectorBits)}
}

func newIntent(file File, h *header) *intent {
	m := &intent{file: file, h: h, base: h.Generation, current: h.Generation}
	m.turn = sync.NewCond(&m.mu)
	m.maps = [2]*generation{newGeneration(h), newGeneration(h)}
	return m
}

// load reads the map. lost says that the sidecar has a generation from beyond
// its header: what it says cannot be relied on.
func (m *intent) load() (lost bool, err error) {
	sectors := (m.h.regions() + sectorBits - 1) / sectorBits
	area := make([]byte, sectors*sectorSize)
	for _, g := range []uint64{m.base, m.base + 1} {
		if _, err := m.file.ReadAt(area, m.h.sectorAt(g, 0)); err != nil {
			return false, err
		}
		for n := range sectors {
			sector := area[n*sectorSize : (n+1)*sectorSize]
			have, damaged := decodeMapSector(sector)
			if have > m.base+1 {
				return true, nil
			}
			if have == g || damaged {
				addMapSector(m.maps[g%2].wanted, n, sector, damaged)
				addMapSector(m.maps[g%2].durable, n, sector, damaged)
				m.current = max(m.current, g)
			}
		}
	}
	return false, nil
}

// mark returns once the bits of regions first to last are durable.
func (m *intent) mark(first, last uint64) error {
	g := m.maps[m.current%2]
	if g.durable.hasRange(first, last) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !g.wanted.hasRange(first, last) {
		g.want(first, min(last+g.ahead(first), g.wanted.n-1))
	}
	for {
		switch {
		case m.failed != nil:
			return m.failed
		case g.durable.hasRange(first, last):
			return nil
		case m.syncing:
			m.turn.Wait()
		default:
			m.flush()
		}
	}
}

func (g *generation) want(first, last uint64) {
	g.wanted.setRange(first, last)
	g.dirty.setRange(first/sectorBits, last/sectorBits)
}

// ahead is how many regions to note beyond a write at region first: as many as
// lie noted right before it. A bit too many costs a comparison of hashes at the
// next re-synchronisation.
func (g *generation) ahead(first uint64) uint64 {
	n := uint64(0)
	for n < maxAhead && first > n && g.wanted.has(first-n-1) {
		n++
	}
	return n
}

// flush makes all wanted bits durable that are wanted when it begins. It is
// called with mu, and gives it up meanwhile.
func (m *intent) flush() {
	type write struct {
		g *generation
		n uint64
		b []byte
		o int64
	}
	var writes []write
	for gen := m.base; gen <= m.current; gen++ {
		g := m.maps[gen%2]
		for n, ok := g.dirty.next(0); ok; n, ok = g.dirty.next(n + 1) {
			g.dirty.clear(n)
			writes = append(writes, write{g, n, encodeMapSector(gen, g.wanted, n), m.h.sectorAt(gen, n)})
		}
	}
	m.syncing = true
	m.mu.Unlock()
	var err error
	for _, w := range writes {
		if _, err = m.file.WriteAt(w.b, w.o); err != nil {
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
			addMapSector(w.g.durable, w.n, w.b, false)
		}
	}
	m.turn.Broadcast()
}

// cut begins the next generation. The caller sees to it that no write is under
// way and that only one generation counts.
func (m *intent) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.base != m.current {
		panic(fmt.Sprintf("BUG: storage: a cut of generation %d while %d counts", m.current, m.base))
	}
	m.current++
	m.maps[m.current%2] = newGeneration(m.h)
}

// fold notes all of the older generation in the newer one as well. The header
// may forget the older one after it.
func (m *intent) fold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to := m.maps[m.base%2], m.maps[m.current%2]
	to.wanted.or(from.wanted)
	to.dirty.setAll()
	for m.failed == nil {
		if _, dirty := to.dirty.next(0); !dirty && !m.syncing {
			return nil
		}
		if m.syncing {
			m.turn.Wait()
		} else {
			m.flush()
		}
	}
	return m.failed
}

// forget lets go of the older generation, after the header has.
func (m *intent) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.base = m.current
}

// union is every region in the map.
func (m *intent) union() *bitmap {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := newBitmap(m.h.regions())
	all.or(m.maps[m.base%2].wanted)
	all.or(m.maps[m.current%2].wanted)
	return all
}
