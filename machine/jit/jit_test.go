package jit_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/jit"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

type env struct{}

func (env) Load(machine.GPA, uint8) (uint64, bool) { return 0, false }
func (env) Store(machine.GPA, uint8, uint64) bool  { return false }
func (env) Ecall(*hart.Hart) bool                  { return false }
func (env) Stored(*hart.Hart)                      {}

func newHart(t testing.TB, native bool, code func(p *asm.Program)) *hart.Hart {
	opt := hart.Options{}
	if native {
		opt.Native, opt.Threshold = newNative(t), 2
	}
	return newHartOn(opt, 1<<20, code)
}

// newLargeHart has translated code, and RAM that no cache of the host holds.
func newLargeHart(t testing.TB, code func(p *asm.Program)) *hart.Hart {
	return newHartOn(hart.Options{Native: newNative(t), Threshold: 2}, 64<<20, code)
}

func newCountedHart(t testing.TB, code func(p *asm.Program)) (*hart.Hart, *stay) {
	n := &stay{Native: newNative(t)}
	return newHartOn(hart.Options{Native: n, Threshold: 2}, 64<<20, code), n
}

func newNative(t testing.TB) hart.Native {
	t.Helper()
	e, err := jit.New(16 << 20)
	if err != nil {
		citest.Unable(t, err)
	}
	return e
}

func newHartOn(opt hart.Options, size uint64, code func(p *asm.Program)) *hart.Hart {
	ram := mem.New(size)
	p := asm.New(uint64(mem.Base))
	code(p)
	ram.Write(mem.Base, p.Bytes())
	h := hart.New(ram, env{}, opt)
	h.Reset(uint64(mem.Base), rv64.MachineMode, 0, 0)
	h.SetClock(machine.Clock{Mul: 1})
	return h
}

// loop has loads, stores, arithmetic and branches, with a call.
func loop(p *asm.Program) {
	p.LI(asm.S0, int64(mem.Base)+0x10000)
	p.Label("outer")
	p.MV(asm.A0, asm.S0)
	p.LI(asm.A1, 500)
	p.Label("inner")
	p.LD(asm.A2, 0, asm.A0)
	p.ADD(asm.A3, asm.A3, asm.A2)
	p.XORI(asm.A4, asm.A3, 0x55)
	p.ANDI(asm.A5, asm.A4, 7)
	p.BEQZ(asm.A5, "skip")
	p.SD(asm.A4, 0, asm.A0)
	p.LBU(asm.A6, 3, asm.A0)
	p.SLLI(asm.A6, asm.A6, 3)
	p.Label("skip")
	p.ADDI(asm.A0, asm.A0, 8)
	p.ADDI(asm.A1, asm.A1, -1)
	p.CALL("leaf")
	p.BNEZ(asm.A1, "inner")
	p.J("outer")
	p.Label("leaf")
	p.ADDIW(asm.T0, asm.A4, 1)
	p.RET()
}

func TestLoop(t *testing.T) {
	a, b := newHart(t, false, loop), newHart(t, true, loop)
	for n := machine.Icount(1); n < 100_000; n += 777 {
		a.Run(n)
		b.Run(n)
		if a.State != b.State {
			t.Fatalf("at %d:\n%+v\n%+v", n, a.State, b.State)
		}
	}
}

// BenchmarkLoop measures the interpreter and translated code, in millions of
// instructions per second of the host.
func BenchmarkLoop(b *testing.B) {
	for _, native := range []bool{false, true} {
		b.Run(map[bool]string{true: "native", false: "interp"}[native], func(b *testing.B) {
			h := newHart(b, native, loop)
			h.Run(100_000)
			b.ResetTimer()
			start := h.Icount
			for range b.N {
				h.Run(h.Icount + 100_000)
			}
			b.ReportMetric(float64(h.Icount-start)/b.Elapsed().Seconds()/1e6, "Minstr/s")
		})
	}
}
