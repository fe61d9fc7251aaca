package local

import (
	"math/bits"
	"sync/atomic"
)

// bitmap is a set of small numbers that many goroutines read and add to.
type bitmap struct {
	words []atomic.Uint64
	n     uint64
}

func newBitmap(n uint64) *bitmap {
	return &bitmap{words: make([]atomic.Uint64, (n+63)/64), n: n}
}

func (b *bitmap) has(i uint64) bool { return b.words[i/64].Load()&(1<<(i%64)) != 0 }

func (b *bitmap) set(i uint64) { b.words[i/64].Or(1 << (i % 64)) }

func (b *bitmap) clear(i uint64) { b.words[i/64].And(^uint64(1 << (i % 64))) }

// setRange adds first to last, both included.
func (b *bitmap) setRange(first, last uint64) {
	for i := first; i <= last; i++ {
		b.set(i)
	}
}

// hasRange says whether first to last are all in it.
func (b *bitmap) hasRange(first, last uint64) bool {
	for i := first; i <= last; i++ {
		if !b.has(i) {
			return false
		}
	}
	return true
}

func (b *bitmap) setAll() {
	for i := range b.words {
		b.words[i].Store(^uint64(0))
	}
	if tail := b.n % 64; tail != 0 {
		b.words[len(b.words)-1].Store(1<<tail - 1)
	}
}

// next is the first number in it from i on, and false if there is none.
func (b *bitmap) next(i uint64) (uint64, bool) {
	if i >= b.n {
		return 0, false
	}
	w := b.words[i/64].Load() &^ (1<<(i%64) - 1)
	for k := i / 64; ; {
		if w != 0 {
			return k*64 + uint64(bits.TrailingZeros64(w)), true
		}
		if k++; k >= uint64(len(b.words)) {
			return 0, false
		}
		w = b.words[k].Load()
	}
}

func (b *bitmap) count() uint64 {
	n := 0
	for i := range b.words {
		n += bits.OnesCount64(b.words[i].Load())
	}
	return uint64(n)
}

// snapshot is the words as they are.
func (b *bitmap) snapshot() []uint64 {
	words := make([]uint64, len(b.words))
	for i := range words {
		words[i] = b.words[i].Load()
	}
	return words
}
