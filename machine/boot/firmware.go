package boot

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// Firmware is a flat binary at the start of RAM. It starts in machine mode with
// the hart's number in a0, the device tree in a1 and, in a2, the address of the
// structure by which OpenSBI's fw_dynamic learns what to start next
// (include/sbi/fw_dynamic.h of OpenSBI). Its fw_jump does not look at a2: it
// goes on 2 MiB into RAM, where stock kernels want to lie.
const (
	dynamicMagic   = 0x4942_534f // "OSBI"
	dynamicVersion = 2
	nextSupervisor = 1

	// infoRoom is what is kept free for the structure, in bytes.
	infoRoom = 4 << 10
)

// dynamicInfo is the structure for a kernel that starts in supervisor mode.
func dynamicInfo(kernel machine.GPA) []byte {
	var b []byte
	for _, v := range []uint64{
		dynamicMagic, dynamicVersion,
		uint64(kernel), nextSupervisor,
		0, // options
		0, // the hart that boots
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
