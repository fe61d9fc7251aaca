// Package hart is one RISC-V hart: registers, CSRs, traps, address translation
// and the block interpreter.
//
// It has the modes M, S and U, RV64GC with Zba, Zbb, Zbs, Zicond, Zicbom,
// Zicboz, Zawrs, Zicntr, Zihpm, Svinval, Svade, Svadu and Sstc, Sv39 to Sv57 as
// far as Options.MaxMode says, and 16 entries of PMP.
//
// State is what the guest can see. Everything else in a Hart (translation
// lookaside buffers, decoded blocks) is a cache that may be dropped at any
// moment without changing a later State (R5): a store that changes a page
// table or code drops what derives from it, so translation behaves as if there
// were no TLB and code is coherent without FENCE.I. See table.go, superpage.go and
// code.go.
package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Env is what lies around a hart. An Env call may set State, clock, timers and
// interrupt lines of the hart that called it, write to RAM, and request an
// exit. State is exact during the call: PC and Icount are those of the
// instruction that makes it.
type Env interface {
	// Load and Store access registers of devices: naturally aligned, size 1,
	// 2, 4 or 8. False means an access fault.
	Load(gpa machine.GPA, size uint8) (uint64, bool)
	Store(gpa machine.GPA, size uint8, v uint64) bool
	// Ecall is called for an ecall from supervisor mode. True: the machine's
	// own SBI has handled it, a0 and a1 are set, and the hart goes on behind
	// the ecall. False: the ecall traps like any other.
	Ecall(h *Hart) bool
	// Stored is called after a store of the guest to any of the eight bytes
	// at Options.Watch, however it was made; RAM has the new value. What a
	// device or a page walk writes does not count.
	Stored(h *Hart)
}

// Options of a hart.
type Options struct {
	// NoCache runs without translation and block caches: every access walks
	// the page tables, every instruction is decoded afresh. It is the
	// reference that the caches are tested against.
	NoCache bool
	// MaxMode is the widest mode that satp takes: 8 for Sv39, which 0 means
	// too, 9 for Sv48 or 10 for Sv57.
	MaxMode uint8
	// Watch is where eight bytes of RAM lie, aligned or not, whose stores
	// Env.Stored is told of; 0 is none. Programs without an operating system
	// report there (tohost).
	Watch machine.GPA
	// Native translates blocks that are executed often; nil interprets all.
	Native Native
	// Threshold is how often a block is interpreted before it is translated.
	Threshold int32
}

// Hart is one hart.
type Hart struct {
	Core
	ram     *mem.RAM
	window  mem.Window
	env     Env
	opt     Options
	maxMode uint64

	// attention: Run must look at exits, interrupts and timers before the
	// next attempt. leave: something was dropped that the block being
	// executed may derive from.
	attention, leave bool
	exitRequested    bool
	exit             machine.Exit

	// Derived from State: timer bits of mip, and the position where they change.
	timers      uint64
	deadline    machine.Icount
	timersStale bool
	// committing: the store under way sets A or D bits.
	committing bool

	tlb   tlb
	code  codeCache
	pmp   protection
	sites []Site // where translated code leaves
	// nativeGeneration counts how often all translated code was forgotten.
	nativeGeneration uint64
	miss             uint64         // Native.Miss
	patient          machine.Icount // where NearPatience is set anew
}

// New makes a hart in its reset state at PC 0. The RAM belongs to this hart
// alone from then on: New registers it as the RAM's watcher.
func New(ram *mem.RAM, env Env, opt Options) *Hart {
	h := &Hart{ram: ram, window: ram.Window(), env: env, opt: opt, maxMode: max(uint64(opt.MaxMode), satpSv39)}
	if h.maxMode > satpSv57 {
		panic("hart: BUG: there is no such mode of satp")
	}
	h.RAM = h.window.Origin() - uint64(mem.Base)
	if opt.Native != nil {
		h.miss = opt.Native.Miss()
		h.FlagsOf = flagsOf()
	}
	h.tlb.spaces = map[uint64]uint64{}
	h.tlb.tables = make([]*tablePage, ram.Pages())
	h.code.pages = make([]*codePage, ram.Pages())
	// Decoded code may take as much as half of RAM, and at least 64 MiB.
	h.code.limit = max(64<<20, ram.Size()/2) / 16
	ram.Watch(h)
	if opt.Watch != 0 {
		h.watchStores()
	}
	h.Reset(0, rv64.MachineMode, 0, 0)
	return h
}

