package network

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is kept is always the newest unconfirmed frames, in order, within all
// three bounds, and nothing else is lost.
func TestRetainedKeepsTheNewestWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRetained(SwitchConfig{RetainFrames: 8, RetainBytes: 100, RetainFor: 10 * time.Second})
		type frame struct {
			number uint64
			at     time.Time
			size   int
		}
		var model []frame
		now := time.Unix(0, 0)
		next := r.next
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				size := rapid.IntRange(14, 60).Draw(t, "size")
				if got := r.push(now, make([]byte, size)); got != next {
					t.Fatalf("number %d, want %d", got, next)
				}
				model = append(model, frame{next, now, size})
				next++
			case 2:
				n := next - uint64(rapid.IntRange(0, 10).Draw(t, "back"))
				r.confirm(n)
				for len(model) > 0 && model[0].number <= n {
					model = model[1:]
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			}
			bytes := 0
			for i := len(model) - 1; i >= 0; i-- {
				if bytes += model[i].size; bytes > 100 || len(model)-i > 8 || now.Sub(model[i].at) > 10*time.Second {
					model = model[i+1:]
					break
				}
			}
			r.expire(now)
			held := r.held()
			if len(held) != len(model) {
				t.Fatalf("%d frames are kept, want %d", len(held), len(model))
			}
			sum := 0
			for i, f := range held {
				if sum += len(f.bytes); f.number != model[i].number {
					t.Fatalf("frame %d is %d, want %d", i, f.number, model[i].number)
				}
			}
			if sum != r.bytes {
				t.Fatalf("counts %d bytes of %d", r.bytes, sum)
			}
		}
	})
}
