package board

import (
	"encoding/binary"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

const (
	imageBase   = 0x8020_0000
	imageEntry  = imageBase + 64 // behind the header
	imageMemory = 2 << 20        // what the header claims
	scratch     = 0x8050_0000    // free for guests
)

// image makes a kernel of a bare-metal program; body writes it.
func image(body func(p *asm.Program)) []byte {
	p := asm.New(imageEntry)
	body(p)
	head := make([]byte, 64)
	binary.LittleEndian.PutUint32(head, 0x0400_006f) // j .+64
	binary.LittleEndian.PutUint64(head[8:], imageBase-0x8000_0000)
	binary.LittleEndian.PutUint64(head[16:], imageMemory)
	copy(head[0x38:], "RSC\x05")
	return append(head, p.Bytes()...)
}

var testBirth = machine.Birth{
	Seed:  [64]byte{1, 2, 3},
	RTC:   1_700_000_000_000_000_000,
	Clock: machine.Clock{Mul: 1 << 30}, // a tick every four instructions
}

func testConfig(body func(p *asm.Program)) *machine.Config {
	return &machine.Config{Memory: 16 << 20, Kernel: image(body), Cmdline: "test"}
}

func newBoard(t testing.TB, cfg *machine.Config) *Board {
	t.Helper()
	b, err := New(cfg, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// drive runs until the guest is off, waits for ever or has made n attempts. It
// moves the clock on while the hart waits, and returns what console 0 wrote.
func drive(t testing.TB, b *Board, n machine.Icount) (text string, end machine.Exit) {
	t.Helper()
	var outs []machine.Output
	for b.Icount() < n {
		end = b.Run(n)
		outs = b.Outputs(outs[:0])
		for _, o := range outs {
			if o.Port == (machine.Port{Kind: machine.PortConsole}) {
				text += string(o.Bytes)
			}
		}
		if end == machine.PoweredOff {
			return text, end
		}
		if end == machine.Idle {
			next, any := b.NextTimer()
			if !any {
				return text, end
			}
			if err := b.Deliver(machine.SetClock{Clock: machine.Clock{T0: max(next, b.hart.Time()), I0: b.Icount(), Mul: b.Clock().Mul}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return text, end
}

// Pieces of bare-metal programs. They use t0 to t2 and the SBI's registers.

// say prints through the UART.
func say(p *asm.Program, text string) {
	p.LI(asm.T0, 0x1000_0000)
	for _, c := range text {
		p.LI(asm.T1, int64(c))
		p.SB(asm.T1, 0, asm.T0)
	}
}

// sbiCall calls the SBI with arguments that are known.
func sbiCall(p *asm.Program, ext, fn int64, args ...int64) {
	for i, a := range args {
		p.LI(asm.A0+asm.Reg(i), a)
	}
	p.LI(asm.A7, ext)
	p.LI(asm.A6, fn)
	p.ECALL()
}

func powerOff(p *asm.Program) { sbiCall(p, sbiSRST, 0, 0, 0) }

// sayIf prints one character if two registers are equal, another if not.
func sayIf(p *asm.Program, label string, a, b asm.Reg, yes, no rune) {
	p.BEQ(a, b, label+" yes")
	say(p, string(no))
	p.J(label + " end")
	p.Label(label + " yes")
	say(p, string(yes))
	p.Label(label + " end")
}

// store writes a word to an address that is known.
func store(p *asm.Program, addr, v int64) {
	p.LI(asm.T0, addr)
	p.LI(asm.T1, v)
	p.SW(asm.T1, 0, asm.T0)
}

// storeByte writes a byte to an address that is known.
func storeByte(p *asm.Program, addr, v int64) {
	p.LI(asm.T0, addr)
	p.LI(asm.T1, v)
	p.SB(asm.T1, 0, asm.T0)
}
