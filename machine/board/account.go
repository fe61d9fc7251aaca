package board

import (
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// Account implements machine.Machine.
func (b *Board) Account() machine.Account {
	a := machine.Account{Pos: b.Icount(), Digest: b.Digest(), Registers: b.hart.Registers(), Base: mem.Base}
	part := func(name string, save func(e *snapshot.Encoder)) {
		e := snapshot.NewEncoder(b.enc[:0])
		save(e)
		b.enc = e.Bytes()
		a.Devices = append(a.Devices, machine.PartSum{Name: name, Sum: xxh3.Hash128(b.enc).Bytes()})
	}
	part("board", b.saveBoard)
	part(machine.HartPart, b.hart.Save)
	for i, d := range b.devices {
		part(b.deviceName(i), d.SaveState)
	}
	a.Pages = b.ram.Changes(nil)
	return a
}

// deviceName names a device of b.devices.
func (b *Board) deviceName(i int) string {
	fixed := [...]string{"uart", "plic", "clint", "rtc", "virtio-rng", "virtio-console"}
	switch nic := i - len(fixed); {
	case nic < 0:
		return fixed[i]
	case b.program != nil:
		return "program"
	case nic < len(b.nics):
		return fmt.Sprintf("virtio-net %d", nic)
	default:
		return fmt.Sprintf("virtio-blk %d", nic-len(b.nics))
	}
}

// Page implements machine.Inspector.
func (b *Board) Page(page uint32) (machine.GPA, []byte) {
	return mem.Base + machine.GPA(page)<<mem.PageShift, b.ram.Page(uint64(page))
}

// Instruction implements machine.Inspector.
func (b *Board) Instruction() (pc machine.GVA, encoding uint32, ok bool) {
	pc = machine.GVA(b.hart.PC)
	low, ok := b.parcel(uint64(pc))
	if !ok || low&3 != 3 {
		return pc, uint32(low), ok
	}
	high, ok := b.parcel(uint64(pc) + 2)
	return pc, uint32(high)<<16 | uint32(low), ok
}

// parcel reads 16 bits of code through the page tables, as they stand and
// without a check of permissions (privileged spec 12.3.2).
func (b *Board) parcel(va uint64) (uint16, bool) {
	const (
		valid, leaf = 1, 2 | 8 // leaves are readable or executable
		ppn         = 1<<44 - 1
	)
	mode := b.hart.Satp >> 60
	if b.hart.Priv == rv64.MachineMode || mode == 0 {
		return b.ram.Load16(machine.GPA(va))
	}
	table := b.hart.Satp & ppn << mem.PageShift
	for level := int(mode) - 6; level >= 0; level-- {
		shift := mem.PageShift + 9*level
		pte, ok := b.ram.Load64(machine.GPA(table + va>>shift&511<<3))
		if !ok || pte&valid == 0 {
			return 0, false
		}
		table = pte >> 10 & ppn << mem.PageShift
		if pte&leaf != 0 {
			inside := uint64(1)<<shift - 1
			return b.ram.Load16(machine.GPA(table&^inside | va&inside))
		}
	}
	return 0, false
}
