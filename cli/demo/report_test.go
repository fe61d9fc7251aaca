package demo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// held is a report with nothing to complain of.
func held() *Report {
	detected, live := 12.5, 60.25
	r := &Report{Client: Tally{Connections: 1, Operations: 400, Acknowledged: 300, LongestStall: 80}}
	r.Guest.Kernel, r.Guest.ImageSHA256 = "Linux version 6.12.48", "abc"
	r.Failover.Killed, r.Failover.Survivor = KillPrimary, "backup"
	r.Failover.DetectedMS, r.Failover.LiveMS = &detected, &live
	r.Digests.Compared = 5
	return r
}

func TestReportCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Report)
		want  string // "" nothing
	}{
		{"all held", func(*Report) {}, ""},
		{"no writes", func(r *Report) { r.Client.Acknowledged = 0 }, "the client had no write acknowledged"},
		{"two connections", func(r *Report) { r.Client.Connections = 2 }, "the client needed 2 connections and 0 reconnects"},
		{"a reconnect", func(r *Report) { r.Client.Reconnects = 1 }, "the client needed 1 connections and 1 reconnects"},
		{"lost", func(r *Report) { r.Client.Lost = 3 }, "3 acknowledged writes are lost"},
		{"wrong", func(r *Report) { r.Client.Wrong = 4 }, "4 reads were wrong"},
		{"no digests", func(r *Report) { r.Digests.Compared = 0 }, "no digests were compared"},
		{"a digest", func(r *Report) { r.Digests.Different = 1 }, "1 digests differed"},
		{"primary survived its death", func(r *Report) { r.Failover.Survivor = "primary" }, `the primary was killed, and the survivor is "primary"`},
		{"nobody survived", func(r *Report) { r.Failover.Survivor = "none" }, `the primary was killed, and the survivor is "none"`},
		{"backup killed", func(r *Report) { r.Failover.Killed, r.Failover.Survivor = KillBackup, "primary" }, ""},
		{"backup killed, and lives", func(r *Report) { r.Failover.Killed = KillBackup }, `the backup was killed, and the survivor is "backup"`},
		{"partition, one side", func(r *Report) { r.Failover.Killed = KillPartition }, ""},
		{"partition, the other", func(r *Report) { r.Failover.Killed, r.Failover.Survivor = KillPartition, "primary" }, ""},
		{"split brain", func(r *Report) { r.Failover.Killed, r.Failover.Survivor = KillPartition, "both went live" }, `after the partition the survivor is "both went live"`},
		{"nothing killed", func(r *Report) { r.Failover.Killed, r.Failover.Survivor = KillNone, "both" }, ""},
		{"one gone without a kill", func(r *Report) { r.Failover.Killed = KillNone }, `nothing was killed, and the survivor is "backup"`},
		{"disk", func(r *Report) { r.Disk = &DiskReport{VerifiedBefore: 10, Verified: 20} }, ""},
		{"disk mismatch", func(r *Report) { r.Disk = &DiskReport{VerifiedBefore: 10, Verified: 20, Mismatches: 1} }, "the guest read back 1 blocks that differ"},
		{"disk stands still", func(r *Report) { r.Disk = &DiskReport{VerifiedBefore: 10, Verified: 10} }, "the guest verified no block after the loss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := held()
			c.spoil(r)
			r.check()
			want := []string{}
			if c.want != "" {
				want = append(want, c.want)
			}
			if diff := cmp.Diff(want, r.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// The keys of the JSON are part of the interface.
func TestReportKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	r := held()
	r.check()
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields(`guest.kernel guest.image_sha256
		client.connections client.reconnects client.operations client.acknowledged client.lost client.wrong client.longest_stall_ms
		failover.killed failover.survivor failover.detected_ms failover.live_ms log.bytes log.entries log.mbit_per_s
		lag_ms.p50 lag_ms.p99 output_delay_us.p50 output_delay_us.p99 digests.compared digests.different
		boot.seconds boot.instructions boot.cpu_seconds`) {
		outer, inner, _ := strings.Cut(key, ".")
		group, ok := got[outer].(map[string]any)
		if _, there := group[inner]; !ok || !there {
			t.Errorf("there is no key %s", key)
		}
	}
	r.Failover.DetectedMS, r.Failover.LiveMS = nil, nil
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !strings.Contains(string(b), `"detected_ms": null`) {
		t.Error("detected_ms is not null where nothing was lost")
	}
	if err := r.write(t.TempDir()); err == nil {
		t.Error("a report was written to a directory")
	}
}

func TestReportPrint(t *testing.T) {
	r := held()
	r.Client.Lost = 1
	r.Disk = &DiskReport{VerifiedBefore: 10, Verified: 20}
	r.check()
	var b strings.Builder
	r.Print(&b)
	golden(t, "report.txt", b.String())
}
