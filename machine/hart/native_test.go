package hart_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

var nativeSeeds = flag.Uint64("native-seeds", 60, "random programs to run on translated code")

// Translated code is one more cache: random programs, thresholds, slices and
// drops lead to the states of the reference.
func TestTranslatedCodeIsInvisible(t *testing.T) {
	opt := translated(t, 1)
	for seed := range *nativeSeeds {
		r := rand.New(rand.NewPCG(seed, 3))
		opt.Native.Reset()
		opt.Threshold = int32(1 + r.IntN(4))
		cut := randomWorld(seed, opt)
		ref := randomWorld(seed, hart.Options{NoCache: true})
		for cut.Icount < steps {
			next := cut.Icount + 1 + machine.Icount(r.IntN(1<<r.IntN(13)))
			cut.advance(next)
			ref.advance(next)
			if a, b := cut.state(), ref.state(); a != b {
				t.Fatalf("seed %d: at position %d the states differ; pc %#x and %#x, pages %v\n%s",
					seed, next, cut.PC, ref.PC, differing(cut.ram, ref.ram), differingRegisters(cut, ref))
			}
			if r.IntN(8) == 0 {
				cut.DropCaches()
			}
		}
	}
}

func differingRegisters(a, b *world) (out string) {
	theirs := b.Registers()
	for i, r := range a.Registers() {
		if r != theirs[i] {
			out += fmt.Sprintf("%s %#x, want %#x\n", r.Name, r.Value, theirs[i].Value)
		}
	}
	return out
}

// A loop remembers the page of its last access. An access whose last byte lies
// there but whose first does not must not take it for its own.
func TestLoopsTellTheFirstPageFromTheLast(t *testing.T) {
	for name, access := range map[string]func(p *asm.Program){
		"load":  func(p *asm.Program) { p.LD(asm.A1, 0, asm.A0) },
		"store": func(p *asm.Program) { p.SW(asm.A1, 2, asm.A0) },
		"group": func(p *asm.Program) {
			p.LW(asm.A1, 0, asm.A0)
			p.LW(asm.A2, 12, asm.A0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				w.put(base+0x1000, func(p *asm.Program) {
					p.LI(asm.A0, int64(base+0x800))
					p.LI(asm.A3, 50)
					p.Label("loop")
					access(p)
					p.ADDI(asm.A3, asm.A3, -1)
					p.SLTI(asm.A4, asm.A3, 2)
					p.LI(asm.A5, 0x804) // at the end the first bytes lie below RAM
					p.MUL(asm.A5, asm.A5, asm.A4)
					p.SUB(asm.A0, asm.A0, asm.A5)
					p.BNEZ(asm.A3, "loop")
					finish(p)
				})
				w.put(base+0x2000, func(p *asm.Program) { finish(p) })
				w.PC, w.Mtvec = base+0x1000, base+0x2000
				w.until(t, done)
				if w.Mcause != uint64(rv64.LoadAccessFault) && w.Mcause != uint64(rv64.StoreAccessFault) {
					t.Errorf("cause %d at %#x, tval %#x; want an access fault", w.Mcause, w.Mepc, w.Mtval)
				}
			})
		})
	}
}

// A page is mapped anew, and its new code is entered in the middle first. The
// jump to its beginning still leads to the old code, whose page it is no more.
func TestJumpsFollowTheCodeOfAPage(t *testing.T) {
	const va, old, fresh = 0x7000, base + 0x4000, base + 0x6000
	both(t, func(t *testing.T, w *world) {
		w.pageTables()
		for i, at := range []uint64{old, fresh} {
			w.put(at, func(p *asm.Program) {
				p.ADDI(asm.A0, asm.A0, int64(1+99*i))
				p.RET()
				p.Align(16)
				p.ADDI(asm.A1, asm.A1, 1)
				p.RET()
			})
		}
		call := func(p *asm.Program, to int64) {
			p.LI(asm.T1, to)
			p.JALR(asm.RA, 0, asm.T1)
		}
		w.put(base+0x1000, func(p *asm.Program) {
			for range 4 {
				call(p, va+16)
				call(p, va)
			}
			p.ECALL()
		})
		w.put(base+0x2000, func(p *asm.Program) { finish(p) })
		w.Mtvec = base + 0x2000
		for _, at := range []uint64{old, fresh} {
			w.leaf(va, at, pteV|pteR|pteX|pteA)
			w.Priv, w.PC = rv64.Supervisor, base+0x1000
			w.until(t, done)
		}
		if w.X[asm.A0] != 4+400 || w.X[asm.A1] != 8 {
			t.Errorf("a0 %d, a1 %d; want 404 and 8; mcause %d at %#x", w.X[asm.A0], w.X[asm.A1], w.Mcause, w.Mepc)
		}
	})
}
