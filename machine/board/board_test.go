package board

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

func TestGuestStartsAsFirmwareLeavesIt(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) {
		p.LI(asm.T2, 0)
		p.MV(asm.S0, asm.A1)
		sayIf(p, "hart", asm.A0, asm.T2, 'h', 'x')
		p.LI(asm.T2, 0xedfe0dd0) // the device tree's magic, read little-endian
		p.LWU(asm.S1, 0, asm.S0)
		sayIf(p, "tree", asm.S1, asm.T2, 't', 'x')
		p.CSRR(asm.S1, asm.TIME) // allowed from S, as are cycle and instret
		p.CSRR(asm.S1, asm.CYCLE)
		p.CSRR(asm.S1, asm.STIMECMP) // Sstc is there
		say(p, "\n")
		powerOff(p)
	}))
	text, end := drive(t, b, 1000)
	if text != "ht\n" || end != machine.PoweredOff {
		t.Errorf("the guest wrote %q and ended %v", text, end)
	}
}

func TestPowerOffIsTheLastOutput(t *testing.T) {
	for name, c := range map[string]struct {
		body   func(p *asm.Program)
		failed bool
	}{
		"SRST":           {func(p *asm.Program) { sbiCall(p, sbiSRST, 0, 0, 0) }, false},
		"SRST, failure":  {func(p *asm.Program) { sbiCall(p, sbiSRST, 0, 0, 1) }, true},
		"syscon":         {func(p *asm.Program) { store(p, 0x10_0000, 0x5555) }, false},
		"syscon failure": {func(p *asm.Program) { store(p, 0x10_0000, 0x3333) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard(t, testConfig(func(p *asm.Program) {
				say(p, "bye")
				c.body(p)
				say(p, "never")
			}))
			if got := b.Run(1000); got != machine.PoweredOff {
				t.Fatalf("exit %v", got)
			}
			at := b.Icount()
			out := b.Outputs(nil)
			if len(out) != 2 || string(out[0].Bytes) != "bye" || out[1].Port.Kind != machine.PortPower || out[1].Count != 4 || (len(out[1].Bytes) == 1) != c.failed {
				t.Errorf("outputs %+v", out)
			}
			if b.Run(2000) != machine.PoweredOff || b.Icount() != at || len(b.Outputs(nil)) != 0 {
				t.Error("it ran on after the power-off")
			}
			if b.Deliver(machine.Stop{}) == nil {
				t.Error("a machine that is off took an input")
			}
			if _, any := b.NextTimer(); any {
				t.Error("a machine that is off waits for a timer")
			}
		})
	}
}

func TestStopPowersOff(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) { p.Label("x"); p.J("x") }))
	b.Run(10)
	if err := b.Deliver(machine.Stop{}); err != nil {
		t.Fatal(err)
	}
	out := b.Outputs(nil)
	if len(out) != 1 || out[0].Port.Kind != machine.PortPower || out[0].Pos != 10 || b.Run(20) != machine.PoweredOff {
		t.Errorf("outputs %+v", out)
	}
}

// Console bytes are counted one by one and joined until they are taken.
func TestConsoleBytesJoinUntilTaken(t *testing.T) {
	guest := func(p *asm.Program) { say(p, "abcdef"); powerOff(p) }
	whole, single := newBoard(t, testConfig(guest)), newBoard(t, testConfig(guest))
	whole.Run(1000)
	out := whole.Outputs(nil)
	if len(out) != 2 || string(out[0].Bytes) != "abcdef" || out[0].Count != 6 || out[0].Offset != 0 {
		t.Errorf("outputs %+v", out)
	}
	var text []byte
	for i := machine.Icount(1); single.Run(i) != machine.PoweredOff; i++ {
		for _, o := range single.Outputs(nil) {
			if int(o.Offset) != len(text) || int(o.Count) != len(text)+len(o.Bytes) {
				t.Errorf("after %d bytes came %+v", len(text), o)
			}
			text = append(text, o.Bytes...)
		}
	}
	if string(text) != "abcdef" || single.Mark() != whole.Mark() {
		t.Errorf("cut into single steps: %q, mark %v, want %v", text, single.Mark(), whole.Mark())
	}
	if off, tail := whole.ConsoleTail(0); off != 0 || string(tail) != "abcdef" {
		t.Errorf("tail %q at %d", tail, off)
	}
}

