package guests

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
)

// Programs of another compiler than Go's compute in the guest what the host can
// compute too: busybox's digests and its gunzip, and awk on doubles.

// sample is text that compresses a little.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = "etaoin shrdlu\n\x00\xff"[min(r.IntN(16), r.IntN(16))]
	}
	return b
}

// Busybox unpacks what the host has packed, and gets the host's digests of it.
func TestBusyboxDigests(t *testing.T) {
	data := sample(1 << 20)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"md5sum":           fmt.Sprintf("%x", md5.Sum(data)),
		"sha1sum":          fmt.Sprintf("%x", sha1.Sum(data)),
		"sha256sum":        fmt.Sprintf("%x", sha256.Sum256(data)),
		"sha512sum":        fmt.Sprintf("%x", sha512.Sum512(data)),
		"sha3sum -a 256":   fmt.Sprintf("%x", sha3.Sum256(data)),
		"wc -c":            strconv.Itoa(len(data)),
		"gzip | sha256sum": fmt.Sprintf("%x", sha256.Sum256(data)),
	}
	out := guest{
		image: image.Small, memory: 128 << 20,
		files: func(a *image.Archive) { a.File("sample.gz", 0o644, packed.Bytes()) },
		script: `set -e
gunzip -c /sample.gz >/tmp/sample
for c in md5sum sha1sum sha256sum sha512sum 'sha3sum -a 256' 'wc -c'; do echo "oracles: $c: $($c </tmp/sample | cut -d ' ' -f 1)"; done
echo "oracles: gzip | sha256sum: $(gzip </tmp/sample | gunzip | sha256sum | cut -d ' ' -f 1)"`,
	}.run(t, 3_000_000_000)
	for name, digest := range want {
		if line := "oracles: " + name + ": " + digest + "\n"; !strings.Contains(out, line) {
			t.Errorf("the guest printed no %q:\n%s", line, out)
		}
	}
}

// awkCases is how many pairs of numbers awk computes with.
const awkCases = 2000

// awkScript prints sum, difference, product, quotient, and a square plus a
// number, of doubles that come from a generator which is exact in doubles.
const awkScript = `awk 'BEGIN {
	x = 1
	for (i = 0; i < ` + "%d" + `; i++) {
		x = x * 16807 %% 2147483647; a = x / 3 - 300000000
		x = x * 16807 %% 2147483647; b = x / 7e12 + 1e-9
		printf "%%.17g %%.17g %%.17g %%.17g %%.17g\n", a + b, a - b, a * b, a / b, a * a + b
	}
}'`

// Awk gets the host's results, to the last bit.
func TestAwkArithmetic(t *testing.T) {
	out := guest{image: image.Small, memory: 128 << 20, script: fmt.Sprintf(awkScript, awkCases)}.run(t, 3_000_000_000)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != awkCases {
		t.Fatalf("awk printed %d lines; want %d:\n%s", len(lines), awkCases, tail(out))
	}
	x, bad := 1.0, 0
	for i, line := range lines {
		// A conversion keeps the compiler from fusing operations.
		x = math.Mod(float64(x*16807), 2147483647)
		a := float64(x/3) - 300000000
		x = math.Mod(float64(x*16807), 2147483647)
		b := float64(x/7e12) + 1e-9
		fields := strings.Fields(line)
		for j, want := range []float64{a + b, a - b, float64(a * b), a / b, float64(a*a) + b} {
			if j >= len(fields) {
				t.Fatalf("line %d is %q", i+1, line)
			}
			if got, err := strconv.ParseFloat(fields[j], 64); err != nil || got != want {
				if bad++; bad <= 10 {
					t.Errorf("line %d, result %d is %s; want %.17g", i+1, j+1, fields[j], want)
				}
			}
		}
	}
	t.Logf("%d results", 5*len(lines))
}
