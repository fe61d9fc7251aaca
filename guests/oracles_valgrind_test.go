package guests

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
)

// valgrindVariable names a directory with valgrind's test programs for riscv64,
// built, and what each must print. .ci/oracles makes it.
const valgrindVariable = "LOCKSTEP_VALGRIND"

// valgrindPrograms are those programs, with the lines that each prints in
// valgrind 3.27. None of them needs valgrind: they run instructions on chosen
// operands and print what came of it.
var valgrindPrograms = []struct {
	name  string
	lines int
}{
	{"integer", 1858}, {"muldiv", 435}, {"compressed", 917}, {"float32", 1559}, {"float64", 1551}, {"atomic", 467}, {"csr", 217},
}

// Valgrind's programs for riscv64 print in the guest, byte for byte, what they
// are expected to print.
func TestValgrindPrograms(t *testing.T) {
	multiplier(t)
	dir := os.Getenv(valgrindVariable)
	if dir == "" {
		t.Skip(valgrindVariable + " is not set; .ci/oracles builds valgrind's programs and runs this test")
	}
	var script strings.Builder
	for _, p := range valgrindPrograms {
		fmt.Fprintf(&script, "/oracles/%s >/tmp/out; echo \"%s\"; cat /tmp/out; echo \"%s\"\n", p.name, valgrindMark(p.name, "exits $?"), valgrindMark(p.name, "end"))
	}
	out := guest{
		image: image.Small, memory: 128 << 20, script: script.String(),
		files: func(a *image.Archive) {
			for _, p := range valgrindPrograms {
				a.File(path.Join("oracles", p.name), 0o755, read(t, filepath.Join(dir, p.name)))
			}
		},
	}.run(t, 3_000_000_000)
	lines := 0
	for _, p := range valgrindPrograms {
		_, got, ran := strings.Cut(out, valgrindMark(p.name, "exits 0")+"\n")
		got, _, ended := strings.Cut(got, valgrindMark(p.name, "end"))
		if !ran || !ended {
			t.Errorf("%s did not run to its end", p.name)
			continue
		}
		want := read(t, filepath.Join(dir, p.name+".stdout.exp"))
		if got != string(want) {
			t.Errorf("%s: %s", p.name, firstDifference(got, string(want)))
		}
		n := bytes.Count(want, []byte("\n"))
		if n < p.lines {
			t.Errorf("%s: %d lines are expected; the source package has %d", p.name, n, p.lines)
		}
		lines += n
	}
	t.Logf("%d lines of %d programs", lines, len(valgrindPrograms))
}

// valgrindMark is a line that no program prints.
func valgrindMark(name, what string) string { return "oracles: " + name + " " + what }

// firstDifference is where two texts begin to differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, lineAt(g, i), lineAt(w, i))
		}
	}
	return "no difference"
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no more lines)"
}
