package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// An oracle says of each program of a batch whether it still shows the
// difference. A batch has at most as many programs as the kind's slots.
type oracle func(batch []*program) []bool

// shrink looks for the least program that the oracle holds on to: first the
// shortest prefix, then items, initial values and loops go that do not matter.
// A program that the oracle does not hold on to comes back as it is.
func shrink(g *program, differs oracle) *program {
	if !differs([]*program{g})[0] {
		return g
	}
	ask := func(all []*program) (out []bool) {
		for b := range slices.Chunk(all, g.slots()) {
			out = append(out, differs(b)...)
		}
		return out
	}
	g = shortestPrefix(g, ask)
	for {
		before := g.size()
		// Items first: while the values are there, fewer items suffice.
		g = g.without(needless(0, len(g.items), g.droppable(ask)))
		g = g.without(needless(len(g.items), len(values), g.droppable(ask)))
		g = unrolled(g, ask)
		if g.size() >= before {
			return g
		}
	}
}

// droppable asks of sets of items and values whether the difference stays
// without them.
func (g *program) droppable(ask func([]*program) []bool) func(drop [][]int) []bool {
	return func(drop [][]int) []bool {
		var b []*program
		for _, d := range drop {
			b = append(b, g.without(d))
		}
		return ask(b)
	}
}

// size is what shrinking makes less of.
func (g *program) size() int {
	n := len(g.items)
	for _, i := range g.items {
		n += len(i.inner)
	}
	for _, v := range values {
		if !v.none(g) {
			n++
		}
	}
	return n
}

// prefixes is how many prefixes a batch of the search has: a batch takes as
// long as its programs together, and QEMU's start.
const prefixes = 15

// shortestPrefix is the program up to the first item after which the states
// differ.
func shortestPrefix(g *program, ask func([]*program) []bool) *program {
	low, high := 0, len(g.items) // low agrees, high differs
	for high-low > 1 {
		var b []*program
		for step, n := (high-low+prefixes)/(prefixes+1), low; n+step < high; {
			n += step
			b = append(b, g.prefix(n))
		}
		at := slices.Index(ask(b), true)
		if at < 0 {
			low = len(b[len(b)-1].items)
			continue
		}
		high = len(b[at].items)
		if at > 0 {
			low = len(b[at-1].items)
		}
	}
	return g.prefix(high)
}

// needless finds numbers, of n from first on, that may be dropped together. ask says of each
// set whether the difference stays without it. It is delta debugging, but asks
// for many sets at once: of a round's chunks it takes as many as can go
// together, and goes on with smaller ones.
func needless(first, n int, ask func(drop [][]int) []bool) (dropped []int) {
	left := make([]int, n)
	for i := range left {
		left[i] = first + i
	}
	for size := (n + 1) / 2; size > 0 && len(left) > 0; {
		chunks := slices.Collect(slices.Chunk(left, size))
		var sets [][]int
		for _, c := range chunks {
			sets = append(sets, slices.Concat(dropped, c))
		}
		var can [][]int
		for i, ok := range ask(sets) {
			if ok {
				can = append(can, chunks[i])
			}
		}
		// All that can go alone, or the longest head of them that can.
		sets = nil
		for i := range can {
			sets = append(sets, slices.Concat(dropped, slices.Concat(can[:len(can)-i]...)))
		}
		if i := slices.Index(ask(sets), true); i >= 0 {
			dropped = sets[i]
			left = slices.DeleteFunc(left, func(x int) bool { return slices.Contains(dropped, x) })
			if size > 1 {
				size = min(size, (len(left)+1)/2)
			}
			continue
		}
		size /= 2
	}
	return dropped
}

// unrolled replaces each loop by its items, where that shows the difference
// too.
func unrolled(g *program, ask func([]*program) []bool) *program {
	for i := len(g.items) - 1; i >= 0; i-- {
		if len(g.items[i].inner) == 0 {
			continue
		}
		p := *g
		p.items = slices.Concat(g.items[:i], g.items[i].inner, g.items[i+1:])
		if ask([]*program{&p})[0] {
			g = &p
		}
	}
	return g
}

// A value is a part of a program's initial state that may not matter.
type value struct {
	name string
	get  func(g *program) []uint64
	put  func(g *program, v uint64)
	rest uint64 // what it is where it does not matter
}

// none says whether the value is what it is where it does not matter.
func (v value) none(g *program) bool {
	return !slices.ContainsFunc(v.get(g), func(x uint64) bool { return x != v.rest })
}

func one(name string, rest uint64, at func(g *program) *uint64) value {
	return value{name, func(g *program) []uint64 { return []uint64{*at(g)} }, func(g *program, v uint64) { *at(g) = v }, rest}
}

