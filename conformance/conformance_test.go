package conformance

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
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

// options are those of the hart.
func (k kind) options() hart.Options { return hart.Options{MaxMode: 10} }

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

// eachBatch runs f on as many batches of each kind as are asked for. Kinds that
// need what the QEMU lacks are named, and left out; CI must have a QEMU that
// lacks nothing.
func eachBatch(t *testing.T, programs int, lacks []feature, f func(t *testing.T, b []*program)) {
	first := number(t, "LOCKSTEP_CONFORMANCE_SEED", 1)
	rounds := number(t, "LOCKSTEP_CONFORMANCE", 0)
	if rounds > 0 {
		programs = maxSlots
	}
	for _, k := range kinds {
		k.lacks = lacks
		t.Run(k.name, func(t *testing.T) {
			if names := k.missing(); names != nil {
				citest.Unable(t, fmt.Errorf("not compared: this QEMU has no %v; QEMU 8 or later has: name one in LOCKSTEP_QEMU", names))
			}
			n := min(programs, k.slots())
			for i := range max(rounds, 1) {
				f(t, batch(k, first+i*uint64(n), n))
			}
		})
	}
}

// enough is how many random instructions a run that counts compares at least.
const enough = 10_000_000

// The hart ends every program in the state in which QEMU ends it.
func TestAgainstQEMU(t *testing.T) {
	q := needQEMU(t)
	total, counts := uint64(0), map[string]uint64{}
	eachBatch(t, 8, q.lacks, func(t *testing.T, b []*program) {
		ram := image(b)
		ours, _ := runHart(t, ram, b[0].options(), maxIcount, false)
		n, stepped := randomInstructions(t, ram, b[0].options())
		if !bytes.Equal(ours, stepped) {
			t.Errorf("cut at every instruction the hart ends in another state (seeds %#x to %#x)", b[0].seed, b[len(b)-1].seed)
		}
		if opt, ok := native(t, b[0].options()); ok {
			if translated, _ := runHart(t, ram, opt, maxIcount, false); !bytes.Equal(ours, translated) {
				t.Errorf("translated code ends in another state (seeds %#x to %#x)", b[0].seed, b[len(b)-1].seed)
			}
		}
		theirs := onQEMU(t, ram)
		total += n
		counts[b[0].name] += n
		bad := 0
		for i, g := range b {
			at := slotAddr(i) - ramBase
			diff := g.difference(ours[at:][:slotSize], theirs[at:][:slotSize])
			if diff == "" {
				continue
			}
			if bad++; bad == 1 {
				t.Errorf("%v differs from QEMU %s:\n%s", g, q.version, indent(diff))
				t.Error(report(t, q, g))
			}
		}
		if bad > 1 {
			t.Errorf("%d programs of %d differ", bad, len(b))
		}
		if t.Failed() {
			t.FailNow()
		}
	})
	whole := true
	for _, k := range kinds {
		k.lacks = q.lacks
		switch names := k.missing(); {
		case names != nil:
			t.Logf("not compared: %s: QEMU %s has no %v", k.name, q.version, names)
		default:
			t.Logf("%10d %s", counts[k.name], k.name)
			whole = whole && counts[k.name] > 0
		}
	}
	t.Logf("%d random instructions compared with QEMU %s, -cpu %s", total, q.version, q.model)
	if os.Getenv("LOCKSTEP_CONFORMANCE") != "" && whole && total < enough {
		t.Errorf("only %d random instructions, want %d: set LOCKSTEP_CONFORMANCE to more", total, enough)
	}
}

// onBoth is the oracle of differences between the hart and QEMU. What does not
// end, on either, shows no difference.
func onBoth(t *testing.T, q *emulator) oracle {
	var ask oracle
	ask = func(b []*program) []bool {
		ram := image(b)
		ours, _, err := tryHart(t, ram, b[0].options(), maxIcount, false)
		if err == nil {
			var theirs []byte
			if theirs, err = q.run(ram, shrinking); err == nil {
				return compared(b, ours, theirs)
			}
		}
		if len(b) == 1 {
			return []bool{false}
		}
		return append(ask(b[:len(b)/2]), ask(b[len(b)/2:])...)
	}
	return ask
}

// compared says which programs ended in different states.
func compared(b []*program, ours, theirs []byte) []bool {
	out := make([]bool, len(b))
	for i, g := range b {
		at := slotAddr(i) - ramBase
		out[i] = g.difference(bytes.Clone(ours[at:][:slotSize]), bytes.Clone(theirs[at:][:slotSize])) != ""
	}
	return out
}

// report shrinks a program that differs and says how to see it again.
func report(t *testing.T, q *emulator, g *program) string {
	differs := onBoth(t, q)
	how := fmt.Sprintf("LOCKSTEP_CONFORMANCE_SEED=%#x go test ./conformance -run '^%s$'", g.seed, strings.ReplaceAll(t.Name(), "/", "$/^"))
	if q := os.Getenv("LOCKSTEP_QEMU"); q != "" {
		how = "LOCKSTEP_QEMU=" + q + " " + how
	}
	if !differs([]*program{g})[0] {
		return fmt.Sprintf("%v does not differ alone: run its batch, LOCKSTEP_CONFORMANCE=1 with the first seed of the batch", g)
	}
	least := shrink(g, differs)
	ram := image([]*program{least})
	ours, _ := runHart(t, ram, least.options(), maxIcount, false)
	at := slotAddr(0) - ramBase
	text := "again: " + how + "\nthe least program: " + least.listing()
	if theirs, err := q.run(ram, shrinking); err == nil {
		text += "its difference:\n" + least.difference(ours[at:][:slotSize], theirs[at:][:slotSize])
	}
	return indent(text)
}

// Caches and cuts are invisible (R4, R5): without caches, or cut anywhere with
// caches dropped, a batch leaves the same RAM at the same position.
func TestCachesAndCuts(t *testing.T) {
	eachBatch(t, 4, nil, func(t *testing.T, b []*program) {
		ram := image(b)
		want, n := runHart(t, ram, b[0].options(), maxIcount, false)
		for _, v := range []struct {
			name       string
			noCache    bool
			translated bool
			cut        machine.Icount
			drop       bool
		}{
			{"without caches", true, false, maxIcount, false},
			{"cut at every 7th", false, false, 7, false},
			{"caches dropped at every 101st", false, false, 101, true},
			{"translated", false, true, maxIcount, false},
			{"translated, cut at every 7th", false, true, 7, false},
			{"translated, caches dropped at every 101st", false, true, 101, true},
		} {
			opt := b[0].options()
			opt.NoCache = v.noCache
			if v.translated {
				var ok bool
				if opt, ok = native(t, opt); !ok {
					continue
				}
			}
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
