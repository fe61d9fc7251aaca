package board

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/dev/virtio"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// A stretch is addresses that are poked: count of them, step bytes apart.
type stretch struct{ base, count, step int64 }

// stretches are all windows of a board with virtio slots in use, a little
// beyond their ends too: every byte where registers are, elsewhere a step that
// is odd and meets every alignment.
func stretches(slots int) (out []stretch) {
	window := func(base machine.GPA, size int64) {
		dense := min(size, 0x200)
		out = append(out, stretch{int64(base), dense, 1})
		if size > dense {
			out = append(out, stretch{int64(base) + dense, (size - dense) / 5, 5})
		}
		out = append(out, stretch{int64(base) + size - 8, 16, 1})
	}
	window(boot.SysconBase, dev.SysconSize)
	window(boot.RTCBase, dev.RTCSize)
	window(boot.UARTBase, dev.UARTSize)
	for n := range slots {
		base, _ := boot.VirtioSlot(n)
		window(base, virtio.WindowSize)
	}
	clint, plic := int64(boot.CLINTBase), int64(boot.PLICBase)
	return append(out,
		stretch{clint, 16, 1}, stretch{clint + 0x3ff8, 32, 1}, stretch{clint + 0xbff0, 32, 1}, stretch{clint, dev.CLINTSize / 77, 77},
		stretch{plic, 0x120, 1}, stretch{plic + 0xff8, 32, 1}, stretch{plic + 0x1ff0, 0x120, 1},
		stretch{plic + 0x20_0000, 16, 1}, stretch{plic + 0x20_1000, 16, 1}, stretch{plic, dev.PLICSize / 0x1_0035, 0x1_0035})
}

// pokeValues are what is stored, beside random numbers.
func pokeValues(memory, areas int64) []int64 {
	end := 0x8000_0000 + memory
	return []int64{
		0, -1, 0x5555_5555_5555_5554, -0x5555_5555_5555_5556, 1, 0x0f, 1 << 31, -1 << 63,
		end, end - 1, end - 16, 0x8000_0000, int64(boot.UARTBase), int64(boot.PLICBase) + 0x1000, areas, areas + 0x2000,
	}
}

// pokeAreas is memory with virtqueues in it, areas of 4 KiB: descriptors that
// overlap, loop or point anywhere, rings with good and bad indices; and in
// three of four areas buffers to fill, buffers to send, or a request for a disk.
func pokeAreas(r *rand.Rand, base uint64, n int, values []int64) []byte {
	out := make([]byte, n<<12)
	for area := range n {
		p := out[area<<12:]
		for d := range 16 {
			addr := base + uint64(r.IntN(n))<<12 + r.Uint64N(0x1000)
			if r.IntN(8) == 0 {
				addr = uint64(values[r.IntN(len(values))])
			}
			binary.LittleEndian.PutUint64(p[d*16:], addr)
			binary.LittleEndian.PutUint32(p[d*16+8:], []uint32{1, 16, 512, 12, 0, 0x600, 1 << 31, 64}[r.IntN(8)])
			binary.LittleEndian.PutUint16(p[d*16+12:], uint16(r.IntN(8)))
			binary.LittleEndian.PutUint16(p[d*16+14:], uint16(r.IntN(10)))
			good := func(offset, size, flags, next int) {
				binary.LittleEndian.PutUint64(p[d*16:], base+uint64(area<<12+offset))
				binary.LittleEndian.PutUint32(p[d*16+8:], uint32(size))
				binary.LittleEndian.PutUint16(p[d*16+12:], uint16(flags))
				binary.LittleEndian.PutUint16(p[d*16+14:], uint16(next))
			}
			switch area % 4 {
			case 0:
				good(queueBuffer+d*32, 2048, 2, 0)
			case 1:
				good(queueBuffer+d*32, 100, 0, 0)
			case 2:
				request := d / 3 // a write, then a read, and so on
				switch d % 3 {
				case 0:
					good(queueBuffer+16*request, 16, 1, d+1)
				case 1:
					good(queueBuffer+0x200, 512, 1+request%2*2, d+1)
				case 2:
					good(queueBuffer+0x100+request, 1, 2, 0)
				}
			}
		}
		binary.LittleEndian.PutUint16(p[queueAvail+2:], uint16(1+r.IntN(6)))
		for i := range 16 {
			binary.LittleEndian.PutUint16(p[queueAvail+4+2*i:], uint16(r.IntN(9)))
		}
		for i := queueBuffer; i < 0x1000; i += 8 {
			binary.LittleEndian.PutUint64(p[i:], uint64(r.IntN(6)))
		}
		if area%4 == 2 {
			for i := range 16 {
				binary.LittleEndian.PutUint16(p[queueAvail+4+2*i:], uint16(r.IntN(3)*3))
				binary.LittleEndian.PutUint32(p[queueBuffer+16*i:], uint32(1-i%2))
			}
		}
	}
	return out
}

