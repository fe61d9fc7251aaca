package conformance

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
)

// number reads a decimal or 0x number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// options are those of the hart for programs of this kind.
func (k kind) options() hart.Options {
	return hart.Options{MaxMode: 10}
}

// itemsPerProgram is what fits a slot's code.
const itemsPerProgram = 500

// batch makes the programs of consecutive seeds.
func batch(k kind, seed uint64, n int) []*program {
	out := make([]*program, n)
	for i := range out {
		out[i] = generate(k, seed+uint64(i), itemsPerProgram)
	}
	return out
}

// eachBatch runs f on as many batches of each kind as are asked for.
func eachBatch(t *testing.T, programs int, f func(t *testing.T, b []*program)) {
	first := number(t, "LOCKSTEP_CONFORMANCE_SEED", 1)
	rounds := number(t, "LOCKSTEP_CONFORMANCE", 0)
	if rounds > 0 {
		programs = maxSlots
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			for i := range max(rounds, 1) {
				f(t, batch(k, first+i*uint64(programs), programs))
			}
		})
	}
}

// The hart ends every program in the state in which QEMU ends it.
func TestAgainstQEMU(t *testing.T) {
	needQEMU(t)
	total := machine.Icount(0)
	eachBatch(t, 12, func(t *testing.T, b []*program) {
		ram := image(b)
		ours, n := runHart(t, ram, b[0].options(), maxIcount, false)
		theirs := onQEMU(t, b[0].kind, ram)
		total += n
		bad := 0
		for i, g := range b {
			at := slotAddr(i) - ramBase
			diff := g.difference(ours[at:][:slotSize], theirs[at:][:slotSize])
			if diff == "" {
				continue
			}
			if bad++; bad <= 3 {
				t.Errorf("%v differs:\n%s", g, indent(diff))
				t.Error(indent(culprit(t, g)))
			}
		}
		if bad > 3 {
			t.Errorf("%d programs differ", bad)
		}
		if t.Failed() {
			t.FailNow()
		}
	})
	model, _ := cpu()
	t.Logf("%d instructions compared with -cpu %s", total, model)
}

// culprit runs prefixes of a program, all in one batch, to find the first item
// after which the states differ.
func culprit(t *testing.T, g *program) string {
	low, high := 0, len(g.items) // low agrees, high differs
	for high-low > 1 {
		var b []*program
		step := max(1, (high-low)/(maxSlots-1))
		for n := low + step; n < high && len(b) < maxSlots; n += step {
			b = append(b, g.prefix(n))
		}
		ram := image(b)
		ours, _ := runHart(t, ram, g.options(), maxIcount, false)
		theirs := onQEMU(t, g.kind, ram)
		for i, p := range b {
			at := slotAddr(i) - ramBase
			if p.difference(ours[at:][:slotSize], theirs[at:][:slotSize]) != "" {
				high = len(p.items)
				break
			}
			low = len(p.items)
		}
	}
	p := g.prefix(high)
	ram := image([]*program{p})
	ours, _ := runHart(t, ram, g.options(), maxIcount, false)
	theirs := onQEMU(t, g.kind, ram)
	at := slotAddr(0) - ramBase
	text := fmt.Sprintf("item %d, %s, is the first that matters:\n%s", high-1, p.items[high-1].name,
		p.difference(ours[at:][:slotSize], theirs[at:][:slotSize]))
	before, after := g.prefix(high-1).assemble(slotAddr(0)), p.assemble(slotAddr(0))
	return text + fmt.Sprintf("code at %#x: % x", slotAddr(0)+code+uint64(len(before))-4, after[max(0, len(before)-4):])
}

// Caches and cuts are invisible (R4, R5): without caches, or cut anywhere with
// caches dropped, a batch leaves the same RAM at the same position.
func TestCachesAndCuts(t *testing.T) {
	eachBatch(t, 6, func(t *testing.T, b []*program) {
		ram := image(b)
		want, n := runHart(t, ram, b[0].options(), maxIcount, false)
		for _, v := range []struct {
			name    string
			noCache bool
			cut     machine.Icount
			drop    bool
		}{
			{"without caches", true, maxIcount, false},
			{"cut at every 7th", false, 7, false},
			{"caches dropped at every 101st", false, 101, true},
		} {
			opt := b[0].options()
			opt.NoCache = v.noCache
			got, m := runHart(t, ram, opt, v.cut, v.drop)
			if m != n {
				t.Errorf("%s: ended at %d, want %d", v.name, m, n)
			}
			for i, g := range b {
				at := slotAddr(i) - ramBase
				if diff := g.difference(got[at:][:slotSize], want[at:][:slotSize]); diff != "" {
					t.Fatalf("%v differs %s (qemu is here the hart with caches):\n%s", g, v.name, indent(diff))
				}
			}
		}
	})
}
