package jit_test

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Programs that take the host long for an instruction.
var slow = []struct {
	name string
	code func(p *asm.Program)
}{
	{"mixed", loop},
	{"divisions", func(p *asm.Program) {
		p.LI(asm.A1, -0x7654321076543210)
		p.LI(asm.A2, 3)
		p.Label("again")
		for range 30 {
			p.DIVU(asm.A0, asm.A1, asm.A2)
			p.DIV(asm.A0, asm.A1, asm.A2)
		}
		p.J("again")
	}},
	{"square roots", func(p *asm.Program) {
		p.LI(asm.T0, 3<<13)
		p.CSRRS(asm.Zero, asm.CSR(rv64.MSTATUS), asm.T0)
		p.LI(asm.A1, 0x4008a8b8c8d8e8f8)
		p.Raw32(0xf2058553) // fmv.d.x fa0, a1
		p.Label("again")
		for range 60 {
			p.Raw32(0x5a0575d3) // fsqrt.d fa1, fa0
		}
		p.J("again")
	}},
	{"steps", func(p *asm.Program) { // division by zero is the hart's
		p.LI(asm.A2, 0)
		p.Label("again")
		for range 60 {
			p.DIV(asm.A0, asm.A1, asm.A2)
		}
		p.J("again")
	}},
	{"chase", func(p *asm.Program) { // through 64 MiB, each time a cache line of another page
		p.LI(asm.S0, int64(mem.Base)+0x10000)
		p.LI(asm.S1, int64(mem.Base)+60<<20)
		p.LI(asm.A2, 4096+64)
		p.MV(asm.A0, asm.S0)
		p.Label("again")
		for range 20 {
			p.LD(asm.A1, 0, asm.A0)
			p.SD(asm.A1, 8, asm.A0) // or the host would show one page of zeros everywhere
			p.ADD(asm.A0, asm.A0, asm.A2)
			p.ADD(asm.A0, asm.A0, asm.A1)
		}
		p.BLTU(asm.A0, asm.S1, "again")
		p.MV(asm.A0, asm.S0)
		p.J("again")
	}},
}

// BenchmarkPause measures how long a garbage collection waits for a hart to
// leave translated code: median and maximum, in microseconds.
func BenchmarkPause(b *testing.B) {
	for _, s := range slow {
		b.Run(s.name, func(b *testing.B) {
			h := newLargeHart(b, s.code)
			var stop atomic.Bool
			done := make(chan struct{})
			go func() {
				defer close(done)
				for !stop.Load() {
					h.Run(h.Icount + 10_000_000)
				}
			}()
			before := pauses()
			for b.Loop() {
				runtime.GC()
			}
			stop.Store(true)
			<-done
			after := pauses()
			for i := range after.Counts {
				after.Counts[i] -= before.Counts[i]
			}
			b.ReportMetric(quantile(after, 0.5)*1e6, "us-median")
			b.ReportMetric(quantile(after, 0.99)*1e6, "us-p99")
		})
	}
}

// pauses is the histogram of the times from asking all goroutines to stop for
// the collector until they have.
func pauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: append([]uint64{}, h.Counts...), Buckets: h.Buckets}
}

// quantile is the upper border of a quantile's bucket.
func quantile(h *metrics.Float64Histogram, q float64) float64 {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	sum := uint64(0)
	for i, n := range h.Counts {
		if sum += n; float64(sum) >= q*float64(total) {
			return h.Buckets[i+1]
		}
	}
	return 0
}

// A stay counts what translated code was entered with.
type stay struct {
	hart.Native
	enters int
	most   int64 // attempts between entering and leaving, and the budget
}

func (s *stay) Enter(c *hart.Core, entry uint64) {
	s.enters++
	before := c.Budget
	s.Native.Enter(c, entry)
	if c.Budget < 0 || c.Budget > before {
		panic("the budget grew, or was overdrawn")
	}
	s.most = max(s.most, before, before-c.Budget)
}

// The collector waits for translated code, which therefore leaves after a
// bounded number of attempts, however far the hart may run.
func TestStaysAreShort(t *testing.T) {
	const longest = 1 << 17
	for _, s := range slow {
		h, n := newCountedHart(t, s.code)
		h.Run(3_000_000)
		if n.most > longest || n.enters < 10 {
			t.Errorf("%s: entered %d times, for as many as %d attempts", s.name, n.enters, n.most)
		}
	}
}
