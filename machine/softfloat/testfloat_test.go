package softfloat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/testfloat.gz from LOCKSTEP_TESTFLOAT")

// An operation is one of TestFloat's functions and ours.
type operation struct {
	name     string
	operands int
	rounds   bool // depends on the rounding mode
	call     func(a [3]uint64, rm RoundingMode) (uint64, Flags)
}

var testFloatModes = [...]string{RNE: "-rnear_even", RTZ: "-rminMag", RDN: "-rmin", RUP: "-rmax", RMM: "-rnear_maxMag"}

type (
	func32 = func(a, b uint32, rm RoundingMode) (uint32, Flags)
	func64 = func(a, b uint64, rm RoundingMode) (uint64, Flags)
)

func binary32(name string, f func32) operation {
	return operation{name, 2, true, func(a [3]uint64, rm RoundingMode) (uint64, Flags) {
		r, fl := f(uint32(a[0]), uint32(a[1]), rm)
		return uint64(r), fl
	}}
}

func binary64(name string, f func64) operation {
	return operation{name, 2, true, func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return f(a[0], a[1], rm) }}
}

func compare32(name string, f func(a, b uint32) (bool, Flags)) operation {
	return operation{name, 2, false, func(a [3]uint64, _ RoundingMode) (uint64, Flags) {
		r, fl := f(uint32(a[0]), uint32(a[1]))
		return b2u(r), fl
	}}
}

func compare64(name string, f func(a, b uint64) (bool, Flags)) operation {
	return operation{name, 2, false, func(a [3]uint64, _ RoundingMode) (uint64, Flags) {
		r, fl := f(a[0], a[1])
		return b2u(r), fl
	}}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

type word interface {
	int32 | uint32 | int64 | uint64
}

// unary wraps a conversion or a root. A signed word is compared as its 32 bits.
func unary[A, R word](name string, f func(A, RoundingMode) (R, Flags)) operation {
	return operation{name, 1, true, func(a [3]uint64, rm RoundingMode) (uint64, Flags) {
		r, fl := f(A(a[0]), rm)
		if _, word := any(r).(int32); word {
			return uint64(uint32(r)), fl
		}
		return uint64(r), fl
	}}
}

func exact[A word](name string, f func(A) (uint64, Flags)) operation {
	return operation{name, 1, false, func(a [3]uint64, _ RoundingMode) (uint64, Flags) { return f(A(a[0])) }}
}

var operations = []operation{
	binary32("f32_add", Add32), binary32("f32_sub", Sub32), binary32("f32_mul", Mul32), binary32("f32_div", Div32),
	binary64("f64_add", Add64), binary64("f64_sub", Sub64), binary64("f64_mul", Mul64), binary64("f64_div", Div64),
	compare32("f32_eq", Eq32), compare32("f32_lt", Lt32), compare32("f32_le", Le32),
	compare64("f64_eq", Eq64), compare64("f64_lt", Lt64), compare64("f64_le", Le64),
	unary("f32_sqrt", Sqrt32), unary("f64_sqrt", Sqrt64), unary("f64_to_f32", F64ToF32), exact("f32_to_f64", F32ToF64),
	unary("f32_to_i32", F32ToI32), unary("f32_to_ui32", F32ToU32), unary("f32_to_i64", F32ToI64), unary("f32_to_ui64", F32ToU64),
	unary("f64_to_i32", F64ToI32), unary("f64_to_ui32", F64ToU32), unary("f64_to_i64", F64ToI64), unary("f64_to_ui64", F64ToU64),
	unary("i32_to_f32", I32ToF32), unary("ui32_to_f32", U32ToF32), unary("i64_to_f32", I64ToF32), unary("ui64_to_f32", U64ToF32),
	exact("i32_to_f64", func(a int32) (uint64, Flags) { return I32ToF64(a), 0 }),
	exact("ui32_to_f64", func(a uint32) (uint64, Flags) { return U32ToF64(a), 0 }),
	unary("i64_to_f64", I64ToF64), unary("ui64_to_f64", U64ToF64),
	{"f32_mulAdd", 3, true, func(a [3]uint64, rm RoundingMode) (uint64, Flags) {
		r, fl := FMA32(uint32(a[0]), uint32(a[1]), uint32(a[2]), rm)
		return uint64(r), fl
	}},
	{"f64_mulAdd", 3, true, func(a [3]uint64, rm RoundingMode) (uint64, Flags) { return FMA64(a[0], a[1], a[2], rm) }},
}

// hexFields reads up to five fields of hexadecimal digits.
func hexFields(line []byte) (f [5]uint64, n int, err error) {
	inside := false
	for _, c := range line {
		var d byte
		switch {
		case c == ' ':
			inside = false
			continue
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return f, n, fmt.Errorf("bad line %q", line)
		}
		if !inside {
			if inside = true; n == len(f) {
				return f, n, fmt.Errorf("bad line %q", line)
			}
			n++
		}
		f[n-1] = f[n-1]<<4 | uint64(d)
	}
	return f, n, nil
}

// check runs one case: operands, result, flags.
func (op *operation) check(line []byte, rm RoundingMode) error {
	f, n, err := hexFields(line)
	if err != nil {
		return err
	}
	if n != op.operands+2 {
		return fmt.Errorf("%s: bad line %q", op.name, line)
	}
	got, flags := op.call([3]uint64(f[:3]), rm)
	if want, wantFlags := f[op.operands], Flags(f[op.operands+1]); got != want || flags != wantFlags {
		return fmt.Errorf("%s %s: %s: got %x, flags %02x", op.name, testFloatModes[rm], line, got, flags)
	}
	return nil
}

// modes are the rounding modes in which an operation is to be tested.
func (op *operation) modes() []RoundingMode {
	if !op.rounds {
		return []RoundingMode{RNE}
	}
	return []RoundingMode{RNE, RTZ, RDN, RUP, RMM}
}

// Every function agrees with a sample of the vectors of Berkeley TestFloat 3.
func TestTestFloatSample(t *testing.T) {
	if *update {
		writeSample(t)
	}
	file, err := os.Open("testdata/testfloat.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var op *operation
	var rm RoundingMode
	cases, sections := 0, 0
	for s := bufio.NewScanner(z); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "# "); ok {
			op, rm = section(t, name)
			sections++
			continue
		}
		cases++
		if err := op.check(s.Bytes(), rm); err != nil {
			t.Error(err)
		}
	}
	want := 0
	for i := range operations {
		want += len(operations[i].modes())
	}
	if sections != want || cases < 100*sections {
		t.Errorf("the sample has %d sections and %d cases; want %d sections", sections, cases, want)
	}
}

