package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// The tables of these tests: a root whose entry 2 maps RAM as it is for the
// code, and whose entry 1 leads through a middle table to a leaf table with one
// page at sv39VA.
const (
	sv39Root   = base + 0x10000
	sv39Middle = base + 0x11000
	sv39Leaf   = base + 0x12000
	sv39Page   = base + 0x20000
	sv39VA     = 1<<30 | 5<<21 | 7<<12 | 0x238

	bitV, bitR, bitW, bitX, bitU, bitG, bitA, bitD = 1, 2, 4, 8, 16, 32, 64, 128
)

// An sv39Access is a load, store or fetch at sv39VA.
type sv39Access uint8

const (
	load sv39Access = iota
	store
	fetch
	atomic
)

// sv39World is a hart in the given mode about to make the access.
func sv39World(opt hart.Options, priv uint8, a sv39Access, status uint64, va uint64) *world {
	w := isaWorld(opt, func(p *asm.Program) {
		switch a {
		case load:
			p.LD(asm.A0, 0, asm.A1)
		case store:
			p.SD(asm.A2, 0, asm.A1)
		case atomic:
			p.AMOADDD(asm.A0, asm.A2, asm.A1)
		}
	})
	identity := uint64(base>>12<<10 | bitV | bitR | bitX | bitA | bitD)
	if priv == rv64.User {
		identity |= bitU
	}
	w.store64(sv39Root+8*2, identity)
	w.store64(sv39Root+8*1, sv39Middle>>12<<10|bitV)
	w.store64(sv39Middle+8*5, sv39Leaf>>12<<10|bitV)
	w.store64(sv39Page+0x238, 0x13) // a NOP when it is fetched
	if a == fetch {
		w.PC = va
	}
	w.become(priv)
	w.Mstatus |= status
	w.Satp = 8<<60 | sv39Root>>12
	w.DropCaches()
	w.X[asm.A0], w.X[asm.A1], w.X[asm.A2] = 42, va, 1
	return w
}

// Privileged specification 12.3.1 and 12.4.1: what a leaf permits, and the
// accessed and dirty bits that the hart sets on an access that succeeds.
func TestSv39Leaf(t *testing.T) {
	const u, s = rv64.User, rv64.Supervisor
	const rwx = bitV | bitR | bitW | bitX
	for _, r := range []struct {
		name   string
		pte    uint64
		priv   uint8
		a      sv39Access
		status uint64
		ok     bool
	}{
		{"load of a readable page", bitV | bitR, s, load, 0, true},
		{"load of a page that is not valid", bitR | bitW, s, load, 0, false},
		{"load of a page to execute", bitV | bitX, s, load, 0, false},
		{"load of a page to execute with MXR", bitV | bitX, s, load, rv64.StatusMXR, true},
		{"load of a user page in S", rwx | bitU, s, load, 0, false},
		{"load of a user page in S with SUM", rwx | bitU, s, load, rv64.StatusSUM, true},
		{"load of a supervisor page in U", rwx, u, load, 0, false},
		{"load of a supervisor page in U with SUM", rwx, u, load, rv64.StatusSUM, false},
		{"load of a user page in U", rwx | bitU, u, load, 0, true},
		{"store to a writable page", rwx, s, store, 0, true},
		{"store to a readable page", bitV | bitR, s, store, 0, false},
		{"store to a user page in S with SUM", rwx | bitU, s, store, rv64.StatusSUM, true},
		{"store with MXR to a page to execute", bitV | bitX, s, store, rv64.StatusMXR, false},
		{"writable without readable is reserved", bitV | bitW, s, store, 0, false},
		{"writable, executable without readable is reserved", bitV | bitW | bitX, s, fetch, 0, false},
		{"fetch", bitV | bitX, s, fetch, 0, true},
		{"fetch of a page to read", bitV | bitR | bitW, s, fetch, 0, false},
		{"fetch of a user page in S, never", rwx | bitU, s, fetch, rv64.StatusSUM, false},
		{"fetch of a user page in U", bitV | bitX | bitU, u, fetch, 0, true},
		{"fetch of a supervisor page in U", bitV | bitX, u, fetch, 0, false},
		{"atomic on a writable page", rwx, s, atomic, 0, true},
		{"atomic on a readable page", bitV | bitR, s, atomic, 0, false},
		{"accessed and dirty already", rwx | bitA | bitD, s, store, 0, true},
		{"global", rwx | bitG, s, load, 0, true},
		{"bits for software do not matter", rwx | 3<<8, s, load, 0, true},
		{"reserved bit 54", rwx | 1<<54, s, load, 0, false},
		{"bit 63 without Svnapot", rwx | 1<<63, s, load, 0, false},
		{"bits 62:61 without Svpbmt", rwx | 1<<61, s, load, 0, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := sv39World(opt, r.priv, r.a, r.status, sv39VA)
			entry := uint64(sv39Leaf + 8*7)
			pte := sv39Page>>12<<10 | r.pte
			w.store64(entry, pte)
			w.steps(t, 1)
			want, cause := pte, noTrap
			switch {
			case !r.ok:
				cause = [...]rv64.Cause{rv64.LoadPageFault, rv64.StorePageFault, rv64.InstructionPageFault, rv64.StorePageFault}[r.a]
			case r.a == store || r.a == atomic:
				want |= bitA | bitD
			default:
				want |= bitA
			}
			if w.trapped() != cause || !r.ok && w.Mtval != sv39VA {
				t.Fatalf("cause %d, mtval %#x; want %d", w.trapped(), w.Mtval, cause)
			}
			if got := w.load64(entry); got != want {
				t.Errorf("the entry is %#x, want %#x", got, want)
			}
			if got := w.load64(sv39Page + 0x238); r.ok && r.a == store && got != 1 || !r.ok && got != 0x13 {
				t.Errorf("memory %#x", got)
			}
		})
	}
}

