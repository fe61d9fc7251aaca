// Package ft is the fault-tolerance protocol as a pure state machine: who is
// primary, who is backup, what may leave (the Output Rule), and who goes on
// when the other is lost. Messages, ticks and claim results go in; intentions
// come out of Ready. Nothing here blocks, sleeps or asks what time it is (R20).
package ft

import "fmt"

// ProcessID names one process of one replica; made at random at its start (R15).
type ProcessID [16]byte

func (p ProcessID) String() string { return fmt.Sprintf("%x", p[:]) }

// Run names one power-on of a VM. The ordinal counts the VM's power-ons in its
// run record, so that fence numbers of different runs have an order.
type Run struct {
	Ordinal uint64
	ID      [16]byte
}

func (r Run) String() string { return fmt.Sprintf("%d-%x", r.Ordinal, r.ID[:4]) }

// Epoch numbers the pairings of a run. Power-on is the claim of epoch 0; only
// the winner of an epoch opens the next.
type Epoch uint64

// Cell is the arbiter's test-and-set cell for one epoch.
type Cell struct {
	VM    string
	Run   Run
	Epoch Epoch
}

func (c Cell) String() string { return fmt.Sprintf("%s/%s/%d", c.VM, c.Run, c.Epoch) }

// Fence is the number that switch, store and locks compare. Of two, the
// greater was live later; who carries a smaller one is refused (R15, R19).
type Fence struct {
	Run    uint64 // Run.Ordinal
	Number uint64
}

// PrimaryFence is the number of the primary of pairing e.
func PrimaryFence(r Run, e Epoch) Fence { return Fence{Run: r.Ordinal, Number: 2 * uint64(e)} }

// WinnerFence is the number of the winner of claim e.
func WinnerFence(r Run, e Epoch) Fence { return Fence{Run: r.Ordinal, Number: 2*uint64(e) + 1} }

// Less orders fence numbers.
func (f Fence) Less(g Fence) bool {
	if f.Run != g.Run {
		return f.Run < g.Run
	}
	return f.Number < g.Number
}

func (f Fence) String() string { return fmt.Sprintf("%d.%d", f.Run, f.Number) }
