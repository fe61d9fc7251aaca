// Package hart is one RISC-V hart: registers, CSRs, traps, address translation
// and the block interpreter.
//
// State is what the guest can see. Everything else in a Hart (translation
// lookaside buffers, decoded blocks) is a cache that may be dropped at any
// moment without changing a later State (R5).
package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// Env is what lies around a hart. An Env call may set State, clock, timers and
// interrupt lines of the hart that called it, and request an exit. State is
// exact during the call: PC and Icount are those of the instruction that
// makes it.
type Env interface {
	// Load and Store access registers of devices: naturally aligned, size 1,
	// 2, 4 or 8. False means an access fault.
	Load(gpa machine.GPA, size uint8) (uint64, bool)
	Store(gpa machine.GPA, size uint8, v uint64) bool
	// Ecall is called for an ecall from supervisor mode. True: the machine's own SBI has
	// handled it, a0 and a1 are set, and the hart goes on behind the ecall.
	// False: the ecall traps like any other.
	Ecall(h *Hart) bool
}

// Options of a hart.
type Options struct {
	// NoCache runs without translation and block caches: every access walks
	// the page tables, every instruction is decoded afresh. It is the
	// reference that the caches are tested against.
	NoCache bool
}

// Hart is one hart.
type Hart struct {
	State
	ram *mem.RAM
	env Env
	opt Options
}

// New makes a hart in its reset state at PC 0. The RAM belongs to this hart
// alone from then on: New registers it as the RAM's watcher.
func New(ram *mem.RAM, env Env, opt Options) *Hart {
	h := &Hart{ram: ram, env: env, opt: opt}
	h.Reset(0, rv64.MachineMode, 0, 0)
	return h
}

// Reset puts the hart into its reset state at the given PC and privilege mode
// with two arguments in a0 and a1. Icount and Clock go on, interrupt lines are
// kept (devices own them); timers are disarmed.
//
// The board that has no firmware then sets up what firmware would: delegation,
// counter enables, menvcfg.
func (h *Hart) Reset(pc uint64, priv uint8, a0, a1 uint64) {}

// Run executes up to and not beyond until (R4). It returns machine.Reached,
// machine.Idle, or what RequestExit asked for.
func (h *Hart) Run(until machine.Icount) machine.Exit { return machine.Reached }

// RequestExit is called from inside an Env call: Run stops after the current
// instruction and returns e. Values from 128 on are free for the board. The last request counts.
func (h *Hart) RequestExit(e machine.Exit) {}

// SetPending sets the level of an interrupt line: MEIP, SEIP, MSIP. For SSIP
// it writes the software bit, which the guest clears through sip.
func (h *Hart) SetPending(bit uint, level bool) {}

// SetClock replaces the virtual clock.
func (h *Hart) SetClock(c machine.Clock) { h.Clock = c }

// SetMtimecmp sets the CLINT's compare register.
func (h *Hart) SetMtimecmp(v machine.VTime) { h.Mtimecmp = v }

// SetStimecmp sets stimecmp as the SBI's set_timer does.
func (h *Hart) SetStimecmp(v machine.VTime) { h.Stimecmp = v }

// Time is the virtual time at the current position.
func (h *Hart) Time() machine.VTime { return h.Clock.At(h.Icount) }

// NextTimer is the virtual time of the earliest timer that can make an
// interrupt pending that is not pending yet, and whether there is one.
func (h *Hart) NextTimer() (machine.VTime, bool) { return 0, false }

// DropCaches drops every cache. It may be called at any moment that State may
// be changed, and changes nothing that the guest can see (R5).
func (h *Hart) DropCaches() {}

// Save writes State.
func (h *Hart) Save(e *snapshot.Encoder) {}

// Load replaces State by what Save wrote, and drops every cache.
func (h *Hart) Load(d *snapshot.Decoder) error { return d.Err() }
