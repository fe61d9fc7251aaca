package board

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// A program speaks to its host in commands of 64 bits: device in the upper
// byte, command of the device in the next, payload below.
const (
	htifPayload   = 1<<48 - 1
	htifSystem    = 0         // device 0, command 0: the end, or a system call
	htifCharacter = 1<<8 | 1  // device 1, command 1: a byte for the console
	htifAnswer    = uint64(1) // of a system call
	maxWrite      = 1 << 20   // bytes that one system call writes
)

// Numbers of system calls, which are Linux's, and of its errors.
const (
	callWrite = 64
	callExit  = 93

	errBadFile  = 9
	errBadRange = 14
)

// stored follows every store of the program to tohost. The host answers before
// the next instruction, so that all engines see the answer at one position.
func (p *program) stored(b *Board) {
	at := p.image.ToHost
	v, ok := b.ram.Load64(at)
	if !ok {
		panic("board: BUG: tohost is not in RAM")
	}
	if v == 0 {
		return
	}
	payload := v & htifPayload
	switch {
	case v>>48 == htifCharacter:
		put64(b, at, 0)
		b.uart.Print(byte(payload))
	case v>>48 != htifSystem:
		p.finish(b, endCommand, v)
	case v&1 != 0:
		p.finish(b, endStatus, payload>>1)
	default:
		p.call(b, machine.GPA(payload))
	}
}

// call carries out the system call whose number and arguments stand in eight
// doublewords at block. The result replaces the number.
func (p *program) call(b *Board, block machine.GPA) {
	if block%8 != 0 || !b.ram.Contains(block, 64) {
		p.finish(b, endBlock, uint64(block))
		return
	}
	var args [4]uint64
	for i := range args {
		args[i], _ = b.ram.Load64(block + machine.GPA(8*i))
	}
	var result uint64
	switch args[0] {
	case callExit:
		p.finish(b, endStatus, args[1])
		return
	case callWrite:
		result = p.write(b, args[1], machine.GPA(args[2]), args[3])
	default:
		p.finish(b, endCall, args[0])
		return
	}
	put64(b, block, result)
	put64(b, p.image.ToHost, 0)
	if p.image.FromHost != 0 {
		put64(b, p.image.FromHost, htifAnswer)
	}
}

func put64(b *Board, at machine.GPA, v uint64) {
	if !b.ram.Write(at, binary.LittleEndian.AppendUint64(nil, v)) {
		panic("board: BUG: an answer to the program lies outside RAM")
	}
}

// write is the system call: the number of bytes written, at most maxWrite, or
// a negative error. It ends the slice, so that a caller need not hold more
// than one call's bytes.
func (p *program) write(b *Board, file uint64, from machine.GPA, n uint64) uint64 {
	if file != 1 && file != 2 {
		return -errBadFile & (1<<64 - 1)
	}
	if !b.ram.Contains(from, n) {
		return -errBadRange & (1<<64 - 1)
	}
	out := make([]byte, min(n, maxWrite))
	b.ram.Read(from, out)
	if file == 1 {
		b.uart.Print(out...)
	} else {
		o := machine.Output{Port: machine.Port{Kind: machine.PortConsole, Index: ProgramConsole}, Offset: p.errors.Offset(), Bytes: out}
		p.errors.Append(out)
		b.emit(o)
	}
	b.requestExit(machine.OutputReady)
	return uint64(len(out))
}
