// Package replay is the log: its entries, their encoding, the recorder that
// writes them and the replayer that re-executes a machine from them. A recorded
// log and the live logging channel carry the same bytes.
package replay

import "github.com/lockstep-vm/lockstep/machine"

// Seq numbers the entries of a run from 1 without gaps.
type Seq uint64

// Entry is one input or operation in the log. Entries are in the order in which
// they take effect; positions never decrease (R7).
type Entry struct {
	Seq  Seq
	Pos  machine.Icount
	Body Body
}

// Body is what an entry says. The set is closed: Input, OwnDone, Marker,
// Horizon, DigestCheck and Arm.
type Body interface{ body() }

// Input delivers an input to the machine.
type Input struct{ In machine.Input }

// Marker is the output marker (R9): the mark of the primary's outputs at Pos.
// A replayer compares it with its own.
type Marker struct{ Mark machine.Mark }

// Horizon says that the primary has come as far as Pos (R10).
type Horizon struct{}

// DigestCheck carries the primary's digest at Pos (R8). A replayer compares it
// with its own.
type DigestCheck struct{ Digest machine.Digest }

// Arm arms the backup of a pairing (R18).
type Arm struct{ Epoch uint64 }

// Quiet says whether nothing outside waits for the acknowledgement of an entry:
// it covers no output, and nobody who sent an input is told that it was received.
// Such entries may be gathered before they are sent, and acknowledged later.
func Quiet(b Body) bool {
	switch b := b.(type) {
	case Horizon, OwnDone:
		return true
	case Input:
		switch b.In.(type) {
		case machine.SetClock, machine.DiskDone, machine.ConsoleInput, machine.Entropy:
			return true
		}
	}
	return false
}

func (Input) body()       {}
func (Marker) body()      {}
func (Horizon) body()     {}
func (DigestCheck) body() {}
func (Arm) body()         {}
