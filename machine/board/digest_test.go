package board

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/machine"
)

// digestEvery is the interval at which a primary takes digests (vm/live.go).
const digestEvery = 100_000_000

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
	run, digest    time.Duration // processor time
	digests, pages int
}

// execute runs a log in one piece but for the digests, which are taken at
// their regular interval if wanted.
func execute(tb testing.TB, cfg *machine.Config, log []entry, digests bool) (out booted) {
	b := newBoard(tb, cfg)
	due := machine.Icount(digestEvery)
	begin := threadTime(tb)
	runTo := func(end machine.Icount) {
		for b.Icount() < end {
			if b.Icount() >= due {
				due += digestEvery
				if digests {
					from := threadTime(tb)
					a := b.Account()
					out.digest += threadTime(tb) - from
					out.digests++
					out.pages += len(a.Pages)
				}
			}
			b.Run(min(end, due))
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
	return out
}

// BenchmarkLinuxDigest measures what digests at their regular interval cost
// during the boot of a stock kernel, which writes more pages than a guest at
// work: their own share of the processor time, and how much longer the whole
// run takes than one without any, which has the write entries of the
// translation cache in it that are filled again.
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
	var ratios []float64
	for b.Loop() {
		with, without := execute(b, cfg, log, true), execute(b, cfg, log, false)
		sum.run += with.run
		sum.digest += with.digest
		sum.digests += with.digests
		sum.pages += with.pages
		ratios = append(ratios, with.run.Seconds()/without.run.Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(100*sum.digest.Seconds()/(sum.run-sum.digest).Seconds(), "digest-%")
	b.ReportMetric(sum.digest.Seconds()*1e3/float64(sum.digests), "ms/digest")
	b.ReportMetric(float64(sum.pages)/float64(sum.digests), "pages/digest")
	b.ReportMetric(100*(ratios[len(ratios)/2]-1), "longer-%")
	b.ReportMetric(0, "ns/op")
}
