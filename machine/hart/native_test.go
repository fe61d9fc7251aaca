package hart_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
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