// watchStores keeps stores to the pages of Options.Watch off the fast path.
func (h *Hart) watchStores() {
	if !h.ram.Contains(h.opt.Watch, 8) {
		panic("hart: BUG: what is to be watched does not lie in RAM")
	}
	off := uint64(h.opt.Watch - mem.Base)
	h.ram.SetFlags(off>>mem.PageShift, mem.HasWatch)
	h.ram.SetFlags((off+7)>>mem.PageShift, mem.HasWatch)
}

// Reset puts the hart into its reset state at the given PC and privilege mode
// with two arguments in a0 and a1. Icount and Clock go on, interrupt lines are
// kept (devices own them); timers are disarmed.
//
// A board without firmware then sets up what firmware would: delegation,
// counter enables, menvcfg, and OpenPMP.
func (h *Hart) Reset(pc uint64, priv uint8, a0, a1 uint64) {
	h.State = State{
		PC: pc, Priv: priv, Icount: h.Icount, Clock: h.Clock, Lines: h.Lines,
		Mtimecmp: neverTime, Stimecmp: neverTime,
	}
	h.X[10], h.X[11] = a0, a1
	h.DropCaches()
}

// Run executes up to and not beyond until (R4). It returns machine.Reached,
// machine.Idle, or what RequestExit asked for.
//
// An interrupt is taken only here, at the start of an attempt. A WFI that
// waits makes State.Waiting true; Run is Idle from then on, without a change,
// until an interrupt is pending that mie enables.
func (h *Hart) Run(until machine.Icount) machine.Exit {
	// The owner may have changed State between two runs.
	h.timersStale = true
	for {
		if h.exitRequested {
			h.exitRequested = false
			return h.exit
		}
		if h.Icount >= until {
			return machine.Reached
		}
		h.refreshPMP()
		h.refreshContext()
		if h.timersStale || h.Icount >= h.deadline {
			h.refreshTimers()
		}
		if h.Waiting {
			if h.mip()&h.Mie == 0 {
				return machine.Idle
			}
			h.Waiting = false
		}
		h.takeInterrupt()
		h.attention = false
		h.exec(min(until, h.deadline))
	}
}

// RequestExit is called from inside an Env call: Run stops after the current
// instruction and returns e. Values from 128 on are free for the board. The
// last request counts.
func (h *Hart) RequestExit(e machine.Exit) {
	h.exit, h.exitRequested = e, true
	h.attention = true
}

// SetPending sets the level of an interrupt line: MEIP, SEIP, MSIP or MTIP.
// For SSIP it writes the software bit, which the guest clears through sip.
func (h *Hart) SetPending(bit uint, level bool) {
	word := &h.Lines
	if bit == rv64.SSIP {
		word = &h.Mip
	}
	if level {
		*word |= 1 << bit
	} else {
		*word &^= 1 << bit
	}
}

// DropCaches drops every cache. It may be called at any moment that State may
// be changed, and changes nothing that the guest can see (R5).
func (h *Hart) DropCaches() {
	h.dropTranslations()
	for page, t := range h.tlb.tables {
		if t != nil {
			h.tlb.tables[page] = nil
			h.ram.ClearFlags(uint64(page), mem.IsPageTable)
		}
	}
	h.dropCode()
	h.refreshPMP()
	h.refreshContext()
	h.timersStale = true
}
