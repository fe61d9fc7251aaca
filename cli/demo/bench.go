package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/vm"
)

// BenchOptions of Bench.
type BenchOptions struct {
	Phase    time.Duration // length of each phase
	Mirror   string
	Progress func(image.Event)
	Out      io.Writer // for what happens
}

// BenchReport is what a protected pair costs, measured on both replicas while
// the guest does different things.
type BenchReport struct {
	Kernel string `json:"kernel"`
	Boot   struct {
		Instructions     uint64  `json:"instructions"`
		CPUSeconds       float64 `json:"cpu_seconds"` // of the primary's process
		BackupCPUSeconds float64 `json:"backup_cpu_seconds"`
		MIPS             float64 `json:"mips"` // instructions a second of the primary's process CPU time
	} `json:"boot"`
	Idle     Phase `json:"idle"`     // the guest waits, its server's connection open
	Compute  Phase `json:"compute"`  // the server computes
	Requests Phase `json:"requests"` // a client that waits for its answers
}

// Phase is one stretch of time.
type Phase struct {
	Seconds          float64  `json:"seconds"`
	Instructions     uint64   `json:"instructions"`
	MIPS             float64  `json:"mips"` // instructions a second of the primary's process CPU time
	PrimaryCPU       float64  `json:"primary_cpu_percent"`
	BackupCPU        float64  `json:"backup_cpu_percent"`
	LogMbit          float64  `json:"log_mbit_per_s"` // encoded entries, without framing
	LogEntries       uint64   `json:"log_entries"`
	LagMS            Quantile `json:"lag_ms"`
	OutputDelayUS    Quantile `json:"output_delay_us"`
	OperationsPerSec float64  `json:"operations_per_s,omitempty"`
}

// Bench boots the demo's guest on a protected pair and measures each phase.
func Bench(ctx context.Context, o BenchOptions) (*BenchReport, error) {
	img, dir, done, err := prepare(ctx, image.Options{Name: image.Demo, Mirror: o.Mirror, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	defer done()
	v := newPlain(o.Out)
	s := &scene{dir: dir, killed: KillNone, note: v.note}
	defer s.tearDown()
	if err := s.setUp(img); err != nil {
		return nil, err
	}
	if err := s.boot(ctx); err != nil {
		return nil, err
	}
	r := &BenchReport{Kernel: s.guest.kernelVersion()}
	r.Boot.Instructions = s.bootPos
	r.Boot.CPUSeconds, r.Boot.BackupCPUSeconds = float64(s.bootCPU[0])/1e9, float64(s.bootCPU[1])/1e9
	r.Boot.MIPS = float64(s.bootPos) / 1e6 / r.Boot.CPUSeconds
	v.note("booted: %.0f M instructions a second of CPU", r.Boot.MIPS)

	phases := []struct {
		name string
		into *Phase
		work func(until time.Time) error
	}{
		{"idle", &r.Idle, func(until time.Time) error { return pause(ctx, time.Until(until)) }},
		{"compute", &r.Compute, s.client.compute},
		{"requests", &r.Requests, s.client.requests},
	}
	for _, p := range phases {
		if err := pause(ctx, 3*time.Second); err != nil { // let the phase before die away
			return nil, err
		}
		if *p.into, err = s.measure(o.Phase, p.work); err != nil {
			return nil, err
		}
		v.note("%s: primary %.1f %% and backup %.1f %% of a core, log %.3f Mbit/s, output delay %.0f us",
			p.name, p.into.PrimaryCPU, p.into.BackupCPU, p.into.LogMbit, p.into.OutputDelayUS.P50)
	}
	return r, nil
}

// measure has work go on for a while and reads off what it cost.
func (s *scene) measure(length time.Duration, work func(until time.Time) error) (Phase, error) {
	s.primary.command(control.ResetStatistics)
	time.Sleep(200 * time.Millisecond) // until the statuses are of the new statistics
	from, backupFrom, operations := s.primary.latest(), s.backup.latest(), s.client.snapshot().Operations
	if err := work(time.Now().Add(length)); err != nil {
		return Phase{}, err
	}
	to, backupTo := s.primary.latest(), s.backup.latest()
	took := to.Time.Sub(from.Time).Seconds()
	cpu := func(from, to vm.Status) float64 {
		return 100 * float64(to.CPUNS-from.CPUNS) / 1e9 / to.Time.Sub(from.Time).Seconds()
	}
	p := Phase{
		Seconds:      took,
		Instructions: to.Position - from.Position,
		PrimaryCPU:   cpu(from, to),
		BackupCPU:    cpu(backupFrom, backupTo),
		LogEntries:   to.Log.Entries - from.Log.Entries,
		LogMbit:      float64(to.Log.Bytes-from.Log.Bytes) * 8 / 1e6 / took,
		LagMS:        Quantile{float64(to.Lag.P50) / 1e6, float64(to.Lag.P99) / 1e6},
		OutputDelayUS: Quantile{
			float64(to.OutputDelay.P50) / 1e3, float64(to.OutputDelay.P99) / 1e3,
		},
		OperationsPerSec: float64(s.client.snapshot().Operations-operations) / took,
	}
	p.MIPS = float64(p.Instructions) / 1e6 / (float64(to.CPUNS-from.CPUNS) / 1e9)
	return p, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// computation is a script for the guest's server that computes without I/O.
const computation = "local x = 0 for i = 1, 3000000 do x = (x * 31 + i) % 65521 end return tostring(x)"

// compute has the server compute until a moment; every script is one request.
func (c *client) compute(until time.Time) error {
	for time.Now().Before(until) {
		if _, err := c.ask("EVAL", computation, "0"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return nil
}

// requests writes keys until a moment, each after the answer to the one before.
func (c *client) requests(until time.Time) error {
	done := make(chan struct{})
	stop := time.AfterFunc(time.Until(until), func() { close(done) })
	defer stop.Stop()
	return c.work(done)
}

// Print tells a person what was measured.
func (r *BenchReport) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, a protected pair on this machine\n\n", r.Kernel)
	fmt.Fprintf(w, "boot      %.2f G instructions, %.1f s of CPU on the primary, %.1f s on the backup, %.0f M instructions/s\n",
		float64(r.Boot.Instructions)/1e9, r.Boot.CPUSeconds, r.Boot.BackupCPUSeconds, r.Boot.MIPS)
	for _, p := range []struct {
		name string
		Phase
	}{{"idle", r.Idle}, {"compute", r.Compute}, {"requests", r.Requests}} {
		fmt.Fprintf(w, "%-9s primary %5.1f %%, backup %5.1f %% of a core; log %.3f Mbit/s; lag %.1f ms (p99 %.1f)", p.name, p.PrimaryCPU, p.BackupCPU, p.LogMbit, p.LagMS.P50, p.LagMS.P99)
		switch p.name {
		case "compute":
			fmt.Fprintf(w, "; %.0f M instructions/s of CPU", p.MIPS)
		case "requests":
			fmt.Fprintf(w, "; %.0f operations/s, output delay %.0f us (p99 %.0f)", p.OperationsPerSec, p.OutputDelayUS.P50, p.OutputDelayUS.P99)
		}
		fmt.Fprintln(w)
	}
}

// Write stores the report as JSON.
func (r *BenchReport) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
