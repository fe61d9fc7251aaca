package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// DiskReport is what RunDisk has measured.
type DiskReport struct {
	Host   string    `json:"host"` // the processor's name
	CPUs   int       `json:"cpus"`
	Kernel string    `json:"kernel"` // the guest's
	Engine string    `json:"engine"`
	Rounds int       `json:"rounds"`
	Rows   []DiskRow `json:"rows"`
}

// DiskRow is a program in a mode. The slices have an element a round.
type DiskRow struct {
	Mode    DiskMode `json:"mode"`
	Program string   `json:"program"`
	What    string   `json:"what"`
	MB      float64  `json:"mb"` // that the guest reads or writes, in 10^6 bytes

	// Seconds are of CPU of the guest's process, Elapsed of time, each by machine:
	// alone, beside another guest, or the primary of a pair.
	Seconds map[Machine][]float64 `json:"seconds"`
	Elapsed map[Machine][]float64 `json:"elapsed"`
	Logged  []float64             `json:"logged_mb"` // log entries of the pair, in 10^6 bytes
}

func newDiskReport(rounds int, modes []DiskMode, some []program, kernel, engine string) *DiskReport {
	var host Report
	host.describeHost()
	r := &DiskReport{Host: host.Host, CPUs: host.CPUs, Kernel: kernel, Engine: engine, Rounds: rounds}
	for _, m := range modes {
		for _, p := range some {
			r.Rows = append(r.Rows, DiskRow{
				Mode: m, Program: p.name, What: p.what, MB: megabytes(p.name),
				Seconds: map[Machine][]float64{}, Elapsed: map[Machine][]float64{},
			})
		}
	}
	return r
}

// add takes a program's run in a mode on a machine. One that fails is an error.
func (r *DiskReport) add(m DiskMode, on Machine, name string, got Measurement) error {
	if got.Failed != "" {
		return fmt.Errorf("bench: %s on a disk that is %s, %s: %s", name, m, on, got.Failed)
	}
	i := slices.IndexFunc(r.Rows, func(d DiskRow) bool { return d.Mode == m && d.Program == name })
	row := &r.Rows[i]
	row.Seconds[on] = append(row.Seconds[on], got.Seconds)
	row.Elapsed[on] = append(row.Elapsed[on], got.Elapsed)
	if on == Pair {
		row.Logged = append(row.Logged, float64(got.Logged)/1e6)
	}
	return nil
}

// A Share is one figure over another: of all rounds together, whose noise evens
// out, and in the rounds where it is least and greatest.
type Share struct{ All, Min, Max float64 }

func share(over, under []float64) Share {
	each := spread(over, under)
	return Share{sum(over) / sum(under), each.Min, each.Max}
}

func sum(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

func (s Share) String() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", s.All, s.Min, s.Max) }

// Ratio is the CPU time of a pair's primary over that of the guest on another machine.
func (d *DiskRow) Ratio(to Machine) Share { return share(d.Seconds[Pair], d.Seconds[to]) }

// LogRatio is the bytes logged over the bytes that the guest read or wrote.
func (d *DiskRow) LogRatio() float64 { return sum(d.Logged) / (d.MB * float64(len(d.Logged))) }

func (d *DiskRow) cells() []string {
	mb := d.MB * float64(len(d.Logged))
	perMB := func(x []float64) string { return fmt.Sprintf("%.2f", 1000*sum(x)/mb) }
	speed := func(x []float64) string { return fmt.Sprintf("%.0f", mb/sum(x)) }
	return []string{
		string(d.Mode), d.Program, perMB(d.Seconds[Alone]), perMB(d.Seconds[Beside]), perMB(d.Seconds[Pair]),
		d.Ratio(Alone).String(), d.Ratio(Beside).String(),
		speed(d.Elapsed[Alone]), speed(d.Elapsed[Pair]), fmt.Sprintf("%.2f %%", 100*d.LogRatio()),
		fmt.Sprintf("%.1f", 8*sum(d.Logged)/sum(d.Elapsed[Pair])),
	}
}

// diskHead names the cells.
var diskHead = []string{
	"disk", "program", "alone, ms/MB", "beside, ms/MB", "pair, ms/MB", "pair / alone", "pair / beside", "alone, MB/s", "pair, MB/s", "log / data", "log, Mbit/s",
}

func (r *DiskReport) head() string {
	return fmt.Sprintf("%s, %d CPUs; guest %s; engine %s; %d rounds; CPU time of the guest's process per MB", r.Host, r.CPUs, r.Kernel, r.Engine, r.Rounds)
}

// Print shows the report to a person.
func (r *DiskReport) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n\n", r.head())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(diskHead, "\t"))
	for i := range r.Rows {
		fmt.Fprintln(t, strings.Join(r.Rows[i].cells(), "\t"))
	}
	_ = t.Flush()
}

// Markdown is Print as a table for a document.
func (r *DiskReport) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n| %s |\n|---|---%s|\n", r.head(), strings.Join(diskHead, " | "), strings.Repeat("|--:", len(diskHead)-2))
	for i := range r.Rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r.Rows[i].cells(), " | "))
	}
}

// Write stores the report as JSON.
func (r *DiskReport) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
