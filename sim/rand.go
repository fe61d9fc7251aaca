package sim

import "math/bits"

// Rand is a seeded generator (splitmix64). Its sequence is part of what a seed
// means, and never changes.
type Rand struct{ s uint64 }

// NewRand is the generator of a seed.
func NewRand(seed uint64) *Rand { return &Rand{s: mix(seed)} }

// Uint64 is the next number.
func (r *Rand) Uint64() uint64 {
	r.s += 0x9e3779b97f4a7c15
	return mix(r.s)
}

// Intn is a number in [0, n); n is positive.
func (r *Rand) Intn(n int) int {
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int(hi)
}

// Between is a number in [lo, hi].
func (r *Rand) Between(lo, hi int) int { return lo + r.Intn(hi-lo+1) }

// OneIn is true once in n on average; never if n is 0.
func (r *Rand) OneIn(n int) bool { return n > 0 && r.Intn(n) == 0 }

// Bytes is n random bytes.
func (r *Rand) Bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

// mix is the finalizer of splitmix64: a bijection that looks random.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
