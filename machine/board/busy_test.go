package board

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Where the busy guest keeps its things.
const (
	busyRoot   = 0x8060_0000 // page tables: root, then middle, then leaf
	busyMiddle = busyRoot + 0x1000
	busyLeaf   = busyRoot + 0x2000
	busyPages  = 0x8061_0000 // two pages that one address shows in turn
	busyWindow = 0x1_0000_0000
	busyCode   = 0x8062_0000 // a routine that is patched all the time
	busyRNG    = 0x8063_0000 // virtqueue: descriptors, then rings, then buffers
	busyDisk   = 0x8064_0000

	mmioRTC  = 0x10_1000
	mmioRNG  = 0x1000_1000
	mmioDisk = 0x1000_3000
)

// Offsets in a virtqueue's area, and its size in descriptors.
const (
	queueAvail  = 0x100
	queueUsed   = 0x200
	queueBuffer = 0x400
	queueSize   = 8
)

func busyConfig() *machine.Config {
	cfg := testConfig(busyGuest)
	cfg.Disks = []machine.DiskConfig{{Sectors: 64}}
	return cfg
}

// busyGuest does a little of everything that a cache, a cut or a snapshot
// could spoil: paging with entries changed without a fence, code patched in
// place, traps, timers, floating point, reservations, waiting, console, alarms,
// DMA from two devices, and now and then a reset. s9 to s11 belong to its trap handler.
func busyGuest(p *asm.Program) {
	busySetup(p)
	p.LI(asm.S0, 12345) // a random number
	p.LI(asm.S1, 0)     // rounds
	p.Label("round")
	p.LI(asm.T0, 6364136223846793005)
	p.MUL(asm.S0, asm.S0, asm.T0)
	p.LI(asm.T0, 1442695040888963407)
	p.ADD(asm.S0, asm.S0, asm.T0)
	p.ADDI(asm.S1, asm.S1, 1)
	busyPaging(p)
	busyPatching(p)
	busyArithmetic(p)

	p.ANDI(asm.T0, asm.S1, 15)
	p.BNEZ(asm.T0, "no trap")
	p.Raw32(0) // illegal; the handler skips it
	p.LI(asm.T0, 0x4000_0000)
	p.LD(asm.T1, 0, asm.T0) // nothing is mapped there
	p.Label("no trap")

	p.ANDI(asm.T0, asm.S1, 31)
	p.BNEZ(asm.T0, "no print")
	p.LI(asm.T0, 0x1000_0000)
	p.SRLI(asm.T1, asm.S0, 60)
	p.ADDI(asm.T1, asm.T1, 'a')
	p.SB(asm.T1, 0, asm.T0)
	p.Label("no print")

	p.ANDI(asm.T0, asm.S1, 63)
	p.BNEZ(asm.T0, "no entropy")
	busyKick(p, "entropy", busyRNG, mmioRNG)
	p.Label("no entropy")
	p.ADDI(asm.T0, asm.S1, 7)
	p.ANDI(asm.T0, asm.T0, 127)
	p.BNEZ(asm.T0, "no disk")
	p.LI(asm.T0, busyDisk+queueBuffer)
	p.SRLI(asm.T1, asm.S0, 63) // read or write
	p.SW(asm.T1, 0, asm.T0)
	p.SRLI(asm.T2, asm.S0, 58)
	p.SD(asm.T2, 8, asm.T0) // sector
	p.SLLI(asm.T1, asm.T1, 1)
	p.XORI(asm.T1, asm.T1, 3) // descriptor flags: next, and for a read also write
	p.LI(asm.T0, busyDisk)
	p.SH(asm.T1, 16+12, asm.T0)
	busyKick(p, "disk", busyDisk, mmioDisk)
	p.Label("no disk")

	p.ANDI(asm.T0, asm.S1, 31)
	p.BNEZ(asm.T0, "no alarm")
	p.LI(asm.T0, mmioRTC)
	p.LWU(asm.T1, 0, asm.T0)
	p.LW(asm.T2, 4, asm.T0)
	p.SW(asm.T2, 12, asm.T0)
	p.SRLI(asm.T2, asm.S0, 49) // up to 32 us from now
	p.ADD(asm.T1, asm.T1, asm.T2)
	p.SW(asm.T1, 8, asm.T0)
	p.Label("no alarm")

	p.ANDI(asm.T0, asm.S1, 255)
	p.BNEZ(asm.T0, "no wait")
	p.WFI()
	p.Label("no wait")
	p.LI(asm.T0, 3000)
	p.BNE(asm.S1, asm.T0, "round")
	sbiCall(p, sbiSRST, 0, 1, 0)
	busyHandler(p)
}

