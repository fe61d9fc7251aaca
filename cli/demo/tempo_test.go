package demo

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTempo(t *testing.T) {
	var c tempo
	c.begin(epoch)
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	for _, ms := range []int{1, 2, 15, 29, 30, 31, 95} {
		c.add(at(time.Duration(ms) * time.Millisecond))
	}
	now := at(105 * time.Millisecond)
	for _, s := range []struct {
		what string
		got  []int
		want []int
	}{
		{"around a moment; the end is not over", c.around(at(30*time.Millisecond), 20*time.Millisecond, 1, 6, now), []int{2, 2, 0, 0, -1, -1}},
		{"whole spans only, aligned", c.recent(20*time.Millisecond, 6, now), []int{-1, 3, 3, 0, 0, 1}},
		{"the borders do not move with now", c.recent(20*time.Millisecond, 6, now.Add(14*time.Millisecond)), []int{-1, 3, 3, 0, 0, 1}},
	} {
		if diff := cmp.Diff(s.want, s.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.what, diff)
		}
	}
}

// The ring forgets what is older than it is long, and buckets that are reused
// begin at 0.
func TestTempoForgets(t *testing.T) {
	var c tempo
	c.begin(epoch)
	c.add(epoch)
	later := epoch.Add(beats*beat + 5*beat)
	c.add(later)
	if got := c.around(epoch, beat, 0, 1, later); got[0] != -1 {
		t.Errorf("an old span counts %d", got[0])
	}
	for i, n := range c.recent(beat, beats-1, later.Add(beat)) {
		if want := 0; n != want && i != beats-2 {
			t.Fatalf("span %d counts %d", i, n)
		}
	}
	if got := c.recent(beat, 1, later.Add(beat)); got[0] != 1 {
		t.Errorf("the newest span counts %d", got[0])
	}
	far := later.Add(100 * beats * beat)
	for _, n := range c.recent(beat, beats-1, far) {
		if n != 0 {
			t.Fatal("a span long after the last operation is not empty")
		}
	}
}
