package virtio

import (
	"encoding/binary"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// hostile plays a script of random bytes as a driver without manners and a host
// that completes in any order. It asserts what must hold whatever happens: no
// panic, bounded work, errors that change nothing, State that survives a cut.
type hostile struct {
	*driver
	fresh  func(*mem.RAM, *sink) device
	script []byte
	// host is what the host half may do with the device at hand.
	host func(h *hostile)
	// check is what holds after every step.
	check func(h *hostile, outs []machine.Output)
}

// hostileRAM keeps everything near, so that random addresses meet.
const hostileRAM = 64 << 10

func (h *hostile) byte() byte {
	if len(h.script) == 0 {
		return 0
	}
	b := h.script[0]
	h.script = h.script[1:]
	return b
}

func (h *hostile) u16() uint16 { return uint16(h.byte()) | uint16(h.byte())<<8 }

// number favours what is just within or beyond bounds.
func (h *hostile) number() uint64 {
	switch k := h.byte(); {
	case k < 0x80:
		return uint64(k)
	case k < 0xc0:
		return uint64(h.u16())
	case k < 0xe0:
		return 1 << (h.byte() & 63)
	case k < 0xf0:
		return uint64(mem.Base) + uint64(h.u16())
	default:
		return -uint64(h.byte())
	}
}

func (h *hostile) address() machine.GPA {
	if k := h.byte(); k < 0xf0 {
		return mem.Base + machine.GPA(h.u16())
	}
	return machine.GPA(h.number())
}

var hostileRegisters = []uint64{
	regDeviceFeaturesSel, regDriverFeatures, regDriverFeaturesSel, regQueueSel, regQueueNum, regQueueReady,
	regQueueNotify, regInterruptACK, regStatus, regQueueDescLow, regQueueDescHigh, regQueueDriverLow,
	regQueueDriverHigh, regQueueDeviceLow, regQueueDeviceHigh, regConfig,
}

// begin brings the device up; after that the script is alone.
func (h *hostile) begin() {
	h.ram = mem.New(hostileRAM)
	h.out = &sink{}
	h.dev = h.fresh(h.ram, h.out)
	features := h.features()
	if h.byte()&1 != 0 {
		features &^= featureEventIdx
	}
	h.negotiate(features)
	for i := range 2 {
		h.set(regQueueSel, uint32(i))
		if h.get(regQueueNumMax) == 0 {
			continue
		}
		base := mem.Base + machine.GPA(i)*0x1000
		h.queues = append(h.queues, &driverQueue{num: 16, desc: base, driver: base + 0x400, device: base + 0x800})
		h.place(i)
		h.set(regQueueReady, 1)
	}
	h.set(regStatus, h.get(regStatus)|statusDriverOK)
	h.healthy()
}

func (h *hostile) step() {
	switch h.byte() % 10 {
	case 0:
		reg := hostileRegisters[int(h.byte())%len(hostileRegisters)]
		h.dev.Store(reg, 4, h.number())
	case 1:
		off := uint64(h.u16()) % WindowSize
		size := uint8(1) << (h.byte() & 3)
		off &^= uint64(size) - 1
		h.dev.Load(off, size)
		if h.byte()&1 != 0 {
			h.dev.Store(off, size, h.number())
		}
	case 2:
		at := h.address()
		n := min(int(h.byte()&63), len(h.script))
		h.ram.Write(at, h.script[:n])
		h.script = h.script[n:]
	case 3, 4, 5: // a descriptor
		q := h.queues[int(h.byte())%len(h.queues)]
		writeDesc(h.ram, q.desc, uint16(h.byte()&15), h.address(), uint32(h.number()), uint16(h.byte()&7), uint16(h.byte()&31))
	case 6, 7: // make something available
		i := int(h.byte()) % len(h.queues)
		h.push(i, uint16(h.byte()&17))
		h.kick(i)
	case 8:
		h.host(h)
	case 9:
		h.damage()
	}
}

// damage loads the State with one byte changed. If it is accepted all the same,
// it must be a State that works.
func (h *hostile) damage() {
	h.cut(h.fresh)
	b := state(h.dev)
	short := h.fresh(h.ram, h.out)
	if short.LoadState(snapshot.NewDecoder(b[:int(h.u16())%len(b)])) == nil {
		h.Fatal("a cut State was loaded")
	}
	b[int(h.u16())%len(b)] ^= h.byte()
	next := h.fresh(h.ram, h.out)
	d := snapshot.NewDecoder(b)
	if next.LoadState(d) == nil && d.Rest() == 0 {
		h.dev = next
	}
}

// unchanged asserts that an error changed nothing.
func (h *hostile) unchanged(f func() error) {
	was := string(state(h.dev))
	if err := f(); err != nil && (string(state(h.dev)) != was || len(h.out.outs) != 0) {
		h.Fatalf("%v, but State changed", err)
	}
}

func (h *hostile) run() {
	h.begin()
	for steps := 0; len(h.script) > 0 && steps < 2000; steps++ {
		h.step()
		outs := h.out.take()
		if len(outs) > netQueueMax {
			h.Fatalf("one step emitted %d outputs", len(outs))
		}
		if h.get(regStatus)&(statusNeedsReset|statusFailed) != 0 && len(outs) != 0 {
			h.kick(0)
			if len(h.out.take()) != 0 {
				h.Fatal("the broken device emits")
			}
		}
		h.check(h, outs)
	}
	h.cut(h.fresh)
	h.dev.Reset()
	if h.dev.IRQ() || h.get(regStatus) != 0 {
		h.Fatal("the reset left something")
	}
}

// seeds are scripts that get somewhere: valid requests, then trouble.
func seeds(f *testing.F) {
	f.Add([]byte{})
	desc := func(q, i byte, at uint16, n, flags, next byte) []byte {
		return []byte{3, q, i, 0, byte(at), byte(at >> 8), n, flags, next}
	}
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	host := []byte{8, 0, 0, 0, 0, 8, 1, 1, 1, 1}
	one := func(q, flags byte) []byte {
		return join([]byte{0}, desc(q, 0, 0x8000, 100, flags, 0), []byte{6, q, 0}, host, []byte{9, 3, 0, 1, 9, 0}, host)
	}
	for q := byte(0); q < 2; q++ {
		for _, flags := range []byte{0, descWrite, descNext, descIndirect} {
			f.Add(one(q, flags))
		}
	}
	// A block request in three descriptors: header, data, status.
	sector := []byte{3, 0, 1, 0, 0, 0x90, 0xc9 - 0x40, 0, 2, descNext | descWrite, 2}
	block := join([]byte{0}, desc(0, 0, 0x8000, 16, descNext, 1), sector, desc(0, 2, 0xa000, 1, descWrite, 0), []byte{6, 0, 0})
	f.Add(join(block, host, host))
	f.Add(join(block, []byte{0, 8, 0}, host, host))
	f.Add(join(block, []byte{9, 80, 0, 0xff, 0, 0}, host))
	for i := range 8 {
		f.Add(pattern(300+i*40, byte(i*31)))
	}
}

func fuzz(f *testing.F, fresh func(*mem.RAM, *sink) device, host func(*hostile), check func(*hostile, []machine.Output)) {
	seeds(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		h := &hostile{driver: &driver{TB: t}, fresh: fresh, script: script, host: host, check: check}
		h.run()
	})
}