// A handler for one kind of interrupt: it prints c and powers off.
func interruptGuest(enable int64, cause uint64, arm func(p *asm.Program)) func(p *asm.Program) {
	return func(p *asm.Program) {
		p.LA(asm.T0, "handler")
		p.CSRW(asm.STVEC, asm.T0)
		p.LI(asm.T0, enable)
		p.CSRW(asm.SIE, asm.T0)
		arm(p)
		p.CSRRSI(asm.Zero, asm.SSTATUS, 2)
		p.Label("wait")
		p.WFI()
		p.J("wait")
		p.Align(4)
		p.Label("handler")
		p.CSRR(asm.S0, asm.SCAUSE)
		p.LI(asm.S1, -1<<63|int64(cause))
		sayIf(p, "cause", asm.S0, asm.S1, '+', '-')
		powerOff(p)
	}
}

func TestInterruptsReachTheGuest(t *testing.T) {
	for name, c := range map[string]struct {
		enable int64
		cause  uint64
		arm    func(p *asm.Program)
		input  machine.Input
	}{
		"stimecmp": {enable: 1 << 5, cause: 5, arm: func(p *asm.Program) {
			p.LI(asm.T0, 100_000)
			p.CSRW(asm.STIMECMP, asm.T0)
		}},
		"SBI set_timer": {enable: 1 << 5, cause: 5, arm: func(p *asm.Program) { sbiCall(p, sbiTime, 0, 70_000) }},
		"SBI send_ipi":  {enable: 1 << 1, cause: 1, arm: func(p *asm.Program) { sbiCall(p, sbiIPI, 0, 1, 0) }},
		"UART through the PLIC": {enable: 1 << 9, cause: 9, arm: func(p *asm.Program) {
			store(p, 0xc00_0000+4*10, 1)
			store(p, 0xc00_2080, 1<<10)
			storeByte(p, 0x1000_0001, 1) // IER
		}, input: machine.ConsoleInput{Session: 1, Bytes: []byte("k")}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard(t, testConfig(interruptGuest(c.enable, c.cause, c.arm)))
			if c.input != nil {
				if text, end := drive(t, b, 5000); text != "" || end != machine.Idle {
					t.Fatalf("without input: %q, %v", text, end)
				}
				if err := b.Deliver(c.input); err != nil {
					t.Fatal(err)
				}
			}
			if text, end := drive(t, b, 5000); text != "+" || end != machine.PoweredOff {
				t.Errorf("the guest wrote %q and ended %v at %d", text, end, b.Icount())
			}
		})
	}
}

// alarmGuest sets the RTC's alarm 1000 ticks ahead, then does what body does. Its handler
// prints, and powers off.
func alarmGuest(body func(p *asm.Program)) func(p *asm.Program) {
	return func(p *asm.Program) {
		interruptGuest(1<<9, 9, func(p *asm.Program) {
			store(p, 0xc00_0000+4*11, 1)
			store(p, 0xc00_2080, 1<<11)
			store(p, mmioRTC+0x10, 1)
			p.CSRRSI(asm.Zero, asm.SSTATUS, 2)
			p.LI(asm.T0, mmioRTC)
			p.LWU(asm.T1, 0, asm.T0)
			p.LW(asm.T2, 4, asm.T0)
			p.SW(asm.T2, 12, asm.T0)
			p.LI(asm.T2, 100_000)
			p.ADD(asm.T1, asm.T1, asm.T2)
			p.SW(asm.T1, 8, asm.T0)
			body(p)
		})(p)
	}
}