// Registers of the poking guest; t0 to t2 are for pieces.
const (
	pokeAt     = asm.S0 // the stretch at hand in the table
	pokeLeft   = asm.S1
	pokeAddr   = asm.S2
	pokeStep   = asm.S3
	pokeRandom = asm.S4
	pokeTraps  = asm.S5
	pokeOrder  = asm.S6
	pokeTable  = asm.S7
	pokeAreasR = asm.S8
	pokeTemp   = asm.S9
)

// pokeRound draws the next random number.
func pokeRound(p *asm.Program) {
	p.SLLI(asm.T0, pokeRandom, 13)
	p.XOR(pokeRandom, pokeRandom, asm.T0)
	p.SRLI(asm.T0, pokeRandom, 7)
	p.XOR(pokeRandom, pokeRandom, asm.T0)
	p.SLLI(asm.T0, pokeRandom, 17)
	p.XOR(pokeRandom, pokeRandom, asm.T0)
}

// pokeValue draws a value into t1: one of sixteen, or any.
func pokeValue(p *asm.Program, label string) {
	pokeRound(p)
	p.MV(asm.T1, pokeRandom)
	p.ANDI(asm.T0, pokeRandom, 3)
	p.BEQZ(asm.T0, label)
	p.SRLI(asm.T0, pokeRandom, 20)
	p.ANDI(asm.T0, asm.T0, 15)
	p.SLLI(asm.T0, asm.T0, 3)
	p.ADD(asm.T0, asm.T0, pokeTable)
	p.LD(asm.T1, 0, asm.T0)
	p.Label(label)
}

