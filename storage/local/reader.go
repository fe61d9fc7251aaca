package local

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/ft"
)

// reader takes values off the front of b. Once it is short it is bad, and all
// that it gives is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) bytes(p []byte) { copy(p, r.take(len(p))) }

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) generation() ft.Generation {
	var g ft.Generation
	g.Run.Ordinal = r.u64()
	r.bytes(g.Run.ID[:])
	g.Number = r.u64()
	return g
}

func (r *reader) point() Point {
	p := Point{Gen: r.generation()}
	r.bytes(p.ID[:])
	return p
}
