package hart_test

import (
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// The isa_*_test.go files hold one table per extension. Every row is
// independent: it sets registers and memory of a fresh hart, makes one attempt
// (or as many as the code has instructions) and looks at the result, on the
// cached hart and on the reference.

const (
	isaData = base + 0x8000 // eight bytes in the middle of a page
	isaTrap = base + 0x4000 // mtvec
	noTrap  = rv64.Cause(99)
)

// isaWorld has code at base and a trap vector.
func isaWorld(opt hart.Options, code func(p *asm.Program)) *world {
	w := newWorld(opt)
	w.Mtvec = isaTrap
	w.Mstatus |= 1 << 13 // FS: initial
	w.put(base, code)
	return w
}

// steps makes n attempts.
func (w *world) steps(t *testing.T, n machine.Icount) {
	t.Helper()
	until := w.Icount + n
	if exit := w.Run(until); exit != machine.Reached || w.Icount != until {
		t.Fatalf("exit %v at %d, want to reach %d", exit, w.Icount, until)
	}
}

// eachRow runs a row as a subtest on both kinds of hart.
func eachRow(t *testing.T, name string, f func(t *testing.T, opt hart.Options)) {
	t.Helper()
	for _, opt := range []hart.Options{{}, {NoCache: true}} {
		t.Run(fmt.Sprintf("%s/nocache=%v", name, opt.NoCache), func(t *testing.T) { f(t, opt) })
	}
}

// trapped is the cause of a trap taken by the last attempt, or noTrap.
func (w *world) trapped() rv64.Cause {
	if w.PC == isaTrap {
		return rv64.Cause(w.Mcause)
	}
	return noTrap
}

// computes runs one instruction on A1 and A2 and wants a value in A0.
func computes(t *testing.T, name string, code func(p *asm.Program), a, b, want uint64) {
	t.Helper()
	eachRow(t, name, func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, code)
		w.X[asm.A1], w.X[asm.A2] = a, b
		w.steps(t, 1)
		if w.X[asm.A0] != want || w.trapped() != noTrap || w.X[asm.Zero] != 0 {
			t.Errorf("%s of %#x, %#x: %#x (cause %d), want %#x", name, a, b, w.X[asm.A0], w.trapped(), want)
		}
	})
}