// values are all of them. Window and code pages go as a whole.
var values = func() (all []value) {
	const mapped = pteV | pteR | pteW | pteX | pteA | pteD
	for i := 1; i < 32; i++ {
		all = append(all, one(fmt.Sprintf("x%d", i), 0, func(g *program) *uint64 { return &g.x[i] }))
	}
	for i := range 32 {
		all = append(all, one(fmt.Sprintf("f%d", i), 0, func(g *program) *uint64 { return &g.f[i] }))
	}
	for i := range pagesN {
		all = append(all, one(fmt.Sprintf("PTE of page %d", i), mapped, func(g *program) *uint64 { return &g.pages[i] }))
	}
	for i := range fetchPages {
		all = append(all, one(fmt.Sprintf("PTE of fetch page %d", i), mapped, func(g *program) *uint64 { return &g.fetchPTEs[i] }))
	}
	for i := range pmpEntries - 1 {
		all = append(all, value{
			fmt.Sprintf("PMP entry %d", i),
			func(g *program) []uint64 {
				return []uint64{uint64(g.regions[i].cfg), g.regions[i].page, g.regions[i].pages}
			},
			func(g *program, _ uint64) { g.regions[i] = region{} }, 0,
		})
	}
	return append(all,
		one("PTE of the superpage", mapped, func(g *program) *uint64 { return &g.mega }),
		value{
			// TVM, TW and TSR stay: without them WFI waits for ever.
			"mstatus", func(g *program) []uint64 { return []uint64{g.mstatus &^ (7 << 20)} },
			func(g *program, v uint64) { g.mstatus = g.mstatus&(7<<20) | v }, 1 << 13,
		},
		one("fcsr", 0, func(g *program) *uint64 { return &g.fcsr }),
		one("medeleg", 0, func(g *program) *uint64 { return &g.medeleg }),
		one("mideleg", 0, func(g *program) *uint64 { return &g.mideleg }),
		one("mcounteren", 0, func(g *program) *uint64 { return &g.mcounteren }),
		one("scounteren", 0, func(g *program) *uint64 { return &g.scounteren }),
		one("menvcfg", envSTCE|envADUE, func(g *program) *uint64 { return &g.menvcfg }),
		one("senvcfg", 0, func(g *program) *uint64 { return &g.senvcfg }),
		value{
			"window", func(g *program) (v []uint64) {
				for _, b := range g.window {
					v = append(v, uint64(b))
				}
				return v
			}, func(g *program, _ uint64) { g.window = make([]byte, windowSize) }, 0,
		},
	)
}()

// without is the program without some of its items (below the number of items)
// and some of its values (above).
func (g *program) without(drop []int) *program {
	p := *g
	p.items = nil
	gone := make([]bool, len(g.items)+len(values))
	for _, d := range drop {
		gone[d] = true
	}
	for i, it := range g.items {
		if !gone[i] {
			p.items = append(p.items, it)
		}
	}
	for i, v := range values {
		if gone[len(g.items)+i] {
			v.put(&p, v.rest)
		}
	}
	return &p
}

// listing shows a program as it lies in the first slot: the values that matter,
// and the encodings.
func (g *program) listing() string {
	var out strings.Builder
	at := slotAddr(0)
	fmt.Fprintf(&out, "%d items; starts in mode %d, translation %v\n", len(g.items), g.mode, g.translated)
	for _, v := range values {
		relevant := g.translated || !strings.HasPrefix(v.name, "PTE")
		switch {
		case v.none(g) || !relevant:
		case v.name == "window":
			fmt.Fprintln(&out, "the window's bytes matter")
		default:
			fmt.Fprintf(&out, "%-20s %#x\n", v.name, v.get(g))
		}
	}
	c := &scope{Program: asm.New(at + code), g: g, slot: at}
	c.items()
	c.ECALL()
	text := c.Bytes()
	line := func(from, to uint64, name string) {
		fmt.Fprintf(&out, "%#x ", from)
		for pc := from; pc < to; {
			b := text[pc-at-code:]
			n := uint64(2)
			if b[0]&3 == 3 {
				n = 4
			}
			out.WriteByte(' ')
			for i := n; i > 0; i-- {
				fmt.Fprintf(&out, "%02x", b[i-1])
			}
			pc += n
		}
		fmt.Fprintf(&out, "  %s\n", name)
	}
	start := at + code
	for i, from := range c.starts {
		if start != from {
			name := "the window's address and mask"
			if i > 0 {
				name = g.items[i-1].name
			}
			line(start, from, name)
		}
		start = from
	}
	return out.String()
}
