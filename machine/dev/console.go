package dev

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// ConsoleLog is what one console has written since power-on: how many bytes,
// and the last machine.ConsoleTailSize of them, for readers that attach again
// by offset. A guest reset does not touch it. The zero value is empty.
type ConsoleLog struct {
	ring  [machine.ConsoleTailSize]byte // byte n of the console stands at n % len(ring)
	total uint64
}

// Offset is the number of bytes written since power-on, which is the offset of
// the next one.
func (l *ConsoleLog) Offset() uint64 { return l.total }

// Append adds p to the end.
func (l *ConsoleLog) Append(p []byte) {
	if skip := len(p) - len(l.ring); skip > 0 {
		l.total += uint64(skip)
		p = p[skip:]
	}
	n := copy(l.ring[l.total%uint64(len(l.ring)):], p)
	copy(l.ring[:], p[n:])
	l.total += uint64(len(p))
}

// Tail is a copy of the last bytes written, at most machine.ConsoleTailSize,
// and the offset of the first of them.
func (l *ConsoleLog) Tail() (offset uint64, tail []byte) {
	n := min(l.total, uint64(len(l.ring)))
	offset = l.total - n
	tail = make([]byte, n)
	m := copy(tail, l.ring[offset%uint64(len(l.ring)):])
	copy(tail[m:], l.ring[:])
	return offset, tail
}

// Save writes the log.
func (l *ConsoleLog) Save(e *snapshot.Encoder) {
	e.Section("console log")
	offset, tail := l.Tail()
	e.U64(offset)
	e.Blob(tail)
}

// Load replaces the log.
func (l *ConsoleLog) Load(d *snapshot.Decoder) error {
	d.Section("console log")
	offset := d.U64()
	tail := d.Blob(len(l.ring))
	if d.Err() == nil && offset != 0 && len(tail) != len(l.ring) {
		d.Fail(fmt.Errorf("dev: the console tail has %d bytes at offset %d, so some are missing", len(tail), offset))
	}
	if d.Err() == nil && offset > 1<<63 {
		d.Fail(fmt.Errorf("dev: the console cannot have come to offset %d", offset))
	}
	if err := d.Err(); err != nil {
		return err
	}
	*l = ConsoleLog{total: offset}
	l.Append(tail)
	return nil
}

// MaxConsoleSessions is how many sessions a ConsoleSessions remembers; the one
// that has been silent longest makes room for a new one.
const MaxConsoleSessions = 64

// ConsoleSessions is how far the input of each session has been taken, so that
// input sent again after a failover is not typed twice. A guest reset does not
// touch it. The zero value has no sessions.
type ConsoleSessions struct {
	list []consoleSession // longest silent first
}

type consoleSession struct {
	id   uint64
	next uint64 // offset of the first byte not yet taken
}

func (s *ConsoleSessions) find(id uint64) int {
	for i := range s.list {
		if s.list[i].id == id {
			return i
		}
	}
	return -1
}

// Next is the offset of the first byte of a session that was not yet taken; 0
// for a session that was never heard of.
func (s *ConsoleSessions) Next(session uint64) uint64 {
	if i := s.find(session); i >= 0 {
		return s.list[i].next
	}
	return 0
}

// Fresh is the part of in that was not yet taken, perhaps none. An error means
// that bytes before it are missing; a session starts at offset 0. It changes
// nothing.
func (s *ConsoleSessions) Fresh(in machine.ConsoleInput) ([]byte, error) {
	next := s.Next(in.Session)
	if in.Offset > next {
		return nil, fmt.Errorf("dev: console input of session %x is at offset %d, but only %d bytes were taken; send it from there", in.Session, in.Offset, next)
	}
	if have := next - in.Offset; have < uint64(len(in.Bytes)) {
		return in.Bytes[have:], nil
	}
	return nil, nil
}

// Take records that n more bytes of a session were taken.
func (s *ConsoleSessions) Take(session uint64, n int) {
	if n == 0 {
		return
	}
	c := consoleSession{id: session}
	if i := s.find(session); i >= 0 {
		c = s.list[i]
		s.list = append(s.list[:i], s.list[i+1:]...)
	} else if len(s.list) == MaxConsoleSessions {
		s.list = append(s.list[:0], s.list[1:]...)
	}
	c.next += uint64(n)
	s.list = append(s.list, c)
}

// Save writes the sessions.
func (s *ConsoleSessions) Save(e *snapshot.Encoder) {
	e.Section("console sessions")
	e.U32(uint32(len(s.list)))
	for _, c := range s.list {
		e.U64(c.id)
		e.U64(c.next)
	}
}

// Load replaces the sessions.
func (s *ConsoleSessions) Load(d *snapshot.Decoder) error {
	d.Section("console sessions")
	n := d.U32()
	if n > MaxConsoleSessions {
		d.Fail(fmt.Errorf("dev: %d console sessions where at most %d are possible", n, MaxConsoleSessions))
	}
	*s = ConsoleSessions{}
	for ; n > 0 && d.Err() == nil; n-- {
		c := consoleSession{id: d.U64(), next: d.U64()}
		if s.find(c.id) >= 0 || c.next == 0 || c.next > 1<<63 {
			d.Fail(fmt.Errorf("dev: console session %x at offset %d is impossible or there twice", c.id, c.next))
		}
		s.list = append(s.list, c)
	}
	return d.Err()
}