// busySetup turns on translation, interrupts and the two devices.
func busySetup(p *asm.Program) {
	p.LA(asm.T0, "handler")
	p.CSRW(asm.STVEC, asm.T0)
	busyTranslation(p)

	p.LI(asm.T0, 3<<13) // floating point on
	p.CSRRS(asm.Zero, asm.SSTATUS, asm.T0)
	queueSetup(p, mmioRNG, busyRNG)
	queueSetup(p, mmioDisk, busyDisk)
	descriptor(p, busyRNG, 0, busyRNG+queueBuffer, 32, 2, 0)
	descriptor(p, busyDisk, 0, busyDisk+queueBuffer, 16, 1, 1)
	descriptor(p, busyDisk, 1, busyDisk+queueBuffer+0x200, 512, 1, 2)
	descriptor(p, busyDisk, 2, busyDisk+queueBuffer+0x10, 1, 2, 0)

	for _, source := range []int64{1, 3, 10, 11} {
		store(p, 0xc00_0000+4*source, 1)
	}
	store(p, 0xc00_2080, 1<<1|1<<3|1<<10|1<<11)
	store(p, mmioRTC+0x10, 1)
	storeByte(p, 0x1000_0002, 1) // FIFO
	storeByte(p, 0x1000_0001, 1)
	p.CSRR(asm.T0, asm.TIME)
	p.CSRW(asm.STIMECMP, asm.T0)
	p.LI(asm.T0, 1<<1|1<<5|1<<9)
	p.CSRW(asm.SIE, asm.T0)
	p.CSRRSI(asm.Zero, asm.SSTATUS, 2)
}

// busyTranslation turns translation on: devices and RAM where they are, and a
// leaf table for busyWindow.
func busyTranslation(p *asm.Program) {
	for _, giga := range []int64{0, 2} { // identity, read-write-execute
		p.LI(asm.T0, busyRoot+giga*8)
		p.LI(asm.T1, giga<<28|0xcf)
		p.SD(asm.T1, 0, asm.T0)
	}
	p.LI(asm.T0, busyRoot+4*8)
	p.LI(asm.T1, busyMiddle>>2|1)
	p.SD(asm.T1, 0, asm.T0)
	p.LI(asm.T0, busyMiddle)
	p.LI(asm.T1, busyLeaf>>2|1)
	p.SD(asm.T1, 0, asm.T0)
	p.LI(asm.T1, busyRoot>>12)
	p.LI(asm.T0, 1)
	p.SLLI(asm.T0, asm.T0, 63) // mode 8: Sv39
	p.OR(asm.T0, asm.T0, asm.T1)
	p.CSRW(asm.SATP, asm.T0)
}

func queueSetup(p *asm.Program, mmio, area int64) {
	for _, w := range [][2]int64{
		{0x70, 0}, {0x70, 1}, {0x70, 3},
		{0x24, 1}, {0x20, 1}, {0x24, 0}, {0x20, 0}, // VIRTIO_F_VERSION_1 alone
		{0x70, 11}, {0x30, 0}, {0x38, queueSize},
		{0x80, area}, {0x84, 0}, {0x90, area + queueAvail}, {0x94, 0}, {0xa0, area + queueUsed}, {0xa4, 0},
		{0x44, 1}, {0x70, 15},
	} {
		store(p, mmio+w[0], w[1])
	}
}

func descriptor(p *asm.Program, area, n, addr, size, flags, next int64) {
	p.LI(asm.T0, area+16*n)
	p.LI(asm.T1, addr)
	p.SD(asm.T1, 0, asm.T0)
	p.LI(asm.T1, size)
	p.SW(asm.T1, 8, asm.T0)
	p.LI(asm.T1, flags|next<<16)
	p.SW(asm.T1, 12, asm.T0)
}

// busyKick makes chain 0 available again if the device has used it.
func busyKick(p *asm.Program, label string, area, mmio int64) {
	p.LI(asm.T0, area)
	p.LHU(asm.T1, queueAvail+2, asm.T0)
	p.LHU(asm.T2, queueUsed+2, asm.T0)
	p.BNE(asm.T1, asm.T2, label+" is busy")
	p.ADDI(asm.T1, asm.T1, 1)
	p.SH(asm.T1, queueAvail+2, asm.T0)
	p.LI(asm.T0, mmio)
	p.SW(asm.Zero, 0x50, asm.T0)
	p.Label(label + " is busy")
}

