package board

import (
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/dev"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// ProgramConsole is the console that takes what a program writes to its
// standard error by a system call. Everything else that it writes is on the
// UART's, console 0, or on that of virtio.
const ProgramConsole = virtioConsole + 1

// ProgramClock is the virtual clock of programs: one tick of 100 ns every eight
// instructions. While the hart waits RunProgram steps it to the next timer.
var ProgramClock = machine.Clock{Mul: 1 << 29}

// NewProgram is a computer that runs one program on the bare machine and has
// no other payload: the hart starts at its entry point in machine mode, in its
// reset state, with zero in a0 and in a1 the address of the device tree or, if
// the program leaves no room for it, zero. Memory is in bytes.
//
// The program ends the machine through its symbol tohost or the syscon; see
// RunProgram and Ended.
func NewProgram(memory uint64, p *boot.Program, e Engine) (*Board, error) {
	cfg := &machine.Config{Memory: memory, MMU: machine.Sv57}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := p.Fit(memory); err != nil {
		return nil, err
	}
	b := &Board{
		cfg: cfg, hash: programHash(cfg, p), ram: mem.New(memory),
		birth:   machine.Birth{Clock: ProgramClock},
		program: &program{image: p},
	}
	opt := e.options()
	opt.MaxMode, opt.Watch = satpMode(cfg.MMU), p.ToHost
	b.hart = hart.New(b.ram, env{b}, opt)
	b.hart.SetClock(b.birth.Clock)
	b.attach()
	b.devices = append(b.devices, b.program)
	if err := b.boot(); err != nil {
		return nil, err
	}
	return b, nil
}

// programHash identifies what the guest can see of the computer.
func programHash(cfg *machine.Config, p *boot.Program) (out [32]byte) {
	base := cfg.Hash()
	e := snapshot.NewEncoder(nil)
	e.Section("lockstep program 1")
	e.Blob(base[:])
	for _, a := range []machine.GPA{p.Entry, p.ToHost, p.FromHost} {
		e.U64(uint64(a))
	}
	for _, s := range p.Segments {
		e.U64(uint64(s.Addr))
		e.U64(s.Size)
		e.Blob(s.Data)
	}
	return blake3.Sum256(e.Bytes())
}

// RunProgram is Run for a machine without a host: a hart that waits finds the
// clock stepped to its next timer at once. It is Idle only if there is no
// timer that could ever wake the hart, so that the program never ends.
func (b *Board) RunProgram(until machine.Icount) machine.Exit {
	for {
		exit := b.Run(until)
		if exit != machine.Idle {
			return exit
		}
		next, any := b.NextTimer()
		if !any || next > maxTime {
			return machine.Idle
		}
		c := b.Clock()
		c.T0, c.I0 = next, b.Icount()
		if err := b.Deliver(machine.SetClock{Clock: c}); err != nil {
			panic("board: BUG: the clock cannot be stepped to a timer: " + err.Error())
		}
	}
}

// Ended is how the program ended: its status, which is 0 if it calls itself a
// success, or what it asked of its host that this machine does not offer. It
// is not ended while Run has not said PoweredOff.
func (b *Board) Ended() (status uint8, err error) {
	if !b.off || b.program == nil {
		panic("board: BUG: Ended of what has not ended")
	}
	p := b.program
	switch p.end {
	case endStatus:
		return uint8(min(p.value, 255)), nil
	case endCommand:
		return 0, fmt.Errorf("board: the program wrote %#x to tohost: device %d, command %d; known are its end (an odd value), system calls (the address of eight doublewords) and device 1, command 1 (a character)",
			p.value, p.value>>56, p.value>>48&0xff)
	case endBlock:
		return 0, fmt.Errorf("board: the program asked for a system call with arguments at %#x, which is not eight aligned doublewords of RAM", p.value)
	case endCall:
		return 0, fmt.Errorf("board: the program asked for system call %d; known are write (%d) and exit (%d)", p.value, callWrite, callExit)
	}
	panic("board: BUG: unknown end of a program")
}

// Signature is a copy of what the program has left between its symbols
// begin_signature and end_signature.
func (b *Board) Signature() []byte {
	p := b.program.image
	out := make([]byte, p.SignatureEnd-p.SignatureBegin)
	b.ram.Read(p.SignatureBegin, out)
	return out
}

// end is why a program ended.
type end uint8

const (
	endStatus  end = iota // value is its exit status, however large
	endCommand            // value is what it wrote to tohost
	endBlock              // value is where the arguments of a system call should be
	endCall               // value is the number of an unknown system call
	numEnds
)

// program is the host of a program, as its host-target interface (HTIF) shows
// it: no window of registers but two doublewords of RAM.
type program struct {
	image *boot.Program

	end    end // of a machine that is off
	value  uint64
	errors dev.ConsoleLog
}

// load is the program's part of Board.boot.
func (p *program) load(b *Board, tree []byte) {
	at := p.image.Load(b.ram, tree)
	b.hart.Reset(uint64(p.image.Entry), rv64.MachineMode, 0, uint64(at))
	b.carryLines()
}

// finish ends the machine.
func (p *program) finish(b *Board, why end, value uint64) {
	p.end, p.value = why, value
	b.powerOff(why != endStatus || value != 0)
}

// fail notes a failure that the syscon was told. Its code is the status, but
// never that of a success.
func (p *program) fail(code uint16) { p.end, p.value = endStatus, max(uint64(code), 1) }

// Load and Store implement bus.Device: there is no window.
func (p *program) Load(uint64, uint8) uint64   { return 0 }
func (p *program) Store(uint64, uint8, uint64) {}

// Reset implements device. What was written counts since power-on.
func (p *program) Reset() { p.end, p.value = 0, 0 }

// SaveState implements device.
func (p *program) SaveState(e *snapshot.Encoder) {
	e.Section("program")
	e.U8(uint8(p.end))
	e.U64(p.value)
	p.errors.Save(e)
}

// LoadState implements device.
func (p *program) LoadState(d *snapshot.Decoder) error {
	d.Section("program")
	p.end = end(d.U8())
	p.value = d.U64()
	if p.end >= numEnds {
		d.Fail(fmt.Errorf("board: a program cannot end as %d", p.end))
	}
	return p.errors.Load(d)
}
