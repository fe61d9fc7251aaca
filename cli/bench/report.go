package bench

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
)

// nativeMachine is the host itself, for the C programs.
const nativeMachine Machine = "native"

// Report is what was measured.
type Report struct {
	Host     string    `json:"host"` // the processor's name
	CPUs     int       `json:"cpus"`
	Kernel   string    `json:"kernel"` // the guest's
	Engine   string    `json:"engine"`
	QEMU     string    `json:"qemu,omitempty"` // its version
	Rounds   int       `json:"rounds"`
	Machines []Machine `json:"machines"`
	Programs []Program `json:"programs"`
	// Means are geometric means of the ratios' medians: of each group, and of
	// all programs under "all".
	Means []Mean `json:"means"`
	// Total compares the sums of CPU seconds over all programs, round by round.
	Total Costs `json:"total"`
}

// Program is what one program took.
type Program struct {
	Name  string `json:"name"`
	Group Group  `json:"group"`
	What  string `json:"what"`
	// Seconds are of CPU, by machine and round; "native" is the host itself.
	Seconds map[Machine][]float64 `json:"seconds"`
	Speed   Speeds                `json:"speed"`
	Costs   Costs                 `json:"costs"`
	Failed  map[Machine]string    `json:"failed,omitempty"` // why there are no seconds

	results map[Machine]string
}

// Speeds say how many times the speed of QEMU Lockstep has, alone.
type Speeds struct {
	QEMU       *Spread `json:"qemu,omitempty"`
	QEMUIcount *Spread `json:"qemu_icount,omitempty"`
}

// Costs are CPU seconds as parts of those of Lockstep alone.
type Costs struct {
	Recording *Spread `json:"recording,omitempty"`
	Pair      *Spread `json:"pair,omitempty"`
	// PairBeside has Beside in the place of Alone: without what the other
	// side of a pair costs by being on the same processor.
	PairBeside *Spread `json:"pair_beside,omitempty"`
}

// Spread is a ratio over the rounds.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Mean is of a group's programs.
type Mean struct {
	Group      string  `json:"group"`
	QEMU       float64 `json:"qemu,omitempty"`
	QEMUIcount float64 `json:"qemu_icount,omitempty"`
}

// describeHost finds what the numbers are of.
func (r *Report) describeHost() {
	r.CPUs, r.Host = runtime.NumCPU(), runtime.GOARCH
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			r.Host = strings.TrimSpace(value)
			return
		}
	}
}

// begin makes room for the programs.
func (r *Report) begin(some []program) {
	some = append([]program{{name: Boot, group: Real, what: "from power-on until the guest's server listens"}}, some...)
	for _, p := range some {
		r.Programs = append(r.Programs, Program{
			Name: p.name, Group: p.group, What: p.what,
			Seconds: map[Machine][]float64{}, Failed: map[Machine]string{}, results: map[Machine]string{},
		})
	}
}

// add takes a machine's round. A program that fails once has failed.
func (r *Report) add(m Machine, got map[string]Measurement) {
	for i := range r.Programs {
		p := &r.Programs[i]
		one, ok := got[p.Name]
		switch {
		case !ok && m == nativeMachine:
		case !ok:
			p.Failed[m] = "it did not run"
		case one.Failed != "":
			p.Failed[m] = one.Failed
		default:
			p.Seconds[m] = append(p.Seconds[m], one.Seconds)
			p.results[m] = one.Result
		}
	}
}

// conclude computes what follows from the seconds.
func (r *Report) conclude(some []program) {
	same := map[string]bool{}
	for _, p := range some {
		same[p.name] = p.same
	}
	for i := range r.Programs {
		p := &r.Programs[i]
		for m := range p.Failed {
			delete(p.Seconds, m)
		}
		if same[p.Name] {
			p.compare(r.Machines)
		}
		p.Speed = Speeds{
			QEMU:       spread(p.Seconds[QEMU], p.Seconds[Alone]),
			QEMUIcount: spread(p.Seconds[QEMUIcount], p.Seconds[Alone]),
		}
		p.Costs = Costs{
			Recording:  spread(p.Seconds[Recording], p.Seconds[Alone]),
			Pair:       spread(p.Seconds[Pair], p.Seconds[Alone]),
			PairBeside: spread(p.Seconds[Pair], p.Seconds[Beside]),
		}
	}
	for _, g := range []Group{Integer, Floating, Memory, Branches, System, Real} {
		r.mean(string(g), func(p *Program) bool { return p.Group == g })
	}
	r.mean("all", func(*Program) bool { return true })
	r.Total = Costs{
		Recording:  spread(r.sum(Recording), r.sum(Alone)),
		Pair:       spread(r.sum(Pair), r.sum(Alone)),
		PairBeside: spread(r.sum(Pair), r.sum(Beside)),
	}
}

// compare holds the results of a program against that of the first machine: a
// machine that computes something else counts for nothing.
func (p *Program) compare(machines []Machine) {
	first := ""
	for _, m := range machines {
		got, ok := p.results[m]
		if !ok {
			continue
		}
		if first == "" {
			first = got
		} else if got != first {
			p.Failed[m] = "it computed " + got + " where another machine computed " + first
			delete(p.Seconds, m)
		}
	}
}

// sum is the CPU seconds of all programs by round; nothing if one failed.
func (r *Report) sum(m Machine) []float64 {
	total := make([]float64, r.Rounds)
	for _, p := range r.Programs {
		if len(p.Seconds[m]) != r.Rounds {
			return nil
		}
		for i, s := range p.Seconds[m] {
			total[i] += s
		}
	}
	return total
}

func (r *Report) mean(name string, in func(*Program) bool) {
	var qemu, icount []float64
	for i := range r.Programs {
		p := &r.Programs[i]
		if !in(p) {
			continue
		}
		if p.Speed.QEMU != nil {
			qemu = append(qemu, p.Speed.QEMU.Median)
		}
		if p.Speed.QEMUIcount != nil {
			icount = append(icount, p.Speed.QEMUIcount.Median)
		}
	}
	if len(qemu)+len(icount) > 0 {
		r.Means = append(r.Means, Mean{name, geometric(qemu), geometric(icount)})
	}
}

// geometric is the geometric mean; 0 of nothing.
func geometric(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(x)))
}

// spread is of the ratios of a round's two numbers; nil if rounds are missing.
func spread(over, under []float64) *Spread {
	if len(over) == 0 || len(over) != len(under) {
		return nil
	}
	ratios := make([]float64, len(over))
	for i := range over {
		ratios[i] = over[i] / max(under[i], 1e-9)
	}
	slices.Sort(ratios)
	return &Spread{ratios[0], median(ratios), ratios[len(ratios)-1]}
}

// median is of sorted numbers.
func median(x []float64) float64 {
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// Write stores the report as JSON.
func (r *Report) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
