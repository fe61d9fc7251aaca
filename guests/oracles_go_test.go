package guests

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

// A goTest is the test program of a package.
type goTest struct {
	pkg    string // a package of the standard library, or "./..." in a module
	module string // module@version, if it is not the standard library
	data   bool   // reads its testdata
	run    string // only these tests; all if empty
	skip   string // not these
	// tests is how many tests with all their parts pass at least.
	tests int
}

// goTests are the test programs that run in the guest, each group in one. They
// are those that compute much and need little: no tree of Go's sources (as
// math/big's TestEscape and sync's ExampleOnceValues do) and no minutes (as the
// other tests of math/big and crypto/cipher that are skipped).
var goTests = []struct {
	name  string
	riscv string // GORISCV64: what the compiler may use
	limit machine.Icount
	tests []goTest
}{
	{name: "arithmetic", riscv: "rva20u64", limit: 15_000_000_000, tests: []goTest{
		{pkg: "math", tests: 111},
		{pkg: "math/bits", tests: 62},
		{pkg: "math/cmplx", tests: 27},
		{pkg: "math/rand", tests: 27},
		{pkg: "math/big", skip: "TestEscape|AddVV|SubVV|AddMulVVWW|MulAddVWW|TestNatDiv|TestNatSqr", tests: 255},
		{pkg: "strconv", tests: 80},
		{pkg: "internal/strconv", data: true, tests: 47},
		{pkg: "go/constant", tests: 15},
		{pkg: "internal/runtime/math", tests: 1},
		{pkg: "unicode/utf8", tests: 31},
		{pkg: "fmt", tests: 79},
	}},
	// With Zba, Zbb and Zbs.
	{name: "bits", riscv: "rva22u64", limit: 10_000_000_000, tests: []goTest{
		{pkg: "math/bits", tests: 62},
		{pkg: "math", tests: 111},
		{pkg: "strconv", tests: 80},
		{pkg: "crypto/sha256", tests: 33},
		{pkg: "hash/crc32", tests: 16},
		{pkg: "unicode/utf8", tests: 31},
	}},
	{name: "crypto", riscv: "rva20u64", limit: 15_000_000_000, tests: []goTest{
		{pkg: "crypto/aes", tests: 58},
		{pkg: "crypto/cipher", skip: "TestGCMAEAD|multiblock", tests: 1099},
		{pkg: "crypto/ecdsa", tests: 42},
		{pkg: "crypto/ed25519", data: true, tests: 9},
		{pkg: "crypto/elliptic", tests: 23},
		{pkg: "crypto/md5", tests: 17},
		{pkg: "crypto/sha1", tests: 16},
		{pkg: "crypto/sha256", tests: 33},
		{pkg: "crypto/sha512", tests: 45},
		{pkg: "hash/crc32", tests: 16},
		{pkg: "hash/crc64", tests: 12},
		{pkg: "hash/fnv", tests: 62},
		{pkg: "encoding/base64", tests: 23},
		{pkg: "encoding/binary", tests: 156},
		{pkg: "encoding/json", tests: 593},
		{pkg: "compress/bzip2", data: true, tests: 4},
		{pkg: "text/template", data: true, tests: 59},
	}},
	{name: "concurrency", riscv: "rva20u64", limit: 20_000_000_000, tests: []goTest{
		{pkg: "sync", skip: "ExampleOnceValues", tests: 60},
		{pkg: "sync/atomic", tests: 103},
		{pkg: "internal/runtime/atomic", tests: 15},
		{pkg: "sort", tests: 81},
		{pkg: "slices", tests: 165},
		{pkg: "container/heap", tests: 9},
		{pkg: "strings", tests: 150},
		{pkg: "reflect", tests: 471},
	}},
	// An interpreter of WebAssembly on the assertions of its specification, and
	// so what the compiler makes of min and max, of signs, and of expressions.
	{name: "wasm", riscv: "rva20u64", limit: 20_000_000_000, tests: []goTest{{
		pkg: "./internal/integration_test/spectest/v1", module: "github.com/tetratelabs/wazero@v1.12.0",
		run: "TestInterpreter/^(f32|f64|float_|conversions|i32|i64|int_)", tests: 13_600,
	}}},
}

// Go's own tests, and those of a Go module, pass in the guest.
func TestGoTests(t *testing.T) {
	multiplier(t)
	for _, group := range goTests {
		t.Run(group.name, func(t *testing.T) {
			var script strings.Builder
			script.WriteString("ip link set lo up\n")
			for _, p := range group.tests {
				fmt.Fprintf(&script, "cd /%s; ./run -test.short -test.v -test.run='%s' -test.skip='%s' >/tmp/out 2>&1; status=$?\n", p.dir(), p.run, p.skip)
				fmt.Fprintf(&script, "[ $status = 0 ] || { grep -A9 -e '--- FAIL' /tmp/out | head -n 60; tail -n 30 /tmp/out; }\n")
				fmt.Fprintf(&script, "echo oracles: %s exits $status with $(grep -c '^ *--- PASS' /tmp/out) passed, up $(cut -d ' ' -f 1 /proc/uptime)\n", p.pkg)
			}
			out := guest{
				image: image.Small, memory: 512 << 20, script: script.String(),
				files: func(a *image.Archive) {
					for _, p := range group.tests {
						a.File(path.Join(p.dir(), "run"), 0o755, p.build(t, group.riscv))
						if p.data {
							p.addData(t, a)
						}
					}
				},
			}.run(t, group.limit)
			t.Log(out)
			for _, p := range group.tests {
				_, line, _ := strings.Cut(out, "oracles: "+p.pkg+" ")
				var status, passed int
				if _, err := fmt.Sscanf(line, "exits %d with %d passed", &status, &passed); err != nil {
					t.Errorf("%s: no result: %v", p.pkg, err)
				} else if status != 0 || passed < p.tests {
					t.Errorf("%s: exit status %d and %d tests passed; want 0, and at least %d", p.pkg, status, passed, p.tests)
				}
			}
		})
	}
}

// dir is where the program lies in the guest.
func (p goTest) dir() string { return path.Join("oracles", p.pkg) }

// build makes the test program for the guest.
func (p goTest) build(t *testing.T, riscv string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command("go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", file, p.pkg)
	if p.module != "" {
		cmd.Dir = p.download(t)
	}
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "GORISCV64="+riscv, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c %s for the guest: %v\n%s", p.pkg, err, out)
	}
	return read(t, file)
}

// download is the directory of the module in the module cache.
func (p goTest) download(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", p.module)
	cmd.Dir = t.TempDir() // our own go.mod does not have the module
	out, err := cmd.Output()
	var m struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	if err != nil {
		t.Fatalf("go mod download %s: %v", p.module, err)
	}
	return m.Dir
}

// addData adds the testdata of a package of the standard library.
func (p goTest) addData(t *testing.T, a *image.Archive) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src", p.pkg, "testdata")
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		a.File(path.Join(p.dir(), "testdata", filepath.ToSlash(rel)), 0o644, read(t, file))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
