package board

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
)

// env is the board as its hart and its devices see it.
type env struct{ b *Board }

// Load implements hart.Env.
func (e env) Load(gpa machine.GPA, size uint8) (uint64, bool) {
	v, ok := e.b.bus.Load(gpa, size)
	e.b.carryLines()
	return v, ok
}

// Store implements hart.Env.
func (e env) Store(gpa machine.GPA, size uint8, v uint64) bool {
	ok := e.b.bus.Store(gpa, size, v)
	e.b.carryLines()
	if e.b.nextAlarm() != e.b.alarm {
		e.b.requestExit(exitAlarm)
	}
	return ok
}

// Ecall implements hart.Env. Firmware answers the calls itself.
func (e env) Ecall(h *hart.Hart) bool {
	if e.b.hasFirmware() || e.b.program != nil {
		return false
	}
	e.b.sbi(h)
	return true
}

// Stored implements hart.Env.
func (e env) Stored(*hart.Hart) {
	if e.b.program != nil {
		e.b.program.stored(e.b)
	}
}

// Emit implements bus.Emitter.
func (e env) Emit(o machine.Output) { e.b.emit(o) }

// PowerOff implements dev.Power.
func (e env) PowerOff() { e.b.powerOff(false) }

// Fail implements dev.Power.
func (e env) Fail(code uint16) {
	if e.b.program != nil {
		e.b.program.fail(code)
	}
	e.b.powerOff(true)
}

// Restart implements dev.Power. The reset itself waits for the end of the
// instruction.
func (e env) Restart() {
	e.b.restart = true
	e.b.requestExit(machine.OutputReady)
}

// hartTimer is the hart as the CLINT sees it.
type hartTimer struct{ h *hart.Hart }

func (t hartTimer) Time() machine.VTime         { return t.h.Time() }
func (t hartTimer) Mtimecmp() machine.VTime     { return t.h.State.Mtimecmp }
func (t hartTimer) SetMtimecmp(v machine.VTime) { t.h.SetMtimecmp(v) }

// requestExit ends the slice after the current instruction, if one runs.
func (b *Board) requestExit(e machine.Exit) {
	if b.running {
		b.hart.RequestExit(e)
	}
}
