package board

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

const programMemory = 16 << 20

// Where a bare program has its data.
const (
	bareBase = 0x8000_0000
	toHost   = 0x8000_2000 // at the start of a page, so that stores can cross into it
	fromHost = toHost + 8
	callArgs = toHost + 64
	bareData = toHost + 128
)

// bare is an executable; body writes its code.
func bare(t testing.TB, body func(p *asm.Program)) *boot.Program {
	t.Helper()
	p := asm.New(bareBase)
	p.Label("_start")
	body(p)
	p.Label("stay")
	p.J("stay")
	for _, s := range []struct {
		name string
		at   uint64
	}{{"tohost", toHost}, {"fromhost", fromHost}, {"begin_signature", callArgs}, {"end_signature", bareData}} {
		if p.PC() > s.at {
			t.Fatalf("the code is %d bytes too long", p.PC()-s.at)
		}
		p.Space(int(s.at - p.PC()))
		p.Label(s.name)
	}
	image, err := boot.ParseELF(p.ELF("_start", 4096, "tohost", "fromhost", "begin_signature", "end_signature"))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func newProgram(t testing.TB, image *boot.Program, opt Engine) *Board {
	t.Helper()
	b, err := NewProgram(programMemory, image, opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// onEngines runs a program to its end, or for a million attempts, on every
// engine and in several cuts, which must agree on everything, and returns one
// of the boards and what came out.
func onEngines(t *testing.T, image *boot.Program) (*Board, machine.Exit, []machine.Output) {
	t.Helper()
	var first *Board
	var firstExit machine.Exit
	var firstOut []machine.Output
	for _, c := range []struct {
		name string
		opt  Engine
		cut  machine.Icount
	}{
		{"in one piece", Engine{}, machine.Never},
		{"the reference", Engine{Reference: true}, machine.Never},
		{"cut", Engine{}, 3},
	} {
		b := newProgram(t, image, c.opt)
		out, exit := runBare(b, c.cut)
		if first == nil {
			first, firstExit, firstOut = b, exit, out
			continue
		}
		if exit != firstExit || b.Icount() != first.Icount() || b.Digest() != first.Digest() {
			t.Fatalf("%s: %v at %d with digest %v; in one piece %v at %d with %v",
				c.name, exit, b.Icount(), b.Digest(), firstExit, first.Icount(), first.Digest())
		}
		if said(out, 0) != said(firstOut, 0) || said(out, ProgramConsole) != said(firstOut, ProgramConsole) {
			t.Fatalf("%s: it says %q and %q", c.name, said(out, 0), said(out, ProgramConsole))
		}
	}
	return first, firstExit, firstOut
}

func runBare(b *Board, cut machine.Icount) (out []machine.Output, exit machine.Exit) {
	const limit = 100_000
	for {
		until := min(limit, b.Icount()+min(cut, limit))
		exit = b.RunProgram(until)
		out = b.Outputs(out)
		if exit == machine.PoweredOff || exit == machine.Idle || b.Icount() >= limit {
			return out, exit
		}
		if cut != machine.Never {
			b.DropCaches()
		}
	}
}

// said is what came out at a console.
func said(out []machine.Output, console uint8) string {
	var s strings.Builder
	for _, o := range out {
		if o.Port == (machine.Port{Kind: machine.PortConsole, Index: console}) {
			s.Write(o.Bytes)
		}
	}
	return s.String()
}

// report writes to tohost.
func report(p *asm.Program, v int64) {
	p.LI(asm.A0, toHost)
	p.LI(asm.A1, v)
	p.SD(asm.A1, 0, asm.A0)
}

// However the guest stores to tohost, every engine stops behind that store.
func TestToHostByEveryStore(t *testing.T) {
	const v = 42<<1 | 1
	for _, c := range []struct {
		name  string
		short bool // the store is a compressed instruction
		store func(p *asm.Program)
	}{
		{"sb", false, func(p *asm.Program) { p.SB(asm.A1, 0, asm.A0) }},
		{"sh", false, func(p *asm.Program) { p.SH(asm.A1, 0, asm.A0) }},
		{"sw", false, func(p *asm.Program) { p.SW(asm.A1, 0, asm.A0) }},
		{"sd", false, func(p *asm.Program) { p.SD(asm.A1, 0, asm.A0) }},
		{"c.sw", true, func(p *asm.Program) { p.CSW(asm.A1, 0, asm.A0) }},
		{"c.sd", true, func(p *asm.Program) { p.CSD(asm.A1, 0, asm.A0) }},
		{"fsw", false, func(p *asm.Program) { p.FMVDX(0, asm.A1); p.FSW(0, 0, asm.A0) }},
		{"fsd", false, func(p *asm.Program) { p.FMVDX(0, asm.A1); p.FSD(0, 0, asm.A0) }},
		{"amoswap.w", false, func(p *asm.Program) { p.AMOSWAPW(asm.A2, asm.A1, asm.A0) }},
		{"amoadd.d", false, func(p *asm.Program) { p.AMOADDD(asm.A2, asm.A1, asm.A0) }},
		{"amomaxu.d", false, func(p *asm.Program) { p.AMOMAXUD(asm.A2, asm.A1, asm.A0) }},
		{"sc.w", false, func(p *asm.Program) { p.LRW(asm.A2, asm.A0); p.SCW(asm.A2, asm.A1, asm.A0) }},
		{"sc.d", false, func(p *asm.Program) { p.LRD(asm.A2, asm.A0); p.SCD(asm.A2, asm.A1, asm.A0) }},
		{"sd over the page border", false, func(p *asm.Program) { p.SLLI(asm.A1, asm.A1, 32); p.SD(asm.A1, -4, asm.A0) }},
	} {
		var after uint64
		image := bare(t, func(p *asm.Program) {
			p.LI(asm.T0, int64(rv64.StatusFS))
			p.CSRRS(asm.Zero, asm.MSTATUS, asm.T0)
			p.LI(asm.A0, toHost)
			p.LI(asm.A1, v)
			// The page has been written before: it is in every cache.
			p.SD(asm.Zero, 64, asm.A0)
			p.SD(asm.Zero, 0, asm.A0)
			c.store(p)
			after = p.PC()
			if c.short {
				p.CNOP()
			}
			report(p, 1)
		})
		b, exit, _ := onEngines(t, image)
		if exit != machine.PoweredOff {
			t.Fatalf("%s: %v", c.name, exit)
		}
		want := machine.Icount(after-bareBase) / 4
		if c.short {
			want++
		}
		if status, err := b.Ended(); status != 42 || err != nil || b.Icount() != want {
			t.Errorf("%s: status %d, %v, at %d; want 42 at %d", c.name, status, err, b.Icount(), want)
		}
	}
}

func TestStatusOfAProgram(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   func(p *asm.Program)
		status uint8
		err    string
	}{
		{"success", func(p *asm.Program) { report(p, 1) }, 0, ""},
		{"failure 1", func(p *asm.Program) { report(p, 3) }, 1, ""},
		{"failure 255", func(p *asm.Program) { report(p, 255<<1|1) }, 255, ""},
		{"failure 256", func(p *asm.Program) { report(p, 256<<1|1) }, 255, ""},
		{"failure 2^47-1", func(p *asm.Program) { report(p, 1<<48-1) }, 255, ""},
		{"a zero is nothing", func(p *asm.Program) { report(p, 0); report(p, 5) }, 2, ""},
		{"all ones", func(p *asm.Program) { report(p, -1) }, 0, "wrote 0xffffffffffffffff to tohost: device 255, command 255"},
		{"disk", func(p *asm.Program) { report(p, 2<<56) }, 0, "device 2, command 0"},
		{"keyboard", func(p *asm.Program) { report(p, 1<<56) }, 0, "device 1, command 0"},
		{"command 1 of device 0", func(p *asm.Program) { report(p, 1<<48|1) }, 0, "device 0, command 1"},
		{"block that is not aligned", func(p *asm.Program) { report(p, callArgs+4) }, 0, "arguments at 0x80002044"},
		{"no block", func(p *asm.Program) { report(p, 2) }, 0, "arguments at 0x2, which is not eight aligned doublewords of RAM"},
		{"block over the end of RAM", func(p *asm.Program) { report(p, bareBase+programMemory-56) }, 0, "arguments at 0x80ffffc8"},
		{"exit 0", func(p *asm.Program) { call(p, callExit, 0) }, 0, ""},
		{"exit 9", func(p *asm.Program) { call(p, callExit, 9) }, 9, ""},
		{"exit 256", func(p *asm.Program) { call(p, callExit, 256) }, 255, ""},
		{"open", func(p *asm.Program) { call(p, 1024, 0) }, 0, "asked for system call 1024; known are write (64) and exit (93)"},
		{"syscon, pass", func(p *asm.Program) { store(p, 0x10_0000, 0x5555) }, 0, ""},
		{"syscon, fail 7", func(p *asm.Program) { store(p, 0x10_0000, 0x7_3333) }, 7, ""},
		{"syscon, fail 0", func(p *asm.Program) { store(p, 0x10_0000, 0x3333) }, 1, ""},
		{"syscon, fail 0x1234", func(p *asm.Program) { store(p, 0x10_0000, 0x1234_3333) }, 255, ""},
	} {
		b, exit, out := onEngines(t, bare(t, c.body))
		if exit != machine.PoweredOff {
			t.Errorf("%s: %v", c.name, exit)
			continue
		}
		status, err := b.Ended()
		if status != c.status || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: status %d, %v; want %d, %q", c.name, status, err, c.status, c.err)
		}
		last := out[len(out)-1]
		if failed := len(last.Bytes) == 1; last.Port.Kind != machine.PortPower || failed != (c.status != 0 || c.err != "") {
			t.Errorf("%s: the last output is %+v", c.name, last)
		}

		// How it ended is State.
		var file bytes.Buffer
		if err := b.Save(&file); err != nil {
			t.Fatal(err)
		}
		copied := newProgram(t, b.program.image, Engine{Reference: true})
		if err := copied.Load(&file); err != nil {
			t.Fatal(err)
		}
		again, err2 := copied.Ended()
		if again != status || fmt.Sprint(err2) != fmt.Sprint(err) || copied.Digest() != b.Digest() {
			t.Errorf("%s: a copy ended with status %d, %v", c.name, again, err2)
		}
	}
}

// call asks for a system call.
func call(p *asm.Program, number int64, args ...int64) {
	p.LI(asm.T0, callArgs)
	for i, v := range append([]int64{number}, args...) {
		p.LI(asm.T1, v)
		p.SD(asm.T1, int64(8*i), asm.T0)
	}
	report(p, callArgs)
}

func TestCharactersOfAProgram(t *testing.T) {
	b, _, out := onEngines(t, bare(t, func(p *asm.Program) {
		for _, c := range "hi" {
			report(p, 1<<56|1<<48|int64(c))
		}
		p.LD(asm.S0, 0, asm.A0) // tohost
		p.LD(asm.S1, 8, asm.A0) // fromhost
		say(p, "!")
		report(p, 1)
	}))
	if said(out, 0) != "hi!" {
		t.Errorf("it says %q", said(out, 0))
	}
	if b.hart.X[asm.S0] != 0 || b.hart.X[asm.S1] != 0 {
		t.Errorf("tohost is %#x and fromhost %#x after a character, want zeros", b.hart.X[asm.S0], b.hart.X[asm.S1])
	}
}

func TestWriteOfAProgram(t *testing.T) {
	const text = "one line\n"
	write := func(p *asm.Program, result asm.Reg, args ...int64) {
		call(p, callWrite, args...)
		p.LI(asm.T0, callArgs)
		p.LD(result, 0, asm.T0)
	}
	image := bare(t, func(p *asm.Program) {
		p.J("code")
		p.Label("text")
		p.Byte([]byte(text)...)
		p.Align(4)
		p.Label("code")
		at := int64(p.Addr("text"))
		write(p, asm.S0, 1, at, int64(len(text)))
		p.LD(asm.S1, 0, asm.A0)
		p.LD(asm.S2, 8, asm.A0)
		write(p, asm.S3, 2, at, 3)
		write(p, asm.S4, 0, at, 3)
		write(p, asm.S5, 1, at, programMemory)
		write(p, asm.S6, 1, 8, 1)
		write(p, asm.S7, 1, at, 0)
		write(p, asm.S8, 1, bareBase+4<<20, 2<<20) // of zeros
		write(p, asm.S9, 1, at, -1)
		report(p, 1)
	})
	b, exit, out := onEngines(t, image)
	if status, err := b.Ended(); exit != machine.PoweredOff || status != 0 || err != nil {
		t.Fatalf("%v, status %d, %v", exit, status, err)
	}
	if got := said(out, 0); !strings.HasPrefix(got, text) || len(got) != len(text)+maxWrite || said(out, ProgramConsole) != text[:3] {
		t.Errorf("it says %d bytes, %.20q, and %q", len(got), got, said(out, ProgramConsole))
	}
	if _, tail := b.ConsoleTail(ProgramConsole); string(tail) != text[:3] {
		t.Errorf("the tail of its standard error is %q", tail)
	}
	for _, c := range []struct {
		what string
		reg  asm.Reg
		want int64
	}{
		{"result", asm.S0, int64(len(text))},
		{"tohost", asm.S1, 0},
		{"fromhost", asm.S2, 1},
		{"result of standard error", asm.S3, 3},
		{"result for the standard input", asm.S4, -9},
		{"result beyond RAM", asm.S5, -14},
		{"result below RAM", asm.S6, -14},
		{"result of nothing", asm.S7, 0},
		{"result of very much", asm.S8, maxWrite},
		{"result of a negative length", asm.S9, -14},
	} {
		if got := int64(b.hart.X[c.reg]); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// Without the symbol fromhost nothing is answered there.
func TestProgramWithoutFromHost(t *testing.T) {
	image := *bare(t, func(p *asm.Program) { call(p, callWrite, 1, bareBase, 0); report(p, 1) })
	image.FromHost = 0
	b, _, _ := onEngines(t, &image)
	if status, err := b.Ended(); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if v, _ := b.ram.Load64(0); v != 0 {
		t.Errorf("something was written to address 0")
	}
}

// Without the symbol tohost its place is memory like any other.
func TestProgramWithoutToHost(t *testing.T) {
	image := *bare(t, func(p *asm.Program) { report(p, 3); store(p, 0x10_0000, 0x5555) })
	image.ToHost = 0
	b, exit, _ := onEngines(t, &image)
	if exit != machine.PoweredOff {
		t.Fatal(exit)
	}
	if status, err := b.Ended(); status != 0 || err != nil {
		t.Errorf("status %d, %v; want that of the syscon", status, err)
	}
}

// A hart that waits finds time stepped to its timer, and takes the interrupt
// if it may.
func TestProgramWaitsForTimer(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		b, exit, _ := onEngines(t, bare(t, func(p *asm.Program) {
			p.LA(asm.T0, "handler")
			p.CSRW(asm.MTVEC, asm.T0)
			p.LI(asm.T0, int64(boot.CLINTBase)+0x4000)
			p.LI(asm.T1, 1<<30)
			p.SD(asm.T1, 0, asm.T0) // mtimecmp
			p.LI(asm.T1, 1<<rv64.MTIP)
			p.CSRW(asm.MIE, asm.T1)
			if enabled {
				p.CSRRSI(asm.Zero, asm.MSTATUS, uint(rv64.StatusMIE))
			}
			p.WFI()
			p.LI(asm.T2, int64(boot.CLINTBase)+0xbff8)
			p.LD(asm.S0, 0, asm.T2) // mtime
			report(p, 2<<1|1)
			p.Align(4)
			p.Label("handler")
			p.CSRR(asm.S1, asm.MCAUSE)
			p.LI(asm.T2, int64(boot.CLINTBase)+0xbff8)
			p.LD(asm.S0, 0, asm.T2)
			report(p, 3<<1|1)
		}))
		if exit != machine.PoweredOff {
			t.Fatal(exit)
		}
		status, _ := b.Ended()
		if now := b.hart.X[asm.S0]; now < 1<<30 || now > 1<<30+8 {
			t.Errorf("it woke at time %d, its timer is at %d", now, 1<<30)
		}
		if want := map[bool]uint8{false: 2, true: 3}[enabled]; status != want {
			t.Errorf("interrupts enabled %v: status %d, want %d", enabled, status, want)
		}
		if cause := b.hart.X[asm.S1]; enabled && cause != 1<<63|uint64(rv64.MTIP) {
			t.Errorf("cause %#x", cause)
		}
	}
}

func TestProgramWaitsForEver(t *testing.T) {
	for name, body := range map[string]func(p *asm.Program){
		"nothing enabled": func(p *asm.Program) { p.WFI() },
		"no timer": func(p *asm.Program) {
			p.LI(asm.T1, 1<<rv64.MTIP)
			p.CSRW(asm.MIE, asm.T1)
			p.WFI()
		},
		"a timer out of reach": func(p *asm.Program) {
			p.LI(asm.T0, int64(boot.CLINTBase)+0x4000)
			p.LI(asm.T1, -2)
			p.SD(asm.T1, 0, asm.T0)
			p.LI(asm.T1, 1<<rv64.MTIP)
			p.CSRW(asm.MIE, asm.T1)
			p.WFI()
		},
	} {
		if _, exit, _ := onEngines(t, bare(t, body)); exit != machine.Idle {
			t.Errorf("%s: %v, want idle", name, exit)
		}
	}
}

func TestProgramThatDoesNotEnd(t *testing.T) {
	b := newProgram(t, bare(t, func(p *asm.Program) { p.NOP() }), Engine{})
	if exit := b.RunProgram(12345); exit != machine.Reached || b.Icount() != 12345 {
		t.Errorf("%v at %d", exit, b.Icount())
	}
}

// A program begins in machine mode with nothing set up but a0 and a1.
func TestProgramBegins(t *testing.T) {
	b := newProgram(t, bare(t, func(p *asm.Program) {
		p.LW(asm.S0, 0, asm.A1)
		report(p, 1)
	}), Engine{})
	s := b.hart.State
	if s.PC != bareBase || s.Priv != rv64.MachineMode || s.Mideleg != 0 || s.Medeleg != 0 || s.Mie != 0 || s.Mtvec != 0 || s.Satp != 0 || s.Menvcfg != 0 {
		t.Errorf("it begins with %+v", s)
	}
	for i, v := range s.X {
		if want := map[int]uint64{int(asm.A1): bareBase + programMemory - 64<<10}[i]; v != want {
			t.Errorf("x%d is %#x, want %#x", i, v, want)
		}
	}
	b.RunProgram(100)
	if got := uint32(b.hart.X[asm.S0]); got != 0xedfe0dd0 {
		t.Errorf("at a1 is %#x, no device tree", got)
	}
}

// There is no SBI: an ecall from supervisor mode is the program's own to take.
func TestProgramTakesItsEcalls(t *testing.T) {
	b, exit, _ := onEngines(t, bare(t, func(p *asm.Program) {
		p.LA(asm.T0, "handler")
		p.CSRW(asm.MTVEC, asm.T0)
		p.LI(asm.T0, -1)
		p.CSRW(0x3b0, asm.T0)
		p.LI(asm.T0, 0x1f)
		p.CSRW(0x3a0, asm.T0)
		p.LI(asm.T0, 1<<11)
		p.CSRW(asm.MSTATUS, asm.T0)
		p.LA(asm.T0, "super")
		p.CSRW(asm.MEPC, asm.T0)
		p.MRET()
		p.Align(4)
		p.Label("super")
		sbiCall(p, sbiSRST, 0, 0, 0)
		p.Align(4)
		p.Label("handler")
		p.CSRR(asm.A1, asm.MCAUSE)
		p.SLLI(asm.A1, asm.A1, 1)
		p.ORI(asm.A1, asm.A1, 1)
		p.LI(asm.A0, toHost)
		p.SD(asm.A1, 0, asm.A0)
	}))
	if exit != machine.PoweredOff {
		t.Fatal(exit)
	}
	if status, err := b.Ended(); rv64.Cause(status) != rv64.EcallS || err != nil {
		t.Errorf("cause %d, %v", status, err)
	}
}

// After a reset the program is as it was loaded; time goes on.
func TestProgramResets(t *testing.T) {
	b, exit, out := onEngines(t, bare(t, func(p *asm.Program) {
		p.LI(asm.T0, bareData)
		p.LD(asm.S0, 0, asm.T0)
		p.SD(asm.T0, 0, asm.T0)
		p.LI(asm.T0, int64(boot.CLINTBase)+0xbff8)
		p.LD(asm.T1, 0, asm.T0)
		p.LI(asm.T2, 100)
		p.BGEU(asm.T1, asm.T2, "late")
		say(p, ".")
		store(p, 0x10_0000, dev.SysconReset)
		p.Label("late")
		report(p, 1)
	}))
	if exit != machine.PoweredOff || b.hart.X[asm.S0] != 0 {
		t.Errorf("%v, with %#x in memory after a reset", exit, b.hart.X[asm.S0])
	}
	if n := len(said(out, 0)); n < 10 {
		t.Errorf("%d resets", n)
	}
}

func TestSignatureOfAProgram(t *testing.T) {
	b, _, _ := onEngines(t, bare(t, func(p *asm.Program) {
		p.LI(asm.T0, callArgs)
		p.LI(asm.T1, 0x0102030405060708)
		p.SD(asm.T1, 0, asm.T0)
		p.SD(asm.T1, 56, asm.T0)
		report(p, 1)
	}))
	want := make([]byte, 64)
	copy(want, "\x08\x07\x06\x05\x04\x03\x02\x01")
	copy(want[56:], want)
	if got := b.Signature(); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// A snapshot is of one program; the same on another engine goes on with it.
func TestSnapshotOfAProgram(t *testing.T) {
	body := func(text string) *boot.Program {
		return bare(t, func(p *asm.Program) { say(p, text); report(p, 1) })
	}
	b := newProgram(t, body("hello"), Engine{})
	b.RunProgram(10)
	var file bytes.Buffer
	if err := b.Save(&file); err != nil {
		t.Fatal(err)
	}
	if err := newProgram(t, body("other"), Engine{}).Load(bytes.NewReader(file.Bytes())); err == nil {
		t.Error("the snapshot of another program was loaded")
	}
	c := newProgram(t, body("hello"), Engine{Reference: true})
	if err := c.Load(&file); err != nil {
		t.Fatal(err)
	}
	b.RunProgram(1000)
	c.RunProgram(1000)
	if b.Digest() != c.Digest() || b.Icount() != c.Icount() {
		t.Errorf("the copy ended at %d, the original at %d", c.Icount(), b.Icount())
	}
}

func TestProgramThatDoesNotFit(t *testing.T) {
	image := bare(t, func(p *asm.Program) {})
	if _, err := NewProgram(1<<20, image, Engine{}); err == nil || !strings.Contains(err.Error(), "it must be between") {
		t.Errorf("with 1 MiB of memory: %v", err)
	}
	big := *image
	big.Segments = append([]boot.Segment(nil), image.Segments...)
	big.Segments[0].Size = programMemory + 1
	if _, err := NewProgram(programMemory, &big, Engine{}); err == nil || !strings.Contains(err.Error(), "give the machine more memory") {
		t.Errorf("a program larger than memory: %v", err)
	}
}
