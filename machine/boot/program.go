package boot

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// Program is a program that runs on the bare machine: what ParseELF makes of
// an executable. Addresses are physical.
type Program struct {
	Entry machine.GPA
	// Segments are in ascending order and do not overlap.
	Segments []Segment
	// ToHost and FromHost are the doublewords by which a program speaks to its
	// host (HTIF): the symbols tohost and fromhost. Zero: there is none.
	ToHost, FromHost machine.GPA
	// The program leaves its result in [SignatureBegin, SignatureEnd): the
	// symbols begin_signature and end_signature. Both zero: there are none.
	SignatureBegin, SignatureEnd machine.GPA
}

// Segment is a piece of a program.
type Segment struct {
	Addr machine.GPA
	Size uint64 // in memory, in bytes; what Data leaves is zeros
	Data []byte
}

// end is the first offset in RAM behind the segment.
func (s Segment) end() uint64 { return uint64(s.Addr-RAMBase) + s.Size }

// Fit says what keeps the program from running in a RAM of so many bytes.
func (p *Program) Fit(memory uint64) error {
	if n := len(p.Segments); n > 0 {
		if need := p.Segments[n-1].end(); need > memory {
			return fmt.Errorf("boot: the program needs RAM up to %#x, %d bytes; there are %d: give the machine more memory", uint64(RAMBase)+need, need, memory)
		}
	}
	for _, r := range []struct {
		what string
		at   machine.GPA
		size uint64
	}{
		{"tohost", p.ToHost, 8},
		{"fromhost", p.FromHost, 8},
		{"the memory from begin_signature to end_signature", p.SignatureBegin, uint64(p.SignatureEnd - p.SignatureBegin)},
	} {
		if off := uint64(r.at - RAMBase); r.at != 0 && (off > memory || memory-off < r.size) {
			return fmt.Errorf("boot: %s at %#x lies outside RAM, which is %d bytes from %#x on", r.what, uint64(r.at), memory, uint64(RAMBase))
		}
	}
	return nil
}

// Load writes the program into RAM, which is all zeros and where it fits, and
// the device tree at the end of RAM, if the program leaves the room: then tree
// is its place, otherwise 0.
func (p *Program) Load(ram *mem.RAM, encoded []byte) (tree machine.GPA) {
	put := func(at machine.GPA, b []byte) {
		if !ram.Write(at, b) {
			panic("boot: BUG: a program was loaded that does not fit")
		}
	}
	end := uint64(0)
	for _, s := range p.Segments {
		put(s.Addr, s.Data)
		end = s.end()
	}
	if len(encoded) > treeRoom || end > ram.Size()-treeRoom {
		return 0
	}
	tree = RAMBase + machine.GPA(ram.Size()-treeRoom)
	put(tree, encoded)
	return tree
}