func FuzzBlock(f *testing.F) {
	const sectors = 64
	fuzz(f, func(ram *mem.RAM, out *sink) device {
		return NewBlock(ram, out, 3, machine.DiskConfig{Sectors: sectors})
	}, func(h *hostile) {
		done := machine.DiskDone{Disk: 3, ID: uint64(h.byte()), Status: machine.DiskStatus(h.byte() & 3)}
		n := int(h.u16())
		if p := h.pending(); len(p) > 0 && h.byte()&3 != 0 {
			o := p[int(done.ID)%len(p)]
			done.ID = o.ID
			n = int(o.Length)
			if done.Status != machine.DiskOK {
				n = 0
			}
		}
		done.Bytes = make([]byte, n)
		h.unchanged(func() error { return h.block().Complete(done) })
	}, func(h *hostile, outs []machine.Output) {
		p := h.pending()
		if len(p) > MaxDiskPending {
			h.Fatalf("%d requests wait", len(p))
		}
		for _, o := range append(outs, p...) {
			n := uint64(o.Length) + uint64(len(o.Bytes)) + o.Sectors*sectorSize
			if o.Op != machine.DiskFlush && (n == 0 || n%sectorSize != 0 || o.Sector+n/sectorSize > sectors) {
				h.Fatalf("request %d: %d bytes at sector %d", o.ID, n, o.Sector)
			}
		}
	})
}

