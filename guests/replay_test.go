package guests

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// An entry of a recording is an input, or what the State must be.
type entry struct {
	pos  machine.Icount
	in   machine.Input // nil for a check
	want machine.Account
	mark machine.Mark
}

// A recording is a run of a guest from the first line of its script on: the
// State there, and every input with its position.
type recording struct {
	cfg     *machine.Config
	start   []byte
	log     []entry
	console string // what the script printed
}

// bootLimit is more than any guest here takes to get to its script.
const bootLimit = 3_000_000_000

// record boots the guest and records n instructions of its script, with a check
// about every interval. The computer keeps its caches from power-on to the end,
// as on a primary: what has gone stale in them shows in a replay.
func record(t testing.TB, g guest, n, interval machine.Icount, seed uint64) *recording {
	t.Helper()
	r := &recording{cfg: g.config(t)}
	m := engines[0].make(t, r.cfg)
	h := newHost(t, r.cfg, seed)
	begun := func() bool { return strings.Contains(h.console.String(), beginLine) }
	h.runUntil(t, m, bootLimit, begun)
	if !begun() {
		t.Fatalf("the guest did not get to its script; its console ends with\n%s", tail(h.console.String()))
	}
	h.console.Reset()
	h.wild, h.slice, h.delay = true, interval/2, interval/2
	h.log = func(in machine.Input) { r.log = append(r.log, entry{pos: m.Icount(), in: in}) }

	r.start = save(t, m)
	m.Account()
	end, next := m.Icount()+n, m.Icount()+interval
	check := func() {
		r.log = append(r.log, entry{pos: m.Icount(), want: m.Account(), mark: m.Mark()})
		next = m.Icount() + interval
	}
	h.runUntil(t, m, end, func() bool {
		if m.Icount() >= next {
			check()
		}
		return false
	})
	check()
	r.console = strings.ReplaceAll(h.console.String(), "\r\n", "\n")
	return r
}

// checks counts the checks of a log, inputs its inputs by kind.
func (r *recording) inputs() (checks int, inputs map[string]int) {
	inputs = map[string]int{}
	for _, e := range r.log {
		if e.in == nil {
			checks++
		} else {
			inputs[strings.TrimPrefix(fmt.Sprintf("%T", e.in), "machine.")]++
		}
	}
	return checks, inputs
}

// replay runs an engine along the recording. A cutter, if there is one, cuts it
// between the entries.
func (r *recording) replay(t testing.TB, e engine, c *cutter) {
	t.Helper()
	m := e.restore(t, r.cfg, r.start)
	m.Account()
	last := m.Icount() // the last position where all was well
	for i, want := range r.log {
		for m.Icount() < want.pos {
			until := want.pos
			if c != nil {
				m, until = c.cut(t, m, want.pos)
			}
			exit := m.Run(until)
			m.Outputs(nil)
			if (exit == machine.Idle || exit == machine.PoweredOff) && m.Icount() < want.pos {
				t.Fatalf("entry %d of %d: %v at %d, before %d; all was well at %d",
					i, len(r.log), exit, m.Icount(), want.pos, last)
			}
		}
		if m.Icount() != want.pos {
			t.Fatalf("entry %d: ran to %d, beyond %d", i, m.Icount(), want.pos)
		}
		if want.in != nil {
			if err := m.Deliver(want.in); err != nil {
				t.Fatalf("entry %d at %d: %v; all was well at %d", i, want.pos, err, last)
			}
			continue
		}
		got := m.Account()
		if c != nil && c.restored {
			// A restored computer knows only what changed since.
			c.restored, got.Pages, want.want.Pages = false, nil, nil
		}
		if got.Digest != want.want.Digest || m.Mark() != want.mark {
			t.Fatalf("entry %d: between %d and %d the State became another: mark %v, want %v\n%s",
				i, last, want.pos, m.Mark(), want.mark, differences(want.want, got))
		}
		last = want.pos
	}
}

// differences are the parts in which two States differ.
func differences(want, got machine.Account) string {
	var b strings.Builder
	for _, d := range replay.Differences(want, got) {
		fmt.Fprintf(&b, "%v\n", d)
	}
	return b.String()
}

// A cutter cuts a replay at random positions. At a cut it may drop caches, or
// save the State and go on with it in another computer on any of its engines.
type cutter struct {
	*rand.Rand
	cfg     *machine.Config
	engines []engine
	mean    uint64 // of the distances between cuts
	save    int    // one cut in that many saves
	slow    bool   // the computer at work is a slow one: it is replaced soon

	restored bool // since the last check
}

func newCutter(cfg *machine.Config, seed, mean uint64, save int) *cutter {
	return &cutter{Rand: rand.New(rand.NewPCG(seed, 9)), cfg: cfg, engines: engines, mean: mean, save: save}
}

// cut is the computer to go on with, and how far.
func (c *cutter) cut(t testing.TB, m computer, next machine.Icount) (computer, machine.Icount) {
	t.Helper()
	switch {
	case c.slow || c.IntN(c.save) == 0:
		e := c.engines[c.IntN(len(c.engines))]
		c.slow = e.slow && !c.slow
		if e.slow && !c.slow { // not twice in a row
			e = c.engines[0]
		}
		m, c.restored = e.restore(t, c.cfg, save(t, m)), true
	case c.IntN(4) == 0:
		m.DropCaches()
	}
	// Most cuts are far apart; some come after a handful of instructions.
	distance := 2 * c.mean
	if c.IntN(8) == 0 {
		distance = 64
	}
	return m, min(next, m.Icount()+1+machine.Icount(c.Uint64N(distance)))
}
