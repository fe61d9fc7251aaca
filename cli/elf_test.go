package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// elfPrograms are what the command elf of the scripts makes. Each has the
// symbols tohost, fromhost, begin_signature and end_signature unless its name
// begins with "bare".
var elfPrograms = map[string]func(p *asm.Program){
	// says something on every console and ends well
	"hello": func(p *asm.Program) {
		p.LI(asm.T0, 0x1000_0000)
		for _, c := range "UART " {
			p.LI(asm.T1, int64(c))
			p.SB(asm.T1, 0, asm.T0)
		}
		for _, c := range "HTIF " {
			elfTell(p, 1<<56|1<<48|int64(c))
		}
		elfWrite(p, 1, "write\n")
		elfWrite(p, 2, "standard error\n")
		elfTell(p, 1)
	},
	// ends with status 3
	"fail": func(p *asm.Program) { elfTell(p, 3<<1|1) },
	// ends with status 300
	"large": func(p *asm.Program) { elfTell(p, 300<<1|1) },
	// asks for what no host here offers
	"disk": func(p *asm.Program) { elfTell(p, 2<<56) },
	// never ends
	"spin": func(p *asm.Program) {},
	// waits for nothing
	"wait": func(p *asm.Program) { p.WFI() },
	// end through the syscon
	"bare-pass": func(p *asm.Program) { elfSyscon(p, 0x5555) },
	"bare-fail": func(p *asm.Program) { elfSyscon(p, 7<<16|0x3333) },
}

func elfTell(p *asm.Program, v int64) {
	p.LA(asm.A0, "tohost")
	p.LI(asm.A1, v)
	p.SD(asm.A1, 0, asm.A0)
}

func elfSyscon(p *asm.Program, v int64) {
	p.LI(asm.T0, 0x10_0000)
	p.LI(asm.T1, v)
	p.SW(asm.T1, 0, asm.T0)
}

// elfWrite is the system call, with the text in the code.
func elfWrite(p *asm.Program, file int64, text string) {
	p.LA(asm.T0, "arguments")
	p.LA(asm.T2, text)
	p.J("behind " + text)
	p.Label(text)
	p.Byte([]byte(text)...)
	p.Align(4)
	p.Label("behind " + text)
	p.LI(asm.T1, 64)
	p.SD(asm.T1, 0, asm.T0)
	p.LI(asm.T1, file)
	p.SD(asm.T1, 8, asm.T0)
	p.SD(asm.T2, 16, asm.T0)
	p.LI(asm.T1, int64(len(text)))
	p.SD(asm.T1, 24, asm.T0)
	p.LA(asm.A0, "tohost")
	p.SD(asm.T0, 0, asm.A0)
}

func elf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || elfPrograms[args[1]] == nil {
		ts.Fatalf("usage: elf FILE KIND")
	}
	p := asm.New(0x8000_0000)
	p.Label("_start")
	elfPrograms[args[1]](p)
	p.Label("stay")
	p.J("stay")
	p.Align(64)
	for _, data := range []string{"tohost", "fromhost", "arguments"} {
		p.Label(data)
		p.Space(64)
	}
	p.Label("begin_signature")
	for i := range byte(18) {
		p.Byte(i)
	}
	p.Label("end_signature")
	symbols := []string{"tohost", "fromhost", "begin_signature", "end_signature"}
	if strings.HasPrefix(args[1], "bare") {
		symbols = nil
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), p.ELF("_start", 0, symbols...), 0o600))
}

// The last granule is filled up with zeros, as other simulators do.
func TestSignatureLines(t *testing.T) {
	for _, c := range []struct {
		mem     string
		granule int
		want    string
	}{
		{"", 4, ""},
		{"\x01\x02\x03\x04\xaa\xbb\xcc\xdd", 4, "04030201\nddccbbaa\n"},
		{"\x01\x02\x03\x04\xaa", 4, "04030201\n000000aa\n"},
		{"\x01\x02\x03\x04\xaa", 8, "000000aa04030201\n"},
		{"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11", 16, "100f0e0d0c0b0a090807060504030201\n00000000000000000000000000000011\n"},
	} {
		if got := string(signature([]byte(c.mem), c.granule)); got != c.want {
			t.Errorf("%x in granules of %d: %q, want %q", c.mem, c.granule, got, c.want)
		}
	}
}
