package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Report is what a run of the demo measured. The names of its keys are part of
// the interface; more may be added.
type Report struct {
	Guest struct {
		Kernel      string `json:"kernel"`
		ImageSHA256 string `json:"image_sha256"`
	} `json:"guest"`
	Client   Tally `json:"client"`
	Failover struct {
		Killed     Kill     `json:"killed"`
		Survivor   string   `json:"survivor"`
		DetectedMS *float64 `json:"detected_ms"` // signal -> loss noticed; null where nothing was lost
		LiveMS     *float64 `json:"live_ms"`     // signal -> survivor goes on alone
	} `json:"failover"`
	Log struct {
		Bytes   uint64  `json:"bytes"` // encoded entries, without framing, in the client's phase
		Entries uint64  `json:"entries"`
		Mbit    float64 `json:"mbit_per_s"`
	} `json:"log"`
	LagMS         Quantile `json:"lag_ms"`
	OutputDelayUS Quantile `json:"output_delay_us"`
	Digests       struct {
		Compared  uint64 `json:"compared"`
		Different uint64 `json:"different"`
	} `json:"digests"`
	Boot struct {
		Seconds          float64 `json:"seconds"`
		Instructions     uint64  `json:"instructions"`
		CPUSeconds       float64 `json:"cpu_seconds"`
		BackupCPUSeconds float64 `json:"backup_cpu_seconds"`
	} `json:"boot"`
	Disk *DiskReport `json:"disk,omitempty"` // with --disk
	// Problems is what did not hold; empty if everything did.
	Problems []string `json:"problems"`
}

// DiskReport is what the guest's self-checking disk writer said.
type DiskReport struct {
	VerifiedBefore uint64 `json:"blocks_verified_before"` // the loss
	Verified       uint64 `json:"blocks_verified"`        // in all
	Mismatches     int    `json:"mismatches"`
}

// Quantile is a median and a 99th percentile.
type Quantile struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// check fills Problems.
func (r *Report) check() {
	r.Problems = []string{}
	hold := func(ok bool, format string, args ...any) {
		if !ok {
			r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
		}
	}
	c := r.Client
	hold(c.Acknowledged > 0, "the client had no write acknowledged")
	hold(c.Connections == 1 && c.Reconnects == 0, "the client needed %d connections and %d reconnects", c.Connections, c.Reconnects)
	hold(c.Lost == 0, "%d acknowledged writes are lost", c.Lost)
	hold(c.Wrong == 0, "%d reads were wrong", c.Wrong)
	hold(r.Digests.Compared > 0, "no digests were compared")
	hold(r.Digests.Different == 0, "%d digests differed", r.Digests.Different)
	switch r.Failover.Killed {
	case KillNone:
		hold(r.Failover.Survivor == "both", "nothing was killed, and the survivor is %q", r.Failover.Survivor)
	case KillPrimary:
		hold(r.Failover.Survivor == "backup", "the primary was killed, and the survivor is %q", r.Failover.Survivor)
	case KillBackup:
		hold(r.Failover.Survivor == "primary", "the backup was killed, and the survivor is %q", r.Failover.Survivor)
	case KillPartition:
		hold(r.Failover.Survivor == "primary" || r.Failover.Survivor == "backup", "after the partition the survivor is %q", r.Failover.Survivor)
	}
	if r.Disk != nil {
		hold(r.Disk.Mismatches == 0, "the guest read back %d blocks that differ", r.Disk.Mismatches)
		hold(r.Disk.Verified > r.Disk.VerifiedBefore, "the guest verified no block after the loss")
	}
}

// write stores the report as JSON; "-" is the standard output.
func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = os.Stdout.Write(b)
	} else {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("demo: the report cannot be written: %w", err)
	}
	return nil
}

// Print tells a person what was measured.
func (r *Report) Print(w io.Writer) {
	c := r.Client
	fmt.Fprintf(w, "\n%s; booted to the first answer in %.1f s (%.1f s of CPU, %.2f G instructions)\n",
		r.Guest.Kernel, r.Boot.Seconds, r.Boot.CPUSeconds, float64(r.Boot.Instructions)/1e9)
	fmt.Fprintf(w, "client:   %d operations on %d connection, %d reconnects; %d writes acknowledged, %d lost, %d reads wrong; longest stall %.0f ms\n",
		c.Operations, c.Connections, c.Reconnects, c.Acknowledged, c.Lost, c.Wrong, c.LongestStall)
	fmt.Fprintf(w, "failover: killed %s, survivor %s", r.Failover.Killed, r.Failover.Survivor)
	if r.Failover.DetectedMS != nil && r.Failover.LiveMS != nil {
		fmt.Fprintf(w, "; noticed after %.1f ms, live after %.1f ms", *r.Failover.DetectedMS, *r.Failover.LiveMS)
	}
	fmt.Fprintf(w, "\nlog:      %d entries, %d bytes, %.2f Mbit/s; lag %.1f ms, output delay %.0f us (medians); %d digests compared, %d different\n",
		r.Log.Entries, r.Log.Bytes, r.Log.Mbit, r.LagMS.P50, r.OutputDelayUS.P50, r.Digests.Compared, r.Digests.Different)
	if r.Disk != nil {
		fmt.Fprintf(w, "disk:     %d blocks verified by the guest, %d of them before the loss; %d mismatches\n", r.Disk.Verified, r.Disk.VerifiedBefore, r.Disk.Mismatches)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "PROBLEM:  %s\n", p)
	}
}
