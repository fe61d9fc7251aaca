package vm

import (
	"fmt"
	"sync"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/network"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/storage"
)

// Bounds of what waits at the gate (R12).
const (
	gateOutputs = 16384
	gateBytes   = 32 << 20
)

// outlet is the gate and what lies behind it: the only way from the machine to
// the host's network, disks and console. Outputs come from the owner,
// acknowledgements from the goroutine that read them, which also does the
// releasing (R14); one mutex guards both.
type outlet struct {
	now     func() int64 // host time in ns
	nics    []*network.NIC
	disks   []*storage.Disk
	console *consoleWriter

	mu       sync.Mutex
	gate     *ft.Gate
	taken    []int64 // when the outputs in the gate left the machine, in its order
	reads    ft.PeerReads
	confirms []confirm // received frames whose entries are not acknowledged yet
	delay    histogram // taken -> released
	shown    shown     // what the console begins with when the gate opens
	powerOff bool      // the power-off was released
	failed   bool      // the guest called its power-off a failure
	panics   panicWatch
	buf      []machine.Output
	told     func(released uint64) // passes on how far the gate has released; may be nil
	bell     func()                // wakes the owner
}

// confirm is a frame from a switch that the log entry seq delivers.
type confirm struct {
	seq    replay.Seq
	nic    uint8
	number uint64
}

// shown is the end of a console's output, with the offset of its first byte.
type shown struct {
	offset uint64
	tail   []byte
}

func newOutlet(now func() int64, bell func()) *outlet {
	return &outlet{now: now, bell: bell, gate: ft.NewGate(gateOutputs, gateBytes)}
}

// hold puts outputs into the gate.
func (x *outlet) hold(outputs []machine.Output, at int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range outputs {
		x.gate.Hold(o)
		x.taken = append(x.taken, at)
	}
	x.releaseLocked()
}

// cover says that the marker seq covers everything held so far.
func (x *outlet) cover(seq replay.Seq) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gate.Cover(seq)
}

// resume gives a console that is read by offset its tail, as soon as everything
// may leave.
func (x *outlet) resume(offset uint64, tail []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shown = shown{offset, tail}
}

// delivered notes that the log entry seq delivers frame number of a NIC.
func (x *outlet) delivered(seq replay.Seq, nic uint8, number uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.confirms = append(x.confirms, confirm{seq, nic, number})
	if x.gate.Mode() == ft.GateOpen {
		x.confirmLocked(seq)
	}
}

// acked takes in an acknowledgement and releases what it allows.
func (x *outlet) acked(gen uint64, epoch ft.Epoch, seq replay.Seq) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gate.Acked(gen, epoch, seq) {
		x.confirmLocked(seq)
		x.releaseLocked()
	}
}

// obey carries out an order of the protocol.
func (x *outlet) obey(o ft.GateOrder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gate.Obey(o)
	switch o.Mode {
	case ft.GateOpen:
		x.runLocked(x.reads.End())
		x.confirmLocked(^replay.Seq(0))
		x.console.resume(x.shown.offset, x.shown.tail)
		x.shown = shown{}
	case ft.GateHalted:
		x.confirms, x.taken = nil, nil
	}
	x.releaseLocked()
}

func (x *outlet) arm(epoch ft.Epoch, seq replay.Seq) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gate.Arm(epoch, seq)
}

func (x *outlet) connection(epoch ft.Epoch, gen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gate.Connection(epoch, gen)
}

// tell passes on, from now on, how far the gate has released; nil to no one.
func (x *outlet) tell(f func(released uint64)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.told = f
}

func (x *outlet) full() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.gate.Full()
}

// powerOffAgain releases the power-off of a guest that was off before this
// replica went live.
func (x *outlet) powerOffAgain() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.powerOff = true
}

// off says whether the power-off was released.
func (x *outlet) off() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.powerOff
}

// panicked says whether the guest's kernel said on its console that it panicked.
func (x *outlet) panicked() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.panics.seen
}

// guestFailed says whether the guest called its power-off a failure.
func (x *outlet) guestFailed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

func (x *outlet) delays() Quantiles {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.delay.quantiles()
}

func (x *outlet) resetDelays() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.delay = histogram{}
}

func (x *outlet) confirmLocked(seq replay.Seq) {
	n := 0
	for n < len(x.confirms) && x.confirms[n].seq <= seq {
		x.nics[x.confirms[n].nic].Confirm(x.confirms[n].number)
		n++
	}
	x.confirms = append(x.confirms[:0], x.confirms[n:]...)
}

func (x *outlet) releaseLocked() {
	x.buf = x.gate.Release(x.buf[:0])
	if len(x.buf) == 0 {
		return
	}
	for _, o := range x.buf {
		x.emit(o)
	}
	now := x.now()
	for _, at := range x.taken[:len(x.buf)] {
		x.delay.add(now - at)
	}
	x.taken = append(x.taken[:0], x.taken[len(x.buf):]...)
	clear(x.buf)
	if x.told != nil {
		x.told(x.gate.Released())
	}
}

// emit hands one released output to its adapter. None of them waits.
func (x *outlet) emit(o machine.Output) {
	switch o.Port.Kind {
	case machine.PortNIC:
		x.nics[o.Port.Index].Send(o.Bytes)
	case machine.PortDisk:
		if x.reads.Released(ft.RequestOf(o)) {
			x.disks[o.Port.Index].Release(o.ID)
		}
	case machine.PortConsole:
		x.console.write(o)
		if o.Port.Index == 0 && x.panics.saw(o.Bytes) {
			x.bell()
		}
	case machine.PortPower:
		x.powerOff = true
		x.failed = len(o.Bytes) == 1 && o.Bytes[0] == machine.GuestFailed
		x.bell()
	default:
		panic(fmt.Sprintf("BUG: vm: no adapter for output on %v", o.Port))
	}
}
