package hart

import "github.com/lockstep-vm/lockstep/machine/mem"

const (
	// TLBSize is the number of entries in each of ReadTLB, WriteTLB and
	// FetchTLB, JumpSize in Jumps, NearSize in Near.
	TLBSize  = 2048
	JumpSize = 1 << 16
	NearSize = 512

	tlbMask  = TLBSize - 1
	jumpMask = JumpSize - 1
)

// Core is what translated code works on: State, the caches that it looks into
// by itself, and what it tells and is told at its borders.
type Core struct {
	State

	// Page is the virtual address of the page whose code runs.
	Page uint64
	// Budget is how many attempts may still be made.
	Budget int64
	// Site says where translated code has left.
	Site uint32
	// MXCSR is the host's floating-point control while translated code runs.
	MXCSR uint32
	// Entry is where translated code begins.
	Entry uint64
	// Float is 0 unless operations of F and D may run in translated code, which
	// keeps a state of its own in it.
	Float uint64

	// The translation contexts of data accesses and fetches, derived from Priv,
	// mstatus and satp.
	DataContext, FetchContext uint64
	// FetchHash spreads address spaces over FetchTLB: processes have much of
	// their code at the same addresses. It counts in bytes of the table.
	FetchHash uint64

	// Pending are the interrupts that are pending and enabled by mie, wherever
	// they would be delivered to.
	Pending uint64

	// FlagsOf are the flags of RISC-V that the six flags of MXCSR stand for.
	FlagsOf [64]uint8

	// RAM is the address in the window less the guest-physical one.
	RAM uint64

	ReadTLB  [TLBSize]TLBEntry
	WriteTLB [TLBSize]TLBEntry
	FetchTLB [TLBSize]FetchEntry
	Jumps    [JumpSize]Jump

	// Near has, for places in translated code, the entry that the last access
	// there has used: at most places the next one is to the same page. All are
	// forgotten together. NearUsed says that there may be any, and NearPatience
	// counts down how often a place was wrong.
	Near         [NearSize]TLBEntry
	NearPatience [NearSize]int32
	NearUsed     uint32
}

// A TLBEntry maps one page of 4 KiB for one kind of access. Its tag is the
// page's address with the translation context in the low twelve bits; 0 is no
// entry. Adding Delta to a virtual address gives the address in the window.
type TLBEntry struct{ Tag, Delta uint64 }

// A FetchEntry maps one page for fetches: its tag as TLBEntry has it, and the
// number of the code decoded from it, which is another whenever code was
// dropped.
type FetchEntry struct{ Tag, Code uint64 }

const (
	// FetchFold is the number of address bits below those that are folded into
	// the index of FetchTLB, since a kernel and a library are larger than its
	// pages.
	FetchFold  = 23
	fetchShift = 4 // log2 of the size of a FetchEntry
)

// fetchIndex is where FetchTLB has the page of va.
func (h *Hart) fetchIndex(va uint64) uint64 {
	return (va>>mem.PageShift ^ va>>FetchFold ^ h.FetchHash>>fetchShift) & tlbMask
}

// A Jump remembers the block at a virtual address while certain code lies there,
// whatever the address space: processes that share code share its jumps.
type Jump struct {
	PC, Code uint64
	// Native is where the block's translation begins, or code that leaves.
	Native uint64
	block  *block // nil for one that is to be looked for each time
}

// offset is where in RAM an entry leads to.
func (h *Hart) offset(e *TLBEntry) uint64 {
	return e.Tag&^uint64(pageMask) + e.Delta - h.window.Origin()
}

// entry maps the page of va, which lies at an offset in RAM.
func (h *Hart) entry(va, off uint64) TLBEntry {
	return TLBEntry{va&^uint64(mem.PageSize-1) | h.DataContext, off - va + h.window.Origin()}
}