// The alarm's interrupt is taken at the first position where its time has
// come, whether the machine runs there in one piece or in steps, and a machine
// that waits knows of it.
func TestAlarmInterruptsAtItsPosition(t *testing.T) {
	busy := testConfig(alarmGuest(func(p *asm.Program) { p.Label("spin"); p.J("spin") }))
	ref, err := NewReference(busy, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	var due machine.Icount
	for name, c := range map[string]struct {
		b    *Board
		step machine.Icount
	}{"one piece": {newBoard(t, busy), 1 << 20}, "steps": {newBoard(t, busy), 1}, "pieces": {newBoard(t, busy), 7}, "reference": {ref, 1 << 20}} {
		b := c.b
		for {
			if _, set := b.rtc.Alarm(); set {
				break
			}
			b.Run(b.Icount() + 1)
		}
		at := b.nextAlarm()
		if due == 0 {
			due = at
		}
		if at != due || at < 4000 || at > 4200 {
			t.Errorf("%s: the alarm is due at %d, elsewhere at %d", name, at, due)
		}
		for b.Icount() < at {
			if got := b.Run(min(at, b.Icount()+c.step)); got != machine.Reached {
				t.Fatalf("%s: exit %v", name, got)
			}
		}
		before := b.Digest()
		if b.Run(at) != machine.Reached || b.Digest() != before {
			t.Errorf("%s: Run changed something at its end", name)
		}
		if b.hart.Scause != 0 {
			t.Errorf("%s: the interrupt was taken at the end of a run", name)
		}
		b.Run(at + 1)
		if b.hart.Scause != 1<<63|9 || b.Icount() != at+1 {
			t.Errorf("%s: at %d scause is %#x", name, b.Icount(), b.hart.Scause)
		}
		if text, end := drive(t, b, at+1000); text != "+" || end != machine.PoweredOff {
			t.Errorf("%s: wrote %q, %v", name, text, end)
		}
	}

	b := newBoard(t, testConfig(alarmGuest(func(p *asm.Program) { p.WFI() })))
	if b.Run(2000) != machine.Idle {
		t.Fatal("the guest does not wait")
	}
	next, any := b.NextTimer()
	if alarm, set := b.rtc.Alarm(); !any || !set || next != alarm {
		t.Errorf("next timer at %d (%v), alarm at %d (%v)", next, any, alarm, set)
	}
	if text, end := drive(t, b, 2000); text != "+" || end != machine.PoweredOff {
		t.Errorf("wrote %q, %v", text, end)
	}

	// A guest that does not want the interrupt is not woken again and again.
	b = newBoard(t, testConfig(func(p *asm.Program) {
		store(p, mmioRTC+0x10, 1)
		store(p, mmioRTC+0x0c, 0x7fff_ffff)
		store(p, mmioRTC+0x08, 0)
		p.WFI()
	}))
	if text, end := drive(t, b, 2000); text != "" || end != machine.Idle {
		t.Errorf("wrote %q, %v", text, end)
	}
}

// A position of State has the alarm's line, however the machine came there: one
// that begins to wait as the alarm fires, its interrupt masked, shows the same
// before and after it is run on.
func TestAlarmAsTheGuestBeginsToWait(t *testing.T) {
	fired := map[bool]int{}
	for nops := range 20 {
		cfg := testConfig(func(p *asm.Program) {
			store(p, mmioRTC+0x10, 1)
			p.LI(asm.T0, mmioRTC)
			p.LWU(asm.T1, 0, asm.T0)
			p.LW(asm.T2, 4, asm.T0)
			p.SW(asm.T2, 12, asm.T0)
			p.ADDI(asm.T1, asm.T1, 400) // four ticks, 16 instructions
			p.SW(asm.T1, 8, asm.T0)
			for range nops {
				p.NOP()
			}
			p.WFI()
		})
		b := newBoard(t, cfg)
		for range 50 {
			b.Run(b.Icount() + 1) // ends at every position
		}
		end := b.Icount()
		for _, until := range []machine.Icount{end, end + 1, end + 1000} {
			c := newBoard(t, cfg)
			c.Run(until)
			if c.Icount() != end || c.Digest() != b.Digest() {
				t.Fatalf("%d instructions between: run to %d in one piece and in steps, digests differ at %d and %d", nops, until, c.Icount(), end)
			}
		}
		_, set := b.rtc.Alarm()
		fired[!set]++
	}
	if fired[true] == 0 || fired[false] == 0 {
		t.Errorf("the alarm fires before the guest waits, or not: %v", fired)
	}
}

func TestDeliverRefuses(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) { p.Label("x"); p.J("x") }))
	b.Run(100)
	before := b.Digest()
	clock := func(t0 machine.VTime, i0 machine.Icount, mul uint64) machine.Input {
		return machine.SetClock{Clock: machine.Clock{T0: t0, I0: i0, Mul: mul}}
	}
	for name, in := range map[string]machine.Input{
		"no NIC":               machine.Frame{NIC: 0, Bytes: make([]byte, 60)},
		"no disk":              machine.DiskDone{Disk: 0, ID: 1},
		"no console":           machine.ConsoleInput{Console: 2, Bytes: []byte("x")},
		"console without room": machine.ConsoleInput{Bytes: []byte("xy")},
		"entropy nobody wants": machine.Entropy{Bytes: make([]byte, 4)},
		"clock of the past":    clock(24, 100, 1),
		"clock elsewhere":      clock(50, 99, 1),
		"clock out of range":   clock(1<<61, 100, 1),
		"slope out of range":   clock(50, 100, 1<<41),
		"nothing":              nil,
	} {
		if b.Deliver(in) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if b.Digest() != before {
		t.Error("a refused input changed the State")
	}
	if err := b.Deliver(clock(25, 100, 0)); err != nil {
		t.Error(err)
	}
	b.Run(200)
	if got := b.hart.Time(); got != 25 {
		t.Errorf("a clock of slope 0 shows %d", got)
	}
}

