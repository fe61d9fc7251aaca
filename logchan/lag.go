package logchan

import (
	"math/bits"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

// lagMeter turns positions into times: it remembers when the primary told of a
// position, and finds how long ago it went beyond the one the backup executed.
type lagMeter struct {
	mu      sync.Mutex
	samples []lagSample // ascending, bounded by lagSamples
	lag     histogram
	trip    histogram
}

type lagSample struct {
	pos machine.Icount
	at  time.Duration
}

const (
	lagSamples = 4096
	lagSpacing = 500 * time.Microsecond
)

// sent notes that position pos was told at a time.
func (m *lagMeter) sent(pos machine.Icount, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.samples); n > 0 {
		last := &m.samples[n-1]
		if pos <= last.pos {
			return
		}
		// Neighbours are merged into the earlier time and the later position:
		// that measures too much rather than too little.
		if at-last.at < lagSpacing {
			last.pos = pos
			return
		}
		if n == lagSamples {
			half := m.samples[:0]
			for i := 0; i+1 < n; i += 2 {
				half = append(half, lagSample{pos: m.samples[i+1].pos, at: m.samples[i].at})
			}
			m.samples = half
		}
	}
	m.samples = append(m.samples, lagSample{pos: pos, at: at})
}

// acked is how long ago the primary first told of a position beyond executed;
// 0 if it never did. It counts lag and round trip (if not 0) as samples.
func (m *lagMeter) acked(executed machine.Icount, now, trip time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := 0
	for done < len(m.samples) && m.samples[done].pos <= executed {
		done++
	}
	m.samples = append(m.samples[:0], m.samples[done:]...)
	var lag time.Duration
	if len(m.samples) > 0 {
		lag = now - m.samples[0].at
	}
	m.lag.add(lag)
	if trip > 0 {
		m.trip.add(trip)
	}
	return lag
}

func (m *lagMeter) quantiles() (lag, trip Quantiles) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lag.quantiles(), m.trip.quantiles()
}

func (m *lagMeter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lag, m.trip = histogram{}, histogram{}
}

// histogram counts durations in 16 steps for every power of two.
type histogram struct {
	count [64 * 16]uint64
	total uint64
	max   time.Duration
}

func step(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 5
	return (shift+1)*16 + int(v>>shift)&15
}

// top is the largest duration of a step.
func top(i int) time.Duration {
	if i < 16 {
		return time.Duration(i)
	}
	shift := i/16 - 1
	return time.Duration((uint64(16+i%16)+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.count[step(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) quantiles() Quantiles {
	at := func(share float64) time.Duration {
		want, seen := uint64(share*float64(h.total)), uint64(0)
		for i, n := range h.count {
			if seen += n; seen > want {
				return min(top(i), h.max)
			}
		}
		return h.max
	}
	return Quantiles{Samples: h.total, P50: at(0.50), P99: at(0.99), Max: h.max}
}
