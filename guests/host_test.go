package guests

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

// A host is what lies around a computer: disks and a source of entropy that
// answer after random delays, a clock, a keyboard and a network. All its
// choices follow from its seed.
type host struct {
	*rand.Rand
	cfg     *machine.Config
	disks   [][]byte
	pending []due
	console bytes.Buffer // what console 0 printed
	typed   uint64       // bytes of input so far

	// delay bounds the time that a request waits, slice that of a run.
	delay, slice machine.Icount
	wild         bool // steers the clock hard, types and sends frames
	log          func(in machine.Input)
}

type due struct {
	at machine.Icount
	in machine.Input
}

func newHost(t testing.TB, cfg *machine.Config, seed uint64) *host {
	t.Helper()
	h := &host{Rand: rand.New(rand.NewPCG(seed, 7)), cfg: cfg, delay: 100_000, slice: 1_000_000}
	for _, d := range cfg.Disks {
		h.disks = append(h.disks, make([]byte, d.Sectors*512))
	}
	return h
}

// runUntil runs a machine up to end, to its power-off, or until done says so
// after a slice.
func (h *host) runUntil(t testing.TB, m machine.Machine, end machine.Icount, done func() bool) {
	t.Helper()
	for m.Icount() < end {
		exit := m.Run(min(end, m.Icount()+1+machine.Icount(h.Uint64N(uint64(h.slice)))))
		h.take(t, m.Icount(), m.Outputs(nil))
		if exit == machine.PoweredOff {
			return
		}
		h.clock(t, m, exit == machine.Idle)
		h.answer(t, m, exit == machine.Idle)
		if h.wild {
			h.disturb(t, m)
		}
		if done() {
			return
		}
	}
}

// deliver is the one door into the machine.
func (h *host) deliver(t testing.TB, m machine.Machine, in machine.Input) {
	t.Helper()
	if err := m.Deliver(in); err != nil {
		t.Fatalf("at %d: %v", m.Icount(), err)
	}
	if h.log != nil {
		h.log(in)
	}
}

// take turns outputs into answers that fall due later.
func (h *host) take(t testing.TB, now machine.Icount, outs []machine.Output) {
	t.Helper()
	for _, o := range outs {
		var in machine.Input
		switch o.Port.Kind {
		case machine.PortConsole:
			if o.Port.Index == 0 {
				h.console.Write(o.Bytes)
			}
			continue
		case machine.PortDisk:
			done := machine.DiskDone{Disk: o.Port.Index, ID: o.ID}
			disk, at := h.disks[o.Port.Index], o.Sector*512
			switch o.Op {
			case machine.DiskRead:
				done.Bytes = bytes.Clone(disk[at : at+uint64(o.Length)])
			case machine.DiskWrite:
				copy(disk[at:], o.Bytes)
			case machine.DiskDiscard, machine.DiskZero:
				clear(disk[at : at+o.Sectors*512])
			}
			in = done
		case machine.PortEntropy:
			e := make([]byte, o.Length)
			for i := range e {
				e[i] = byte(h.Uint32())
			}
			in = machine.Entropy{Bytes: e}
		default:
			continue
		}
		h.pending = append(h.pending, due{now + machine.Icount(h.Uint64N(uint64(h.delay))), in})
	}
}

// answer delivers what is due, and all that is open to a guest that waits.
// Disks answer in any order; entropy requests only in theirs.
func (h *host) answer(t testing.TB, m machine.Machine, idle bool) {
	t.Helper()
	open := h.pending
	h.pending = nil
	for _, d := range open {
		if d.at <= m.Icount() || idle {
			h.deliver(t, m, d.in)
		} else {
			h.pending = append(h.pending, d)
		}
	}
}

// Bounds of the slopes that production uses (vm's steering).
const (
	minMul = 1 << 32 / 200
	maxMul = 1 << 32
)

// clock lets time pass while the guest waits. A wild host changes the slope
// while it runs too, far beyond the usual bounds, and makes long pauses.
func (h *host) clock(t testing.TB, m machine.Machine, idle bool) {
	t.Helper()
	now := m.Clock()
	c := machine.Clock{I0: m.Icount(), T0: now.At(m.Icount()), Mul: now.Mul}
	if idle {
		next, any := m.NextTimer()
		if !any && len(h.pending) == 0 {
			t.Fatalf("at %d the guest waits for ever; its console ends with\n%s", m.Icount(), tail(h.console.String()))
		}
		if any {
			c.T0 = max(c.T0, next)
		}
	}
	if h.wild {
		switch h.IntN(24) {
		case 0, 1: // any slope, spread evenly over its orders of magnitude
			c.Mul = minMul / 8 << h.IntN(11)
			c.Mul += h.Uint64N(c.Mul)
		case 2:
			c.Mul = minMul + h.Uint64N(maxMul-minMul)
		case 3: // a short pause, less than a tick of the guest's to some of them
			c.T0 += machine.VTime(h.Uint64N(machine.TimeBase / 50))
		case 4:
			if h.IntN(20) == 0 { // a failover that took long
				c.T0 += machine.VTime(h.Uint64N(5 * machine.TimeBase))
			}
		}
		if idle && h.IntN(3) == 0 { // it overslept
			c.T0 += machine.VTime(h.Uint64N(machine.TimeBase / 1000))
		}
	}
	if idle || c.T0 != now.At(m.Icount()) || c.Mul != now.Mul {
		h.deliver(t, m, machine.SetClock{Clock: c})
	}
}

// disturb types at the console and sends frames to the first NIC.
func (h *host) disturb(t testing.TB, m machine.Machine) {
	t.Helper()
	if h.IntN(16) == 0 && m.RxRoom(machine.Port{Kind: machine.PortConsole}) >= 2 {
		key := []byte{'a' + byte(h.typed%26), '\n'}
		h.deliver(t, m, machine.ConsoleInput{Session: 1, Offset: h.typed, Bytes: key})
		h.typed += 2
	}
	for len(h.cfg.NICs) > 0 && h.IntN(3) == 0 && m.RxRoom(machine.Port{Kind: machine.PortNIC}) > 0 {
		h.deliver(t, m, machine.Frame{Bytes: h.frame()})
	}
}

// frame is an ARP request for 10.0.0.2, which makes a guest of that address
// answer, or a broadcast that means nothing to anybody.
func (h *host) frame() []byte {
	f := make([]byte, 60+h.IntN(1400))
	for i := range f {
		f[i] = byte(h.Uint32())
	}
	copy(f, "\xff\xff\xff\xff\xff\xff\x52\x54\x00\x00\x00\x99")
	if h.IntN(2) == 0 {
		f = f[:60]
		binary.BigEndian.PutUint16(f[12:], 0x0806)
		copy(f[14:], "\x00\x01\x08\x00\x06\x04\x00\x01\x52\x54\x00\x00\x00\x99\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02")
	}
	return f
}
