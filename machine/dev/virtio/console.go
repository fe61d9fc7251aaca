package virtio

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// ConsoleIndex is the number of the virtio console; console 0 is the UART.
const ConsoleIndex = 1

// Console device (5.3).
const (
	consoleDevice    = 3
	consoleReceive   = 0
	consoleTransmit  = 1
	consoleQueueMax  = 64
	consoleMaxWrite  = 64 << 10 // bytes in one transmitted chain
	consoleRoomMax   = 4096     // bytes
	consoleRoomChain = 16       // chains that Room looks at
)

// Console is a virtio console with one port.
type Console struct {
	MMIO
	out      bus.Emitter
	index    uint8
	space    [12]byte // configuration space (5.3.4): none of its features are offered
	log      dev.ConsoleLog
	sessions dev.ConsoleSessions
}

// NewConsole is console number index as it is at power-on.
func NewConsole(ram *mem.RAM, out bus.Emitter, index uint8) *Console {
	c := &Console{out: out, index: index}
	c.init(ram, c, consoleDevice, 0, consoleQueueMax, consoleQueueMax)
	return c
}

func (c *Console) config() []byte { return c.space[:] }
func (c *Console) forget(int)     {}

func (c *Console) notify(q int) {
	if q == consoleReceive {
		// Room looks for itself.
		c.needNoKick(&c.queues[q])
		return
	}
	c.serve(q, func() bool { return true }, c.transmit)
}

func (c *Console) transmit(q *queue, ch *chain) bool {
	if ch.inLen != 0 || ch.outLen > consoleMaxWrite {
		return false
	}
	text := make([]byte, ch.outLen)
	if !c.gather(ch.out, 0, text) {
		return false
	}
	c.out.Emit(machine.Output{
		Port:   machine.Port{Kind: machine.PortConsole, Index: c.index},
		Offset: c.log.Offset(), Bytes: text,
	})
	c.log.Append(text)
	c.use(q, ch.head, 0)
	return true
}

// Tail is the last output and the offset of its first byte since power-on.
func (c *Console) Tail() (offset uint64, tail []byte) { return c.log.Tail() }

// Room is how many bytes the guest takes now. It changes nothing.
func (c *Console) Room() int {
	q := &c.queues[consoleReceive]
	if !c.live() || !q.ready {
		return 0
	}
	room := uint64(0)
	have, _ := c.available(q)
	for i := uint16(0); i < min(have, consoleRoomChain) && room < consoleRoomMax; i++ {
		ch, ok := c.peek(q, i)
		if !ok || ch.outLen != 0 {
			break
		}
		room += ch.inLen
	}
	return int(min(room, consoleRoomMax))
}

// Input gives the guest the bytes of in that it has not had. An error means
// that they are more than Room, or that bytes before them are missing, and that
// nothing was changed.
func (c *Console) Input(in machine.ConsoleInput) error {
	if in.Console != c.index {
		return fmt.Errorf("virtio: input for console %d was given to console %d", in.Console, c.index)
	}
	fresh, err := c.sessions.Fresh(in)
	if err != nil {
		return err
	}
	if room := c.Room(); len(fresh) > room {
		return fmt.Errorf("virtio: %d bytes of input for console %d, which has room for %d; ask Room first", len(fresh), c.index, room)
	}
	c.sessions.Take(in.Session, len(fresh))
	q := &c.queues[consoleReceive]
	was := q.used
	for len(fresh) > 0 {
		ch, ok := c.peek(q, 0)
		n := min(uint64(len(fresh)), ch.inLen)
		if !ok || ch.outLen != 0 || !c.scatter(ch.in, 0, fresh[:n]) {
			// What was written before may have changed this chain.
			c.fail()
			return nil
		}
		q.avail++
		c.use(q, ch.head, uint32(n))
		fresh = fresh[n:]
	}
	c.signal(q, was)
	return nil
}
