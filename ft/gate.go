package ft

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// GateMode says what may leave.
type GateMode uint8

const (
	// GateClosed: nothing at all. The mode at power-on, until a wanted backup
	// is armed.
	GateClosed GateMode = iota
	// GatePaired: what the backup of the gate's epoch has acknowledged (R11).
	GatePaired
	// GateSealed: what was acknowledged before the claim was sent; no further
	// acknowledgement counts (R17).
	GateSealed
	// GateOpen: everything; the VM is Alone.
	GateOpen
	// GateHalted: nothing, for ever.
	GateHalted
)

func (m GateMode) String() string {
	switch m {
	case GateClosed:
		return "closed"
	case GatePaired:
		return "paired"
	case GateSealed:
		return "sealed"
	case GateOpen:
		return "open"
	case GateHalted:
		return "halted"
	}
	return fmt.Sprintf("GateMode(%d)", uint8(m))
}

// Gate is the Output Rule (R11): held outputs wait here, in order, until the
// entry that covers them is acknowledged. Release is its only exit. The gate
// does not lock: acknowledgements and outputs come from different goroutines,
// so its owner guards it with one mutex.
type Gate struct {
	mode  GateMode
	epoch Epoch
	gen   uint64     // the connection whose acknowledgements count; 0 is none
	arm   replay.Seq // of epoch's Arm entry; 0 until it is appended
	acked replay.Seq // highest acknowledged that counts

	queue    []held
	covered  int // queue[:covered] have a marker
	bytes    int
	released uint64

	maxOutputs, maxBytes int
}

type held struct {
	out    machine.Output
	marker replay.Seq
}

// heldOverhead is what an output costs beside its bytes, in bytes.
const heldOverhead = 64

// NewGate is a closed gate that is full at maxOutputs outputs or maxBytes bytes.
func NewGate(maxOutputs, maxBytes int) *Gate {
	return &Gate{maxOutputs: maxOutputs, maxBytes: maxBytes}
}

// Hold puts an output in. It must be one that the Output Rule covers; its
// Bytes belong to the gate from here on.
func (g *Gate) Hold(o machine.Output) {
	if !o.Held() {
		panic("BUG: ft: the gate was given an output that is not held: " + o.Port.String())
	}
	if g.mode == GateHalted {
		return
	}
	g.queue = append(g.queue, held{out: o})
	g.bytes += len(o.Bytes) + heldOverhead
}

// Cover says that the marker entry seq covers every output held so far (R9).
func (g *Gate) Cover(seq replay.Seq) {
	for ; g.covered < len(g.queue); g.covered++ {
		g.queue[g.covered].marker = seq
	}
}

// Uncovered says whether an output waits for a marker.
func (g *Gate) Uncovered() bool { return g.covered < len(g.queue) }

// Obey carries out an order of Ready.
func (g *Gate) Obey(o GateOrder) {
	if g.mode == GateHalted {
		return
	}
	switch o.Mode {
	case GatePaired:
		if g.epoch != o.Epoch || g.mode != GatePaired {
			g.arm, g.acked = 0, 0
		}
		g.epoch, g.gen = o.Epoch, o.Gen
	case GateHalted:
		g.queue, g.covered, g.bytes = nil, 0, 0
	case GateClosed:
		g.gen, g.acked = 0, 0
	case GateSealed, GateOpen:
		g.gen = 0
	}
	g.mode = o.Mode
}

// Arm says where the Arm entry of the gate's epoch stands in the log. Until it
// is acknowledged nothing leaves.
func (g *Gate) Arm(e Epoch, seq replay.Seq) {
	if g.mode == GatePaired && g.epoch == e {
		g.arm = seq
	}
}

// Connection makes gen the connection whose acknowledgements count. What an
// older one has acknowledged and was not released yet must be acknowledged
// anew (R17).
func (g *Gate) Connection(e Epoch, gen uint64) {
	if g.mode == GatePaired && g.epoch == e {
		g.gen, g.acked = gen, 0
	}
}

// Acked takes in that the backup of epoch e has, by connection gen, received
// every entry up to seq. It says whether the acknowledgement counted.
func (g *Gate) Acked(gen uint64, e Epoch, seq replay.Seq) bool {
	if g.mode != GatePaired || e != g.epoch || gen != g.gen || gen == 0 || seq <= g.acked {
		return false
	}
	g.acked = seq
	return true
}

// Release takes out, in order, what may leave now and appends it to buf.
func (g *Gate) Release(buf []machine.Output) []machine.Output {
	n := 0
	for n < len(g.queue) && g.mayLeave(g.queue[n]) {
		o := g.queue[n].out
		g.bytes -= len(o.Bytes) + heldOverhead
		g.released = o.Count
		buf = append(buf, o)
		n++
	}
	if n == 0 {
		return buf
	}
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.covered = max(0, g.covered-n)
	return buf
}

func (g *Gate) mayLeave(h held) bool {
	switch g.mode {
	case GateOpen:
		return true
	case GatePaired, GateSealed:
		return g.arm != 0 && g.acked >= g.arm && h.marker != 0 && h.marker <= g.acked
	}
	return false
}

// Full says that the bound is met: the primary stops running until
// acknowledgements come (R12). What one slice puts in may pass the bound.
func (g *Gate) Full() bool { return len(g.queue) >= g.maxOutputs || g.bytes >= g.maxBytes }

// Waiting is how many outputs wait and their size in bytes.
func (g *Gate) Waiting() (outputs, bytes int) { return len(g.queue), g.bytes }

// Released is Mark.Count of the last output that left. The backup is told, so
// that it knows what it need not send again.
func (g *Gate) Released() uint64 { return g.released }

// Mode is what may leave now.
func (g *Gate) Mode() GateMode { return g.mode }
