package board

import (
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/dev/virtio"
)

const virtioConsole = virtio.ConsoleIndex

// Bounds of a virtual clock, which keep its arithmetic from running over for
// as long as any machine will live.
const (
	maxTime = machine.VTime(1) << 60
	maxMul  = uint64(1) << 40
)

// checkClock says what is wrong with a clock that is to begin at position pos,
// when the time is now.
func checkClock(c machine.Clock, pos machine.Icount, now machine.VTime) error {
	switch {
	case c.I0 != pos:
		return fmt.Errorf("board: a clock from position %d cannot begin at position %d", c.I0, pos)
	case c.T0 < now:
		return fmt.Errorf("board: the clock would go back from %d to %d", now, c.T0)
	case c.T0 > maxTime || c.Mul > maxMul:
		return fmt.Errorf("board: a clock of time %d and slope %d is out of range", c.T0, c.Mul)
	}
	return nil
}

// Deliver implements machine.Machine.
func (b *Board) Deliver(in machine.Input) error {
	if b.off {
		return errors.New("board: the machine is off and takes no input")
	}
	err := b.deliver(in)
	if err == nil {
		b.carryLines()
	}
	return err
}

func (b *Board) deliver(in machine.Input) error {
	switch in := in.(type) {
	case machine.SetClock:
		if err := checkClock(in.Clock, b.hart.Icount, b.hart.Time()); err != nil {
			return err
		}
		b.hart.SetClock(in.Clock)
		return nil
	case machine.Frame:
		if int(in.NIC) >= len(b.nics) {
			return fmt.Errorf("board: a frame for NIC %d of %d", in.NIC, len(b.nics))
		}
		return b.nics[in.NIC].Receive(in.Bytes)
	case machine.ConsoleInput:
		switch in.Console {
		case 0:
			return b.uart.Input(in)
		case virtioConsole:
			return b.con.Input(in)
		}
		return fmt.Errorf("board: input for console %d; there are consoles 0 and %d", in.Console, virtioConsole)
	case machine.DiskDone:
		if int(in.Disk) >= len(b.disks) {
			return fmt.Errorf("board: a completion for disk %d of %d", in.Disk, len(b.disks))
		}
		return b.disks[in.Disk].Complete(in)
	case machine.Entropy:
		return b.rng.Fill(in)
	case machine.Stop:
		b.powerOff(false)
		return nil
	}
	return fmt.Errorf("board: %T is no input this machine knows", in)
}

// RxRoom implements machine.Machine.
func (b *Board) RxRoom(port machine.Port) int {
	switch {
	case b.off:
	case port.Kind == machine.PortNIC && int(port.Index) < len(b.nics):
		return b.nics[port.Index].Room()
	case port == machine.Port{Kind: machine.PortConsole, Index: 0}:
		return b.uart.RxRoom()
	case port == machine.Port{Kind: machine.PortConsole, Index: virtioConsole}:
		return b.con.Room()
	}
	return 0
}
