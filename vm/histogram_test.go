package vm

import "testing"

func TestQuantilesAreRightToSixPercent(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("the median of nothing is not 0")
	}
	for ns := int64(1); ns <= 100_000; ns++ {
		h.add(ns * 10)
	}
	for _, tt := range []struct {
		q    float64
		want float64
	}{{0.01, 10_000}, {0.5, 500_000}, {0.99, 990_000}, {1, 1_000_000}} {
		got := float64(h.quantile(tt.q))
		if got < tt.want*0.94 || got > tt.want*1.06 {
			t.Errorf("quantile %v = %v, want about %v", tt.q, got, tt.want)
		}
	}
}

func TestHistogramTakesEveryValue(t *testing.T) {
	var h histogram
	for _, ns := range []int64{-5, 0, 1, 15, 16, 17, 31, 32, 1 << 40, 1<<63 - 1} {
		h.add(ns)
	}
	if h.total != 10 {
		t.Errorf("total = %d", h.total)
	}
}
