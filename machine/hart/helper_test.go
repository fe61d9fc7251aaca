package hart_test

import (
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/jit"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

const (
	base    = uint64(mem.Base)
	ramSize = 1 << 20
	// testDevice is the page of a device that counts and can do what a board
	// would: see world.
	testDevice = 0x1000_0000
)

// world is a hart with RAM and a test device:
//
//	load  0x00  how many accesses there were
//	store 0x08  exit with the value
//	store 0x10  DMA: the dword at RAM+0xff000 goes to the address stored
//	store 0x18  set (value&1) the line value>>1
type world struct {
	*hart.Hart
	ram    *mem.RAM
	count  uint64
	ecalls []uint64 // a7 of ecalls that the machine handled
	sbi    bool     // handle ecalls
	// Stores to the watched doubleword, and what was to be seen at the last one.
	watch       uint64
	exitOnStore bool
	stored      int
	seen        machine.Icount
	seenPC      uint64
	seenValue   uint64
}

func newWorld(opt hart.Options) *world { return newLargeWorld(opt, ramSize) }

func newLargeWorld(opt hart.Options, size uint64) *world {
	w := &world{ram: mem.New(size), watch: uint64(opt.Watch)}
	w.Hart = hart.New(w.ram, w, opt)
	w.restart(base, rv64.MachineMode)
	w.SetClock(machine.Clock{Mul: 1 << 32}) // a tick an instruction
	return w
}

// restart resets the hart to a mode, with what a board without firmware does
// for the modes below M.
func (w *world) restart(pc uint64, priv uint8) {
	w.Reset(pc, priv, 0, 0)
	w.OpenPMP()
	w.Menvcfg = rv64.EnvADUE
}

func (w *world) Load(gpa machine.GPA, size uint8) (uint64, bool) {
	if gpa>>12 != testDevice>>12 {
		return 0, false
	}
	w.count++
	return w.count, true
}

func (w *world) Store(gpa machine.GPA, size uint8, v uint64) bool {
	if gpa>>12 != testDevice>>12 {
		return false
	}
	w.count++
	switch gpa & 0xfff {
	case 0x08:
		w.RequestExit(machine.Exit(v))
	case 0x10:
		var b [8]byte
		w.ram.Read(mem.Base+0xff000, b[:])
		w.ram.Write(machine.GPA(v), b[:])
	case 0x18:
		w.SetPending(uint(v>>1), v&1 != 0)
	}
	return true
}

func (w *world) Stored(h *hart.Hart) {
	w.stored++
	w.seen, w.seenPC, w.seenValue = h.Icount, h.PC, w.load64(w.watch)
	if w.exitOnStore {
		h.RequestExit(done)
	}
}

func (w *world) Ecall(h *hart.Hart) bool {
	if !w.sbi {
		return false
	}
	w.ecalls = append(w.ecalls, h.X[asm.A7])
	h.X[asm.A0], h.X[asm.A1] = 0, uint64(h.Icount)
	return true
}

// state is everything that must not depend on caches or cuts.
func (w *world) state() string {
	e := snapshot.NewEncoder(nil)
	w.Hart.Save(e)
	return fmt.Sprintf("%x %x %d", e.Bytes(), w.ram.Digest(), w.count)
}

// put assembles at an address in RAM.
func (w *world) put(at uint64, f func(p *asm.Program)) *asm.Program {
	p := asm.New(at)
	f(p)
	w.ram.Write(machine.GPA(at), p.Bytes())
	return p
}

func (w *world) store64(at, v uint64) {
	w.ram.Store32(machine.GPA(at), uint32(v))
	w.ram.Store32(machine.GPA(at+4), uint32(v>>32))
}

func (w *world) load64(at uint64) uint64 {
	v, _ := w.ram.Load64(machine.GPA(at))
	return v
}

// both runs a test on the cached hart, on the reference without caches, and,
// where the host can, on one that translates every block at once.
func both(t *testing.T, f func(t *testing.T, w *world)) {
	t.Run("cached", func(t *testing.T) { f(t, newWorld(hart.Options{})) })
	t.Run("reference", func(t *testing.T) { f(t, newWorld(hart.Options{NoCache: true})) })
	t.Run("translated", func(t *testing.T) { f(t, newWorld(translated(t, 1))) })
}

// translated are the options of a hart that translates what it has interpreted
// a number of times.
func translated(t *testing.T, threshold int32) hart.Options {
	t.Helper()
	engine, err := jit.New(1 << 20)
	if err != nil {
		citest.Unable(t, err)
	}
	return hart.Options{Native: engine, Threshold: threshold}
}

// until runs to an exit that the program requests.
func (w *world) until(t *testing.T, want machine.Exit) {
	t.Helper()
	if got := w.Run(w.Icount + 100_000); got != want {
		t.Fatalf("exit %v, want %v; pc %#x mcause %#x mepc %#x mtval %#x scause %#x sepc %#x",
			got, want, w.PC, w.Mcause, w.Mepc, w.Mtval, w.Scause, w.Sepc)
	}
}

const done = machine.Exit(200)

// finish requests the exit done; it uses T5 and T6.
func finish(p *asm.Program) {
	p.LI(asm.T6, testDevice)
	p.LI(asm.T5, int64(done))
	p.SW(asm.T5, 8, asm.T6)
}

func want(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %#x, want %#x", what, got, want)
	}
}

const (
	pteV = 1 << iota
	pteR
	pteW
	pteX
	pteU
	pteG
	pteA
	pteD
)

// Page tables of the tests: one root, one middle and one leaf table that map
// 2 MiB from virtual 0, and RAM onto itself by a gigapage.
const (
	rootTable   = base + 0x80000
	middleTable = base + 0x81000
	leafTable   = base + 0x82000
)

func (w *world) pageTables() {
	w.store64(rootTable, middleTable>>12<<10|pteV)
	w.store64(rootTable+8*2, base>>12<<10|pteV|pteR|pteW|pteX|pteA|pteD)
	w.store64(middleTable, leafTable>>12<<10|pteV)
	w.Satp = 8<<60 | rootTable>>12
}

// leaf writes a leaf entry as a device would.
func (w *world) leaf(va, pa, bits uint64) { w.store64(leafTable+va>>12*8, pa>>12<<10|bits) }