// pokeGuest is the program for machine or supervisor mode. For each order it
// drives the virtio devices a little, for their queues to be live, then stores
// to and loads from every address of every stretch in every size. A handler
// skips what traps.
func pokeGuest(p *asm.Program, privilege uint8, list []stretch, values []int64, areas int64, slots int) {
	tvec, epc := asm.STVEC, asm.SEPC
	if privilege == rv64.MachineMode {
		tvec, epc = asm.MTVEC, asm.MEPC
	}
	p.LA(asm.T0, "handler")
	p.CSRW(tvec, asm.T0)
	p.LA(pokeTable, "values")
	p.LI(pokeAreasR, areas)
	p.LI(pokeRandom, 0x1234_5678_9abc_def1)
	p.LI(pokeTraps, 0)
	p.LI(pokeOrder, 0)
	p.Label("order")
	p.LA(pokeAt, "stretches")
	p.Label("stretch")
	for n := range slots {
		pokeDrive(p, n)
	}
	p.LD(pokeAddr, 0, pokeAt)
	p.LD(pokeLeft, 8, pokeAt)
	p.LD(pokeStep, 16, pokeAt)
	p.BEQZ(pokeOrder, "poke") // ascending; else from the end
	p.ADDI(asm.T0, pokeLeft, -1)
	p.MUL(asm.T0, asm.T0, pokeStep)
	p.ADD(pokeAddr, pokeAddr, asm.T0)
	p.SUB(pokeStep, asm.Zero, pokeStep)

	p.Label("poke")
	p.MV(pokeTemp, pokeAddr)
	p.ADDI(asm.T0, pokeOrder, -2)
	p.BNEZ(asm.T0, "in order")
	pokeRound(p) // anywhere in the stretch, walked from the end
	p.LD(asm.T1, 8, pokeAt)
	p.REMU(asm.T0, pokeRandom, asm.T1)
	p.MUL(asm.T0, asm.T0, pokeStep)
	p.LD(pokeTemp, 0, pokeAt)
	p.SUB(pokeTemp, pokeTemp, asm.T0)
	p.Label("in order")
	for i, poke := range []func(asm.Reg, int64, asm.Reg){p.SB, p.LBU, p.SH, p.LHU, p.SW, p.LWU, p.SD, p.LD, p.SW} {
		if i%2 == 0 {
			pokeValue(p, "value "+string(rune('a'+i)))
		}
		poke(asm.T1, 0, pokeTemp)
	}
	p.ADD(pokeAddr, pokeAddr, pokeStep)
	p.ADDI(pokeLeft, pokeLeft, -1)
	p.BNEZ(pokeLeft, "poke")
	p.ADDI(pokeAt, pokeAt, 24)
	p.LA(asm.T0, "values")
	p.BNE(pokeAt, asm.T0, "stretch")
	p.ADDI(pokeOrder, pokeOrder, 1)
	p.LI(asm.T0, 3)
	p.BNE(pokeOrder, asm.T0, "order")

	for _, reg := range []int64{3, 4, 1} { // LCR, MCR, IER
		storeByte(p, int64(boot.UARTBase)+reg, 0)
	}
	p.BEQZ(pokeTraps, "no traps")
	say(p, "trapped, ")
	p.Label("no traps")
	say(p, "done")
	store(p, int64(boot.SysconBase), dev.SysconPowerOff)
	p.Label("end")
	p.J("end")

	p.Align(4)
	p.Label("handler")
	p.ADDI(pokeTraps, pokeTraps, 1)
	p.CSRR(asm.S11, epc)
	p.ADDI(asm.S11, asm.S11, 4)
	p.CSRW(epc, asm.S11)
	if privilege == rv64.MachineMode {
		p.MRET()
	} else {
		p.SRET()
	}
	p.Align(8)
	p.Label("stretches")
	for _, s := range list {
		p.Dword(uint64(s.base))
		p.Dword(uint64(s.count))
		p.Dword(uint64(s.step))
	}
	p.Label("values")
	for _, v := range values {
		p.Dword(uint64(v))
	}
}

// pokeDrive makes a virtio device live with queues in areas drawn at random,
// now and then anywhere, and kicks them.
func pokeDrive(p *asm.Program, slot int) {
	base, _ := boot.VirtioSlot(slot)
	label := func(s string, q int) string { return s + string(rune('a'+slot)) + string(rune('a'+q)) }
	for _, w := range [][2]int64{{0x70, 0}, {0x70, 3}, {0x24, 1}, {0x20, 1}, {0x24, 0}, {0x20, 0}, {0x70, 11}} {
		store(p, int64(base)+w[0], w[1])
	}
	for q := range 2 {
		store(p, int64(base)+0x30, int64(q))
		store(p, int64(base)+0x38, queueSize)
		pokeRound(p)
		p.SRLI(asm.T1, pokeRandom, 30)
		p.ANDI(asm.T1, asm.T1, 15)
		p.SLLI(asm.T1, asm.T1, 12)
		p.ADD(asm.T2, asm.T1, pokeAreasR)
		p.LI(asm.T0, int64(base))
		for _, ring := range [][2]int64{{0x80, 0}, {0x90, queueAvail}, {0xa0, queueUsed}} {
			p.ADDI(asm.T1, asm.T2, ring[1])
			p.SW(asm.T1, ring[0], asm.T0)
			p.SW(asm.Zero, ring[0]+4, asm.T0)
		}
		p.ANDI(asm.T1, pokeRandom, 7)
		p.BNEZ(asm.T1, label("in an area", q))
		pokeValue(p, label("anywhere", q))
		p.LI(asm.T0, int64(base))
		p.SW(asm.T1, 0x80, asm.T0)
		p.SRLI(asm.T1, asm.T1, 32)
		p.SW(asm.T1, 0x84, asm.T0)
		p.Label(label("in an area", q))
		store(p, int64(base)+0x44, 1)
	}
	store(p, int64(base)+0x70, 15)
	store(p, int64(base)+0x50, 0)
	pokeRound(p)
	p.SRLI(asm.T1, pokeRandom, 40) // queue 1 may not be there
	p.ANDI(asm.T1, asm.T1, 1)
	p.LI(asm.T0, int64(base))
	p.SW(asm.T1, 0x50, asm.T0)
}

