package board

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// digestEvery is the interval at which a primary takes digests (vm/live.go).
const digestEvery = 1_000_000_000

// bootEnd is about where the kernel has come up and the guest begins to wait.
const bootEnd = 310_000_000

// threadTime is the processor time that this thread has taken.
func threadTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// booted is what one execution of a log took.
type booted struct {
	run, digest time.Duration // processor time
	pages       int           // that the digest hashed
}

// execute runs a log in one piece on the JIT, where there is one, and takes a
// digest at its end.
func execute(tb testing.TB, cfg *machine.Config, log []entry) (out booted) {
	native, err := jit.New(jit.DefaultSize)
	if err != nil {
		tb.Log(err)
	}
	b, err := NewOn(Engine{Native: native}, cfg, testBirth)
	if err != nil {
		tb.Fatal(err)
	}
	b.Account()
	begin := threadTime(tb)
	runTo := func(end machine.Icount) {
		for b.Icount() < end {
			b.Run(end)
			b.Outputs(nil)
		}
	}
	for _, e := range log {
		runTo(e.pos)
		if err := b.Deliver(e.in); err != nil {
			tb.Fatal(err)
		}
	}
	runTo(bootEnd)
	out.run = threadTime(tb) - begin
	a := b.Account()
	out.digest = threadTime(tb) - begin - out.run
	out.pages = len(a.Pages)
	return out
}

// BenchmarkLinuxDigest measures what digests at their regular interval cost a
// guest that writes as many pages in an interval as the boot of a stock kernel
// does: the share of the processor time that it takes to execute the interval.
func BenchmarkLinuxDigest(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cfg := linuxConfig(b)
	var log []entry
	for _, e := range record(b, newBoard(b, cfg), newWorld(13, cfg.Disks), bootEnd, bootEnd/20) {
		if e.in != nil { // checks cost digests of their own
			log = append(log, e)
		}
	}
	var sum booted
	n := 0
	for b.Loop() {
		one := execute(b, cfg, log)
		sum.run += one.run
		sum.digest += one.digest
		sum.pages += one.pages
		n++
	}
	interval := sum.run.Seconds() * digestEvery / bootEnd
	b.ReportMetric(100*sum.digest.Seconds()/interval, "digest-%")
	b.ReportMetric(sum.digest.Seconds()*1e3/float64(n), "ms/digest")
	b.ReportMetric(float64(sum.pages)/float64(n), "pages/digest")
	b.ReportMetric(0, "ns/op")
}
