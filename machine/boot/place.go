package boot

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// The header of a RISC-V Image (Documentation/arch/riscv/boot-image-header.rst
// of the kernel).
const (
	imageHeader     = 64
	imageTextOffset = 8
	imageSize       = 16
	imageFlags      = 24
	imageMagic      = 0x38 // "RSC\x05"
)

const (
	// treeRoom is what is kept free for the device tree, in bytes.
	treeRoom = 64 << 10
	// treeSlack of it is for what firmware adds to the tree in place.
	treeSlack = 8 << 10
	// treeAlign keeps the tree in one large page, as early kernels want it.
	treeAlign   = 2 << 20
	initrdAlign = mem.PageSize
)

// Layout is where the boot payload goes.
type Layout struct {
	// Entry is where the hart starts: at the firmware if there is one, else at
	// the kernel.
	Entry      machine.GPA
	Kernel     machine.GPA // also the kernel's own entry point
	Initrd     machine.GPA
	InitrdSize uint64
	Tree       machine.GPA
	// Info is where firmware learns of the kernel; see firmware.go. Zero
	// without firmware.
	Info machine.GPA
}

// Place checks the kernel's header and finds room for everything: the firmware
// at the start of RAM, the kernel where its header wants to be, the initrd at
// the end of RAM, the device tree below it.
func Place(cfg *machine.Config) (Layout, error) {
	k := cfg.Kernel
	if len(k) < imageHeader || string(k[imageMagic:imageMagic+4]) != "RSC\x05" {
		return Layout{}, fmt.Errorf("boot: the kernel (%d bytes) is no RISC-V Image; give the uncompressed Image, not an ELF or compressed file", len(k))
	}
	if binary.LittleEndian.Uint64(k[imageFlags:])&1 != 0 {
		return Layout{}, fmt.Errorf("boot: the kernel is big-endian; this machine is little-endian")
	}
	offset := binary.LittleEndian.Uint64(k[imageTextOffset:])
	size := max(uint64(len(k)), binary.LittleEndian.Uint64(k[imageSize:])) // with its bss
	initrd := uint64(len(cfg.Initrd))
	if offset%mem.PageSize != 0 || offset > cfg.Memory || size > cfg.Memory || initrd > cfg.Memory {
		return Layout{}, noRoom(cfg, size)
	}
	if uint64(len(cfg.Firmware)) > offset {
		return Layout{}, fmt.Errorf("boot: firmware of %d bytes at the start of RAM runs into the kernel, which wants to lie %d bytes behind it; give a smaller firmware", len(cfg.Firmware), offset)
	}
	l := Layout{Kernel: RAMBase + machine.GPA(offset), InitrdSize: initrd}
	l.Entry = l.Kernel
	// Offsets from the start of RAM; a step below zero is caught by the comparison.
	end := offset + size
	at := (cfg.Memory - initrd) &^ (initrdAlign - 1)
	l.Initrd = RAMBase + machine.GPA(at)
	if at < end+treeRoom+infoRoom+treeAlign {
		return Layout{}, noRoom(cfg, size)
	}
	l.Tree = RAMBase + machine.GPA((at-treeRoom-infoRoom)&^(treeAlign-1))
	if len(cfg.Firmware) > 0 {
		l.Entry, l.Info = RAMBase, l.Tree+treeRoom
	}
	return l, nil
}

func noRoom(cfg *machine.Config, size uint64) error {
	return fmt.Errorf("boot: a kernel that needs %d bytes and an initrd of %d bytes do not fit in %d bytes of memory; give the machine more", size, len(cfg.Initrd), cfg.Memory)
}

// Load writes the boot payload into RAM, which is all zeros. The tree is
// encoded.
func Load(ram *mem.RAM, cfg *machine.Config, l Layout, tree []byte) error {
	if len(tree) > treeRoom-treeSlack {
		return fmt.Errorf("boot: the device tree has %d bytes; at most %d fit", len(tree), treeRoom-treeSlack)
	}
	put := func(at machine.GPA, p []byte) {
		if !ram.Write(at, p) {
			panic("boot: BUG: a place was found outside RAM")
		}
	}
	put(l.Kernel, cfg.Kernel)
	put(l.Initrd, cfg.Initrd)
	put(l.Tree, tree)
	if l.Info != 0 {
		put(RAMBase, cfg.Firmware)
		put(l.Info, dynamicInfo(l.Kernel))
	}
	return nil
}
