package rv64_test

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/arch/riscv64/riscv64asm"

	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// The second opinion on our decoder is golang.org/x/arch/riscv64/riscv64asm: its
// decoder, which the same module holds against the text that GNU's disassembler
// prints.

// opNames are our operations by their names in the source. They are the
// mnemonics without dots.
func opNames(t *testing.T) map[string]rv64.Op {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "op.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]rv64.Op{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for i, s := range g.Specs {
			names[s.(*ast.ValueSpec).Names[0].Name] = rv64.Op(i)
		}
	}
	if names["FCLASSD"] != rv64.FCLASSD {
		t.Fatal("op.go does not list the operations in one const block any more")
	}
	return names
}

// An opinion is what riscv64asm makes of an encoding, in our terms.
type opinion struct {
	rv64.Inst
	// The fields of Inst that mean something.
	rd, rs1, rs2, rs3, imm bool
}

// Why an opinion is none on what we decode.
var (
	errUnknown = errors.New("unknown to riscv64asm")
	errForeign = errors.New("of an extension that we do not have")
)

// foreign are mnemonics of extensions that we do not have: half and quad
// precision, Zacas, Zbc, vectors. Such encodings are illegal.
func foreign(mnemonic string) bool {
	for _, prefix := range []string{"V", "AMOCAS", "CLMUL", "FLH", "FLQ", "FSH", "FSQ."} {
		if strings.HasPrefix(mnemonic, prefix) {
			return true
		}
	}
	return mnemonic == "FSQ" || strings.HasPrefix(mnemonic, "F") &&
		(strings.Contains(mnemonic+".", ".H.") || strings.Contains(mnemonic+".", ".Q."))
}

type decoderOracle struct{ names map[string]rv64.Op }

// decode asks riscv64asm.
func (o decoderOracle) decode(raw uint32) (opinion, error) {
	inst, err := riscv64asm.Decode(binary.LittleEndian.AppendUint32(nil, raw))
	if err != nil {
		return opinion{}, errUnknown
	}
	mnemonic := inst.Op.String()
	if foreign(mnemonic) {
		return opinion{}, errForeign
	}
	if inst.Enc == 0 {
		return opinion{Inst: rv64.Inst{Len: 2}}, nil // c.unimp
	}
	for _, order := range []string{".AQ", ".RL", ".AQRL"} {
		mnemonic = strings.TrimSuffix(mnemonic, order)
	}
	if mnemonic == "FENCE.I" {
		mnemonic = "FENCE"
	}
	op, ok := o.names[strings.ReplaceAll(mnemonic, ".", "")]
	if !ok {
		return opinion{}, fmt.Errorf("we have no operation for %s", mnemonic)
	}
	p := opinion{Inst: rv64.Inst{Op: op, Len: uint8(inst.Len)}}
	if op == rv64.FENCE {
		return p, nil
	}
	for _, a := range inst.Args {
		if a == nil {
			break
		}
		if err := p.operand(a); err != nil {
			return opinion{}, err
		}
	}
	return p.simplify(), nil
}

func (p *opinion) operand(a riscv64asm.Arg) error {
	switch a := a.(type) {
	case riscv64asm.Reg:
		p.register(uint8(a % 32))
	case riscv64asm.RegPtr:
		// Its field has no name outside its package, but it prints as (xN).
		var n uint8
		if _, err := fmt.Sscanf(a.String(), "(x%d)", &n); err != nil {
			return fmt.Errorf("bad operand %q: %w", a, err)
		}
		p.Rs1, p.rs1 = n, true
	case riscv64asm.RegOffset:
		p.Rs1, p.rs1 = uint8(a.OfsReg), true
		p.Imm, p.imm = a.Ofs.Imm, true
	case riscv64asm.Simm:
		p.Imm, p.imm = a.Imm, true
	case riscv64asm.Uimm:
		switch {
		case p.Op == rv64.LUI || p.Op == rv64.AUIPC:
			p.Imm, p.imm = int32(a.Imm<<12), true
		case p.Op >= rv64.CSRRWI && p.Op <= rv64.CSRRCI:
			p.Rs1, p.rs1 = uint8(a.Imm), true
		default:
			p.Imm, p.imm = int32(a.Imm), true
		}
	case riscv64asm.CSR:
		p.Imm, p.imm = int32(a), true
	default:
		return fmt.Errorf("unexpected operand %v of %T", a, a)
	}
	return nil
}

