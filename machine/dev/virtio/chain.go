package virtio

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// Descriptor flags (2.7.5).
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
	descSize     = 16 // bytes
)

// segment is a piece of guest memory, all of it within RAM.
type segment struct {
	addr machine.GPA
	len  uint32
}

// chain is a descriptor chain: what the device reads, then what it writes.
type chain struct {
	head    uint16
	out, in []segment // device-readable, device-writable
	outLen  uint64    // bytes
	inLen   uint64
}

// walk reads the chain that starts at head into m.scratch; false if it is
// malformed. Each descriptor counts against a limit, so a loop ends the walk.
func (m *MMIO) walk(q *queue, head uint16) bool {
	c := &m.scratch
	c.head, c.out, c.in, c.outLen, c.inLen = head, c.out[:0], c.in[:0], 0, 0
	table, entries := machine.GPA(q.desc), q.num
	indirect := false
	i, limit := uint32(head), q.num
	for ; ; limit-- {
		var b [descSize]byte
		if limit == 0 || i >= entries || !m.ram.Read(table+descSize*machine.GPA(i), b[:]) {
			return false
		}
		s := segment{addr: machine.GPA(binary.LittleEndian.Uint64(b[0:])), len: binary.LittleEndian.Uint32(b[8:])}
		flags := binary.LittleEndian.Uint16(b[12:])
		if s.len == 0 || !m.ram.Contains(s.addr, uint64(s.len)) {
			return false
		}
		if flags&descIndirect != 0 {
			// One table, at the end of the direct part, not nested (2.7.5.3).
			if indirect || flags&descNext != 0 || s.len%descSize != 0 || !m.has(featureIndirect) {
				return false
			}
			indirect = true
			table, entries, i = s.addr, s.len/descSize, 0
			limit = q.max - uint32(len(c.out)+len(c.in)) + 1
			continue
		}
		switch {
		case flags&descWrite != 0:
			c.in, c.inLen = append(c.in, s), c.inLen+uint64(s.len)
		case len(c.in) > 0:
			return false // what is read comes first (2.7.4.2)
		default:
			c.out, c.outLen = append(c.out, s), c.outLen+uint64(s.len)
		}
		if flags&descNext == 0 {
			return true
		}
		i = uint32(binary.LittleEndian.Uint16(b[14:]))
	}
}

// gather copies bytes from the segments, the first skip bytes left out, into p.
// False if there are too few.
func (m *MMIO) gather(segs []segment, skip uint64, p []byte) bool {
	for _, s := range segs {
		if skip >= uint64(s.len) {
			skip -= uint64(s.len)
			continue
		}
		n := min(uint64(s.len)-skip, uint64(len(p)))
		if !m.ram.Read(s.addr+machine.GPA(skip), p[:n]) {
			return false
		}
		skip, p = 0, p[n:]
		if len(p) == 0 {
			break
		}
	}
	return len(p) == 0
}

// scatter copies p to the segments, the first skip bytes left out. False if
// they are too short.
func (m *MMIO) scatter(segs []segment, skip uint64, p []byte) bool {
	for _, s := range segs {
		if skip >= uint64(s.len) {
			skip -= uint64(s.len)
			continue
		}
		n := min(uint64(s.len)-skip, uint64(len(p)))
		if !m.ram.Write(s.addr+machine.GPA(skip), p[:n]) {
			return false
		}
		skip, p = 0, p[n:]
		if len(p) == 0 {
			break
		}
	}
	return len(p) == 0
}
