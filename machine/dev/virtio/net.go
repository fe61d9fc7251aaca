package virtio

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// Limits of a network device, in bytes of an Ethernet frame.
const (
	MinFrame = 14
	MaxFrame = 64 << 10

	// MaxNetRoom is the most that Room reports.
	MaxNetRoom = 64
)

// Network device (5.1).
const (
	netDevice        = 1
	netFeatureMAC    = 1 << 5
	netFeatureStatus = 1 << 16
	netLinkUp        = 1
	netReceive       = 0
	netTransmit      = 1
	netQueueMax      = 256
	netHeader        = 12 // bytes of virtio_net_hdr, num_buffers the last two (5.1.6)
)

// Net is a virtio network device with one pair of queues and no offloads, so
// every frame is whole, with its checksums.
type Net struct {
	MMIO
	out   bus.Emitter
	index uint8
	space [8]byte // configuration space (5.1.4): MAC, status
}

// NewNet is NIC number index as it is at power-on.
func NewNet(ram *mem.RAM, out bus.Emitter, index uint8, cfg machine.NICConfig) *Net {
	n := &Net{out: out, index: index}
	copy(n.space[:6], cfg.MAC[:])
	n.space[6] = netLinkUp
	n.init(ram, n, netDevice, netFeatureMAC|netFeatureStatus, netQueueMax, netQueueMax)
	return n
}

func (n *Net) config() []byte { return n.space[:] }
func (n *Net) forget(int)     {}

func (n *Net) notify(q int) {
	if q == netReceive {
		// Room looks for itself.
		n.needNoKick(&n.queues[q])
		return
	}
	n.serve(q, func() bool { return true }, n.transmit)
}

func (n *Net) transmit(q *queue, c *chain) bool {
	if c.inLen != 0 || c.outLen < netHeader {
		return false
	}
	if size := c.outLen - netHeader; size >= MinFrame && size <= MaxFrame {
		frame := make([]byte, size)
		if !n.gather(c.out, netHeader, frame) {
			return false
		}
		n.out.Emit(machine.Output{Port: machine.Port{Kind: machine.PortNIC, Index: n.index}, Bytes: frame})
	}
	n.use(q, c.head, 0)
	return true
}

// Room is how many frames the guest takes now, at most MaxNetRoom. It changes
// nothing.
func (n *Net) Room() int {
	q := &n.queues[netReceive]
	if !n.live() || !q.ready {
		return 0
	}
	have, _ := n.available(q)
	return min(int(have), MaxNetRoom)
}

// Receive gives the guest a frame. An error means that there is no room or that
// it is no frame, and that nothing was changed. A frame that does not fit the
// buffer that the guest made available is lost, as it would be on a wire.
func (n *Net) Receive(frame []byte) error {
	switch {
	case len(frame) < MinFrame || len(frame) > MaxFrame:
		return fmt.Errorf("virtio: a frame of %d bytes for NIC %d; it must have %d to %d", len(frame), n.index, MinFrame, MaxFrame)
	case n.Room() == 0:
		return fmt.Errorf("virtio: NIC %d has no room for a frame; ask Room first", n.index)
	}
	q := &n.queues[netReceive]
	c, ok := n.peek(q, 0)
	if !ok || c.outLen != 0 || c.inLen < netHeader {
		n.fail()
		return nil
	}
	if uint64(netHeader+len(frame)) > c.inLen {
		return nil
	}
	header := [netHeader]byte{netHeader - 2: 1} // num_buffers
	if !n.scatter(c.in, 0, header[:]) || !n.scatter(c.in, netHeader, frame) {
		n.fail()
		return nil
	}
	was := q.used
	q.avail++
	n.use(q, c.head, uint32(netHeader+len(frame)))
	n.signal(q, was)
	return nil
}
