package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

const toyStateName = "toy state 3"

// encode writes the whole State in its one encoding.
func (t *Toy) encode(e *snapshot.Encoder) {
	s := &t.st
	e.Section(toyStateName)
	e.U64(t.cfg.Seed)
	e.U64(t.cfg.PowerOffAfter)
	e.U64(uint64(s.pos))
	for _, r := range s.reg {
		e.U64(r)
	}
	e.U64(uint64(s.clock.T0))
	e.U64(uint64(s.clock.I0))
	e.U64(s.clock.Mul)
	e.U64(uint64(s.timer))
	e.Bool(s.waiting)
	e.Bool(s.stop)
	e.Bool(s.off)
	e.U64(s.mark.Count)
	e.U64(s.mark.Hash)
	e.U32(uint32(len(s.rx)))
	for _, f := range s.rx {
		e.Blob(f)
	}
	e.U64(s.served)
	e.U64(s.hash)
	for _, r := range s.replies {
		e.U64(r.number)
		e.U64(r.hash)
		e.U64(r.word)
	}
	e.U64(s.nextID)
	e.U32(uint32(len(s.pending)))
	for _, p := range s.pending {
		e.U8(uint8(p.Port.Kind))
		e.U8(uint8(p.Op))
		e.U64(uint64(p.Pos))
		e.U64(p.Count)
		e.U64(p.ID)
		e.U64(p.Sector)
		e.U32(p.Length)
		e.Blob(p.Bytes)
		e.U64(p.Sectors)
		e.U32(uint32(len(p.wants)))
		for _, values := range p.wants {
			e.Blob(words(values...))
		}
	}
	for _, w := range s.written {
		e.U64(w)
	}
	for i := range s.writeID {
		e.U64(s.writeID[i])
		e.U64(s.flushID[i])
	}
	e.U64(s.corrupt)
	e.U64(s.failed)
	e.U64(s.conOut)
	e.Blob(s.conTail)
	e.U64(s.conSession)
	e.U64(s.conTaken)
}

func (t *Toy) decode(d *snapshot.Decoder) (toyState, error) {
	var s toyState
	d.Section(toyStateName)
	if seed, after := d.U64(), d.U64(); d.Err() == nil && (seed != t.cfg.Seed || after != t.cfg.PowerOffAfter) {
		return s, errors.New("sim: the State is of a toy with another configuration")
	}
	s.pos = machine.Icount(d.U64())
	for i := range s.reg {
		s.reg[i] = d.U64()
	}
	s.clock = machine.Clock{T0: machine.VTime(d.U64()), I0: machine.Icount(d.U64()), Mul: d.U64()}
	s.timer = machine.VTime(d.U64())
	s.waiting, s.stop, s.off = d.Bool(), d.Bool(), d.Bool()
	s.mark = machine.Mark{Count: d.U64(), Hash: d.U64()}
	n := d.U32()
	if n > toyRx {
		d.Fail(fmt.Errorf("sim: %d frames where at most %d fit", n, toyRx))
	}
	for ; n > 0 && d.Err() == nil; n-- {
		s.rx = append(s.rx, d.Blob(1<<16))
	}
	s.served, s.hash = d.U64(), d.U64()
	for i := range s.replies {
		s.replies[i] = toyReply{d.U64(), d.U64(), d.U64()}
	}
	s.nextID = d.U64()
	n = d.U32()
	if n > uint32(t.requests())+1 {
		d.Fail(fmt.Errorf("sim: %d pending requests where at most %d are possible", n, t.requests()+1))
	}
	for ; n > 0 && d.Err() == nil; n-- {
		p := toyRequest{Output: machine.Output{Port: machine.Port{Kind: machine.PortKind(d.U8())}, Op: machine.DiskOp(d.U8())}}
		p.Local = t.cfg.LocalDisk && p.Port.Kind == machine.PortDisk
		p.Pos, p.Count, p.ID, p.Sector = machine.Icount(d.U64()), d.U64(), d.U64(), d.U64()
		p.Length, p.Bytes, p.Sectors = d.U32(), d.Blob(toyLongest*512), d.U64()
		if p.Sector+sectorsOf(p.Output) > toySectors || p.Length > toyLongest*512 || p.Op == machine.DiskWrite && len(p.Bytes) == 0 {
			d.Fail(errors.New("sim: a pending request is not one that the toy makes"))
		}
		wants := d.U32()
		if wants > toyLongest {
			d.Fail(errors.New("sim: a pending request is longer than any that the toy makes"))
		}
		for ; wants > 0 && d.Err() == nil; wants-- {
			p.wants = append(p.wants, unwords(d.Blob(1<<16)))
		}
		s.pending = append(s.pending, p)
	}
	for i := range s.written {
		s.written[i] = d.U64()
	}
	for i := range s.writeID {
		s.writeID[i], s.flushID[i] = d.U64(), d.U64()
	}
	s.corrupt, s.failed = d.U64(), d.U64()
	s.conOut, s.conTail = d.U64(), d.Blob(machine.ConsoleTailSize)
	s.conSession, s.conTaken = d.U64(), d.U64()
	if s.clock.I0 > s.pos {
		d.Fail(errors.New("sim: the clock starts after the position"))
	}
	if uint64(len(s.conTail)) > s.conOut {
		d.Fail(errors.New("sim: the console's tail is longer than its output"))
	}
	return s, d.Err()
}

// Digest covers the whole State.
func (t *Toy) Digest() machine.Digest {
	e := snapshot.NewEncoder(nil)
	t.encode(e)
	h := xxh3.Hash128(e.Bytes())
	var d machine.Digest
	binary.LittleEndian.PutUint64(d[:8], h.Lo)
	binary.LittleEndian.PutUint64(d[8:], h.Hi)
	return d
}

// Save writes the whole State. Outputs must have been taken first.
func (t *Toy) Save(w io.Writer) error {
	if len(t.out) != 0 {
		panic("BUG: sim: Save with outputs that nobody has taken")
	}
	e := snapshot.NewEncoder(nil)
	t.encode(e)
	_, err := w.Write(e.Bytes())
	return err
}

// Load replaces the whole State.
func (t *Toy) Load(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d := snapshot.NewDecoder(b)
	s, err := t.decode(d)
	switch {
	case err != nil:
		return err
	case d.Rest() != 0:
		return fmt.Errorf("sim: %d bytes after the toy's State", d.Rest())
	}
	t.st, t.out, t.was = s, nil, s.written
	return nil
}
