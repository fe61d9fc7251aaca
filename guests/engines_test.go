package guests

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// A computer is a machine whose caches can be dropped from outside.
type computer interface {
	machine.Machine
	DropCaches()
}

// An engine executes a machine. All give the same State.
type engine struct {
	name string
	slow bool // a replay that changes engines spends little time on it
	new  func(cfg *machine.Config, birth machine.Birth) (*board.Board, error)
}

// engines are all engines; the first records.
var engines = []engine{
	{name: "cached", new: board.New},
	{name: "translated", new: newTranslated},
	// No TLB and no decoded blocks at all: two sides that cache alike would
	// hide the same mistake (R5).
	{name: "reference", slow: true, new: board.NewReference},
}

// newTranslated is a computer on the JIT, or on the interpreter where the host
// has none.
func newTranslated(cfg *machine.Config, birth machine.Birth) (*board.Board, error) {
	native, err := jit.New(jit.DefaultSize)
	if err != nil {
		return board.New(cfg, birth)
	}
	return board.NewOn(board.Engine{Native: native}, cfg, birth)
}

// birth is what is random or dated at power-on, as in any test: fixed.
var birth = machine.Birth{
	Seed: [64]byte{1, 2, 3}, RTC: 1_800_000_000_000_000_000,
	Clock: machine.Clock{Mul: 1 << 32 / 10},
}

// make is a computer at power-on.
func (e engine) make(t testing.TB, cfg *machine.Config) computer {
	t.Helper()
	b, err := e.new(cfg, birth)
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	return b
}

// restore is a computer with a saved State. It is born otherwise, so that
// nothing of a birth can be left in it unseen.
func (e engine) restore(t testing.TB, cfg *machine.Config, state []byte) computer {
	t.Helper()
	b, err := e.new(cfg, machine.Birth{Clock: machine.Clock{Mul: 1}})
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	r := bytes.NewReader(state)
	if err := b.Load(r); err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	if r.Len() != 0 {
		t.Fatalf("%s: Load left %d bytes", e.name, r.Len())
	}
	return b
}

// save is the State of a computer.
func save(t testing.TB, m machine.Machine) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := m.Save(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