// Without menvcfg.ADUE (Svade) an access that would have to set A or D is a
// page fault, and the entry stays.
func TestSvade(t *testing.T) {
	const rwx = bitV | bitR | bitW | bitX
	for _, r := range []struct {
		name string
		pte  uint64
		a    sv39Access
		ok   bool
	}{
		{"load without A", rwx, load, false},
		{"load with A", rwx | bitA, load, true},
		{"load with D alone", rwx | bitD, load, false},
		{"fetch without A", rwx, fetch, false},
		{"fetch with A", rwx | bitA, fetch, true},
		{"store without A", rwx | bitD, store, false},
		{"store without D", rwx | bitA, store, false},
		{"store with both", rwx | bitA | bitD, store, true},
		{"atomic without D", rwx | bitA, atomic, false},
		{"atomic with both", rwx | bitA | bitD, atomic, true},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := sv39World(opt, rv64.Supervisor, r.a, 0, sv39VA)
			w.Menvcfg &^= rv64.EnvADUE
			entry, pte := uint64(sv39Leaf+8*7), sv39Page>>12<<10|r.pte
			w.store64(entry, pte)
			w.steps(t, 1)
			cause := noTrap
			if !r.ok {
				cause = [...]rv64.Cause{rv64.LoadPageFault, rv64.StorePageFault, rv64.InstructionPageFault, rv64.StorePageFault}[r.a]
			}
			if w.trapped() != cause || !r.ok && w.Mtval != sv39VA {
				t.Fatalf("cause %d, mtval %#x; want %d", w.trapped(), w.Mtval, cause)
			}
			if got := w.load64(entry); got != pte {
				t.Errorf("the entry is %#x, want %#x", got, pte)
			}
		})
	}
}

