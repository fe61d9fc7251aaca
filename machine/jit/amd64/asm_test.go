package amd64

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

// Names of registers by their width in bytes.
var regNames = map[int][]string{
	8: strings.Fields("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15"),
	4: strings.Fields("eax ecx edx ebx esp ebp esi edi r8d r9d r10d r11d r12d r13d r14d r15d"),
	2: strings.Fields("ax cx dx bx sp bp si di r8w r9w r10w r11w r12w r13w r14w r15w"),
	1: strings.Fields("al cl dl bl spl bpl sil dil r8b r9b r10b r11b r12b r13b r14b r15b"),
}

var pointers = map[int]string{8: "qword ptr ", 4: "dword ptr ", 2: "word ptr ", 1: "byte ptr "}

// text is an operand of n bytes as a disassembler shows it.
func (o operand) text(n int) string {
	switch {
	case o.vector:
		return fmt.Sprintf("xmm%d", o.reg)
	case !o.mem:
		return regNames[n][o.reg]
	}
	s := regNames[8][o.reg]
	if o.index != RSP {
		s += "+" + regNames[8][o.index]
	}
	switch {
	case o.disp < 0 && o.disp >= -128:
		s += fmt.Sprintf("-%#x", -o.disp)
	case o.disp != 0: // x86asm shows 32 bits without their sign
		s += fmt.Sprintf("+%#x", uint32(o.disp))
	}
	return pointers[n] + "[" + s + "]"
}

func (w size) bytes() int { return 4 << w }

// corners are operands of every shape: every register, every base and index,
// and displacements on both sides of each border.
func corners() (regs, mems []operand) {
	for r := RAX; r <= R15; r++ {
		regs = append(regs, reg(r))
		for _, disp := range []int32{0, 1, -1, 127, -128, 128, -129, 1<<31 - 1, -1 << 31} {
			mems = append(mems, mem(r, disp))
		}
		for i := RAX; i <= R15; i++ {
			if i != RSP {
				mems = append(mems, memIndex(r, i, 0), memIndex(r, i, -128), memIndex(r, i, 0x12345))
			}
		}
	}
	return regs, mems
}

// checker compares what the assembler emits with what a disassembler reads.
type checker struct {
	testing.TB
	assembler
	n int
}

func (c *checker) is(emit func(), format string, args ...any) {
	c.Helper()
	c.buf = c.buf[:0]
	emit()
	want := fmt.Sprintf(format, args...)
	in, err := x86asm.Decode(c.buf, 64)
	if err != nil {
		c.Fatalf("% x, meant as %s: %v", c.buf, want, err)
	}
	if got := x86asm.IntelSyntax(in, 0, nil); got != want || in.Len != len(c.buf) {
		c.Fatalf("% x is %s (%d bytes of it), want %s", c.buf, got, in.Len, want)
	}
	c.n++
}

// Every instruction of the assembler is read as what it is meant to be, by a
// disassembler that is not ours.
func TestInstructions(t *testing.T) {
	c := &checker{TB: t}
	regs, mems := corners()
	both := append(append([]operand{}, regs...), mems...)
	immediates := []int32{0, 1, -1, 127, -128, 128, -129, 1<<31 - 1, -1 << 31}
	alu := map[aluOp]string{aluADD: "add", aluOR: "or", aluAND: "and", aluSUB: "sub", aluXOR: "xor", aluCMP: "cmp"}
	shifts := map[shiftOp]string{shiftROL: "rol", shiftROR: "ror", shiftSHL: "shl", shiftSHR: "shr", shiftSAR: "sar"}
	for _, w := range []size{l, q} {
		n := w.bytes()
		for _, o := range both {
			text := o.text(n)
			for r := RAX; r <= R15; r++ {
				name := regNames[n][r]
				for op, mnemonic := range alu {
					c.is(func() { c.alu(op, w, r, o) }, "%s %s, %s", mnemonic, name, text)
					if o.mem {
						c.is(func() { c.aluTo(op, w, o, r) }, "%s %s, %s", mnemonic, text, name)
					}
				}
				c.is(func() { c.test(w, o, r) }, "test %s, %s", text, name)
				c.is(func() { c.imul(w, r, o) }, "imul %s, %s", name, text)
				if o.mem || o.reg != r {
					c.is(func() { c.mov(w, r, o) }, "mov %s, %s", name, text)
				}
				if o.mem {
					c.is(func() { c.movTo(w, o, r) }, "mov %s, %s", text, name)
				}
			}
			for op, mnemonic := range alu {
				for _, v := range immediates {
					c.is(func() { c.aluImm(op, w, o, v) }, "%s %s, %s", mnemonic, text, immediate(v, w))
				}
			}
			for _, v := range immediates {
				c.is(func() { c.testImm(w, o, v) }, "test %s, %s", text, immediate(v, w))
			}
			for op, mnemonic := range shifts {
				c.is(func() { c.shiftImm(op, w, o, 3) }, "%s %s, 0x3", mnemonic, text)
				c.is(func() { c.shiftCL(op, w, o) }, "%s %s, cl", mnemonic, text)
			}
			for op, mnemonic := range map[byte]string{
				wideNOT: "not", wideNEG: "neg", wideMUL: "mul", wideIMUL: "imul", wideDIV: "div", wideIDIV: "idiv",
			} {
				c.is(func() { c.wide(w, op, o) }, "%s %s", mnemonic, text)
			}
		}
	}
	t.Logf("%d instructions", c.n)
}

