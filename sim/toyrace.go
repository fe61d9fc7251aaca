package sim

import (
	"encoding/binary"
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// A racing toy stands for a guest with many requests under way at once, for
// sectors that overlap. What its reads must bring follows from the order in
// which it has made them.

// toyLongest is how many sectors one request is about at most.
const toyLongest = 3

func (t *Toy) requests() int {
	if t.cfg.Racing {
		return toyRacing
	}
	return toyRequests
}

// race makes one more request, for one of a few sectors.
func (t *Toy) race(arg uint64) machine.Exit {
	ops := [...]machine.DiskOp{machine.DiskRead, machine.DiskRead, machine.DiskRead, machine.DiskWrite, machine.DiskWrite, machine.DiskZero, machine.DiskRead}
	return t.request(ops[arg%7], arg>>8%6, arg>>16)
}

// racing is a request for up to toyLongest sectors.
func (t *Toy) racing(op machine.DiskOp, sector, value uint64) machine.Output {
	s := &t.st
	o := machine.Output{Pos: s.pos, Port: machine.Port{Kind: machine.PortDisk}, Op: op, ID: s.nextID, Local: t.cfg.LocalDisk, Sector: sector}
	s.nextID++
	n := min(1+value>>20%toyLongest, toySectors-sector)
	switch op {
	case machine.DiskRead:
		o.Length = uint32(n) * 512
	case machine.DiskWrite:
		for i := range n {
			o.Bytes = append(o.Bytes, block{id: o.ID, value: value + i}.bytes()...)
		}
	case machine.DiskZero:
		o.Sectors = n
	}
	if op == machine.DiskWrite || op == machine.DiskZero {
		for i := range n {
			t.changes(sector+i, valueAt(o, i))
		}
	}
	return o
}

// changes notes that a sector is written.
func (t *Toy) changes(sector, value uint64) {
	s := &t.st
	s.written[sector] = value
	for _, p := range s.pending {
		if i := sector - p.Sector; i < uint64(len(p.wants)) && !slices.Contains(p.wants[i], value) {
			p.wants[i] = append(p.wants[i], value)
		}
	}
}

// wants is what a read must bring.
func (t *Toy) wants(o machine.Output) (wants [][]uint64) {
	if t.cfg.Racing && o.Op == machine.DiskRead {
		for i := range sectorsOf(o) {
			wants = append(wants, []uint64{t.st.written[o.Sector+i]})
		}
	}
	return wants
}

// raced takes what a read has brought.
func (t *Toy) raced(p toyRequest, b []byte) {
	s := &t.st
	for i, values := range p.wants {
		v := binary.LittleEndian.Uint64(b[i*512:])
		if !slices.Contains(values, v) {
			s.corrupt++
		}
		s.reg[1] = mix(s.reg[1] ^ v)
	}
}

// valueAt is what a change writes into its sector i.
func valueAt(o machine.Output, i uint64) uint64 {
	if o.Op == machine.DiskZero {
		return 0
	}
	return binary.LittleEndian.Uint64(o.Bytes[i*512:])
}

// sectorsOf is how many sectors a disk request is about.
func sectorsOf(o machine.Output) uint64 {
	switch o.Op {
	case machine.DiskRead:
		return uint64(o.Length) / 512
	case machine.DiskWrite:
		return uint64(len(o.Bytes)) / 512
	}
	return o.Sectors
}

func unwords(b []byte) (v []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		v = append(v, binary.LittleEndian.Uint64(b))
	}
	return v
}
