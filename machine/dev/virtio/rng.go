package virtio

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// MaxEntropy is how many bytes one request asks the host for; a driver that
// wants more gets less (5.4.6.2 allows it).
const MaxEntropy = 256

// Entropy device (5.4).
const (
	rngDevice   = 4
	rngQueueMax = 16
)

// RNG is a virtio entropy device. One request at a time waits for the host; the
// others stay in the queue.
type RNG struct {
	MMIO
	out bus.Emitter

	// The request that waits; length is 0 if there is none. After a reset it
	// is forgotten: the host fills it all the same, into nothing.
	length    uint32
	forgotten bool
	head      uint16
	in        []segment
}

// NewRNG is the entropy device as it is at power-on.
func NewRNG(ram *mem.RAM, out bus.Emitter) *RNG {
	r := &RNG{out: out}
	r.init(ram, r, rngDevice, 0, rngQueueMax)
	return r
}

func (r *RNG) config() []byte { return nil }

func (r *RNG) notify(q int) {
	r.serve(q, func() bool { return r.length == 0 }, r.start)
}

func (r *RNG) forget(int) {
	if r.length != 0 {
		r.forgotten, r.head, r.in = true, 0, nil
	}
}

func (r *RNG) start(_ *queue, c *chain) bool {
	if c.outLen != 0 {
		return false
	}
	r.length = uint32(min(c.inLen, MaxEntropy))
	r.head, r.in = c.head, append([]segment(nil), c.in...)
	r.out.Emit(r.output())
	return true
}

func (r *RNG) output() machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortEntropy}, Length: r.length}
}

// Pending appends the request that waits for entropy, if there is one.
func (r *RNG) Pending(buf []machine.Output) []machine.Output {
	if r.length != 0 {
		buf = append(buf, r.output())
	}
	return buf
}

// Fill answers the request that waits and emits the next one, if there is one.
// After an error nothing was changed.
func (r *RNG) Fill(e machine.Entropy) error {
	if r.length == 0 || uint64(len(e.Bytes)) != uint64(r.length) {
		return fmt.Errorf("virtio: %d bytes of entropy where %d are asked for", len(e.Bytes), r.length)
	}
	head, in, forgotten := r.head, r.in, r.forgotten
	r.length, r.forgotten, r.head, r.in = 0, false, 0, nil
	q := &r.queues[0]
	if !forgotten {
		if !r.scatter(in, 0, e.Bytes) {
			r.fail()
			return nil
		}
		was := q.used
		r.use(q, head, uint32(len(e.Bytes)))
		r.signal(q, was)
	}
	if r.live() && q.ready {
		r.notify(0)
	}
	return nil
}
