package jit

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/jit/amd64"
)

// engine implements hart.Native.
type engine struct {
	arena *arena
	emit  *amd64.Emitter
	used  int
	start int // behind the routines
}

// New makes an engine for one hart with room for size bytes of code. It fails
// where the system denies executable memory; then the interpreter does it all.
func New(size int) (hart.Native, error) {
	a, err := newArena(max(size, minSize))
	if err != nil {
		return nil, fmt.Errorf("jit: no executable memory: %w", err)
	}
	e := &engine{arena: a, emit: amd64.New(layout)}
	e.emit.Vector = cpu.X86.HasAVX && cpu.X86.HasFMA
	e.emit.Counts = cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT // who has BMI2 has LZCNT
	e.start = copy(a.write, e.emit.Routines())
	e.Reset()
	return e, nil
}

const alignment = 16

// Reset implements hart.Native.
func (e *engine) Reset() { e.used = (e.start + alignment - 1) &^ (alignment - 1) }

// Miss implements hart.Native.
func (e *engine) Miss() uint64 { return e.arena.exec + uint64(e.emit.Miss()) }

// Translate implements hart.Native.
func (e *engine) Translate(s *hart.Source) bool {
	code := e.emit.Block(s, e.used)
	if len(code) > len(e.arena.write)-e.used {
		return false
	}
	copy(e.arena.write[e.used:], code)
	e.used = (e.used + len(code) + alignment - 1) &^ (alignment - 1)
	s.Entry += e.arena.exec
	for i := int(s.First); i < len(s.Sites); i++ {
		if s.Sites[i].Resume != 0 {
			s.Sites[i].Resume += e.arena.exec
		}
	}
	return true
}

// Link implements hart.Native.
func (e *engine) Link(patch, entry uint64) {
	off := patch - e.arena.exec
	rel := uint32(entry - patch - 4)
	b := e.arena.write[off : off+4]
	b[0], b[1], b[2], b[3] = byte(rel), byte(rel>>8), byte(rel>>16), byte(rel>>24)
}

// Redirect implements hart.Native.
func (e *engine) Redirect(from, to uint64) {
	e.arena.write[from-e.arena.exec] = 0xe9 // jmp
	e.Link(from+1, to)
}

// Enter implements hart.Native.
func (e *engine) Enter(c *hart.Core, entry uint64) {
	c.Entry = entry
	enter(unsafe.Pointer(c), e.arena.exec+uint64(e.emit.Enter()))
}

//go:noescape
func enter(core unsafe.Pointer, code uint64)
