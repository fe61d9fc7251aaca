// Package machine is the vocabulary of the deterministic computer: positions,
// virtual time, what goes in, what comes out, and the interface that every
// implementation of the computer meets.
//
// The computer itself is machine/board. A toy that meets the same interface
// lives in sim; the rooms above (replay, ft, vm) know only this package.
//
// Everything below machine/ is pure: no clock, no goroutine, no I/O, no map
// iteration that can reach State.
package machine

import (
	"fmt"
	"io"
)

// Icount is a position: the number of instruction attempts since power-on.
// Every instruction that retires or traps adds one (R1).
type Icount uint64

// Never is a position that no run reaches.
const Never = Icount(1<<64 - 1)

// GPA is a guest-physical address.
type GPA uint64

// GVA is a guest-virtual address.
type GVA uint64

// Exit says why Run came back.
type Exit uint8

const (
	// Reached: the position asked for. The only exit that changes nothing
	// when Run is called again with the same position.
	Reached Exit = iota
	// Idle: the hart waits for an interrupt; Icount stands still until an
	// input or the clock makes one pending.
	Idle
	// OutputReady: an output that wants attention now (a frame, a disk
	// request, an entropy request) is in Outputs. Console bytes do not cause it.
	OutputReady
	// PoweredOff: the guest is off. Run never advances again.
	PoweredOff
)

func (e Exit) String() string {
	switch e {
	case Reached:
		return "reached"
	case Idle:
		return "idle"
	case OutputReady:
		return "output ready"
	case PoweredOff:
		return "powered off"
	}
	return fmt.Sprintf("Exit(%d)", uint8(e))
}

// Machine is a deterministic computer. It belongs to one goroutine, calls
// nobody back and never blocks. Its State at position n is a pure function of
// its initial State and of the inputs delivered at positions <= n (R2).
type Machine interface {
	// Icount is the current position.
	Icount() Icount
	// Run executes up to and not beyond until and says why it stopped (R4).
	// At Icount == until it changes nothing.
	Run(until Icount) Exit
	// Deliver applies one input at the current position. An error means that
	// the input does not fit the State (a frame without room, a completion
	// nobody waits for) and that nothing was changed.
	Deliver(in Input) error
	// Outputs appends what came out since the last call, in order (R3).
	Outputs(buf []Output) []Output
	// Pending appends the requests that wait for an input: disk requests
	// without a completion and entropy requests, oldest first. A replica that
	// goes live issues these again.
	Pending(buf []Output) []Output
	// Mark is the running pair over all held outputs since power-on (R9).
	Mark() Mark
	// RxRoom says how many frames (NIC) or bytes (console) the guest takes
	// now. It is a pure query.
	RxRoom(port Port) int
	// Clock is the virtual clock's current parameters.
	Clock() Clock
	// NextTimer is the virtual time of the earliest timer that can make an
	// interrupt pending, and whether there is one.
	NextTimer() (VTime, bool)
	// ConsoleTail is the last output of a console (at most ConsoleTailSize
	// bytes) and the offset of its first byte since power-on.
	ConsoleTail(console uint8) (offset uint64, tail []byte)
	// Digest covers the whole architectural State: registers, RAM, devices (R8).
	Digest() Digest
	// Account is the Digest part by part. Its Pages are counted from the call
	// before: replicas that compare accounts call it at the same positions.
	Account() Account
	// Save writes the whole State, Load replaces it. Load validates; after an
	// error the machine must not be run.
	Save(w io.Writer) error
	Load(r io.Reader) error
}

// ConsoleTailSize is how much console output State keeps for readers that
// attach again by offset.
const ConsoleTailSize = 64 << 10

// Digest is a hash over the whole State.
type Digest [16]byte

func (d Digest) String() string { return fmt.Sprintf("%x", d[:]) }