// register takes the next register in the order of the manual's text.
func (p *opinion) register(n uint8) {
	store := p.Op >= rv64.SB && p.Op <= rv64.SD || p.Op == rv64.FSW || p.Op == rv64.FSD
	branch := p.Op >= rv64.BEQ && p.Op <= rv64.BGEU
	atomic := p.Op >= rv64.LRW && p.Op <= rv64.AMOMAXUD
	switch {
	case store, atomic && p.rd:
		p.Rs2, p.rs2 = n, true
	case !p.rd && !branch:
		p.Rd, p.rd = n, true
	case !p.rs1:
		p.Rs1, p.rs1 = n, true
	case !p.rs2:
		p.Rs2, p.rs2 = n, true
	default:
		p.Rs3, p.rs3 = n, true
	}
}

// simplify is what our decoder says that it does with an operation whose only
// effect is on rd.
func (p opinion) simplify() opinion {
	op := p.Op
	pure := op >= rv64.LUI && op <= rv64.SRAW || op >= rv64.MUL && op <= rv64.REMUW || op.BitManip()
	switch {
	case pure && p.Rd == 0:
		return opinion{Inst: rv64.Inst{Op: rv64.NOP, Len: p.Len}}
	case op == rv64.LUI:
		p.Op = rv64.LI
	case op == rv64.ADDI && p.Rs1 == 0:
		p.Op, p.rs1 = rv64.LI, false
	case op == rv64.ADDI && p.Imm == 0:
		p.Op = rv64.MV
	case op == rv64.ADD && p.Len == 2 && p.Rs1 == 0: // c.mv
		p.Op, p.Rs1, p.rs2 = rv64.MV, p.Rs2, false
	}
	return p
}

// compare says how our decoding differs from the opinion.
func (p *opinion) compare(ours rv64.Inst) error {
	type field struct {
		name       string
		meant      bool
		ours, want int32
	}
	for _, f := range []field{
		{"operation", true, int32(ours.Op), int32(p.Op)}, {"length", true, int32(ours.Len), int32(p.Len)},
		{"rd", p.rd, int32(ours.Rd), int32(p.Rd)}, {"rs1", p.rs1, int32(ours.Rs1), int32(p.Rs1)},
		{"rs2", p.rs2, int32(ours.Rs2), int32(p.Rs2)}, {"rs3", p.rs3, int32(ours.Rs3), int32(p.Rs3)},
		{"immediate", p.imm, ours.Imm, p.Imm},
	} {
		if f.meant && f.ours != f.want {
			return fmt.Errorf("%s is %d, want %d", f.name, f.ours, f.want)
		}
	}
	return nil
}

// legalElsewhere are those of our operations that riscv64asm does not know.
func legalElsewhere(op rv64.Op) bool {
	switch op {
	case rv64.MRET, rv64.SRET, rv64.WFI, rv64.SFENCEVMA, rv64.SINVALVMA, rv64.SFENCEWINVAL, rv64.SFENCEINVALIR, rv64.WRSNTO, rv64.WRSSTO:
		return true
	}
	return false
}

// hint says whether an encoding is one of the hints among the 16-bit ones
// (unprivileged specification, chapter 27) that riscv64asm does not know.
// They do nothing.
func hint(ours *rv64.Inst) bool {
	if ours.Len != 2 {
		return false
	}
	switch ours.Op {
	case rv64.NOP:
		return true
	case rv64.SLLI, rv64.SRLI, rv64.SRAI:
		return ours.Imm == 0
	case rv64.MV: // c.addi rd,0
		return ours.Rd == ours.Rs1
	}
	return false
}

// reservedRM says whether an encoding names one of the two reserved rounding
// modes, which riscv64asm lets pass.
func reservedRM(raw uint32, p *opinion) bool {
	rm := raw >> 12 & 7
	op := p.Op
	rounds := op >= rv64.FADDS && op < rv64.FSGNJS || op >= rv64.FMADDS && op <= rv64.FCVTSLU ||
		op >= rv64.FADDD && op < rv64.FSGNJD || op >= rv64.FMADDD && op <= rv64.FCVTDS
	return rounds && (rm == 5 || rm == 6)
}

// agree compares one encoding; compared is false if there is no opinion on it.
func (o decoderOracle) agree(raw uint32) (compared bool, err error) {
	ours := rv64.Decode(raw)
	p, err := o.decode(raw)
	switch {
	case errors.Is(err, errForeign):
		if ours.Op != rv64.ILLEGAL {
			return true, fmt.Errorf("%w: got operation %d, want none", err, ours.Op)
		}
		return true, nil
	case errors.Is(err, errUnknown):
		if ours.Op != rv64.ILLEGAL && !legalElsewhere(ours.Op) && !hint(&ours) {
			return true, fmt.Errorf("%w: got operation %d", err, ours.Op)
		}
		return ours.Op == rv64.ILLEGAL, nil
	case err != nil:
		return true, err
	case reservedRM(raw, &p):
		if ours.Op != rv64.ILLEGAL {
			return true, fmt.Errorf("reserved rounding mode: got operation %d, want none", ours.Op)
		}
		return true, nil
	}
	return true, p.compare(ours)
}

