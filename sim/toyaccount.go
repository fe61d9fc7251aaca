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
