package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/builttest"
	"github.com/lockstep-vm/lockstep/internal/citest"
)

func TestConsole(t *testing.T) {
	console := "OpenSBI\r\nlockstep: ready\r\n@@start a\r\nnoise\r\n@@end a 0\r\n@@result a 42 7\r\n" +
		"@@log a 1000\r\n\x1b[6n@@start b\r\n@@end b 1\r\n@@result b no such file\r\n@@log b 1234\r\n@@start c\r\n@@done\r\nnever read\r\n"
	clock := 0.0
	got, err := newMeter(strings.NewReader(console), func() (float64, error) { clock++; return clock, nil }).all()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Measurement{
		Boot: {Seconds: 2},
		"a":  {Seconds: 2, Result: "42 7", Logged: 1000},
		"b":  {Seconds: 1, Result: "no such file", Failed: "exit status 1: no such file", Logged: 1234},
		"c":  {Failed: "it did not end"},
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for name, w := range want {
		g := got[name]
		if g.Elapsed > 0 != (w.Seconds > 0 && name != Boot) {
			t.Errorf("%s took %v s", name, g.Elapsed)
		}
		if g.Elapsed = 0; g != w {
			t.Errorf("%s: got %+v, want %+v", name, g, w)
		}
	}
}

func TestConsoleThatEnds(t *testing.T) {
	cpu := func() (float64, error) { return 0, nil }
	if _, err := newMeter(strings.NewReader("first\nlast words\n"), cpu).all(); err == nil || !strings.Contains(err.Error(), "last words") {
		t.Errorf("a console that ends early: %v", err)
	}
	if _, err := newMeter(strings.NewReader("[ 1.0] Kernel panic - not syncing: x\n@@done\n"), cpu).all(); err == nil || !strings.Contains(err.Error(), "not syncing") {
		t.Errorf("a panic: %v", err)
	}
}

// round is a machine's round in which each program takes some seconds.
func round(results string, seconds ...float64) map[string]Measurement {
	got := map[string]Measurement{Boot: {Seconds: seconds[0]}}
	for i, p := range testPrograms() {
		got[p.name] = Measurement{Seconds: seconds[i+1], Result: results}
	}
	return got
}

func testPrograms() []program { return []program{programs[0], programs[5]} }

func testReport() *Report {
	r := &Report{Rounds: 3, Machines: []Machine{Alone, Recording, QEMU}, Host: "a host", CPUs: 2, Kernel: "6.12", Engine: "jit"}
	some := testPrograms()
	r.begin(some)
	for i := range 3 {
		x := float64(i + 1)
		r.add(nativeMachine, map[string]Measurement{some[0].name: {Seconds: 0.125}})
		r.add(Alone, round("1", 1, 2, 4))
		r.add(Recording, round("1", 1.01, 2.02, 4.04))
		r.add(QEMU, round("1", 2*x, 4*x, 32*x))
	}
	r.conclude(some)
	return r
}

func TestReport(t *testing.T) {
	r := testReport()
	sieve := r.Programs[1]
	if want := (Spread{2, 4, 6}); *sieve.Speed.QEMU != want {
		t.Errorf("speed %+v, want %+v", *sieve.Speed.QEMU, want)
	}
	if sieve.Speed.QEMUIcount != nil || sieve.Costs.Pair != nil {
		t.Errorf("ratios of what was not measured: %+v %+v", sieve.Speed, sieve.Costs)
	}
	if got := r.Total.Recording.Median; math.Abs(got-1.01) > 1e-9 {
		t.Errorf("recording costs %v", got)
	}
	all := r.Means[len(r.Means)-1]
	if want := math.Cbrt(4 * 4 * 16); all.Group != "all" || math.Abs(all.QEMU-want) > 1e-9 {
		t.Errorf("mean %+v, want %v", all, want)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(b.Bytes(), &again); err != nil || again.Programs[1].Seconds[QEMU][2] != 12 {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	testReport().Markdown(&b)
	want := `a host, 2 CPUs; guest 6.12; engine jit; 3 rounds

| group | program | alone, s | recording, s | qemu, s | native, s | speed / qemu | recording |
|---|---|--:|--:|--:|--:|--:|--:|
| integer | sieve | 2.000 | 2.020 | 8.000 | 0.125 | 4.00 (2.00 to 6.00) | +1.0 % (+1.0 to +1.0) |
| floating point | matmul | 4.000 | 4.040 | 64.000 |  | 16.00 (8.00 to 24.00) | +1.0 % (+1.0 to +1.0) |
| Debian's programs | boot | 1.000 | 1.010 | 4.000 |  | 4.00 (2.00 to 6.00) | +1.0 % (+1.0 to +1.0) |
| geometric mean | integer |  |  |  |  | 4.00 |  |
|  | floating point |  |  |  |  | 16.00 |  |
|  | Debian's programs |  |  |  |  | 4.00 |  |
|  | all |  |  |  |  | 6.35 | +1.0 % (+1.0 to +1.0) |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// A program counts on a machine only if it ended well in every round and
// computed what it computes on the others.
func TestFailuresCountForNothing(t *testing.T) {
	some := testPrograms()
	r := &Report{Rounds: 2, Machines: []Machine{Alone, QEMU}}
	r.begin(some)
	for i := range 2 {
		r.add(Alone, round("right", 1, 1, 1))
		other := round("right", 2, 2, 2)
		if i == 1 {
			other[some[0].name] = Measurement{Seconds: 2, Result: "wrong"}
			other[some[1].name] = Measurement{Seconds: 2, Failed: "exit status 1"}
		}
		r.add(QEMU, other)
	}
	r.conclude(some)
	for _, p := range r.Programs[1:] {
		if p.Failed[QEMU] == "" || p.Speed.QEMU != nil || len(p.Seconds[QEMU]) > 0 {
			t.Errorf("%s: %+v", p.Name, p)
		}
	}
	if r.Programs[0].Speed.QEMU == nil {
		t.Error("the boot does not count, which went well")
	}
}

func TestChosen(t *testing.T) {
	some, err := chosen(programs, []string{"fib", "sieve"})
	if err != nil || len(some) != 2 || some[0].name != "sieve" {
		t.Errorf("%v %v", some, err)
	}
	if _, err := chosen(programs, []string{"sive"}); err == nil || !strings.Contains(err.Error(), "sieve") {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestProfileIsShell(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		citest.Unable(t, "no sh")
	}
	for _, asked := range []bool{false, true} {
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(profile(programs, asked))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestCPUTimeOfAProcess(t *testing.T) {
	before, err := cpuSeconds(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := byte(0)
	for range 200 {
		h := sha256.Sum256(make([]byte, 1<<16))
		sum += h[0]
	}
	after, err := cpuSeconds(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("%v then %v, %v (%d)", before, after, err, sum)
	}
}

// The guest's program is what its sources make.
func TestProgramIsBuiltOfItsSources(t *testing.T) {
	builttest.Check(t, "programs", "main.riscv64", guestMain,
		"branch.c", "compress.c", "disk.c", "float.c", "integer.c", "main.c", "memory.c", "rt.h", "rt_guest.c", "system.c", "build.sh")
}
