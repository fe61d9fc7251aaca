package softfloat

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// The floating-point assertions of WebAssembly's specification, as the module
// below carries them. WebAssembly rounds to nearest and has no flags. Where it
// differs from RISC-V:
//   - a NaN result may be any canonical or quiet one: ours is always the
//     canonical one;
//   - min and max of a NaN are NaN, RISC-V takes the other operand: such
//     assertions are not compared;
//   - a truncation that does not fit traps: ours is invalid, and saturates;
//   - trunc_sat of a NaN is 0, RISC-V's is the largest number: such assertions
//     are not compared.
const (
	wasmModule = "github.com/tetratelabs/wazero@v1.12.0"
	wasmDir    = "internal/integration_test/spectest/v2/testdata"
)

type wasmValue struct {
	Type, Value string
}

// bits are the bits of a value; ok is false if it is one of the classes of NaN.
func (v wasmValue) bits() (bits uint64, ok bool) {
	bits, err := strconv.ParseUint(v.Value, 10, 64)
	return bits, err == nil
}

type wasmCommand struct {
	Type   string
	Line   int
	Action struct {
		Field string
		Args  []wasmValue
	}
	Expected []wasmValue
}

// A wasmFunction is ours for one of WebAssembly's. The result of 32 bits is
// zero-extended. It says no if the two are not meant to agree on the operands.
type wasmFunction func(a, b uint64) (r uint64, flags Flags, ok bool)

func wasm32(f func32) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		r, fl := f(uint32(a), uint32(b), RNE)
		return uint64(r), fl, true
	}
}

func wasm64(f func64) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		r, fl := f(a, b, RNE)
		return r, fl, true
	}
}

func wasmMinMax32(f func(a, b uint32) (uint32, Flags)) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		r, fl := f(uint32(a), uint32(b))
		return uint64(r), fl, !isNaN32(uint32(a)) && !isNaN32(uint32(b))
	}
}

func wasmMinMax64(f func(a, b uint64) (uint64, Flags)) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		r, fl := f(a, b)
		return r, fl, !isNaN64(a) && !isNaN64(b)
	}
}

// wasmCompare32 takes a comparison with its operands exchanged or its result
// inverted, as code for gt, ge and ne has it.
func wasmCompare32(f func(a, b uint32) (bool, Flags), exchange, invert bool) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		if exchange {
			a, b = b, a
		}
		r, fl := f(uint32(a), uint32(b))
		return b2u(r != invert), fl, true
	}
}

func wasmCompare64(f func(a, b uint64) (bool, Flags), exchange, invert bool) wasmFunction {
	return func(a, b uint64) (uint64, Flags, bool) {
		if exchange {
			a, b = b, a
		}
		r, fl := f(a, b)
		return b2u(r != invert), fl, true
	}
}

// wasmConvert is a conversion or a root in one rounding mode.
func wasmConvert[A, R word](f func(A, RoundingMode) (R, Flags), rm RoundingMode) wasmFunction {
	return func(a, _ uint64) (uint64, Flags, bool) {
		r, fl := f(A(a), rm)
		if _, word := any(r).(int32); word {
			return uint64(uint32(r)), fl, true
		}
		return uint64(r), fl, true
	}
}

func wasmExact[A word](f func(A) (uint64, Flags)) wasmFunction {
	return func(a, _ uint64) (uint64, Flags, bool) {
		r, fl := f(A(a))
		return r, fl, true
	}
}

// wasmRound32 rounds to an integral number by way of an integer, as code for
// floor, ceil, trunc and nearest does for numbers that fit.
func wasmRound32(rm RoundingMode) wasmFunction {
	return func(a, _ uint64) (uint64, Flags, bool) {
		if a&0x7fffffff >= (127+24)<<23 {
			return 0, 0, false
		}
		i, fl := F32ToI64(uint32(a), rm)
		r, _ := I64ToF32(i, RNE)
		return uint64(r)&0x7fffffff | a&(1<<31), fl, true
	}
}

func wasmRound64(rm RoundingMode) wasmFunction {
	return func(a, _ uint64) (uint64, Flags, bool) {
		if a&^(1<<63) >= (1023+53)<<52 {
			return 0, 0, false
		}
		i, fl := F64ToI64(a, rm)
		r, _ := I64ToF64(i, RNE)
		return r&^(1<<63) | a&(1<<63), fl, true
	}
}

var wasmF32 = map[string]wasmFunction{
	"add": wasm32(Add32), "sub": wasm32(Sub32), "mul": wasm32(Mul32), "div": wasm32(Div32),
	"min": wasmMinMax32(Min32), "max": wasmMinMax32(Max32), "sqrt": wasmConvert(Sqrt32, RNE),
	"eq": wasmCompare32(Eq32, false, false), "ne": wasmCompare32(Eq32, false, true),
	"lt": wasmCompare32(Lt32, false, false), "le": wasmCompare32(Le32, false, false),
	"gt": wasmCompare32(Lt32, true, false), "ge": wasmCompare32(Le32, true, false),
	"floor": wasmRound32(RDN), "ceil": wasmRound32(RUP), "trunc": wasmRound32(RTZ), "nearest": wasmRound32(RNE),
}

var wasmF64 = map[string]wasmFunction{
	"add": wasm64(Add64), "sub": wasm64(Sub64), "mul": wasm64(Mul64), "div": wasm64(Div64),
	"min": wasmMinMax64(Min64), "max": wasmMinMax64(Max64), "sqrt": wasmConvert(Sqrt64, RNE),
	"eq": wasmCompare64(Eq64, false, false), "ne": wasmCompare64(Eq64, false, true),
	"lt": wasmCompare64(Lt64, false, false), "le": wasmCompare64(Le64, false, false),
	"gt": wasmCompare64(Lt64, true, false), "ge": wasmCompare64(Le64, true, false),
	"floor": wasmRound64(RDN), "ceil": wasmRound64(RUP), "trunc": wasmRound64(RTZ), "nearest": wasmRound64(RNE),
}

