package jit

import (
	"unsafe"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/jit/amd64"
)

// bias is how far into Core the register points that translated code has for it.
const bias = 128

func at(off uintptr) int32 { return int32(off) - bias }

// layout is where amd64 finds the fields of Core.
var layout = func() amd64.Layout {
	var c hart.Core
	return amd64.Layout{
		X: at(unsafe.Offsetof(c.X)), F: at(unsafe.Offsetof(c.F)),
		PC: at(unsafe.Offsetof(c.PC)), Page: at(unsafe.Offsetof(c.Page)),
		Budget: at(unsafe.Offsetof(c.Budget)), Site: at(unsafe.Offsetof(c.Site)),
		Float: at(unsafe.Offsetof(c.Float)), MXCSR: at(unsafe.Offsetof(c.MXCSR)), Entry: at(unsafe.Offsetof(c.Entry)),
		DataContext: at(unsafe.Offsetof(c.DataContext)), FetchContext: at(unsafe.Offsetof(c.FetchContext)), FetchHash: at(unsafe.Offsetof(c.FetchHash)),
		Fflags: at(unsafe.Offsetof(c.Fflags)), FlagsOf: at(unsafe.Offsetof(c.FlagsOf)),
		RAM: at(unsafe.Offsetof(c.RAM)), Reserved: at(unsafe.Offsetof(c.Reserved)), Reservation: at(unsafe.Offsetof(c.Reservation)),
		ReadTLB: at(unsafe.Offsetof(c.ReadTLB)), WriteTLB: at(unsafe.Offsetof(c.WriteTLB)),
		FetchTLB: at(unsafe.Offsetof(c.FetchTLB)),
		Near:     at(unsafe.Offsetof(c.Near)), NearPatience: at(unsafe.Offsetof(c.NearPatience)), NearUsed: at(unsafe.Offsetof(c.NearUsed)),
		Jumps:  at(unsafe.Offsetof(c.Jumps)),
		JumpPC: int32(unsafe.Offsetof(c.Jumps[0].PC)), JumpCode: int32(unsafe.Offsetof(c.Jumps[0].Code)), FetchCode: int32(unsafe.Offsetof(c.FetchTLB[0].Code)),
		JumpNative: int32(unsafe.Offsetof(c.Jumps[0].Native)),
		TLBDelta:   int32(unsafe.Offsetof(c.ReadTLB[0].Delta)),
		TLBShift:   4, JumpShift: 5,
		Priv: at(unsafe.Offsetof(c.Priv)), Pending: at(unsafe.Offsetof(c.Pending)),
		Mstatus: at(unsafe.Offsetof(c.Mstatus)), Medeleg: at(unsafe.Offsetof(c.Medeleg)), Menvcfg: at(unsafe.Offsetof(c.Menvcfg)),
		Mcountinhibit: at(unsafe.Offsetof(c.Mcountinhibit)), Instret: at(unsafe.Offsetof(c.Instret)),
		Stvec: at(unsafe.Offsetof(c.Stvec)), Sscratch: at(unsafe.Offsetof(c.Sscratch)), Sepc: at(unsafe.Offsetof(c.Sepc)),
		Scause: at(unsafe.Offsetof(c.Scause)), Stval: at(unsafe.Offsetof(c.Stval)),
	}
}()

// Assertions on which translated code relies.
const (
	_ = uint(0 - unsafe.Offsetof(hart.Core{}.X))  // X comes first
	_ = uint(unsafe.Sizeof(hart.TLBEntry{}) - 16) // 1 << TLBShift
	_ = uint(16 - unsafe.Sizeof(hart.TLBEntry{}))
	_ = uint(unsafe.Sizeof(hart.Jump{}) - 32) // 1 << JumpShift
	_ = uint(32 - unsafe.Sizeof(hart.Jump{}))
)
