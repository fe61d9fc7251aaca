package vm

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// Names of engines. They lead to the same State: replicas and snapshots do not
// tell which one they had.
const (
	// EngineAuto is the JIT where this host has one, and else the interpreter.
	EngineAuto = "auto"
	// EngineJIT translates what is executed often into the host's code.
	EngineJIT = "jit"
	// EngineInterp interprets everything, from blocks that are decoded once.
	EngineInterp = "interp"
	// EngineReference interprets without any cache: slow, and what the others
	// are measured by.
	EngineReference = "reference"
)

// Engine executes the guest of one machine.
type Engine struct {
	board.Engine
	// Name is never EngineAuto.
	Name string
	// Denied says why EngineAuto is not the JIT here; nil if it is, or if an
	// engine was asked for by its name.
	Denied error
}

// OpenEngine makes an engine for one machine. It fails for a name that is none,
// and for EngineJIT where executable memory is denied or the host's
// architecture has no JIT.
func OpenEngine(name string) (Engine, error) {
	switch name {
	case EngineInterp:
		return Engine{Name: EngineInterp}, nil
	case EngineReference:
		return Engine{Engine: board.Engine{Reference: true}, Name: EngineReference}, nil
	case EngineJIT, EngineAuto, "":
	default:
		return Engine{}, fmt.Errorf("vm: there is no engine %q; there are %s, %s, %s and %s",
			name, EngineAuto, EngineJIT, EngineInterp, EngineReference)
	}
	native, err := jit.New(jit.DefaultSize)
	switch {
	case err == nil:
		return Engine{Engine: board.Engine{Native: native}, Name: EngineJIT}, nil
	case name == EngineJIT:
		return Engine{}, fmt.Errorf("vm: this host runs no translated code (%w); use --engine %s, which needs none", err, EngineInterp)
	}
	return Engine{Name: EngineInterp, Denied: err}, nil
}

// Slower is what a person should know of an engine that is not the JIT though
// nobody asked for another one; empty if there is nothing to tell.
func (e Engine) Slower() string {
	if e.Denied == nil {
		return ""
	}
	return fmt.Sprintf("the interpreter executes the guest, several times slower than translated code would, and no different: %v", e.Denied)
}

// build makes the machine on the engine that the configuration names.
func (r *Replica) build(mc *machine.Config, birth machine.Birth) (machine.Machine, error) {
	if r.cfg.build != nil {
		return r.cfg.build(mc, birth)
	}
	e, err := OpenEngine(r.cfg.Engine)
	if err != nil {
		return nil, err
	}
	b, err := board.NewOn(e.Engine, mc, birth)
	if err != nil {
		return nil, err
	}
	r.engine = e
	return b, nil
}

// tellEngine says, when the machine is there, that it is slower than it might be.
func (r *Replica) tellEngine() {
	if text := r.engine.Slower(); text != "" {
		r.event(EventNote, "%s", text)
	}
}