// busyPaging points a page-table entry at one of two pages, without a fence,
// and goes through it.
func busyPaging(p *asm.Program) {
	p.LI(asm.T0, busyLeaf)
	p.SRLI(asm.T1, asm.S0, 40)
	p.ANDI(asm.T1, asm.T1, 1)
	p.SLLI(asm.T1, asm.T1, 10)
	p.LI(asm.T2, busyPages>>2|7) // valid, read, write; A and D are the walker's
	p.OR(asm.T1, asm.T1, asm.T2)
	p.SD(asm.T1, 0, asm.T0)
	p.LI(asm.T0, busyWindow)
	p.LD(asm.T1, 8, asm.T0)
	p.ADD(asm.T1, asm.T1, asm.S0)
	p.SD(asm.T1, 8, asm.T0)
}

// busyPatching writes a new immediate into a routine and calls it.
func busyPatching(p *asm.Program) {
	p.LI(asm.T0, busyCode)
	p.SRLI(asm.T1, asm.S0, 53)
	p.SLLI(asm.T1, asm.T1, 20)
	p.LI(asm.T2, 0x0005_0513) // addi a0, a0, 0
	p.OR(asm.T1, asm.T1, asm.T2)
	p.SW(asm.T1, 0, asm.T0)
	p.LI(asm.T1, 0x0000_8067) // ret
	p.SW(asm.T1, 4, asm.T0)
	p.JALR(asm.RA, 0, asm.T0)
	p.ADD(asm.S2, asm.S2, asm.A0)
}

func busyArithmetic(p *asm.Program) {
	p.FCVTDL(asm.FT0, asm.S0, asm.DYN)
	p.FCVTDL(asm.FT1, asm.S1, asm.DYN)
	p.FDIVD(asm.FT2, asm.FT0, asm.FT1, asm.DYN)
	p.FMADDD(asm.FT3, asm.FT2, asm.FT1, asm.FT3, asm.DYN)
	p.FSQRTD(asm.FT4, asm.FT2, asm.DYN)
	p.LI(asm.T0, busyPages+0x80)
	p.LRD(asm.T1, asm.T0)
	p.ADD(asm.T1, asm.T1, asm.S1)
	p.SCD(asm.T2, asm.T1, asm.T0)
	p.ADD(asm.S3, asm.S3, asm.T2)
}

// busyHandler skips instructions that fault, rearms the timer, echoes what the
// console hears and acknowledges the devices.
func busyHandler(p *asm.Program) {
	const s9, s10, s11 = asm.S9, asm.S10, asm.S11
	p.Align(4)
	p.Label("handler")
	p.CSRR(s10, asm.SCAUSE)
	p.BLT(s10, asm.Zero, "interrupt")
	p.CSRR(s10, asm.SEPC)
	p.ADDI(s10, s10, 4)
	p.CSRW(asm.SEPC, s10)
	p.ADDI(asm.S4, asm.S4, 1)
	p.J("done")

	p.Label("interrupt")
	p.ANDI(s10, s10, 15)
	p.LI(s11, 9)
	p.BEQ(s10, s11, "external")
	p.CSRR(s10, asm.TIME) // the timer
	p.LI(s11, 700)
	p.ADD(s10, s10, s11)
	p.CSRW(asm.STIMECMP, s10)
	p.ADDI(asm.S5, asm.S5, 1)
	p.J("done")

	p.Label("external")
	p.LI(s10, 0xc20_1004)
	p.LW(s9, 0, s10)
	p.LI(s11, 10)
	p.BNE(s9, s11, "virtio")
	p.LI(s10, 0x1000_0000)
	p.Label("echo")
	p.LBU(s11, 5, s10)
	p.ANDI(s11, s11, 1)
	p.BEQZ(s11, "complete")
	p.LBU(s11, 0, s10)
	p.SB(s11, 0, s10)
	p.J("echo")

	p.Label("virtio")
	p.BEQZ(s9, "done")
	p.ADDI(s10, s9, -11)
	p.BEQZ(s10, "alarm")
	p.SLLI(s10, s9, 12) // slot n has source n+1 and stands at its number of pages
	p.LI(s11, 0x1000_0000)
	p.ADD(s10, s10, s11)
	p.LW(s11, 0x60, s10)
	p.SW(s11, 0x64, s10)
	p.J("complete")
	p.Label("alarm")
	p.LI(s10, mmioRTC)
	p.SW(asm.Zero, 0x1c, s10)
	p.ADDI(asm.S6, asm.S6, 1)
	p.Label("complete")
	p.LI(s10, 0xc20_1004)
	p.SW(s9, 0, s10)
	p.Label("done")
	p.SRET()
}
