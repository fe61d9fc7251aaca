//go:build unix

package board

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

// bother makes the Go runtime as busy as it can be until it is told to stop: a
// collection whenever a little was allocated, goroutines that allocate and
// sleep, a profile of processor time, and signals.
func bother(t testing.TB) (stop func()) {
	t.Helper()
	percent := debug.SetGCPercent(1)
	profiled := pprof.StartCPUProfile(io.Discard) == nil
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	end := make(chan struct{})
	var all sync.WaitGroup
	var kept atomic.Pointer[[]byte]
	for i := range 50 {
		all.Go(func() {
			tick := time.NewTicker(time.Duration(i+1) * 100 * time.Microsecond)
			defer tick.Stop()
			for {
				b := make([]byte, 1+i*100)
				kept.Store(&b)
				select {
				case <-end:
					return
				case <-signals:
				case <-tick.C:
				}
				if i == 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
				}
			}
		})
	}
	return func() {
		close(end)
		all.Wait()
		signal.Stop(signals)
		if profiled {
			pprof.StopCPUProfile()
		}
		debug.SetGCPercent(percent)
	}
}

// undisturbed replays a log on translated code while the runtime is busy, and says
// how many collections there were.
func undisturbed(t *testing.T, cfg *machine.Config, log []entry, times int) (collections uint32) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := bother(t)
	defer stop()
	for range times {
		b, err := NewOn(translating(t, 1), cfg, testBirth)
		if err != nil {
			t.Fatal(err)
		}
		replay(t, "bothered", b, log, nil)
	}
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

// Collections, profiling, timers and signals go on while translated code runs,
// and change nothing.
func TestGoStaysHealthy(t *testing.T) {
	cfg := busyConfig()
	log := record(t, newBoard(t, cfg), newWorld(6, cfg.Disks), 600_000, 20_000)
	if n := undisturbed(t, cfg, log, 20); n < 10 {
		t.Errorf("only %d collections", n)
	}
}

// So they do over a boot, in which code is translated all the time.
func TestGoStaysHealthyOverLinuxBoot(t *testing.T) {
	cfg := linuxConfig(t)
	log := record(t, newBoard(t, cfg), newWorld(23, cfg.Disks), linuxEnd, 2_000_000)
	n := undisturbed(t, cfg, log, 1)
	t.Logf("%d collections", n)
	if n < 100 {
		t.Errorf("only %d collections", n)
	}
}