// section finds what the header "f64_add 3" of a sample stands for.
func section(t *testing.T, header string) (*operation, RoundingMode) {
	t.Helper()
	var name string
	var rm RoundingMode
	if _, err := fmt.Sscanf(header, "%s %d", &name, &rm); err != nil {
		t.Fatalf("bad header %q: %v", header, err)
	}
	for i := range operations {
		if operations[i].name == name {
			return &operations[i], rm
		}
	}
	t.Fatalf("unknown operation %q", name)
	return nil, 0
}

// generate hands each line of testfloat_gen to f.
func generate(t *testing.T, gen string, op *operation, rm RoundingMode, f func(line []byte)) {
	t.Helper()
	cmd := exec.Command(gen, "-level", "1", "-exact", "-tininessafter", testFloatModes[rm], op.name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Every function agrees with all of TestFloat's level 1.
func TestTestFloatLevel1(t *testing.T) {
	gen := os.Getenv("LOCKSTEP_TESTFLOAT")
	if gen == "" {
		t.Skip("LOCKSTEP_TESTFLOAT is not set; .ci/testfloat builds testfloat_gen and runs this test")
	}
	total := 0
	for i := range operations {
		op := &operations[i]
		cases, bad := 0, 0
		for _, rm := range op.modes() {
			generate(t, gen, op, rm, func(line []byte) {
				cases++
				if err := op.check(line, rm); err != nil {
					if bad++; bad <= 10 {
						t.Error(err)
					}
				}
			})
		}
		t.Logf("%-12s %9d cases, %d differ", op.name, cases, bad)
		// As many as TestFloat 3e has at least for so many operands.
		if want := len(op.modes()) * [...]int{1: 372, 2: 46_464, 3: 6_100_000}[op.operands]; cases < want {
			t.Errorf("%s: only %d cases; want at least %d", op.name, cases, want)
		}
		total += cases
	}
	t.Logf("%d cases", total)
}

// writeSample keeps about a hundred evenly spread cases of each operation and
// mode.
func writeSample(t *testing.T) {
	gen := os.Getenv("LOCKSTEP_TESTFLOAT")
	if gen == "" {
		t.Fatal("-update needs LOCKSTEP_TESTFLOAT")
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	for i := range operations {
		op := &operations[i]
		// A stride with no factor in common with the tables that the
		// generator walks, so that all operands occur.
		stride := [...]int{1: 3, 2: 367, 3: 49_999}[op.operands]
		for _, rm := range op.modes() {
			fmt.Fprintf(z, "# %s %d\n", op.name, rm)
			n := int(rm) * 7
			generate(t, gen, op, rm, func(line []byte) {
				if n++; n%stride == 0 {
					fmt.Fprintf(z, "%s\n", line)
				}
			})
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/testfloat.gz", out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
