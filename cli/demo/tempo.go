package demo

import "time"

// beat is the width of a bucket of the client's tempo: short enough that a stall
// of a failover is several of them.
const beat = 10 * time.Millisecond

// beats is how many buckets are kept: 80 s.
const beats = 8000

// tempo counts operations over time, in a ring of buckets.
type tempo struct {
	start  time.Time
	newest int // bucket, counted from start
	counts [beats]uint16
}

// begin starts the count anew.
func (t *tempo) begin(now time.Time) { *t = tempo{start: now} }

// advance empties the buckets between the newest and that of now.
func (t *tempo) advance(now time.Time) {
	b := int(now.Sub(t.start) / beat)
	for n := max(t.newest+1, b-beats+1); n <= b; n++ {
		t.counts[n%beats] = 0
	}
	t.newest = max(t.newest, b)
}

// add counts one operation.
func (t *tempo) add(now time.Time) {
	t.advance(now)
	t.counts[t.newest%beats]++
}

// recent counts the operations in the last n whole spans of a width, oldest
// first. The borders of spans do not move with now.
func (t *tempo) recent(width time.Duration, n int, now time.Time) []int {
	t.advance(now)
	per := int(width / beat)
	return t.spans((t.newest/per-n)*per, per, n)
}

// around counts the operations in n spans of a width of which before lie ahead
// of a moment.
func (t *tempo) around(moment time.Time, width time.Duration, before, n int, now time.Time) []int {
	t.advance(now)
	per := int(width / beat)
	return t.spans(int(moment.Sub(t.start)/beat)-before*per, per, n)
}

// spans counts n spans of per buckets from bucket first on. A span that is not
// over yet, was before the start or is no longer kept counts -1.
func (t *tempo) spans(first, per, n int) []int {
	out := make([]int, n)
	for i := range out {
		begin := first + i*per
		if begin < 0 || begin <= t.newest-beats || begin+per > t.newest {
			out[i] = -1
			continue
		}
		for b := begin; b < begin+per; b++ {
			out[i] += int(t.counts[b%beats])
		}
	}
	return out
}
