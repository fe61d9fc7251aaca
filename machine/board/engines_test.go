package board

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// translating is the JIT with a threshold; without one on this host the test is
// skipped.
func translating(t testing.TB, threshold int32) Engine {
	t.Helper()
	native, err := jit.New(jit.DefaultSize)
	if err != nil {
		citest.Unable(t, err)
	}
	return Engine{Native: native, Threshold: threshold}
}

// engineCuts cuts slices anywhere. Every drop-th cut or so drops the caches,
// and every move-th moves the State to a new board, on the JIT with another
// threshold or on the interpreter. It counts.
type engineCuts struct {
	*rand.Rand
	t          testing.TB
	cfg        *machine.Config
	mean       uint64
	drop, move int

	cuts, drops, moves int
}

func (c *engineCuts) cut(b *Board, next machine.Icount) (*Board, machine.Icount) {
	c.cuts++
	if c.IntN(c.drop) == 0 {
		c.drops++
		b.DropCaches()
	}
	if c.IntN(c.move) == 0 {
		c.moves++
		b = c.moved(b)
	}
	return b, min(next, b.Icount()+1+machine.Icount(c.Uint64N(c.mean)))
}

// board is a new one with a State, on an engine that chance picks.
func (c *engineCuts) board(birth machine.Birth) *Board {
	var e Engine
	if c.IntN(4) != 0 {
		e = translating(c.t, int32(1+c.IntN(64)))
	}
	b, err := NewOn(e, c.cfg, birth)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *engineCuts) moved(b *Board) *Board {
	var state bytes.Buffer
	if err := b.Save(&state); err != nil {
		c.t.Fatal(err)
	}
	n := c.board(machine.Birth{Clock: machine.Clock{Mul: 1}})
	if err := n.Load(&state); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func checks(log []entry) (n int) {
	for _, e := range log {
		if e.in == nil {
			n++
		}
	}
	return n
}

// The interpreter and translated code are one machine: a run that changes
// between them, with caches dropped and slices cut anywhere, has the
// interpreter's digest at every check.
func TestEnginesAreInterchangeable(t *testing.T) {
	cfg := busyConfig()
	log := record(t, newBoard(t, cfg), newWorld(5, cfg.Disks), 600_000, 1000)
	for seed := range uint64(3) {
		c := &engineCuts{Rand: rand.New(rand.NewPCG(seed, 4)), t: t, cfg: cfg, mean: 300 << (3 * seed), drop: 20, move: 200}
		b, err := NewOn(translating(t, 1), cfg, testBirth)
		if err != nil {
			t.Fatal(err)
		}
		replay(t, "engines", b, log, c.cut)
		if c.drops < 10 || c.moves < 1 {
			t.Errorf("%d drops, %d moves: too dull", c.drops, c.moves)
		}
	}
	b, err := NewOn(translating(t, 1), cfg, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	replay(t, "one piece, translated", b, log, nil)
}

// Exact stop: over the boot of a stock kernel there are ten thousand cuts at
// random positions with the interpreter's digest, whatever runs in between.
func TestLinuxBootOnBothEngines(t *testing.T) {
	cfg := linuxConfig(t)
	b := newBoard(t, cfg)
	log := record(t, b, newWorld(21, cfg.Disks), linuxEnd, 110_000)
	_, tail := b.ConsoleTail(0)
	if !strings.Contains(string(tail), "Run /init") {
		t.Fatalf("the kernel did not come up; the console ends with %q", tail[max(0, len(tail)-500):])
	}
	if n := checks(log); n < 10_000 {
		t.Fatalf("only %d checks", n)
	}
	c := &engineCuts{Rand: rand.New(rand.NewPCG(22, 1)), t: t, cfg: cfg, mean: 200_000, drop: 50, move: 500}
	b, err := NewOn(translating(t, 0), cfg, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	replay(t, "engines", b, log, c.cut)
	t.Logf("%d digests are equal; %d slices, caches dropped %d times, %d changes of engine", checks(log), c.cuts, c.drops, c.moves)
	if b, err = NewOn(translating(t, 0), cfg, testBirth); err != nil {
		t.Fatal(err)
	}
	replay(t, "translated", b, log, nil)
}
