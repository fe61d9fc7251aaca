package softfloat

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// glibc's results of MPFR (math/auto-libm-test-out-*). A line is
//
//	= function mode format operands : result : exceptions
//
// where the format may have conditions on operands behind a colon. Those of the
// narrowing functions say into which format the exact result of wider operands
// is rounded. Only lines of binary32 and binary64 concern us, and of those of
// narrowing functions only these:
//   - all operands are numbers of the result's format: then it is the ordinary
//     operation of that format;
//   - the result is binary32 and all operands are numbers of binary64: then it
//     is the binary64 operation rounded to odd (towards zero, and the last bit
//     set if that was inexact, so that no second rounding is wrong), followed
//     by F64ToF32.
type glibcCase struct {
	function string
	rm       RoundingMode
	single   bool // the result is binary32
	args     []*big.Float
	result   *big.Float
	flags    Flags
}

var glibcModes = map[string]RoundingMode{"tonearest": RNE, "towardzero": RTZ, "downward": RDN, "upward": RUP}

var glibcFlags = map[string]Flags{
	"inexact": NX, "underflow": UF, "overflow": OF, "divbyzero": DZ, "invalid": NV,
	// RISC-V detects tininess after rounding.
	"underflow:after-rounding": UF, "underflow:before-rounding": 0,
	// Exceptions, or their absence, in another format than ours.
	"underflow-ok:arg-ibm128": 0, "underflow-ok:arg-ibm128:before-rounding": 0, "xfail:ibm128-libgcc": 0,
	// errno is no business of an instruction.
	"errno-erange": 0, "errno-erange-ok": 0, "errno-erange-ok:before-rounding": 0, "errno-edom": 0, "errno-edom-ok": 0,
}

// parseGlibc returns nil for a line that is not of binary32 or binary64.
func parseGlibc(line string) (*glibcCase, error) {
	parts := strings.Split(strings.TrimPrefix(line, "= "), " :")
	if len(parts) != 3 {
		return nil, fmt.Errorf("bad line %q", line)
	}
	head := strings.Fields(parts[0])
	if len(head) < 4 {
		return nil, fmt.Errorf("bad line %q", line)
	}
	format, _, _ := strings.Cut(head[2], ":")
	if format != "binary32" && format != "binary64" {
		return nil, nil
	}
	c := &glibcCase{function: head[0], single: format == "binary32"}
	var known bool
	if c.rm, known = glibcModes[head[1]]; !known {
		return nil, fmt.Errorf("unknown rounding mode in %q", line)
	}
	for _, s := range append(head[3:], strings.TrimSpace(parts[1])) {
		f, err := parseGlibcNumber(s)
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, line)
		}
		c.args = append(c.args, f)
	}
	c.args, c.result = c.args[:len(c.args)-1], c.args[len(c.args)-1]
	for _, s := range strings.Fields(parts[2]) {
		flag, known := glibcFlags[s]
		if !known {
			return nil, fmt.Errorf("unknown exception %q in %q", s, line)
		}
		c.flags |= flag
	}
	return c, nil
}

func parseGlibcNumber(s string) (*big.Float, error) {
	switch s {
	case "plus_infty":
		return new(big.Float).SetInf(false), nil
	case "minus_infty":
		return new(big.Float).SetInf(true), nil
	}
	// More bits than the longest operand of any format has.
	f, _, err := big.ParseFloat(s, 0, 40_000, big.ToZero)
	return f, err
}

func exact32(f *big.Float) (uint32, bool) {
	v, accuracy := f.Float32()
	return math.Float32bits(v), accuracy == big.Exact
}

func exact64(f *big.Float) (uint64, bool) {
	v, accuracy := f.Float64()
	return math.Float64bits(v), accuracy == big.Exact
}

// operands turns all arguments into encodings, if they are numbers of the format.
func operands[U any](args []*big.Float, exact func(*big.Float) (U, bool)) (enc [3]U, ok bool) {
	for i, a := range args {
		if enc[i], ok = exact(a); !ok {
			return enc, false
		}
	}
	return enc, true
}

var glibc32 = map[string]func(a [3]uint32, rm RoundingMode) (uint32, Flags){
	"add":  func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return Add32(a[0], a[1], rm) },
	"sub":  func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return Sub32(a[0], a[1], rm) },
	"mul":  func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return Mul32(a[0], a[1], rm) },
	"div":  func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return Div32(a[0], a[1], rm) },
	"sqrt": func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return Sqrt32(a[0], rm) },
	"fma":  func(a [3]uint32, rm RoundingMode) (uint32, Flags) { return FMA32(a[0], a[1], a[2], rm) },
}

