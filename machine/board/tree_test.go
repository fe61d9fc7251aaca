package board

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// node is a node of a device tree: its properties as bytes.
type node map[string][]byte

// nodes reads a flattened device tree into its nodes, by path.
func nodes(t *testing.T, blob []byte) map[string]node {
	t.Helper()
	word := func(at int) int { return int(binary.BigEndian.Uint32(blob[at:])) }
	text := func(at int) string { return string(blob[at : at+bytes.IndexByte(blob[at:], 0)]) }
	if word(0) != 0xd00dfeed {
		t.Fatal("this is no device tree")
	}
	out := map[string]node{}
	var path []string
	for at := word(8); ; {
		token := word(at)
		at += 4
		switch token {
		case 1:
			path = append(path, text(at))
			out[strings.Join(path, "/")] = node{}
			at += (len(text(at)) + 4) &^ 3
		case 2:
			path = path[:len(path)-1]
		case 3:
			size, name := word(at), text(word(12)+word(at+4))
			out[strings.Join(path, "/")][name] = blob[at+8 : at+8+size]
			at += 8 + (size+3)&^3
		case 9:
			return out
		default:
			t.Fatalf("token %d", token)
		}
	}
}

func (n node) cells(name string) (out []uint32) {
	for b := n[name]; len(b) >= 4; b = b[4:] {
		out = append(out, binary.BigEndian.Uint32(b))
	}
	return out
}

// reg is the first window of a node.
func (n node) reg() (base, size uint64) {
	b := n["reg"]
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
}

func (n node) is(compatible string) bool {
	return slices.Contains(strings.Split(string(n["compatible"]), "\x00"), compatible)
}

// fullBoard is a board with as many devices as there can be, and its tree.
func fullBoard(t *testing.T) (*Board, map[string]node) {
	t.Helper()
	cfg := testConfig(func(p *asm.Program) { p.Label("x"); p.J("x") })
	for i := range machine.MaxNICs {
		cfg.NICs = append(cfg.NICs, machine.NICConfig{MAC: [6]byte{2, 0, 0, 0, 0, byte(i)}})
	}
	for range machine.MaxDisks {
		cfg.Disks = append(cfg.Disks, machine.DiskConfig{Sectors: 64})
	}
	b := newBoard(t, cfg)
	tree := make([]byte, 64<<10)
	b.ram.Read(b.layout.Tree, tree)
	return b, nodes(t, tree)
}