// A guest that stores bad values to, and loads from, every register of every
// device, in every size and several orders, with live virtqueues that point
// anywhere, in either mode that can reach devices. The machine gets to the
// end of it, and there in the same way with caches, without, cut at random
// and restored from snapshots.
func TestGuestThatPokesEveryRegister(t *testing.T) {
	for name, privilege := range map[string]uint8{"machine mode": rv64.MachineMode, "supervisor mode": rv64.Supervisor} {
		t.Run(name, func(t *testing.T) {
			const memory, areas = 16 << 20, 16
			at := uint64(0x8000_0000 + memory - areas<<12) // where the initrd is put
			values := pokeValues(memory, int64(at))
			cfg := testConfig(func(p *asm.Program) { p.NOP() })
			cfg.NICs = []machine.NICConfig{{MAC: [6]byte{2}}}
			cfg.Disks = []machine.DiskConfig{{Sectors: 64}}
			slots := 2 + len(cfg.NICs) + len(cfg.Disks)
			cfg.Initrd = pokeAreas(rand.New(rand.NewPCG(3, 3)), at, areas, values)
			guest := func(p *asm.Program) { pokeGuest(p, privilege, stretches(slots), values, int64(at), slots) }
			if privilege == rv64.MachineMode {
				cfg.Firmware = firmware(guest)
			} else {
				cfg.Kernel = image(guest)
			}
			b := newBoard(t, cfg)
			if uint64(b.layout.Initrd) != at {
				t.Fatalf("the areas are at %#x, not %#x", b.layout.Initrd, at)
			}
			w := newWorld(21, cfg.Disks)
			w.frames = true
			log := record(t, b, w, 20_000_000, 100_000)
			_, tail := b.ConsoleTail(0)
			if !b.off || !strings.HasSuffix(string(tail), "trapped, done") {
				t.Fatalf("the guest is off: %v, at %d, pc %#x; its last words are %q", b.off, b.Icount(), b.hart.PC, tail[max(0, len(tail)-20):])
			}
			if reborn(t, cfg, b).Digest() != b.Digest() {
				t.Error("a snapshot of the end differs")
			}
			inputs := map[string]int{}
			for _, e := range log {
				switch e.in.(type) {
				case machine.DiskDone:
					inputs["disk"]++
				case machine.Entropy:
					inputs["entropy"]++
				case machine.Frame:
					inputs["frame"]++
				}
			}
			if inputs["disk"] < 5 || inputs["entropy"] < 5 || inputs["frame"] < 5 {
				t.Errorf("the devices were hardly ever alive: %v", inputs)
			}
			t.Logf("%d instructions, %d outputs, %v", b.Icount(), b.Mark().Count, inputs)
			replay(t, "cuts", newBoard(t, cfg), log, randomCuts(t, cfg, 5, 60_000, 30))
			ref, err := NewReference(cfg, testBirth)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, "reference", ref, log, nil)
		})
	}
}
