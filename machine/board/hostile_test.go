package board

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// devices is where a hostile guest pokes.
var deviceAddresses = []uint64{
	0x10_0004, 0x10_1000, 0x200_0000, 0x200_4000, 0xc00_0000, 0xc00_2080, 0xc20_1000, 0x1000_0000,
	0x1000_1000, 0x1000_2000, 0x1000_3000, 0x1000_4000, 0x8000_0000, 0x80ff_f000, scratch, imageBase,
	0, ^uint64(0) - 100,
}

// A guest of random instructions, most of them loads, stores and CSR accesses
// near devices and its own code, in every privilege mode. It may do what it
// likes to itself; it never crashes the machine, and what it does is the same
// with caches, without, and across a snapshot.
func TestHostileGuests(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		code := make([]byte, 0, 4096)
		for len(code) < 4096 {
			code = binary.LittleEndian.AppendUint32(code, hostileWord(r))
		}
		cfg := testConfig(func(p *asm.Program) { p.Byte(code...) })
		cfg.NICs = []machine.NICConfig{{MAC: [6]byte{2}}}
		cfg.Disks = []machine.DiskConfig{{Sectors: 64}}
		ref, err := NewReference(cfg, testBirth)
		if err != nil {
			t.Fatal(err)
		}
		boards := []*Board{newBoard(t, cfg), ref}
		priv := []uint8{rv64.Supervisor, rv64.MachineMode, rv64.User}[seed%3]
		x := [32]uint64{}
		for i := 1; i < 32; i++ {
			x[i] = deviceAddresses[r.IntN(len(deviceAddresses))] + r.Uint64N(0x100)&^uint64(r.IntN(8))
		}
		for _, b := range boards {
			b.hart.X, b.hart.Priv = x, priv
			b.hart.Stvec, b.hart.Mtvec = imageEntry, imageEntry
			b.hart.Mstatus |= 1 << 13 // floating point
			b.DropCaches()
		}
		for step := range 12 {
			end := boards[0].Icount() + 1500
			for _, b := range boards {
				for b.Icount() < end {
					exit := b.Run(end)
					b.Outputs(nil)
					if exit == machine.PoweredOff || exit == machine.Idle {
						break
					}
				}
			}
			if a, b := boards[0].Digest(), boards[1].Digest(); a != b {
				t.Fatalf("seed %d step %d at %d: digest %v, reference %v, pc %#x and %#x", seed, step, boards[0].Icount(), a, b, boards[0].hart.PC, boards[1].hart.PC)
			}
			if step == 5 {
				boards[0] = reborn(t, cfg, boards[0])
			}
		}
	}
}

func hostileWord(r *rand.Rand) uint32 {
	rd, rs1, rs2 := r.Uint32N(32)<<7, r.Uint32N(32)<<15, r.Uint32N(32)<<20
	small := r.Uint32N(0x40) << 2 // register offsets
	switch r.IntN(12) {
	case 0, 1: // load
		return 0x03 | rd | r.Uint32N(8)<<12 | rs1 | small<<20
	case 2, 3, 4: // store
		return 0x23 | r.Uint32N(4)<<12 | rs1 | rs2 | small&31<<7 | small>>5<<25
	case 5: // CSR access
		csrs := []uint32{0x100, 0x104, 0x105, 0x141, 0x142, 0x144, 0x14d, 0x180, 0x300, 0x302, 0x303, 0x304, 0x305, 0x341, 0x344, 0x306, 0x320, 0x30a, 0xc01, 3}
		return 0x73 | rd | (1+r.Uint32N(3)+4*r.Uint32N(2))<<12 | rs1 | csrs[r.IntN(len(csrs))]<<20
	case 6: // small constant
		return 0x13 | rd | r.Uint32N(64)<<20
	case 7: // atomic
		return 0x2f | rd | (2+r.Uint32N(2))<<12 | rs1 | rs2 | r.Uint32N(32)<<27
	case 8: // ecall, ebreak, sret, mret, wfi, sfence
		return []uint32{0x73, 0x73, 0x10_0073, 0x1020_0073, 0x3020_0073, 0x1050_0073, 0x1200_0073}[r.IntN(7)]
	case 9: // branch a little forward
		return 0x63 | r.Uint32N(8)<<12 | rs1 | rs2 | r.Uint32N(8)<<9
	case 10: // SBI numbers, into a7 or a6
		return 0x13 | (16+r.Uint32N(2))<<7 | r.Uint32N(0x50)<<20
	}
	return r.Uint32()
}
