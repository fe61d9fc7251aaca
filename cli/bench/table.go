package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print shows the report to a person.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n\n", r.head())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
	r.printFailures(w)
}

// Markdown is Print as a table for a document.
func (r *Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", r.head())
	for i, row := range r.rows() {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---|---|%s\n", strings.Repeat("--:|", len(row)-2))
		}
	}
	r.printFailures(w)
}

func (r *Report) head() string {
	parts := []string{fmt.Sprintf("%s, %d CPUs", r.Host, r.CPUs), "guest " + r.Kernel, "engine " + r.Engine}
	if r.QEMU != "" {
		parts = append(parts, r.QEMU)
	}
	return strings.Join(append(parts, fmt.Sprintf("%d rounds", r.Rounds)), "; ")
}

// rows are the cells of the table, the first row its head. The first cell is
// the group where it changes.
func (r *Report) rows() [][]string {
	head := []string{"group", "program"}
	columns := slices.Clone(r.Machines)
	if slices.ContainsFunc(r.Programs, func(p Program) bool { return p.Seconds[nativeMachine] != nil }) {
		columns = append(columns, nativeMachine)
	}
	for _, m := range columns {
		head = append(head, string(m)+", s")
	}
	has := func(m Machine) bool { return slices.Contains(r.Machines, Alone) && slices.Contains(r.Machines, m) }
	ratios := []struct {
		title string
		shown bool
		cell  func(*Program) string
		mean  func(Mean) string
	}{
		{"speed / qemu", has(QEMU), func(p *Program) string { return p.Speed.QEMU.times() }, func(m Mean) string { return times(m.QEMU) }},
		{"speed / qemu-icount", has(QEMUIcount), func(p *Program) string { return p.Speed.QEMUIcount.times() }, func(m Mean) string { return times(m.QEMUIcount) }},
		{"recording", has(Recording), func(p *Program) string { return p.Costs.Recording.percent() }, func(m Mean) string {
			if m.Group == "all" {
				return r.Total.Recording.percent()
			}
			return ""
		}},
		{"pair", has(Pair), func(p *Program) string { return p.Costs.Pair.percent() }, func(m Mean) string {
			if m.Group == "all" {
				return r.Total.Pair.percent()
			}
			return ""
		}},
		{"pair / beside", has(Pair) && has(Beside), func(p *Program) string { return p.Costs.PairBeside.percent() }, func(m Mean) string {
			if m.Group == "all" {
				return r.Total.PairBeside.percent()
			}
			return ""
		}},
	}
	for _, c := range ratios {
		if c.shown {
			head = append(head, c.title)
		}
	}
	rows := [][]string{head}
	// By group: boot runs first and belongs to the last one.
	var group Group
	for _, g := range []Group{Integer, Floating, Memory, Branches, System, Real} {
		for i := range r.Programs {
			p := &r.Programs[i]
			if p.Group != g {
				continue
			}
			row := []string{"", p.Name}
			if g != group {
				row[0], group = string(g), g
			}
			for _, m := range columns {
				cell := ""
				if s := slices.Sorted(slices.Values(p.Seconds[m])); len(s) > 0 {
					cell = fmt.Sprintf("%.3f", median(s))
				} else if p.Failed[m] != "" {
					cell = "failed"
				}
				row = append(row, cell)
			}
			for _, c := range ratios {
				if c.shown {
					row = append(row, c.cell(p))
				}
			}
			rows = append(rows, row)
		}
	}
	for i, m := range r.means() {
		row := append([]string{"", m.Group}, make([]string, len(columns))...)
		if i == 0 {
			row[0] = "geometric mean"
		}
		for _, c := range ratios {
			if c.shown {
				row = append(row, c.mean(m))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// means are Means, or a row for the totals if there are only those.
func (r *Report) means() []Mean {
	if len(r.Means) == 0 && r.Total != (Costs{}) {
		return []Mean{{Group: "all"}}
	}
	return r.Means
}

func (r *Report) printFailures(w io.Writer) {
	first := true
	for _, p := range r.Programs {
		for _, m := range slices.Sorted(maps.Keys(p.Failed)) {
			if first {
				fmt.Fprintln(w)
				first = false
			}
			fmt.Fprintf(w, "%s on %s: %s\n", p.Name, m, p.Failed[m])
		}
	}
}

func times(x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", x)
}

func (s *Spread) times() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max)
}

func (s *Spread) percent() string {
	if s == nil {
		return ""
	}
	part := func(x float64) float64 { return 100 * (x - 1) }
	return fmt.Sprintf("%+.1f %% (%+.1f to %+.1f)", part(s.Median), part(s.Min), part(s.Max))
}
