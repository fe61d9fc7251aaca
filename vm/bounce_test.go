package vm

import (
	"encoding/binary"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// racingGuest is a kernel that reads and writes the buffer of its disk requests,
// and what it has asked for, all the while that they are under way. At a kick
// the first and the last word of the buffer are equal.
func racingGuest() []byte {
	const mmio, area, buffer = 0x1000_3000, 0x8064_0000, 0x8064_0400
	const avail, used = 0x100, 0x200
	p := asm.New(0x8020_0040)
	store := func(addr, v int64) {
		p.LI(asm.T0, addr)
		p.LI(asm.T1, v)
		p.SW(asm.T1, 0, asm.T0)
	}
	for _, w := range [][2]int64{
		{0x70, 0}, {0x70, 1}, {0x70, 3},
		{0x24, 1}, {0x20, 1}, {0x24, 0}, {0x20, 0}, // VIRTIO_F_VERSION_1 alone
		{0x70, 11}, {0x30, 0}, {0x38, 8},
		{0x80, area}, {0x84, 0}, {0x90, area + avail}, {0x94, 0}, {0xa0, area + used}, {0xa4, 0},
		{0x44, 1}, {0x70, 15},
	} {
		store(mmio+w[0], w[1])
	}
	for n, d := range [][4]int64{{buffer, 16, 1, 1}, {buffer + 0x200, 512, 1, 2}, {buffer + 0x10, 1, 2, 0}} {
		store(area+16*int64(n), d[0])
		store(area+16*int64(n)+8, d[1])
		store(area+16*int64(n)+12, d[2]|d[3]<<16)
	}
	p.Label("round")
	p.ADDI(asm.S1, asm.S1, 1)
	p.LI(asm.T0, buffer)
	p.ANDI(asm.T1, asm.S1, 1) // read or write
	p.SW(asm.T1, 0, asm.T0)
	p.SRLI(asm.T2, asm.S1, 1)
	p.ANDI(asm.T2, asm.T2, 7)
	p.SD(asm.T2, 8, asm.T0) // sector
	p.SLLI(asm.T1, asm.T1, 1)
	p.XORI(asm.T1, asm.T1, 3)
	p.LI(asm.T0, area)
	p.SH(asm.T1, 16+12, asm.T0)
	p.LHU(asm.T1, avail+2, asm.T0)
	p.LHU(asm.T2, used+2, asm.T0)
	p.BNE(asm.T1, asm.T2, "busy")
	p.LI(asm.T2, buffer)
	p.SD(asm.S1, 0x200, asm.T2)
	p.SD(asm.S1, 0x200+504, asm.T2)
	p.ADDI(asm.T1, asm.T1, 1)
	p.SH(asm.T1, avail+2, asm.T0)
	p.LI(asm.T0, mmio)
	p.SW(asm.Zero, 0x50, asm.T0)
	p.Label("busy")
	p.LI(asm.T0, buffer)
	p.LI(asm.T1, 41) // odd, so that reads and writes take turns
	p.Label("race")
	p.LD(asm.T2, 0x200, asm.T0)
	p.ADD(asm.S0, asm.S0, asm.T2) // what was read when: part of State
	p.LD(asm.T2, 0x200+504, asm.T0)
	p.ADD(asm.S0, asm.S0, asm.T2)
	p.XOR(asm.T2, asm.S0, asm.T1)
	p.SD(asm.T2, 0x200, asm.T0)
	p.ADDI(asm.T1, asm.T1, -1)
	p.BNEZ(asm.T1, "race")
	p.J("round")
	head := make([]byte, 64)
	binary.LittleEndian.PutUint32(head, 0x0400_006f) // j .+64
	binary.LittleEndian.PutUint64(head[8:], 0x20_0000)
	binary.LittleEndian.PutUint64(head[16:], 2<<20)
	copy(head[0x38:], "RSC\x05")
	return append(head, p.Bytes()...)
}

// The paper, section 3.4: "there can also be a race between a disk operation and
// a memory access by an application (or OS) in a VM"; bounce buffers make it end
// the same way on both sides, wherever the data of a read comes from. Nor does a
// write reach the disk with what was not in its buffer when it was asked for.
func TestGuestRacesWithItsDiskInAPair(t *testing.T) {
	kernel := racingGuest()
	for _, kind := range kindsOfDisks {
		t.Run(kind, func(t *testing.T) {
			s := stageFor(t, kind)
			primary, backup, disks := s.unrulyPair(func(c *Config) {
				c.Machine.Kernel = kernel
				c.build = func(mc *machine.Config, birth machine.Birth) (machine.Machine, error) { return board.New(mc, birth) }
				c.digestEvery = 200_000
				c.NICs, c.Machine.NICs = nil, nil
			})
			primary.until(t, "requests", func() bool { return disks[0].all.Load() > 300 })
			before := backup.Status().Digests.Compared
			backup.until(t, "digests", func() bool { return backup.Status().Digests.Compared > before+10 })
			primary.cancel()
			primary.wait(t, Ended)
			backup.wait(t, Ended)
			if c := backup.follow.replayer.Compared(); c.Digests < 10 || backup.log.has(EventDiverged) {
				t.Errorf("the backup has compared %+v and told %v", c, backup.log.list)
			}
			if kind != "shared" && disks[1].all.Load() < 50 {
				t.Errorf("the backup has done %d requests for itself", disks[1].all.Load())
			}
			hosts := []string{""}
			if kind == "local" {
				hosts = []string{"a", "b"}
			}
			for _, host := range hosts {
				image := readImage(t, s.on(host).disk())
				for sector := range 8 {
					b := image[sector*512:][:512]
					if first, last := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[504:]); first != last {
						t.Errorf("host %q: sector %d begins with %#x and ends with %#x", host, sector, first, last)
					}
				}
			}
		})
	}
}