func TestNewRefuses(t *testing.T) {
	good := func() *machine.Config { return testConfig(func(p *asm.Program) { p.NOP() }) }
	for name, spoil := range map[string]func(*machine.Config, *machine.Birth){
		"memory":  func(c *machine.Config, _ *machine.Birth) { c.Memory = 12345 },
		"kernel":  func(c *machine.Config, _ *machine.Birth) { c.Kernel = bytes.Repeat([]byte{1}, 100) },
		"clock":   func(_ *machine.Config, b *machine.Birth) { b.Clock.I0 = 1 },
		"too big": func(c *machine.Config, _ *machine.Birth) { c.Initrd = make([]byte, 12<<20-1<<10) },
	} {
		cfg, birth := good(), testBirth
		spoil(cfg, &birth)
		if _, err := New(cfg, birth); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A guest reset is a transition inside the machine: RAM and devices as at
// power-on, while position, clock, mark and console offsets go on.
func TestGuestReset(t *testing.T) {
	for name, ask := range map[string]func(p *asm.Program){
		"cold":   func(p *asm.Program) { sbiCall(p, sbiSRST, 0, 1, 0) },
		"warm":   func(p *asm.Program) { sbiCall(p, sbiSRST, 0, 2, 0) },
		"syscon": func(p *asm.Program) { store(p, 0x10_0000, 0x7777) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(func(p *asm.Program) {
				p.LI(asm.T0, 0x1000_0000)
				p.LBU(asm.S0, 7, asm.T0) // scratch register of the UART
				p.LI(asm.T0, scratch)
				p.LD(asm.S1, 0, asm.T0)
				p.OR(asm.S0, asm.S0, asm.S1)
				sayIf(p, "fresh", asm.S0, asm.Zero, 'f', 'x')
				store(p, scratch, 77)
				storeByte(p, 0x1000_0007, 55)
				p.LI(asm.T0, 1<<5)
				p.CSRW(asm.SIE, asm.T0)
				p.LI(asm.T0, imageBase) // the payload is laid again
				p.SD(asm.Zero, 32, asm.T0)
				ask(p)
				say(p, "never")
			})
			b := newBoard(t, cfg)
			first := treeOf(t, b)
			seen := map[machine.Digest]bool{}
			for n := 1; n <= 3; n++ {
				before := b.Icount()
				for b.Run(1<<20) != machine.OutputReady {
					t.Fatal("no reset")
				}
				if b.Icount() == before || b.hart.PC != imageBase || b.hart.Mie != 0 {
					t.Fatalf("after a reset: position %d, pc %#x, mie %#x", b.Icount(), b.hart.PC, b.hart.Mie)
				}
				if got := b.Mark().Count; got != uint64(n) {
					t.Errorf("mark counts %d after %d resets", got, n)
				}
				seen[b.Digest()] = true
			}
			if _, tail := b.ConsoleTail(0); string(tail) != "fff" {
				t.Errorf("the console has %q", tail)
			}
			if len(seen) != 3 {
				t.Error("States after different resets have one digest")
			}
			if second := treeOf(t, b); len(second) != len(first) || bytes.Equal(first, second) {
				t.Error("rng-seed is the same after a reset")
			}
		})
	}
}

func treeOf(t *testing.T, b *Board) []byte {
	t.Helper()
	p := make([]byte, 4096)
	if !b.ram.Read(b.layout.Tree, p) {
		t.Fatal("the tree is outside RAM")
	}
	return p
}

// A guest that waits with nothing enabled, or stops its only hart, waits for
// ever and costs nothing.
func TestGuestThatWaitsForEver(t *testing.T) {
	for name, body := range map[string]func(p *asm.Program){
		"WFI":     func(p *asm.Program) { p.WFI() },
		"stop":    func(p *asm.Program) { sbiCall(p, sbiHSM, 1) },
		"suspend": func(p *asm.Program) { sbiCall(p, sbiHSM, 3, 0, 0, 0) },
	} {
		b := newBoard(t, testConfig(func(p *asm.Program) { body(p); say(p, "awake") }))
		if got := b.Run(1000); got != machine.Idle {
			t.Errorf("%s: exit %v", name, got)
		}
		at := b.Icount()
		if b.Run(1000) != machine.Idle || b.Icount() != at || len(b.Outputs(nil)) != 0 {
			t.Errorf("%s: did not stay", name)
		}
	}
}