func FuzzNet(f *testing.F) {
	fuzz(f, newTestNet, func(h *hostile) {
		room := h.net().Room()
		frame := make([]byte, h.u16())
		h.unchanged(func() error {
			err := h.net().Receive(frame)
			if err == nil && room == 0 {
				h.Fatal("a frame was taken without room")
			}
			return err
		})
	}, func(h *hostile, outs []machine.Output) {
		for _, o := range outs {
			if len(o.Bytes) < MinFrame || len(o.Bytes) > MaxFrame {
				h.Fatalf("a frame of %d bytes", len(o.Bytes))
			}
		}
	})
}

func FuzzConsole(f *testing.F) {
	fuzz(f, newTestConsole, func(h *hostile) {
		in := machine.ConsoleInput{Console: 1, Session: uint64(h.byte() & 3), Offset: uint64(h.byte()), Bytes: make([]byte, h.byte())}
		if h.byte()&3 != 0 {
			in.Offset = h.console().sessions.Next(in.Session)
			in.Bytes = in.Bytes[:min(len(in.Bytes), h.console().Room())]
			if err := h.console().Input(in); err != nil {
				h.Fatalf("input within Room: %v", err)
			}
			return
		}
		h.unchanged(func() error { return h.console().Input(in) })
	}, func(h *hostile, outs []machine.Output) {
		for _, o := range outs {
			if len(o.Bytes) > consoleMaxWrite {
				h.Fatalf("%d bytes in one output", len(o.Bytes))
			}
		}
	})
}

func FuzzRNG(f *testing.F) {
	fuzz(f, newTestRNG, func(h *hostile) {
		n := int(h.byte())
		if p := h.rng().Pending(nil); len(p) > 0 && h.byte()&3 != 0 {
			n = int(p[0].Length)
		}
		h.unchanged(func() error { return h.rng().Fill(machine.Entropy{Bytes: make([]byte, n)}) })
	}, func(h *hostile, outs []machine.Output) {
		if len(outs) > 1 || len(h.rng().Pending(nil)) > 1 {
			h.Fatal("two requests at once")
		}
		for _, o := range outs {
			if o.Length == 0 || o.Length > MaxEntropy {
				h.Fatalf("%d bytes asked for", o.Length)
			}
		}
	})
}

// Random scripts in every run, so that the targets above are not only as good
// as their seeds.
func TestHostileScripts(t *testing.T) {
	for seed := range uint64(200) {
		script := make([]byte, 1500)
		x := seed*0x9e3779b97f4a7c15 + 1
		for i := 0; i+8 <= len(script); i += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(script[i:], x)
		}
		for _, fresh := range []func(*mem.RAM, *sink) device{newTestBlock, newTestNet, newTestConsole, newTestRNG} {
			h := &hostile{driver: &driver{TB: t}, fresh: fresh, script: script,
				host: func(*hostile) {}, check: func(*hostile, []machine.Output) {}}
			h.run()
		}
	}
}