// Privileged specification 12.3.2: the walk above the leaf.
func TestSv39Walk(t *testing.T) {
	const leaf = bitV | bitR | bitW | bitA | bitD
	for _, r := range []struct {
		name  string
		set   func(w *world)
		va    uint64
		cause rv64.Cause
		gpa   uint64 // what the load should find, by its address
	}{
		{"three levels", func(w *world) {}, sv39VA, noTrap, sv39Page + 0x238},
		{"superpage of 2 MiB", func(w *world) { w.store64(sv39Middle+8*5, base>>12<<10|leaf) }, 1<<30 | 5<<21 | 0x20238, noTrap, sv39Page + 0x238},
		{"superpage of 1 GiB", func(w *world) { w.store64(sv39Root+8, base>>12<<10|leaf) }, 1<<30 | 0x20238, noTrap, sv39Page + 0x238},
		{"misaligned superpage of 2 MiB", func(w *world) { w.store64(sv39Middle+8*5, (base+0x1000)>>12<<10|leaf) }, sv39VA, rv64.LoadPageFault, 0},
		{"misaligned superpage of 1 GiB", func(w *world) { w.store64(sv39Root+8, (base+0x200000)>>12<<10|leaf) }, sv39VA, rv64.LoadPageFault, 0},
		{"root entry not valid", func(w *world) { w.store64(sv39Root+8, 0) }, sv39VA, rv64.LoadPageFault, 0},
		{"pointer at the last level", func(w *world) { w.store64(sv39Leaf+8*7, sv39Page>>12<<10|bitV) }, sv39VA, rv64.LoadPageFault, 0},
		{"pointer with A set", func(w *world) { w.store64(sv39Middle+8*5, sv39Leaf>>12<<10|bitV|bitA) }, sv39VA, rv64.LoadPageFault, 0},
		{"pointer with D set", func(w *world) { w.store64(sv39Middle+8*5, sv39Leaf>>12<<10|bitV|bitD) }, sv39VA, rv64.LoadPageFault, 0},
		{"pointer with U set", func(w *world) { w.store64(sv39Middle+8*5, sv39Leaf>>12<<10|bitV|bitU) }, sv39VA, rv64.LoadPageFault, 0},
		{"pointer with G set", func(w *world) { w.store64(sv39Middle+8*5, sv39Leaf>>12<<10|bitV|bitG) }, sv39VA, noTrap, sv39Page + 0x238},
		{"table outside RAM", func(w *world) { w.store64(sv39Middle+8*5, 0x1000>>12<<10|bitV) }, sv39VA, rv64.LoadAccessFault, 0},
		{"page outside RAM", func(w *world) { w.store64(sv39Leaf+8*7, 0x2000>>12<<10|leaf) }, sv39VA, rv64.LoadAccessFault, 0},
		{"bits above 38 must be equal", func(w *world) {}, 1<<39 | sv39VA, rv64.LoadPageFault, 0},
		{"bits above 38 must equal bit 38", func(w *world) {}, 1<<38 | sv39VA, rv64.LoadPageFault, 0},
		{"upper half", func(w *world) { w.store64(sv39Root+8*511, base>>12<<10|leaf) }, 0xffffffffc0000000 | 0x20238, noTrap, sv39Page + 0x238},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := sv39World(opt, rv64.Supervisor, load, 0, r.va)
			w.store64(sv39Leaf+8*7, sv39Page>>12<<10|leaf)
			r.set(w)
			if r.gpa != 0 {
				w.store64(r.gpa, 0xcafe)
			}
			w.steps(t, 1)
			if w.trapped() != r.cause {
				t.Fatalf("cause %d, mtval %#x; want %d", w.trapped(), w.Mtval, r.cause)
			}
			if r.cause == noTrap && w.X[asm.A0] != 0xcafe {
				t.Errorf("read %#x from another place", w.X[asm.A0])
			}
			if r.cause != noTrap && (w.Mtval != r.va || w.X[asm.A0] != 42) {
				t.Errorf("mtval %#x, a0 %d", w.Mtval, w.X[asm.A0])
			}
		})
	}
}

// Which accesses are translated at all.
func TestSv39Applies(t *testing.T) {
	const leaf = bitV | bitR | bitW | bitX | bitU | bitA | bitD
	for _, r := range []struct {
		name   string
		priv   uint8
		status uint64
		want   bool
	}{
		{"U", rv64.User, 0, true},
		{"S", rv64.Supervisor, rv64.StatusSUM, true},
		{"M", rv64.MachineMode, 0, false},
		{"M with MPRV as U", rv64.MachineMode, rv64.StatusMPRV, true},
		{"M with MPRV as S", rv64.MachineMode, rv64.StatusMPRV | 1<<11 | rv64.StatusSUM, true},
		{"M with MPRV as M", rv64.MachineMode, rv64.StatusMPRV | 3<<11, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := sv39World(opt, r.priv, load, r.status, sv39VA)
			w.store64(sv39Leaf+8*7, sv39Page>>12<<10|leaf)
			w.store64(sv39Page+0x238, 0xcafe)
			w.steps(t, 1)
			if got := w.X[asm.A0] == 0xcafe; got != r.want {
				t.Errorf("translated: %v, want %v (a0 %#x, cause %d)", got, r.want, w.X[asm.A0], w.trapped())
			}
			if !r.want && w.trapped() != rv64.LoadAccessFault {
				t.Errorf("cause %d: nothing lies at the address itself", w.trapped())
			}
		})
	}
}
