package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// divide divides with a rounding mode in fcsr and returns the accrued flags. It
// takes many instructions between writing fcsr and reading it, for signals to
// come in.
func divide(mode uint64, a, b float64) (q float64, flags uint64)

// floats computes the same things again and again, in several threads, while
// timers send signals. Every round must give what the first gave.
func floats() {
	var signals atomic.Int64
	c := make(chan os.Signal, 64)
	signal.Notify(c, syscall.SIGALRM, syscall.SIGVTALRM)
	go func() {
		for range c {
			signals.Add(1)
		}
	}()
	interval(0, 2000)               // ITIMER_REAL
	interval(1, 1000)               // ITIMER_VIRTUAL
	runtime.SetCPUProfileRate(1000) // SIGPROF

	var others atomic.Int64
	for i := range 3 {
		go func() {
			runtime.LockOSThread()
			first := orbit(i, 40)
			for {
				if got := orbit(i, 40); got != first {
					fail("orbit %d ended at %x, before at %x", i, got, first)
				}
				others.Add(1)
			}
		}()
	}
	first := rounding()
	for round := 1; ; round++ {
		if got := rounding(); got != first {
			fail("roundings gave %x, before %x", got, first)
		}
		fmt.Printf("rounds=%d orbits=%d signals=%d\n", round, others.Load(), signals.Load())
	}
}

// interval starts a timer that sends its signal for ever.
func interval(which, microseconds int64) {
	it := [4]int64{0, microseconds, 0, microseconds}
	_, _, errno := syscall.Syscall(syscall.SYS_SETITIMER, uintptr(which), uintptr(unsafe.Pointer(&it)), 0)
	if errno != 0 {
		fail("setitimer: %v", errno)
	}
}

// orbit is a few bodies under gravity, with single precision in the middle.
func orbit(seed, steps int) uint64 {
	type body struct{ x, y, vx, vy, m float64 }
	var all [5]body
	for i := range all {
		a := float64(i+seed) * 1.1
		all[i] = body{3 * math.Cos(a), 3 * math.Sin(a), -math.Sin(a), math.Cos(a), 1 / float64(i+1)}
	}
	for range steps {
		for i := range all {
			for j := range all {
				if i == j {
					continue
				}
				dx, dy := all[j].x-all[i].x, all[j].y-all[i].y
				d := math.Sqrt(dx*dx+dy*dy) + 0.1
				f := all[j].m / (d * d * d) * 0.01
				all[i].vx += float64(float32(dx)) * f
				all[i].vy += dy * f
			}
		}
		for i := range all {
			all[i].x += all[i].vx * 0.01
			all[i].y = math.FMA(all[i].vy, 0.01, all[i].y)
		}
	}
	h := uint64(0)
	for _, b := range all {
		h = h*31 + math.Float64bits(b.x) + math.Float64bits(math.Pow(math.Abs(b.y), 1.5))
	}
	return h
}

// rounding is a hash over quotients in all rounding modes, with their flags.
func rounding() uint64 {
	h := uint64(0)
	for i := range 3000 {
		a, b := float64(i%97-48), float64(i%13)
		if i%29 == 0 {
			a = math.SmallestNonzeroFloat64 * float64(i)
		}
		q, flags := divide(uint64(i%5), a, b)
		h = h*1099511628211 ^ math.Float64bits(q) ^ flags<<56
	}
	return h
}
