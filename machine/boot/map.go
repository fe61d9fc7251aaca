// Package boot is what lies in memory when the guest starts: the map of the
// board, the device tree that describes it, and where kernel, initrd and
// device tree are put. The map is that of QEMU's virt board, so that stock
// kernels find what they expect.
package boot

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// Where devices are, and their interrupt sources at the PLIC.
const (
	SysconBase machine.GPA = 0x10_0000
	RTCBase    machine.GPA = 0x10_1000
	CLINTBase  machine.GPA = 0x200_0000
	PLICBase   machine.GPA = 0xc00_0000
	UARTBase   machine.GPA = 0x1000_0000
	virtioBase machine.GPA = 0x1000_1000
	RAMBase                = mem.Base

	UARTIRQ = 10
	RTCIRQ  = 11
)

// virtioWindow is the distance between virtio slots in bytes.
const virtioWindow = 0x1000

// VirtioSlots is how many virtio slots there are at most: entropy, console,
// NICs and disks.
const VirtioSlots = 2 + machine.MaxNICs + machine.MaxDisks

// VirtioSlot is the place and the interrupt source of virtio slot n. The first
// eight are those of QEMU's board; the others have sources that it leaves free.
func VirtioSlot(n int) (base machine.GPA, irq uint32) {
	base = virtioBase + machine.GPA(n)*virtioWindow
	if n < 8 {
		return base, uint32(1 + n)
	}
	return base, uint32(32 + n - 8)
}
