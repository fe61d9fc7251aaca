package asm

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// insn is the encoding at an offset of the assembled bytes.
func insn(b []byte, at int) uint32 {
	if b[at]&3 != 3 {
		return uint32(binary.LittleEndian.Uint16(b[at:]))
	}
	return binary.LittleEndian.Uint32(b[at:])
}

func TestEncodings(t *testing.T) {
	for _, e := range encodings {
		p := New(0x1000)
		e.emit(p)
		if got := insn(p.Bytes(), 0); got != e.want {
			t.Errorf("%s: %08x, want %08x", e.text, got, e.want)
		}
	}
}

func TestJumps(t *testing.T) {
	for _, e := range jumps {
		p := New(0x10000000)
		at := 0
		if e.distance < 0 {
			p.Label("x")
			p.Space(-e.distance)
			at = -e.distance
		}
		e.emit(p)
		if e.distance > 0 {
			p.Space(e.distance - len(p.buf))
			p.Label("x")
		}
		if got := insn(p.Bytes(), at); got != e.want {
			t.Errorf("%s: %08x, want %08x", e.text, got, e.want)
		}
	}
}

// Every method that is an instruction is in one of the tables: a table that
// lacks one would prove nothing about it.
func TestTablesAreComplete(t *testing.T) {
	directives := "PC Label Addr Bytes ELF Raw32 Raw16 Byte Half Word Dword Space Align AqRl LI LA CALL J BEQZ BNEZ"
	source, err := os.ReadFile("encodings_test.go")
	if err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[*Program]()
	for i := range typ.NumMethod() {
		name := typ.Method(i).Name
		if !strings.Contains(" "+directives+" ", " "+name+" ") && !strings.Contains(string(source), "p."+name+"(") {
			t.Errorf("%s is in no table", name)
		}
	}
}

// LI loads every constant: its code is run on a model of its four
// instructions.
func TestLI(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Int64().Draw(t, "value")
		switch rapid.IntRange(0, 3).Draw(t, "shape") {
		case 1:
			want = want >> rapid.IntRange(0, 63).Draw(t, "shift")
		case 2:
			want = want << rapid.IntRange(0, 63).Draw(t, "shift")
		case 3:
			want = want&3 - 2 + 1<<rapid.IntRange(0, 63).Draw(t, "bit")
		}
		p := New(0)
		p.LI(T6, want)
		if len(p.buf) > 8*4 {
			t.Fatalf("LI %#x takes %d instructions", want, len(p.buf)/4)
		}
		if got := runConstant(t, p.Bytes()); got != want {
			t.Fatalf("LI %#x loads %#x", want, got)
		}
	})
}

// runConstant executes LUI, ADDI, ADDIW and SLLI on one register.
func runConstant(t *rapid.T, code []byte) (x int64) {
	for at := 0; at < len(code); at += 4 {
		in := insn(code, at)
		imm := int64(int32(in)) >> 20
		first := x
		if in>>15&31 == 0 {
			first = 0
		}
		switch in & 0x707f {
		case opImm:
			x = first + imm
		case opImm32:
			x = int64(int32(first + imm))
		case opImm | 1<<12:
			x = first << (imm & 63)
		default:
			if in&0x7f != opLUI {
				t.Fatalf("unexpected instruction %08x", in)
			}
			x = int64(int32(in &^ 0xfff))
		}
	}
	return x
}

// LA and CALL reach their label, forward and backward, with either sign of the
// low part.
func TestPCRelative(t *testing.T) {
	for _, distance := range []int{-0x1900, -0x1000, -0x801, -0x800, 8, 0x7fe, 0x800, 0x802, 0x12345678 >> 8 << 1} {
		p := New(0x80000000)
		at := 0
		if distance < 0 {
			p.Label("x")
			p.Space(-distance)
			at = -distance
		}
		p.LA(A0, "x")
		if distance > 0 {
			p.Space(distance - 8)
			p.Label("x")
		}
		b := p.Bytes()
		got := int64(int32(insn(b, at)&^0xfff)) + int64(int32(insn(b, at+4)))>>20
		if got != int64(distance) {
			t.Errorf("LA over %#x adds %#x", distance, got)
		}
	}
}

func TestMistakesPanic(t *testing.T) {
	for name, mistake := range map[string]func(p *Program){
		"missing label":        func(p *Program) { p.J("nowhere"); p.Bytes() },
		"label twice":          func(p *Program) { p.Label("x"); p.Label("x") },
		"immediate":            func(p *Program) { p.ADDI(A0, A0, 2048) },
		"compressed register":  func(p *Program) { p.CSUB(T0, A0) },
		"misaligned offset":    func(p *Program) { p.CLD(A0, 4, A1) },
		"branch out of reach":  func(p *Program) { p.Label("x"); p.Space(4098); p.BEQZ(A0, "x"); p.Bytes() },
		"AqRl without an AMO":  func(p *Program) { p.NOP(); p.AqRl(true, true) },
		"shift amount too big": func(p *Program) { p.SLLIW(A0, A0, 32) },
	} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.HasPrefix(r, "asm: ") {
					t.Errorf("%s: recovered %q, want a panic that says asm:", name, r)
				}
			}()
			mistake(New(0))
		}()
	}
}

func TestAqRl(t *testing.T) {
	p := New(0)
	p.AMOADDW(A0, A1, A2)
	p.AqRl(true, true)
	if got := insn(p.Bytes(), 0); got != 0x06b6252f {
		t.Errorf("amoadd.w.aqrl a0,a1,(a2): %08x", got)
	}
}

// The tables themselves agree with the binutils of this machine.
func TestTablesAgainstBinutils(t *testing.T) {
	as, err := exec.LookPath("riscv64-linux-gnu-as")
	if err != nil {
		t.Skip("riscv64-linux-gnu-as is not installed (package binutils-riscv64-linux-gnu)")
	}
	dir := t.TempDir()
	var text strings.Builder
	var want []byte
	for _, e := range encodings {
		size := 4
		option := "norvc"
		if strings.HasPrefix(e.text, "c.") {
			option, size = "rvc", 2
		}
		text.WriteString(".option " + option + "\n" + e.text + "\n")
		want = append(want, binary.LittleEndian.AppendUint32(nil, e.want)[:size]...)
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	object, raw := filepath.Join(dir, "t.o"), filepath.Join(dir, "t.bin")
	if err := os.WriteFile(filepath.Join(dir, "t.s"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run(as, "-march=rv64gc_zba_zbb_zbs_zicsr_zifencei_zicbom_zicboz_zawrs_svinval", "-mno-csr-check", filepath.Join(dir, "t.s"), "-o", object)
	run("riscv64-linux-gnu-objcopy", "-O", "binary", "-j", ".text", object, raw)
	got, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("binutils assemble the tables to other bytes")
	}
}
