package board

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

// An entry of the test's log: an input, or what digest and mark must be.
type entry struct {
	pos    machine.Icount
	in     machine.Input // nil for a check
	digest machine.Digest
	mark   machine.Mark
}

// world is the host around a board: it answers requests after random delays,
// types at the console, and lets time pass while the guest waits.
type world struct {
	*rand.Rand
	disk    []byte
	pending []due
	typed   uint64
	// What is typed: an answer to each text in turn that console 0 shows, or
	// whatever comes to mind if there is no script.
	script []exchange
	typing string
	frames bool   // NICs receive frames, too
	heard  uint64 // offset on console 0 behind what was awaited last
}

type exchange struct{ await, answer string }

type due struct {
	at machine.Icount
	in machine.Input
}

func newWorld(seed uint64, disks []machine.DiskConfig) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	if len(disks) > 0 {
		w.disk = make([]byte, disks[0].Sectors*512)
	}
	return w
}

// take turns outputs into answers that fall due later.
func (w *world) take(now machine.Icount, outs []machine.Output, delay machine.Icount) {
	for _, o := range outs {
		var in machine.Input
		switch o.Port.Kind {
		case machine.PortDisk:
			done := machine.DiskDone{Disk: o.Port.Index, ID: o.ID}
			switch at := o.Sector * 512; o.Op {
			case machine.DiskRead:
				done.Bytes = bytes.Clone(w.disk[at : at+uint64(o.Length)])
			case machine.DiskWrite:
				copy(w.disk[at:], o.Bytes)
			case machine.DiskDiscard, machine.DiskZero:
				clear(w.disk[at : at+o.Sectors*512])
			}
			in = done
		case machine.PortEntropy:
			e := make([]byte, o.Length)
			for i := range e {
				e[i] = byte(w.Uint32())
			}
			in = machine.Entropy{Bytes: e}
		default:
			continue
		}
		w.pending = append(w.pending, due{now + machine.Icount(w.Uint64N(uint64(delay))), in})
	}
}

// typeAt is what is typed at the console now.
func (w *world) typeAt(b *Board) []byte {
	room := b.RxRoom(machine.Port{Kind: machine.PortConsole})
	if w.script == nil {
		if w.Uint64N(8) == 0 && room >= 2 {
			return []byte{byte(w.typed), '\n'}
		}
		return nil
	}
	if w.typing == "" && len(w.script) > 0 {
		offset, tail := b.ConsoleTail(0)
		fresh := tail[min(uint64(len(tail)), max(w.heard, offset)-offset):]
		if at := bytes.Index(fresh, []byte(w.script[0].await)); at >= 0 {
			w.heard = offset + uint64(len(tail))
			w.typing = w.script[0].answer
			w.script = append([]exchange{}, w.script[1:]...)
		}
	}
	n := min(room, len(w.typing))
	text := w.typing[:n]
	w.typing = w.typing[n:]
	return []byte(text)
}

// record runs a board up to end in random slices, keeps every input, and a
// check about every interval.
func record(t testing.TB, b *Board, w *world, end, interval machine.Icount) []entry {
	t.Helper()
	var log []entry
	deliver := func(in machine.Input) {
		if err := b.Deliver(in); err != nil {
			t.Fatal(err)
		}
		log = append(log, entry{pos: b.Icount(), in: in})
	}
	check := b.Icount() + interval
	for b.Icount() < end {
		exit := b.Run(min(end, b.Icount()+1+machine.Icount(w.Uint64N(uint64(interval)/4))))
		w.take(b.Icount(), b.Outputs(nil), interval/2)
		if exit == machine.PoweredOff {
			break
		}
		if exit == machine.Idle {
			c := b.Clock()
			c.I0, c.T0 = b.Icount(), b.Clock().At(b.Icount())
			next, any := b.NextTimer()
			if !any && len(w.pending) == 0 {
				t.Fatal("the guest waits for ever")
			}
			if any {
				c.T0 = max(c.T0, next)
			}
			deliver(machine.SetClock{Clock: c})
		}
		for i := 0; i < len(w.pending); {
			if d := w.pending[i]; d.at <= b.Icount() || exit == machine.Idle {
				w.pending = append(w.pending[:i], w.pending[i+1:]...)
				deliver(d.in)
				continue
			}
			i++
		}
		if text := w.typeAt(b); len(text) > 0 {
			deliver(machine.ConsoleInput{Session: 1, Offset: w.typed, Bytes: text})
			w.typed += uint64(len(text))
		}
		if nic := (machine.Port{Kind: machine.PortNIC}); w.frames && b.RxRoom(nic) > 0 {
			deliver(machine.Frame{Bytes: make([]byte, 60+w.IntN(1400))})
		}
		if b.Icount() >= check {
			log = append(log, entry{pos: b.Icount(), digest: b.Digest(), mark: b.Mark()})
			check = b.Icount() + interval
		}
	}
	return append(log, entry{pos: b.Icount(), digest: b.Digest(), mark: b.Mark()})
}