// What the tree announces answers, and nothing else does.
func TestTreeAnnouncesEveryWindow(t *testing.T) {
	b, tree := fullBoard(t)
	const grain = 0x100
	announced := map[uint64]bool{}
	for path, n := range tree {
		switch {
		case strings.HasPrefix(path, "/soc/"):
			base, size := n.reg()
			if base%grain != 0 || size%grain != 0 {
				t.Errorf("%s: %#x bytes at %#x", path, size, base)
			}
			for at := base; at < base+size; at += grain {
				if announced[at] {
					t.Fatalf("%s: %#x is announced twice", path, at)
				}
				announced[at] = true
			}
		case strings.HasPrefix(path, "/memory"):
			if base, size := n.reg(); base != 0x8000_0000 || size != b.cfg.Memory {
				t.Errorf("%s: %#x bytes at %#x", path, size, base)
			}
		}
	}
	if len(announced) == 0 {
		t.Fatal("nothing is announced")
	}
	for page := uint64(0); page < 0x8000_0000; page += 0x1000 {
		for _, at := range []uint64{page, page + grain} {
			if _, answers := b.bus.Load(machine.GPA(at), 4); answers != announced[at] {
				t.Fatalf("%#x: answers %v, announced %v", at, answers, announced[at])
			}
		}
	}
	for at := 0x8000_0000 + b.cfg.Memory; at != 0; at <<= 1 {
		if _, answers := b.bus.Load(machine.GPA(at), 4); answers {
			t.Errorf("%#x answers", at)
		}
	}
	for name, want := range map[string]uint64{"reboot": dev.SysconReset, "poweroff": dev.SysconPowerOff} {
		n := tree["/"+name]
		if !bytes.Equal(n["regmap"], tree["/soc/test@100000"]["phandle"]) || uint64(n.cells("value")[0]) != want {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// raise makes a device raise its line, by what a driver or the host can do.
func raise(t *testing.T, b *Board, n node) {
	t.Helper()
	at, _ := n.reg()
	base := machine.GPA(at)
	put := func(off machine.GPA, v uint64) {
		if !(env{b}).Store(base+off, 4, v) {
			t.Fatalf("%#x does not answer", base+off)
		}
	}
	switch {
	case n.is("ns16550a"):
		(env{b}).Store(base+1, 1, 1)
		if err := b.Deliver(machine.ConsoleInput{Session: 1, Bytes: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	case n.is("google,goldfish-rtc"):
		put(0x10, 1)
		put(0x08, 0)
	case n.is("virtio,mmio"):
		// A driver that kicks a queue that is not ready is told so.
		for _, w := range [][2]uint64{{0x70, 3}, {0x24, 1}, {0x20, 1}, {0x70, 8}, {0x70, 4}, {0x50, 0}} {
			put(machine.GPA(w[0]), w[1])
		}
	default:
		t.Fatalf("nobody knows how to raise the line of %q", n["compatible"])
	}
}

// Every interrupt that the tree names fires, at the source and the context
// that it says, and each is another.
func TestTreeNamesEveryInterrupt(t *testing.T) {
	b, tree := fullBoard(t)
	plic := machine.GPA(0xc00_0000)
	sources := map[uint32]string{}
	for path, n := range tree {
		if n["interrupts"] == nil {
			continue
		}
		source := n.cells("interrupts")[0]
		if other := sources[source]; other != "" {
			t.Errorf("%s and %s have source %d", path, other, source)
		}
		sources[source] = path
		if !bytes.Equal(n["interrupt-parent"], tree["/soc/plic@c000000"]["phandle"]) || source > tree["/soc/plic@c000000"].cells("riscv,ndev")[0] {
			t.Errorf("%s: source %d of %x", path, source, n["interrupt-parent"])
		}
		(env{b}).Store(plic+machine.GPA(4*source), 4, 1)
		for context, enable := range map[uint]machine.GPA{rv64.MEIP: 0x2000, rv64.SEIP: 0x2080} {
			e := plic + enable + machine.GPA(source/32*4)
			(env{b}).Store(e, 4, 1<<(source%32))
			if b.hart.Lines>>context&1 != 0 {
				t.Errorf("%s: line %d is high before anything has happened", path, context)
			}
			(env{b}).Store(e, 4, 0)
		}
		raise(t, b, n)
		for context, enable := range map[uint]machine.GPA{rv64.MEIP: 0x2000, rv64.SEIP: 0x2080} {
			e := plic + enable + machine.GPA(source/32*4)
			(env{b}).Store(e, 4, 1<<(source%32))
			if b.hart.Lines>>context&1 != 1 {
				t.Errorf("%s: line %d stays low", path, context)
			}
			(env{b}).Store(e, 4, 0)
		}
		// Another may follow.
		(env{b}).Store(plic+machine.GPA(4*source), 4, 0)
	}
	if len(sources) != len(b.lines) || len(sources) != 2+2+machine.MaxNICs+machine.MaxDisks {
		t.Errorf("the tree names %d sources, the board has %d", len(sources), len(b.lines))
	}

	intc := tree["/cpus/cpu@0/interrupt-controller"].cells("phandle")[0]
	if got := tree["/soc/plic@c000000"].cells("interrupts-extended"); !slices.Equal(got, []uint32{intc, uint32(rv64.MEIP), intc, uint32(rv64.SEIP)}) {
		t.Errorf("contexts of the PLIC: %v", got)
	}
	if got := tree["/soc/clint@2000000"].cells("interrupts-extended"); !slices.Equal(got, []uint32{intc, uint32(rv64.MSIP), intc, uint32(rv64.MTIP)}) {
		t.Errorf("lines of the CLINT: %v", got)
	}
	for _, c := range []struct {
		line  uint
		raise func() bool
	}{
		{rv64.MSIP, func() bool { return (env{b}).Store(0x200_0000, 4, 1) }},
		{rv64.MTIP, func() bool { return (env{b}).Store(0x200_4000, 8, 0) }},
	} {
		b.hart.Mie, b.hart.Mcause, b.hart.Mtvec = 1<<c.line, 0, imageEntry
		b.Run(b.Icount() + 1)
		before := b.hart.Mcause
		c.raise()
		b.Run(b.Icount() + 1)
		if before != 0 || b.hart.Mcause != rv64.CauseInterrupt|uint64(c.line) {
			t.Errorf("CLINT, line %d: mcause %#x, before %#x", c.line, b.hart.Mcause, before)
		}
		b.hart.Priv = rv64.Supervisor
		b.hart.PC = imageEntry
		b.DropCaches()
	}
}

// extensionProbes has an instruction or two of each extension. They find memory
// at s0, and s1 is an entry of a page table.
var extensionProbes = map[string]func(p *asm.Program){
	"i":        func(p *asm.Program) { p.ADDI(asm.A0, asm.A0, 1) },
	"m":        func(p *asm.Program) { p.MULHSU(asm.A0, asm.A0, asm.A0) },
	"a":        func(p *asm.Program) { p.AMOADDD(asm.A0, asm.Zero, asm.S0) },
	"f":        func(p *asm.Program) { p.FADDS(asm.FT0, asm.FT0, asm.FT0, asm.DYN) },
	"d":        func(p *asm.Program) { p.FADDD(asm.FT0, asm.FT0, asm.FT0, asm.DYN) },
	"c":        func(p *asm.Program) { p.CADDI(asm.A0, 1); p.CNOP() },
	"zicbom":   func(p *asm.Program) { p.CBOCLEAN(asm.S0); p.CBOFLUSH(asm.S0); p.CBOINVAL(asm.S0) },
	"zicboz":   func(p *asm.Program) { p.CBOZERO(asm.S0) },
	"zicntr":   func(p *asm.Program) { p.CSRR(asm.A0, asm.CYCLE); p.CSRR(asm.A0, asm.TIME); p.CSRR(asm.A0, asm.INSTRET) },
	"zicond":   func(p *asm.Program) { p.CZEROEQZ(asm.A0, asm.A0, asm.A0) },
	"zicsr":    func(p *asm.Program) { p.CSRRSI(asm.A0, asm.SSCRATCH, 1) },
	"zifencei": func(p *asm.Program) { p.FENCEI() },
	"zawrs":    func(p *asm.Program) { p.WRSSTO(); p.WRSNTO() },
	"zba":      func(p *asm.Program) { p.SH3ADDUW(asm.A0, asm.A0, asm.A0) },
	"zbb":      func(p *asm.Program) { p.ORCB(asm.A0, asm.A0) },
	"zbs":      func(p *asm.Program) { p.BEXTI(asm.A0, asm.A0, 3) },
	"sstc":     func(p *asm.Program) { p.CSRW(asm.STIMECMP, asm.A0) },
	"svinval":  func(p *asm.Program) { p.SFENCEWINVAL(); p.SINVALVMA(asm.A0, asm.A0); p.SFENCEINVALIR() },
	// A page whose A and D bits are clear is stored to.
	"svadu": func(p *asm.Program) {
		p.LI(asm.A0, busyWindow)
		p.SD(asm.Zero, 0, asm.A0)
		p.LD(asm.A1, 0, asm.S1)
		p.ANDI(asm.A1, asm.A1, 0xc0)
		p.ADDI(asm.A1, asm.A1, -0xc0)
		p.BEQZ(asm.A1, "both set")
		p.Raw32(0)
		p.Label("both set")
	},
}

// Instructions of extensions that the tree does not name.
var otherExtensions = map[string]uint32{
	"zbc":     5<<25 | 1<<12 | 0x33,             // clmul
	"zbkb":    4<<25 | 4<<12 | 1<<20 | 0x33,     // pack, not zext.h
	"zknh":    8<<25 | 2<<20 | 1<<12 | 0x13,     // sha256sig0
	"zfh":     2<<25 | 0x53,                     // fadd.h
	"zfa":     0x78<<25 | 1<<20 | 0x53,          // fli.s
	"v":       0x57 | 7<<12,                     // vsetvli
	"zacas":   5<<27 | 3<<12 | 0x2f,             // amocas.d
	"h":       0x31<<25 | 0x73,                  // hfence.gvma
	"zihpm":   0xc03<<20 | 2<<12 | 0x73 | 1<<7,  // hpmcounter3
	"smstate": 0x10c<<20 | 2<<12 | 0x73 | 1<<7,  // sstateen0
	"q":       3<<25 | 0x53,                     // fadd.q
	"zabha":   0<<12 | 0x2f | 1<<7,              // amoadd.b
	"zimop":   0x81c0_4073,                      // mop.r.0
	"zvkned":  0x2a<<26 | 1<<25 | 2<<12 | 0x77,  // vaesz.vs or so
	"zicfiss": 0x67<<25 | 28<<20 | 4<<12 | 0x73, // sspopchk
}

// The hart executes an instruction of each extension that the tree names, and
// none of others; cache blocks have the size that it tells.
func TestTreeNamesTheHartsExtensions(t *testing.T) {
	_, tree := fullBoard(t)
	cpu := tree["/cpus/cpu@0"]
	list := strings.Split(strings.TrimSuffix(string(cpu["riscv,isa-extensions"]), "\x00"), "\x00")
	isa := strings.TrimSuffix(string(cpu["riscv,isa"]), "\x00")
	single, _, _ := strings.Cut(isa, "_")
	want := single
	for _, e := range list {
		if len(e) > 1 {
			want += "_" + e
		} else if !strings.Contains(single[4:], e) {
			t.Errorf("riscv,isa %s lacks %s", isa, e)
		}
	}
	if isa != want {
		t.Errorf("riscv,isa is %s, want %s", isa, want)
	}
	if len(list) != len(extensionProbes) || !slices.Equal(list, boot.Extensions) {
		t.Errorf("the tree names %d extensions, the test knows %d", len(list), len(extensionProbes))
	}

	probe := func(name string, body func(p *asm.Program)) string {
		b := newBoard(t, testConfig(func(p *asm.Program) {
			p.LA(asm.T0, "handler")
			p.CSRW(asm.STVEC, asm.T0)
			busyTranslation(p)
			p.LI(asm.T0, busyLeaf)
			p.LI(asm.T1, busyPages>>2|7)
			p.SD(asm.T1, 0, asm.T0)
			p.LI(asm.T0, 3<<13)
			p.CSRRS(asm.Zero, asm.SSTATUS, asm.T0)
			p.LI(asm.S0, scratch)
			p.LI(asm.S1, busyLeaf)
			body(p)
			say(p, "+")
			powerOff(p)
			p.Align(4)
			p.Label("handler")
			p.CSRR(asm.S2, asm.SCAUSE)
			p.LI(asm.S3, int64(rv64.IllegalInstruction))
			sayIf(p, "cause", asm.S2, asm.S3, '-', '?')
			powerOff(p)
		}))
		text, _ := drive(t, b, 1000)
		return text
	}
	for _, e := range list {
		if extensionProbes[e] == nil {
			t.Errorf("the test has no instruction of %s", e)
		} else if got := probe(e, extensionProbes[e]); got != "+" {
			t.Errorf("%s: the probe says %q", e, got)
		}
	}
	for e, insn := range otherExtensions {
		if got := probe(e, func(p *asm.Program) { p.Raw32(insn) }); got != "-" {
			t.Errorf("%s, which is not in the tree: the probe says %q", e, got)
		}
	}

	size := uint64(cpu.cells("riscv,cboz-block-size")[0])
	if other := uint64(cpu.cells("riscv,cbom-block-size")[0]); other != size {
		t.Errorf("cache blocks of %d and %d bytes", size, other)
	}
	b := newBoard(t, testConfig(func(p *asm.Program) {
		p.LI(asm.S0, scratch+int64(size)+5)
		p.CBOZERO(asm.S0)
		powerOff(p)
	}))
	b.ram.Write(scratch, bytes.Repeat([]byte{1}, 3*int(size)))
	drive(t, b, 100)
	got := make([]byte, 3*size)
	b.ram.Read(scratch, got)
	if bytes.IndexByte(got, 0) != int(size) || bytes.LastIndexByte(got, 0) != 2*int(size)-1 || bytes.Count(got, []byte{0}) != int(size) {
		t.Errorf("cbo.zero has written % x", got)
	}
}
