package machine

import (
	"testing"

	"pgregory.net/rapid"
)

// Reaches is the exact inverse of At: the first position that shows t.
func TestClockReachesIsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Clock{
			T0:  VTime(rapid.Uint64Range(0, 1<<50).Draw(t, "t0")),
			I0:  Icount(rapid.Uint64Range(0, 1<<50).Draw(t, "i0")),
			Mul: rapid.Uint64Range(1, 1<<34).Draw(t, "mul"),
		}
		want := c.T0 + VTime(rapid.Uint64Range(0, 1<<30).Draw(t, "ahead"))
		i := c.Reaches(want)
		if c.At(i) < want {
			t.Fatalf("At(Reaches(%d)) = %d: too early", want, c.At(i))
		}
		if i > c.I0 && c.At(i-1) >= want {
			t.Fatalf("position %d already shows %d", i-1, want)
		}
	})
}

func TestClockThatStandsNeverReaches(t *testing.T) {
	c := Clock{T0: 5, I0: 7}
	if got := c.Reaches(6); got != Never {
		t.Errorf("Reaches = %d, want Never", got)
	}
	if got := c.Reaches(5); got != 7 {
		t.Errorf("Reaches(T0) = %d, want I0", got)
	}
}
