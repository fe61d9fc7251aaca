package board

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// racingGuest reads and writes the buffer of its disk requests all the while
// that they are under way. At a kick the first and the last word of the buffer
// are equal; afterwards the first one never stands still.
func racingGuest(p *asm.Program) {
	busySetup(p)
	p.LI(asm.S1, 0)
	p.Label("round")
	p.ADDI(asm.S1, asm.S1, 1)
	p.LI(asm.T0, busyDisk+queueBuffer)
	p.SD(asm.S1, 0x200, asm.T0)
	p.SD(asm.S1, 0x200+504, asm.T0)
	p.ANDI(asm.T1, asm.S1, 1) // read or write
	p.SW(asm.T1, 0, asm.T0)
	p.SRLI(asm.T2, asm.S1, 1)
	p.ANDI(asm.T2, asm.T2, 7)
	p.SD(asm.T2, 8, asm.T0) // sector
	p.SLLI(asm.T1, asm.T1, 1)
	p.XORI(asm.T1, asm.T1, 3)
	p.LI(asm.T0, busyDisk)
	p.SH(asm.T1, 16+12, asm.T0)
	busyKick(p, "disk", busyDisk, mmioDisk)
	p.LI(asm.T0, busyDisk+queueBuffer)
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
	busyHandler(p)
}

// The paper, section 3.4: a race of the guest with its own disk ends the same
// way on both sides, since neither the disk nor its log touches the guest's
// buffer but at a position of the log.
func TestGuestRacesWithItsDisk(t *testing.T) {
	cfg := testConfig(racingGuest)
	cfg.Disks = []machine.DiskConfig{{Sectors: 64}}
	const end = 300_000

	b, writes := newBoard(t, cfg), 0
	var pending []machine.Output
	for b.Icount() < end/4 {
		b.Run(b.Icount() + 97)
		for _, o := range append(b.Outputs(nil), b.Pending(nil)...) {
			if o.Op != machine.DiskWrite {
				continue
			}
			writes++
			first, last := binary.LittleEndian.Uint64(o.Bytes), binary.LittleEndian.Uint64(o.Bytes[504:])
			if first != last {
				t.Fatalf("request %d: the guest wrote %#x into a write that had left with %#x", o.ID, first, last)
			}
		}
		if pending = b.Pending(nil); len(pending) > 0 && b.Icount()%5 == 0 {
			done := machine.DiskDone{ID: pending[0].ID, Bytes: make([]byte, pending[0].Length)}
			if err := b.Deliver(done); err != nil {
				t.Fatal(err)
			}
		}
	}
	if writes < 20 {
		t.Fatalf("%d writes were seen", writes)
	}

	log := record(t, newBoard(t, cfg), newWorld(31, cfg.Disks), end, 2000)
	done := 0
	for _, e := range log {
		if d, ok := e.in.(machine.DiskDone); ok && len(d.Bytes) > 0 {
			done++
		}
	}
	if done < 20 {
		t.Fatalf("%d reads were completed", done)
	}
	replay(t, "one piece", newBoard(t, cfg), log, nil)
	for seed := range uint64(3) {
		replay(t, fmt.Sprintf("cuts %d", seed), newBoard(t, cfg), log, randomCuts(t, cfg, seed, 300<<(2*seed), 40))
	}
}
