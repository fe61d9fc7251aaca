package conformance

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// named are the names of a program's items.
func (g *program) named() (names []string) {
	for _, i := range g.items {
		names = append(names, i.name)
	}
	return names
}

func kindNamed(t *testing.T, name string) kind {
	t.Helper()
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		t.Fatalf("there is no kind %q", name)
	}
	return kinds[i]
}

// An oracle that wants certain items in order gets just those, whatever lies
// between.
func TestShrinkKeepsWhatMatters(t *testing.T) {
	for _, want := range [][]string{{"mulh"}, {"mulh", "sd"}, {"div", "amoadd.d", "xor"}} {
		matters := func(g *program) bool {
			left := want
			for _, name := range g.named() {
				if len(left) > 0 && name == left[0] {
					left = left[1:]
				}
			}
			return len(left) == 0
		}
		g := generate(kindNamed(t, "machine mode"), 1, itemsPerProgram)
		for !matters(g) {
			g = generate(g.kind, g.seed+1, itemsPerProgram)
		}
		largest, asked := 0, 0
		got := shrink(g, func(b []*program) (out []bool) {
			largest, asked = max(largest, len(b)), asked+1
			for _, p := range b {
				out = append(out, matters(p))
			}
			return out
		})
		if !slices.Equal(got.named(), want) {
			t.Errorf("left are %v, want %v", got.named(), want)
		}
		if got.size() != len(want) {
			t.Errorf("%v: initial values are left that do not matter: %s", want, got.listing())
		}
		if largest > maxSlots {
			t.Errorf("a batch of %d programs, of at most %d", largest, maxSlots)
		}
		if asked > 60 {
			t.Errorf("%v: %d batches, each of which starts a QEMU", want, asked)
		}
	}
}

// A program that does not differ comes back as it was, and so does one of
// which all matters.
func TestShrinkDropsNothingThatMatters(t *testing.T) {
	g := generate(kindNamed(t, "machine mode"), 1, 20)
	for _, whole := range []bool{false, true} {
		got := shrink(g, func(b []*program) (out []bool) {
			for _, p := range b {
				out = append(out, whole && p.size() == g.size())
			}
			return out
		})
		if got.size() != g.size() {
			t.Errorf("all matters %v: %d is left of %d", whole, got.size(), g.size())
		}
	}
}

// broken runs a batch on a hart that takes MULHSU for MULHU: the words of one
// are changed into the other, and back in the memory that it leaves.
func broken(t *testing.T, ram []byte, g *program) ([]byte, error) {
	t.Helper()
	wrong := bytes.Clone(ram)
	var at []int
	for i := 0; i+4 <= len(wrong); i += 2 {
		insn := binary.LittleEndian.Uint32(wrong[i:])
		if insn&0xfe00707f == 0x02002033 && i%slotSize >= code && i > slotSize { // MULHSU
			binary.LittleEndian.PutUint32(wrong[i:], insn|1<<12)
			at = append(at, i)
		}
	}
	out, _, err := tryHart(t, wrong, g.options(), maxIcount, false)
	if err != nil {
		return nil, err
	}
	for _, i := range at {
		if bytes.Equal(out[i:i+4], wrong[i:i+4]) {
			copy(out[i:i+4], ram[i:i+4])
		}
	}
	return out, nil
}

// A hart with a broken instruction is found out, and what is left to look at is
// that instruction with the operands that matter.
func TestShrinkFindsABrokenInstruction(t *testing.T) {
	differs := func(b []*program) []bool {
		ram := image(b)
		right, _, err := tryHart(t, ram, b[0].options(), maxIcount, false)
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := broken(t, ram, b[0])
		if err != nil {
			t.Fatal(err)
		}
		return compared(b, right, wrong)
	}
	found := 0
	for seed := uint64(1); found < 1; seed++ {
		g := generate(kindNamed(t, "user mode"), seed, itemsPerProgram)
		if !differs([]*program{g})[0] {
			continue
		}
		found++
		least := shrink(g, differs)
		if len(least.items) > 2 || !slices.Contains(least.named(), "mulhsu") {
			t.Errorf("seed %d: left are %v", seed, least.named())
		}
		if n := least.size() - len(least.items); n > 3 {
			t.Errorf("seed %d: %d initial values are left:\n%s", seed, n, least.listing())
		}
	}
}

// The listing has addresses, encodings and the values that matter.
func TestListing(t *testing.T) {
	g := generate(kindNamed(t, "Sv39 user, delegated"), 1, 0)
	for _, v := range values {
		v.put(g, v.rest)
	}
	g.x[7] = 0x1234
	g.items = []item{
		{name: "first", emit: func(c *scope) { c.ADD(asm.A0, asm.A1, asm.A2); c.CNOP() }},
		{name: "nothing", emit: func(*scope) {}},
		{name: "second", emit: func(c *scope) { c.EBREAK() }},
	}
	text := g.listing()
	for _, want := range []string{"starts in mode 0, translation true", "x7                   [0x1234]", "00c58533 0001  first", "00100073  second"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, wrong := range []string{"nothing", "PTE", "x8 "} {
		if strings.Contains(text, wrong) {
			t.Errorf("%q is in:\n%s", wrong, text)
		}
	}
}