var wasmTruncations = map[string]wasmFunction{
	"i32.%s_f32_s": wasmConvert(F32ToI32, RTZ), "i32.%s_f32_u": wasmConvert(F32ToU32, RTZ),
	"i64.%s_f32_s": wasmConvert(F32ToI64, RTZ), "i64.%s_f32_u": wasmConvert(F32ToU64, RTZ),
	"i32.%s_f64_s": wasmConvert(F64ToI32, RTZ), "i32.%s_f64_u": wasmConvert(F64ToU32, RTZ),
	"i64.%s_f64_s": wasmConvert(F64ToI64, RTZ), "i64.%s_f64_u": wasmConvert(F64ToU64, RTZ),
}

// wasmConversions are the functions of conversions.json and float_misc.json.
func wasmConversions() map[string]wasmFunction {
	m := map[string]wasmFunction{
		"f32.convert_i32_s": wasmConvert(I32ToF32, RNE), "f32.convert_i32_u": wasmConvert(U32ToF32, RNE),
		"f32.convert_i64_s": wasmConvert(I64ToF32, RNE), "f32.convert_i64_u": wasmConvert(U64ToF32, RNE),
		"f64.convert_i64_s": wasmConvert(I64ToF64, RNE), "f64.convert_i64_u": wasmConvert(U64ToF64, RNE),
		"f64.convert_i32_s": wasmExact(func(a int32) (uint64, Flags) { return I32ToF64(a), 0 }),
		"f64.convert_i32_u": wasmExact(func(a uint32) (uint64, Flags) { return U32ToF64(a), 0 }),
		"f32.demote_f64":    wasmConvert(F64ToF32, RNE),
		"f64.promote_f32":   wasmExact(F32ToF64),
	}
	for name, f := range wasmTruncations {
		m[fmt.Sprintf(name, "trunc")] = f
		m[fmt.Sprintf(name, "trunc_sat")] = f
	}
	for name, f := range wasmF32 {
		m["f32."+name] = f
	}
	for name, f := range wasmF64 {
		m["f64."+name] = f
	}
	return m
}

// check compares one assertion; compared is false if it is none of ours.
func (c *wasmCommand) check(functions map[string]wasmFunction) (compared bool, err error) {
	f := functions[c.Action.Field]
	if f == nil {
		return false, nil
	}
	var args [2]uint64
	nan := false
	for i, a := range c.Action.Args {
		var ok bool
		if args[i], ok = a.bits(); !ok {
			return false, fmt.Errorf("bad operand %q", a.Value)
		}
		nan = nan || a.Type == "f32" && isNaN32(uint32(args[i])) || a.Type == "f64" && isNaN64(args[i])
	}
	got, flags, ok := f(args[0], args[1])
	if !ok || len(c.Expected) != 1 {
		return false, nil
	}
	expected := c.Expected[0]
	truncates := expected.Type[0] == 'i' && c.Action.Args[0].Type[0] == 'f' && len(c.Action.Args) == 1
	if c.Type == "assert_trap" {
		if flags != NV {
			return true, fmt.Errorf("flags %02x; want invalid alone", flags)
		}
		return true, nil
	}
	if truncates && nan {
		return false, nil
	}
	want, number := expected.bits()
	switch {
	case !number && expected.Type == "f32":
		want = uint64(NaN32)
	case !number:
		want = NaN64
	}
	if got != want {
		return true, fmt.Errorf("got %x, want %x", got, want)
	}
	return true, nil
}

// Every function agrees with the assertions of WebAssembly's specification.
func TestWebAssembly(t *testing.T) {
	if os.Getenv("LOCKSTEP_ORACLES") == "" {
		t.Skip("LOCKSTEP_ORACLES is not set; with it this test downloads a Go module that has WebAssembly's assertions")
	}
	dir := filepath.Join(download(t, wasmModule), wasmDir)
	conversions := wasmConversions()
	for _, file := range []struct {
		name      string
		functions map[string]wasmFunction
		want      int
	}{
		{"f32", wasmF32, 2180}, {"f64", wasmF64, 2180}, {"f32_cmp", wasmF32, 2400}, {"f64_cmp", wasmF64, 2400},
		{"conversions", conversions, 483}, {"float_misc", conversions, 452},
	} {
		t.Run(file.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, file.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var script struct{ Commands []wasmCommand }
			if err := json.Unmarshal(text, &script); err != nil {
				t.Fatal(err)
			}
			cases, others := 0, map[string]int{}
			for i := range script.Commands {
				c := &script.Commands[i]
				if c.Type != "assert_return" && c.Type != "assert_trap" {
					continue
				}
				compared, err := c.check(file.functions)
				if err != nil {
					t.Errorf("line %d: %s %v: %v", c.Line, c.Action.Field, c.Action.Args, err)
				}
				if compared {
					cases++
				} else {
					others[c.Action.Field]++
				}
			}
			t.Logf("%d cases; not ours: %v", cases, others)
			if cases < file.want {
				t.Errorf("only %d cases; want at least %d", cases, file.want)
			}
		})
	}
}

// download is the directory of a module in the module cache.
func download(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // our own go.mod does not have the module
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v", module, err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil || m.Dir == "" {
		t.Fatalf("go mod download %s: unexpected answer %q", module, out)
	}
	return m.Dir
}