// Every encoding of which golang.org/x/arch has GNU's text decodes as that text
// says.
func TestDecodeAgreesWithGNU(t *testing.T) {
	oracle := decoderOracle{opNames(t)}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/arch").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "riscv64/riscv64asm/testdata/gnucases.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cases, ours := 0, 0
	for s := bufio.NewScanner(file); s.Scan(); {
		code, text, ok := strings.Cut(s.Text(), "|\t")
		if !ok {
			continue // a comment
		}
		enc, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(enc) < 2 || enc[0]&3 == 3 && len(enc) < 4:
			continue // truncated
		case len(enc) == 2:
			enc = append(enc, 0, 0)
		}
		raw := binary.LittleEndian.Uint32(enc)
		cases++
		inst, err := riscv64asm.Decode(enc)
		if text = strings.TrimSpace(strings.ReplaceAll(text, "\t", " ")); err == nil && riscv64asm.GNUSyntax(inst) != text {
			t.Errorf("%s: riscv64asm says %q, GNU %q", code, riscv64asm.GNUSyntax(inst), text)
		}
		if _, err := oracle.agree(raw); err != nil {
			t.Errorf("%s %s: %v", code, text, err)
		}
		if rv64.Decode(raw).Op != rv64.ILLEGAL {
			ours++
		}
	}
	t.Logf("%d encodings, %d of them ours", cases, ours)
	if cases < 1684 || ours < 360 {
		t.Error("want 1684, and 360")
	}
}

// cj says whether a 16-bit encoding is c.j. riscv64asm mixes up its distances;
// TestDecodeAgreesOnJumps asks GNU's disassembler about those.
func cj(raw uint32) bool { return raw&0xe003 == 0xa001 }

// Every 16-bit encoding but c.j decodes as riscv64asm has it.
func TestDecodeAgreesOnCompressed(t *testing.T) {
	oracle := decoderOracle{opNames(t)}
	compared := 0
	for raw := range uint32(1 << 16) {
		if raw&3 == 3 || cj(raw) {
			continue
		}
		ok, err := oracle.agree(raw)
		if err != nil {
			t.Errorf("%04x: %v", raw, err)
		}
		if ok {
			compared++
		}
	}
	t.Logf("%d encodings", compared)
	if compared < 46_000 {
		t.Error("want 46000 of the 47104")
	}
}

// Every c.j decodes as GNU's disassembler has it.
func TestDecodeAgreesOnJumps(t *testing.T) {
	objdump, err := exec.LookPath("riscv64-linux-gnu-objdump")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("riscv64-linux-gnu-objdump is missing; Debian has it in binutils-riscv64-linux-gnu")
	}
	var code []byte
	for raw := range uint32(1 << 16) {
		if cj(raw) {
			code = binary.LittleEndian.AppendUint16(code, uint16(raw))
		}
	}
	file := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(file, code, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(out)) {
		// "   2:	a005                	c.j	0x22"
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 4 || f[2] != "c.j" {
			continue
		}
		var at, target uint64
		var raw uint32
		if _, err := fmt.Sscanf(f[0]+f[1]+" "+f[3], "%x:%x 0x%x", &at, &raw, &target); err != nil {
			t.Fatalf("bad line %q: %v", line, err)
		}
		compared++
		if in := rv64.Decode(raw); in.Op != rv64.JAL || in.Rd != 0 || in.Len != 2 || uint64(int64(in.Imm)) != target-at {
			t.Errorf("%04x: operation %d, rd %d, distance %d; want a jump by %d", raw, in.Op, in.Rd, in.Imm, int64(target-at))
		}
	}
	if compared != 1<<11 {
		t.Errorf("%d encodings compared; want %d", compared, 1<<11)
	}
}

// Every combination of opcode, funct3 and funct7, with random registers, decodes
// as riscv64asm has it.
func TestDecodeAgreesOnRandom(t *testing.T) {
	oracle := decoderOracle{opNames(t)}
	r := rand.New(rand.NewPCG(1, 2))
	each := 1
	if os.Getenv("LOCKSTEP_ORACLES") != "" {
		each = 16
	}
	compared := 0
	for shape := range uint32(32 * 8 * 128) {
		for i := range each {
			raw := r.Uint32()&^0xfe00707f | shape&31<<2 | shape>>5&7<<12 | shape>>8<<25 | 3
			if i%4 == 0 {
				// The fields that often hold a function rather than a register.
				raw = raw&^(31<<20) | r.Uint32N(8)<<20
			}
			ok, err := oracle.agree(raw)
			if err != nil {
				t.Errorf("%08x: %v", raw, err)
			}
			if ok {
				compared++
			}
		}
	}
	t.Logf("%d encodings", compared)
	if compared < 32_000*each {
		t.Errorf("want %d", 32_000*each)
	}
}
