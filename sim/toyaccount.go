package sim

import (
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// Account is the Digest part by part. What the toy knows of its disk stands for
// a machine's RAM: one page.
func (t *Toy) Account() machine.Account {
	s := &t.st
	a := machine.Account{Pos: s.pos, Digest: t.Digest()}
	for i, v := range s.reg {
		a.Registers = append(a.Registers, machine.Register{Name: fmt.Sprintf("r%d", i), Value: v})
	}
	// The rest of State counts as one device: registers and page left out.
	rest := *t
	rest.st.reg, rest.st.written = [4]uint64{}, [toySectors]uint64{}
	e := snapshot.NewEncoder(nil)
	rest.encode(e)
	a.Devices = []machine.PartSum{{Name: "toy", Sum: xxh3.Hash128(e.Bytes()).Bytes()}}
	if s.written != t.was {
		a.Pages = []machine.PageSum{{Sum: xxh3.Hash128(words(s.written[:]...)).Bytes()}}
		t.was = s.written
	}
	return a
}

// Flip makes a fault: it flips a bit of a "register", of the "page" or of the
// "device", for tests of those who look for differences.
func (t *Toy) Flip(part string) {
	switch part {
	case "register":
		t.st.reg[3] ^= 1 << 17
	case "page":
		sector := uint64(2)
		for t.busy(sector) { // what is being written there would mend it
			sector++
		}
		t.st.written[sector] ^= 1
	case "device":
		t.st.conSession ^= 1 << 40
	default:
		panic("BUG: sim: the toy has no " + part)
	}
}

func (t *Toy) busy(sector uint64) bool {
	for _, p := range t.st.pending {
		if p.Port.Kind == machine.PortDisk && p.Sector == sector {
			return true
		}
	}
	return false
}

// Instruction is what the next one is decided by; there are no addresses.
func (t *Toy) Instruction() (machine.GVA, uint32, bool) {
	return machine.GVA(t.st.pos), uint32(mix(t.st.reg[0]+uint64(t.st.pos+1)*0x9e3779b97f4a7c15)) | 3, true
}

// Page is the toy's one page.
func (t *Toy) Page(page uint32) (machine.GPA, []byte) {
	if page != 0 {
		return 0, nil
	}
	return 0, words(t.st.written[:]...)
}