var glibc64 = map[string]func(a [3]uint64, rm RoundingMode) (uint64, Flags){
	"add":  func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return Add64(a[0], a[1], rm) },
	"sub":  func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return Sub64(a[0], a[1], rm) },
	"mul":  func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return Mul64(a[0], a[1], rm) },
	"div":  func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return Div64(a[0], a[1], rm) },
	"sqrt": func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return Sqrt64(a[0], rm) },
	"fma":  func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return FMA64(a[0], a[1], a[2], rm) },
}

// glibcOdd rounds the binary64 operation to odd. The sign of an exact zero sum
// is the only thing that the real rounding mode decides.
func glibcOdd(function string, a [3]uint64, rm RoundingMode) uint64 {
	f := glibc64[function]
	if r, flags := f(a, rm); flags == 0 {
		return r
	}
	r, _ := f(a, RTZ)
	return r | 1
}

// A way is how a line could be compared.
type way int

const (
	notOurs  way = iota // operands that no operation of ours takes
	same                // the operation of the result's format
	narrowed            // the binary64 operation rounded to odd, then F64ToF32
)

func (c *glibcCase) check() (way, error) {
	if c.single {
		want, ok := exact32(c.result)
		if !ok {
			return notOurs, errors.New("the result is no binary32")
		}
		if a, ok := operands(c.args, exact32); ok {
			got, flags := glibc32[c.function](a, c.rm)
			if got != want || flags != c.flags {
				return same, fmt.Errorf("binary32: got %08x, flags %02x; want %08x, flags %02x", got, flags, want, c.flags)
			}
			return same, nil
		}
		a, ok := operands(c.args, exact64)
		if !ok {
			return notOurs, nil
		}
		wide := glibcOdd(c.function, a, c.rm)
		got, flags := F64ToF32(wide, c.rm)
		if got != want || flags != c.flags {
			return narrowed, fmt.Errorf("binary64 %016x narrowed: got %08x, flags %02x; want %08x, flags %02x", wide, got, flags, want, c.flags)
		}
		return narrowed, nil
	}
	want, ok := exact64(c.result)
	if !ok {
		return notOurs, errors.New("the result is no binary64")
	}
	a, ok := operands(c.args, exact64)
	if !ok {
		return notOurs, nil
	}
	got, flags := glibc64[c.function](a, c.rm)
	if got != want || flags != c.flags {
		return same, fmt.Errorf("binary64: got %016x, flags %02x; want %016x, flags %02x", got, flags, want, c.flags)
	}
	return same, nil
}

// Every function agrees with the results that MPFR gave to glibc.
func TestGlibc(t *testing.T) {
	dir := os.Getenv("LOCKSTEP_GLIBC")
	if dir == "" {
		t.Skip("LOCKSTEP_GLIBC is not set; .ci/oracles fetches glibc's results and runs this test")
	}
	// As many as glibc 2.41 has.
	for _, file := range []struct {
		name string
		want [3]int
	}{
		{"fma", [3]int{same: 1676}}, {"sqrt", [3]int{same: 1164}},
		{"narrow-add", [3]int{same: 2136, narrowed: 992}}, {"narrow-sub", [3]int{same: 2136, narrowed: 992}},
		{"narrow-mul", [3]int{same: 1512, narrowed: 712}}, {"narrow-div", [3]int{same: 1748, narrowed: 860}},
		{"narrow-fma", [3]int{same: 1676, narrowed: 860}}, {"narrow-sqrt", [3]int{same: 1164, narrowed: 244}},
	} {
		t.Run(file.name, func(t *testing.T) {
			got := checkGlibc(t, filepath.Join(dir, "auto-libm-test-out-"+file.name))
			t.Logf("%d cases, %d more by way of binary64; %d of operands that are not ours", got[same], got[narrowed], got[notOurs])
			for w := same; w <= narrowed; w++ {
				if got[w] < file.want[w] {
					t.Errorf("only %d cases; want at least %d", got[w], file.want[w])
				}
			}
		})
	}
}

func checkGlibc(t *testing.T, name string) (count [3]int) {
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bad := 0
	s := bufio.NewScanner(file)
	for s.Scan() {
		if !strings.HasPrefix(s.Text(), "= ") {
			continue // the question that the following lines answer
		}
		c, err := parseGlibc(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			continue
		}
		w, err := c.check()
		count[w]++
		if err != nil {
			if bad++; bad <= 10 {
				t.Errorf("%v: %s", err, s.Text())
			}
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if bad > 0 {
		t.Errorf("%d cases differ", bad)
	}
	return count
}
