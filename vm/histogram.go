package vm

import "math/bits"

// histogram counts durations in buckets whose width is a sixteenth of their
// value, so that a quantile is right to about 6 %.
type histogram struct {
	counts [64 * 16]uint64
	total  uint64
}

func bucket(ns uint64) int {
	if ns < 16 {
		return int(ns)
	}
	exp := bits.Len64(ns) - 5
	return exp*16 + int(ns>>exp)
}

// middle is a value in the middle of a bucket.
func middle(b int) uint64 {
	if b < 32 {
		return uint64(b)
	}
	exp := b/16 - 1
	return uint64(b%16+16)<<exp + 1<<exp/2
}

// add counts one duration; a negative one, from clocks that differ, is 0.
func (h *histogram) add(ns int64) {
	h.counts[bucket(uint64(max(ns, 0)))]++
	h.total++
}

// quantile is the value, in ns, below which the share q of the durations lies;
// 0 if there are none.
func (h *histogram) quantile(q float64) uint64 {
	if h.total == 0 {
		return 0
	}
	want := uint64(q * float64(h.total))
	seen := uint64(0)
	for b, n := range h.counts {
		if seen += n; seen > want || seen == h.total {
			return middle(b)
		}
	}
	panic("BUG: vm: the histogram's total is not the sum of its buckets")
}