// immediate is a number as the disassembler shows it for an operand's width.
func immediate(v int32, w size) string {
	if v >= 0 {
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprintf("-%#x", -int64(v))
}

func TestMoves(t *testing.T) {
	c := &checker{TB: t}
	regs, mems := corners()
	both := append(append([]operand{}, regs...), mems...)
	for _, o := range both {
		for r := RAX; r <= R15; r++ {
			for n, sign := range map[int]string{1: "movsx", 2: "movsx", 4: "movsxd"} {
				c.is(func() { c.extend(r, o, n, true) }, "%s %s, %s", sign, regNames[8][r], o.text(n))
			}
			c.is(func() { c.extend(r, o, 1, false) }, "movzx %s, %s", regNames[4][r], o.text(1))
			c.is(func() { c.extend(r, o, 2, false) }, "movzx %s, %s", regNames[4][r], o.text(2))
			c.is(func() { c.extend(r, o, 4, false) }, "mov %s, %s", regNames[4][r], o.text(4))
			if o.mem {
				for _, n := range []int{1, 2, 4, 8} {
					c.is(func() { c.store(o, r, n) }, "mov %s, %s", o.text(n), regNames[n][r])
				}
				c.is(func() { c.lea(r, o) }, "lea %s, %s", regNames[8][r], strings.TrimPrefix(o.text(8), "qword "))
			}
		}
		if o.mem {
			c.is(func() { c.movImm(o, -5) }, "mov %s, -0x5", o.text(8))
			c.is(func() { c.movImm32(o, 0x12345678) }, "mov %s, 0x12345678", o.text(4))
			c.is(func() { c.setByte(o, 0x12) }, "mov %s, 0x12", o.text(1))
			c.is(func() { c.clearByte(o) }, "mov %s, 0x0", o.text(1))
			c.is(func() { c.cmpByte(o, 0x12) }, "cmp %s, 0x12", o.text(1))
			c.is(func() { c.jmpTo(o) }, "jmp %s", o.text(8))
			c.is(func() { c.op(0, l, []byte{0x0f, 0xae}, 2, o, false) }, "ldmxcsr %s", o.text(4))
			c.is(func() { c.op(0, l, []byte{0x0f, 0xae}, 3, o, false) }, "stmxcsr %s", o.text(4))
		}
	}
	for r := RAX; r <= R15; r++ {
		o := reg(r)
		c.is(func() { c.movImm(o, 0) }, "xor %s, %[1]s", o.text(4))
		for _, v := range []uint32{1, 0x7f, 0x7fffffff, 0x80000000, 0xffffffff} {
			c.is(func() { c.movImm(o, int64(v)) }, "mov %s, %s", o.text(4), x86Imm32(v))
		}
		for _, v := range []int32{-1, -0x80, -0x80000000} {
			c.is(func() { c.movImm(o, int64(v)) }, "mov %s, %s", o.text(8), immediate(v, q))
		}
		for _, v := range []int64{1 << 32, 0x123456789abcdef} {
			c.is(func() { c.movImm(o, v) }, "mov %s, %#x", o.text(8), v)
		}
		names := map[cond]string{
			condO: "o", condB: "b", condAE: "nb", condE: "z", condNE: "nz", condBE: "be", condA: "nbe", condS: "s",
			condNS: "ns", condP: "p", condNP: "np", condL: "l", condGE: "nl", condLE: "le", condG: "nle",
		}
		for k, name := range names {
			c.is(func() { c.set(k, r) }, "set%s %s", name, o.text(1))
			for _, w := range []size{l, q} {
				c.is(func() { c.cmov(k, w, RCX, o) }, "cmov%s %s, %s", name, regNames[w.bytes()][RCX], o.text(w.bytes()))
				c.is(func() { c.cmov(k, w, r, reg(R9)) }, "cmov%s %s, %s", name, o.text(w.bytes()), regNames[w.bytes()][R9])
			}
			c.is(func() { c.aim(c.jcc(k), 0x1006) }, "j%s .+0x1000", name)
		}
		for n, name := range map[byte]string{bitSet: "bts", bitReset: "btr", bitComplement: "btc"} {
			c.is(func() { c.op(0, q, []byte{0x0f, 0xba}, Reg(n), o, false); c.b(40) }, "%s %s, 0x28", name, o.text(8))
			c.is(func() { c.op(0, q, []byte{0x0f, 0x83 | n<<3}, RCX, o, false) }, "%s %s, rcx", name, o.text(8))
		}
		for code, name := range map[byte]string{0xb8: "popcnt", 0xbd: "lzcnt", 0xbc: "tzcnt"} {
			for _, w := range []size{l, q} {
				c.is(func() { c.op(0xf3, w, []byte{0x0f, code}, RAX, o, false) }, "%s %s, %s", name, regNames[w.bytes()][RAX], o.text(w.bytes()))
			}
		}
	}
	c.is(func() { c.aim(c.jmp(), 5-0x80) }, "jmp .-0x80")
	c.is(func() { c.land(c.jmp()) }, "jmp .+0x0")
	c.is(c.ret, "ret")
	c.is(func() { c.signRAX(l) }, "cdq")
	c.is(func() { c.signRAX(q) }, "cqo")
	t.Logf("%d instructions", c.n)
}

// x86Imm32 is how the disassembler shows a move of 32 bits that are extended
// with zeros.
func x86Imm32(v uint32) string {
	if int32(v) < 0 {
		return fmt.Sprintf("-%#x", -int64(int32(v)))
	}
	return fmt.Sprintf("%#x", v)
}

// A vexForm is an instruction of the vector unit, as the emitter makes it and
// as GNU as takes it.
type vexForm struct {
	emit func(e *Emitter)
	text string
}

// vexForms are all forms that blocks use, over registers and addresses.
func vexForms() (forms []vexForm) {
	add := func(emit func(e *Emitter), format string, args ...any) {
		forms = append(forms, vexForm{emit, fmt.Sprintf(format, args...)})
	}
	var sources []operand
	for x := range XMM(16) {
		sources = append(sources, xmm(x))
	}
	for r := RAX; r <= R15; r++ {
		sources = append(sources, mem(r, 0), mem(r, -128), mem(r, 0x1234), memIndex(RBX, r&^RSP, 8), memIndex(r, R9, 0x1000))
	}
	for i, s := range sources {
		d, a := XMM(i%16), XMM(i*7%16)
		for _, p := range []precision{single, double} {
			suffix := map[int]string{4: "s", 8: "d"}[p.bytes]
			for code, name := range map[byte]string{
				sseADD: "add", sseSUB: "sub", sseMUL: "mul", sseDIV: "div", sseMIN: "min", sseMAX: "max", sseSQRT: "sqrt",
			} {
				add(func(e *Emitter) { e.vex(p.scalar, 1, l, code, d, a, s) }, "v%ss%s xmm%d, xmm%d, %s", name, suffix, d, a, s.text(p.bytes))
			}
			other := map[string]string{"s": "d", "d": "s"}[suffix]
			add(func(e *Emitter) { e.vex(p.scalar, 1, l, sseBetween, d, a, s) }, "vcvts%s2s%s xmm%d, xmm%d, %s", suffix, other, d, a, s.text(p.bytes))
			add(func(e *Emitter) { e.vex(p.packed, 1, l, sseUCOM, d, 0, s) }, "vucomis%s xmm%d, %s", suffix, d, s.text(p.bytes))
			add(func(e *Emitter) { e.vex(p.packed, 1, l, sseCOM, d, 0, s) }, "vcomis%s xmm%d, %s", suffix, d, s.text(p.bytes))
			for code, name := range map[byte]string{0xb9: "fmadd", 0xbb: "fmsub", 0xbd: "fnmadd", 0xbf: "fnmsub"} {
				add(func(e *Emitter) { e.vex(pp66, 2, p.wide, code, d, a, s) }, "v%s231s%s xmm%d, xmm%d, %s", name, suffix, d, a, s.text(p.bytes))
			}
			for w := l; w <= q; w++ {
				for code, name := range map[byte]string{sseToI: "cvt", sseToIT: "cvtt"} {
					add(func(e *Emitter) { e.vexRaw(p.scalar, 1, w, code, Reg(i%16), 15, s) }, "v%ss%s2si %s, %s", name, suffix, regNames[w.bytes()][i%16], s.text(p.bytes))
				}
				r := reg(Reg(i % 16))
				add(func(e *Emitter) { e.vex(p.scalar, 1, w, sseFromI, d, a, r) }, "vcvtsi2s%s xmm%d, xmm%d, %s", suffix, d, a, r.text(w.bytes()))
			}
		}
		if s.vector {
			add(func(e *Emitter) { e.vex(ppNone, 1, l, sseMove, d, 0, s) }, "vmovaps xmm%d, %s", d, s.text(0))
			add(func(e *Emitter) { e.vex(pp66, 1, l, 0x76, d, a, s) }, "vpcmpeqd xmm%d, xmm%d, %s", d, a, s.text(0))
			for r := RAX; r <= R15; r++ {
				add(func(e *Emitter) { e.fromReg(XMM(i), r) }, "vmovq xmm%d, %s", i, regNames[8][r])
				add(func(e *Emitter) { e.toReg(r, XMM(i)) }, "vmovq %s, xmm%d", regNames[8][r], i)
			}
		} else {
			add(func(e *Emitter) { e.vLoad(d, s) }, "vmovsd xmm%d, %s", d, s.text(8))
			add(func(e *Emitter) { e.vStore(s, d) }, "vmovsd %s, xmm%d", s.text(8), d)
		}
	}
	return forms
}

// vexSum is the hash of what GNU as 2.40 makes of the texts.
const vexSum = "d9640c4946d87d2722194763f6eeb8a1"

// Instructions of the vector unit are those of GNU as, or of its hash where
// there is no such program.
func TestVectorInstructions(t *testing.T) {
	forms := vexForms()
	slices.SortFunc(forms, func(a, b vexForm) int { return strings.Compare(a.text, b.text) })
	e := &Emitter{}
	var source strings.Builder
	source.WriteString(".intel_syntax noprefix\n")
	for _, f := range forms {
		f.emit(e)
		source.WriteString("{vex3} " + f.text + "\n")
	}
	if sum := sha256.Sum256(e.buf); hex.EncodeToString(sum[:16]) != vexSum {
		t.Errorf("the hash is %x", sum[:16])
	}
	as, err := exec.LookPath("as")
	if err != nil {
		citest.Unable(t, err)
	}
	dir := t.TempDir()
	in, obj, out := filepath.Join(dir, "in.s"), filepath.Join(dir, "in.o"), filepath.Join(dir, "in.bin")
	if err := os.WriteFile(in, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(as, "--64", "-o", obj, in).CombinedOutput(); err != nil {
		t.Fatalf("%v: %.2000s", err, msg)
	}
	if msg, err := exec.Command("objcopy", "-O", "binary", "-j", ".text", obj, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, f := range forms {
		e.buf = e.buf[:0]
		f.emit(e)
		n := len(e.buf)
		if at+n > len(want) || !bytes.Equal(e.buf, want[at:at+n]) {
			t.Fatalf("%s is % x, want % x", f.text, e.buf, want[at:min(at+n+4, len(want))])
		}
		at += n
	}
	if at != len(want) {
		t.Errorf("%d bytes, want %d", at, len(want))
	}
	t.Logf("%d instructions", len(forms))
}
