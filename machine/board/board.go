// Package board is the computer: one hart, RAM and devices, put together as
// QEMU's virt board. It meets machine.Machine.
//
//	            Deliver                     Outputs
//	               │                           ▲
//	┌──────────────▼───────────────────────────┴───────┐
//	│ devices: UART, PLIC, CLINT, RTC, syscon, virtio  │
//	│    ▲ MMIO            │ lines           ▲ DMA     │
//	│ ┌──┴─────────────────▼──┐        ┌─────┴─────┐   │
//	│ │ hart                  ├───────►│ RAM       │   │
//	│ └───────────┬───────────┘        └───────────┘   │
//	│             ▼ ecall from S: the machine's own SBI│
//	└──────────────────────────────────────────────────┘
//
// Without firmware the guest starts in supervisor mode with what firmware would
// have set up, and the board answers its SBI calls. With firmware the hart
// starts there, in machine mode, and all that is the firmware's.
package board

import (
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/dev/virtio"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// device is the guest half of a device as the board handles it.
type device interface {
	bus.Device
	Reset()
	SaveState(e *snapshot.Encoder)
	LoadState(d *snapshot.Decoder) error
}

// line is an interrupt line from a device to the PLIC.
type line struct {
	source uint32
	dev    interface{ IRQ() bool }
}

// Board is the computer.
type Board struct {
	cfg    *machine.Config
	hash   [32]byte
	layout boot.Layout

	ram  *mem.RAM
	hart *hart.Hart
	bus  bus.Bus

	uart  *dev.UART
	plic  *dev.PLIC
	clint *dev.CLINT
	rtc   *dev.RTC
	rng   *virtio.RNG
	con   *virtio.Console
	nics  []*virtio.Net
	disks []*virtio.Block

	program *program // runs without a kernel; nil otherwise

	devices []device // all that have State, in the order of the snapshot
	lines   []line

	// State beside that of hart, RAM and devices.
	birth  machine.Birth
	mark   machine.Mark
	resets uint64 // guest resets since power-on
	off    bool

	running bool           // inside Run
	alarm   machine.Icount // nextAlarm as Run has last asked for it
	restart bool           // the instruction that runs has asked for a guest reset
	out     []machine.Output
	enc     []byte // reused by Digest
}

var _ machine.Machine = (*Board)(nil)

// Engine is what executes the guest. All engines lead to the same State (R5).
// The zero value is the interpreter.
type Engine struct {
	// Native translates what is executed often into the host's code; nil
	// interprets everything. It belongs to one board.
	Native hart.Native
	// Threshold is how often a block is interpreted before Native translates
	// it; 0 is what serves guests well.
	Threshold int32
	// Reference interprets without any cache: slow, and what the others are
	// tested against.
	Reference bool
}

// hotAfter is the Threshold that serves guests well.
const hotAfter = 16

func (e Engine) options() hart.Options {
	if e.Threshold == 0 {
		e.Threshold = hotAfter
	}
	return hart.Options{NoCache: e.Reference, Native: e.Native, Threshold: e.Threshold}
}

// New is a computer at power-on, on the interpreter. The configuration must not
// be changed afterwards: its firmware, kernel and initrd are laid into RAM
// again at every guest reset.
func New(cfg *machine.Config, birth machine.Birth) (*Board, error) {
	return NewOn(Engine{}, cfg, birth)
}

// NewReference is New on the reference engine.
func NewReference(cfg *machine.Config, birth machine.Birth) (*Board, error) {
	return NewOn(Engine{Reference: true}, cfg, birth)
}

// NewOn is New on an engine.
func NewOn(e Engine, cfg *machine.Config, birth machine.Birth) (*Board, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	layout, err := boot.Place(cfg)
	if err != nil {
		return nil, err
	}
	if err := checkClock(birth.Clock, 0, 0); err != nil {
		return nil, err
	}
	opt := e.options()
	opt.MaxMode = satpMode(cfg.MMU)
	b := &Board{cfg: cfg, hash: cfg.Hash(), layout: layout, birth: birth, ram: mem.New(cfg.Memory)}
	b.hart = hart.New(b.ram, env{b}, opt)
	b.hart.SetClock(birth.Clock)
	b.attach()
	if err := b.boot(); err != nil {
		return nil, err
	}
	return b, nil
}

// satpMode is a mode's number in satp (privileged spec 12.1.11).
func satpMode(m machine.MMU) uint8 { return 8 + uint8(m) }

// attach makes the devices and puts them on the bus. Virtio slots are in the
// order entropy, console, NICs, disks.
func (b *Board) attach() {
	b.uart = dev.NewUART(env{b})
	b.plic = &dev.PLIC{}
	b.clint = dev.NewCLINT(hartTimer{b.hart})
	b.rtc = dev.NewRTC(b.birth.RTC, b.hart.Time)
	b.place(boot.UARTBase, dev.UARTSize, b.uart)
	b.place(boot.PLICBase, dev.PLICSize, b.plic)
	b.place(boot.CLINTBase, dev.CLINTSize, b.clint)
	b.place(boot.RTCBase, dev.RTCSize, b.rtc)
	b.bus.Attach(bus.Window{Base: boot.SysconBase, Size: dev.SysconSize, Dev: dev.NewSyscon(env{b})})
	b.lines = append(b.lines, line{boot.UARTIRQ, b.uart}, line{boot.RTCIRQ, b.rtc})

	b.rng = virtio.NewRNG(b.ram, env{b})
	b.con = virtio.NewConsole(b.ram, env{b}, virtio.ConsoleIndex)
	slot := 0
	plug := func(d interface {
		device
		IRQ() bool
	}) {
		base, irq := boot.VirtioSlot(slot)
		slot++
		b.place(base, virtio.WindowSize, d)
		b.lines = append(b.lines, line{irq, d})
	}
	plug(b.rng)
	plug(b.con)
	for i, c := range b.cfg.NICs {
		n := virtio.NewNet(b.ram, env{b}, uint8(i), c)
		b.nics = append(b.nics, n)
		plug(n)
	}
	for i, c := range b.cfg.Disks {
		d := virtio.NewBlock(b.ram, env{b}, uint8(i), c)
		b.disks = append(b.disks, d)
		plug(d)
	}
}

func (b *Board) place(base machine.GPA, size uint64, d device) {
	b.devices = append(b.devices, d)
	b.bus.Attach(bus.Window{Base: base, Size: size, Dev: d})
}

// virtioSlots is how many virtio devices there are.
func (b *Board) virtioSlots() int { return 2 + len(b.nics) + len(b.disks) }

// seed is what the device tree gives the guest's random number generator: the
// seed of Birth at power-on, another one derived from it after each reset.
func (b *Board) seed() (out [64]byte) {
	if b.resets == 0 {
		return b.birth.Seed
	}
	h := blake3.NewDeriveKey("lockstep rng-seed after a guest reset")
	e := snapshot.NewEncoder(nil)
	e.Blob(b.birth.Seed[:])
	e.U64(b.resets)
	h.Write(e.Bytes())
	if _, err := h.Digest().Read(out[:]); err != nil {
		panic("board: BUG: blake3 ran dry: " + err.Error())
	}
	return out
}

// boot lays the payload into RAM, which is all zeros, and starts the hart: in
// the firmware, or in the kernel as firmware would enter it.
func (b *Board) boot() error {
	tree := boot.Tree{
		Memory:  b.cfg.Memory,
		MMU:     b.cfg.MMU,
		Cmdline: b.cfg.Cmdline,
		Virtio:  b.virtioSlots(),
		Seed:    b.seed(),
		Layout:  b.layout,
	}.Encode()
	if b.program != nil {
		b.program.load(b, tree)
		return nil
	}
	if err := boot.Load(b.ram, b.cfg, b.layout, tree); err != nil {
		return err
	}
	if b.hasFirmware() {
		b.hart.Reset(uint64(b.layout.Entry), rv64.MachineMode, 0, uint64(b.layout.Tree))
		b.hart.X[12] = uint64(b.layout.Info)
	} else {
		b.enterKernel()
	}
	b.carryLines()
	return nil
}

// hasFirmware says whether machine mode is the guest's own.
func (b *Board) hasFirmware() bool { return len(b.cfg.Firmware) > 0 }

// enterKernel starts the hart in supervisor mode with what firmware sets up.
func (b *Board) enterKernel() {
	h := b.hart
	h.Reset(uint64(b.layout.Entry), rv64.Supervisor, 0, uint64(b.layout.Tree))
	h.Medeleg = delegated
	h.Mideleg = 1<<rv64.SSIP | 1<<rv64.STIP | 1<<rv64.SEIP
	h.Mcounteren = 7 // cycle, time, instret
	h.Scounteren = 7 // as firmware leaves it: programs read time in user mode
	h.OpenPMP()
	h.Menvcfg = rv64.EnvSTCE | rv64.EnvADUE | rv64.EnvCBIE | rv64.EnvCBCFE | rv64.EnvCBZE
}

// delegated is every exception but ecalls from supervisor and machine mode:
// there is no machine-mode software to take them.
const delegated = 1<<rv64.InstructionMisaligned | 1<<rv64.InstructionAccessFault | 1<<rv64.IllegalInstruction |
	1<<rv64.Breakpoint | 1<<rv64.LoadMisaligned | 1<<rv64.LoadAccessFault | 1<<rv64.StoreMisaligned |
	1<<rv64.StoreAccessFault | 1<<rv64.EcallU | 1<<rv64.InstructionPageFault | 1<<rv64.LoadPageFault |
	1<<rv64.StorePageFault

// reset is the guest reset: RAM and devices as at power-on, while position,
// clock, mark, console offsets and requests that the host still has go on.
func (b *Board) reset() {
	b.restart = false
	b.resets++
	b.ram.Zero()
	for _, d := range b.devices {
		d.Reset()
	}
	if err := b.boot(); err != nil {
		panic(fmt.Sprintf("board: BUG: what booted once does not boot again: %v", err))
	}
}

// carryLines carries the levels of the devices' interrupt lines to the PLIC
// and the hart. It follows every access and input that may change one.
func (b *Board) carryLines() {
	var levels uint64
	for _, l := range b.lines {
		if l.dev.IRQ() {
			levels |= 1 << l.source
		}
	}
	b.plic.SetLevels(levels)
	b.hart.SetPending(rv64.MEIP, b.plic.IRQ(dev.PLICMachine))
	b.hart.SetPending(rv64.SEIP, b.plic.IRQ(dev.PLICSupervisor))
	b.hart.SetPending(rv64.MSIP, b.clint.IRQ())
}

// ConfigHash identifies what the guest can see of the computer.
func (b *Board) ConfigHash() [32]byte { return b.hash }

// DropCaches drops every cache. It changes nothing that the guest can see (R5).
func (b *Board) DropCaches() { b.hart.DropCaches() }

// Icount implements machine.Machine.
func (b *Board) Icount() machine.Icount { return b.hart.Icount }

// Run implements machine.Machine. A guest reset also ends a slice, as
// OutputReady: a guest that resets at once, for ever, must not keep its caller.
func (b *Board) Run(until machine.Icount) machine.Exit {
	if b.off {
		return machine.PoweredOff
	}
	for {
		b.alarm = b.nextAlarm()
		b.running = true
		exit := b.hart.Run(min(until, b.alarm))
		b.running = false
		switch {
		case b.off:
			return machine.PoweredOff
		case b.restart:
			b.reset()
			return machine.OutputReady
		}
		b.carryLines() // the alarm's rises on arrival, by itself
		if exit == exitAlarm {
			exit = machine.Reached
		}
		if exit != machine.Reached || b.hart.Icount >= until {
			return exit
		}
	}
}

// Clock implements machine.Machine.
func (b *Board) Clock() machine.Clock { return b.hart.Clock }

// NextTimer implements machine.Machine.
func (b *Board) NextTimer() (machine.VTime, bool) {
	if b.off {
		return 0, false
	}
	next, any := b.hart.NextTimer()
	if t, set := b.rtc.Alarm(); set && b.rtc.Wakes() && (!any || t < next) {
		return t, true
	}
	return next, any
}

// exitAlarm ends a piece of a slice because nextAlarm has changed.
const exitAlarm machine.Exit = 128

// nextAlarm is the first position at which the RTC's alarm shows by itself.
// Execution never runs past it in one piece, so that its interrupt is taken at
// an exact position however the machine is run.
func (b *Board) nextAlarm() machine.Icount {
	if t, set := b.rtc.Alarm(); set {
		return b.hart.Clock.Reaches(t)
	}
	return machine.Never
}