// replay runs a board along a log. Between entries it is cut as cut likes,
// which may put another board in its place.
func replay(t testing.TB, name string, b *Board, log []entry, cut func(b *Board, next machine.Icount) (*Board, machine.Icount)) {
	t.Helper()
	for i, e := range log {
		for b.Icount() < e.pos {
			until := e.pos
			if cut != nil {
				b, until = cut(b, e.pos)
			}
			exit := b.Run(until)
			b.Outputs(nil)
			if (exit == machine.Idle || exit == machine.PoweredOff) && b.Icount() < e.pos {
				t.Fatalf("%s: entry %d of %d: %v at %d before %d", name, i, len(log), exit, b.Icount(), e.pos)
			}
		}
		if b.Icount() != e.pos {
			t.Fatalf("%s: entry %d: ran to %d, beyond %d", name, i, b.Icount(), e.pos)
		}
		if e.in != nil {
			if err := b.Deliver(e.in); err != nil {
				t.Fatalf("%s: entry %d: %v", name, i, err)
			}
			continue
		}
		if got := b.Mark(); got != e.mark {
			t.Fatalf("%s: entry %d at %d: mark %v, want %v", name, i, e.pos, got, e.mark)
		}
		if got := b.Digest(); got != e.digest {
			t.Fatalf("%s: entry %d at %d: digest %v, want %v (pc %#x)", name, i, e.pos, got, e.digest, b.hart.PC)
		}
	}
}

// randomCuts drops caches, saves into a fresh board and cuts slices anywhere.
func randomCuts(t testing.TB, cfg *machine.Config, seed, mean uint64, save int) func(*Board, machine.Icount) (*Board, machine.Icount) {
	r := rand.New(rand.NewPCG(seed, 9))
	return func(b *Board, next machine.Icount) (*Board, machine.Icount) {
		switch {
		case r.IntN(4) == 0:
			b.DropCaches()
		case r.IntN(save) == 0:
			b = reborn(t, cfg, b)
		}
		return b, min(next, b.Icount()+1+machine.Icount(r.Uint64N(mean)))
	}
}

// reborn is a new board with the State of b, which was born otherwise.
func reborn(t testing.TB, cfg *machine.Config, b *Board) *Board {
	t.Helper()
	var buf bytes.Buffer
	if err := b.Save(&buf); err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, machine.Birth{Clock: machine.Clock{Mul: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Load(&buf); err != nil {
		t.Fatal(err)
	}
	if buf.Len() != 0 {
		t.Fatalf("Load left %d bytes", buf.Len())
	}
	return c
}

// DESIGN, section 2: one run in one piece, one on the reference without caches, and runs
// cut at random positions with caches dropped and snapshots restored: digests
// are equal at every check.
func TestCutsDoNotMatter(t *testing.T) {
	cfg := busyConfig()
	const end = 600_000
	w := newWorld(1, cfg.Disks)
	log := record(t, newBoard(t, cfg), w, end, 4000)
	inputs := map[string]int{}
	for _, e := range log {
		inputs[fmt.Sprintf("%T", e.in)]++
	}
	for _, kind := range []string{"machine.SetClock", "machine.DiskDone", "machine.Entropy", "machine.ConsoleInput"} {
		if inputs[kind] < 5 {
			t.Errorf("the run is too dull: %v", inputs)
		}
	}
	replay(t, "one piece", newBoard(t, cfg), log, nil)

	ref, err := NewReference(cfg, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	replay(t, "reference", ref, log, nil)
	replay(t, "dropping always", newBoard(t, cfg), log, func(b *Board, next machine.Icount) (*Board, machine.Icount) {
		b.DropCaches()
		return b, min(next, b.Icount()+50)
	})
	for seed := range uint64(4) {
		replay(t, fmt.Sprintf("cuts %d", seed), newBoard(t, cfg), log, randomCuts(t, cfg, seed, 300<<(2*seed), 40))
	}
	last := log[len(log)-1]
	if last.mark.Count < 100 {
		t.Errorf("the guest put out only %d", last.mark.Count)
	}
}

// Single steps are the hardest cut.
func TestSingleSteps(t *testing.T) {
	cfg := busyConfig()
	log := record(t, newBoard(t, cfg), newWorld(2, cfg.Disks), 60_000, 1000)
	replay(t, "single steps", newBoard(t, cfg), log, func(b *Board, next machine.Icount) (*Board, machine.Icount) {
		return b, b.Icount() + 1
	})
}

// The log is what makes a run: another input gives another State.
func TestInputsMatter(t *testing.T) {
	cfg := busyConfig()
	a, b := newBoard(t, cfg), newBoard(t, cfg)
	record(t, a, newWorld(3, cfg.Disks), 50_000, 1000)
	record(t, b, newWorld(4, cfg.Disks), 50_000, 1000)
	if a.Digest() == b.Digest() {
		t.Error("two worlds led to one State")
	}
}
