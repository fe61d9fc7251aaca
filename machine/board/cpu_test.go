//go:build unix

package board

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime is the process CPU time spent so far, in user and system mode.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLinuxBoot measures instructions per second of process CPU time on
// the boot.
func BenchmarkLinuxBoot(b *testing.B) {
	cfg := linuxConfig(b)
	start := cpuTime(b)
	for range b.N {
		bootLinux(b, cfg)
	}
	b.ReportMetric(linuxEnd*float64(b.N)/(cpuTime(b)-start).Seconds()/1e6, "Minstr/cpu-s")
}
