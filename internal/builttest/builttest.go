// Package builttest checks the programs for guests that are kept built beside their
// sources: a directory has the sources, build.sh, the program and built.txt, which
// tells of all of them and of the compiler.
package builttest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

// Check says whether the program is what the sources in dir make. They are named in
// the order in which build.sh sums them up.
func Check(t *testing.T, dir, name string, program []byte, sources ...string) {
	t.Helper()
	build := filepath.Join(dir, "build.sh")
	built := facts(t, dir)
	h := sha256.New()
	for _, s := range sources {
		h.Write(read(t, filepath.Join(dir, s)))
	}
	if hex.EncodeToString(h.Sum(nil)) != built["sources"] {
		t.Errorf("the sources have changed since %s was built: run %s", name, build)
	}
	if sum := sha256.Sum256(program); hex.EncodeToString(sum[:]) != built["program"] {
		t.Errorf("%s is not what built.txt tells of: run %s", name, build)
	}

	citest.Program(t, "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu")
	out := t.TempDir()
	cmd := exec.Command("./" + build)
	cmd.Env = append(os.Environ(), "OUT="+out)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	again := facts(t, out)
	if again["compiler"] != built["compiler"] || again["linker"] != built["linker"] {
		t.Skipf("built by %s and %s, here are %s and %s", built["compiler"], built["linker"], again["compiler"], again["linker"])
	}
	if again["program"] != built["program"] {
		t.Errorf("the same compiler makes another %s of the sources", name)
	}
}

// facts are the lines of built.txt: a name and a value.
func facts(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(string(read(t, filepath.Join(dir, "built.txt")))) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("%s/built.txt: %q", dir, line)
		}
		got[name] = value
	}
	return got
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
