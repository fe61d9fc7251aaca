package sim

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
)

// Sizes of the toy.
const (
	toySectors  = 16 // sectors of its disk
	toyRx       = 4  // frames that its NIC has room for
	toyReplies  = 8  // answers that it can repeat
	toyRequests = 4  // disk requests that may be pending,
	toyRacing   = 8  // and if they race
)

// ToyConfig is what a Toy is built from. Two toys with the same configuration
// are the same machine.
type ToyConfig struct {
	Seed uint64 // of its program
	// PowerOffAfter powers the toy off once it has served so many requests; 0
	// is never.
	PowerOffAfter uint64
	// LocalDisk: what it writes to its disk is no output.
	LocalDisk bool
	// Racing: it does not wait for a request before it makes another one for the
	// same sectors, and its requests are more, and longer.
	Racing bool
	// DiskUntil is when it makes its last disk request; 0 is never.
	DiskUntil machine.VTime
}

// Toy is a small deterministic computer: it executes pseudo-random instructions
// that send frames, write and read one disk, print, ask for entropy, set a
// timer, wait, and serve a client. Whatever it is given, and where, changes
// everything it does later, so two toys that agree have seen the same.
//
// A frame of 16 bytes is a client's request (number, payload, little-endian).
// Requests are served in the order of their numbers from 1, each once; the
// answer is 24 bytes: number, a running hash over the payloads served, and a
// word of the toy's state at that moment. A repeated request gets the same
// answer again. Every other frame is only stirred in.
type Toy struct {
	cfg ToyConfig
	st  toyState
	out []machine.Output   // since the last Outputs; not part of State
	was [toySectors]uint64 // what written was at the Account before; not part of State
}

type toyState struct {
	pos     machine.Icount
	reg     [4]uint64
	clock   machine.Clock
	timer   machine.VTime // 0: none
	waiting bool
	stop    bool // Stop was delivered
	off     bool
	mark    machine.Mark

	rx      [][]byte
	served  uint64
	hash    uint64
	replies [toyReplies]toyReply

	nextID  uint64
	pending []toyRequest       // for disk and entropy, oldest first
	written [toySectors]uint64 // of a racing toy: as soon as the request is made
	writeID [toySectors]uint64 // of the request that wrote it
	flushID [toySectors]uint64 // writeID at the last flush
	corrupt uint64
	failed  uint64

	conOut     uint64
	conTail    []byte
	conSession uint64
	conTaken   uint64
}

type toyReply struct{ number, hash, word uint64 }

// toyRequest is a request that waits for its completion.
type toyRequest struct {
	machine.Output
	// wants is for a racing read: of each of its sectors, what was written there
	// last, and then what was written while the read was pending.
	wants [][]uint64
}

var _ machine.Machine = (*Toy)(nil)

// NewToy is a toy at power-on.
func NewToy(cfg ToyConfig) *Toy {
	t := &Toy{cfg: cfg}
	t.st.reg[0] = mix(cfg.Seed + 1)
	t.st.clock = machine.Clock{Mul: 1 << 32}
	t.st.nextID = 1
	return t
}

// boot is a power-on from a disk that holds these blocks. Ids of requests start
// at id.
func (t *Toy) boot(disk [toySectors]block, id uint64) {
	for i, b := range disk {
		t.st.written[i], t.st.writeID[i], t.st.flushID[i] = b.value, b.id, b.id
	}
	t.st.nextID, t.was = id, t.st.written
}

// Icount is the current position.
func (t *Toy) Icount() machine.Icount { return t.st.pos }

// Mark is the running pair over all held outputs.
func (t *Toy) Mark() machine.Mark { return t.st.mark }

// Clock is the virtual clock's current parameters.
func (t *Toy) Clock() machine.Clock { return t.st.clock }

// NextTimer is the timer that is set, if any.
func (t *Toy) NextTimer() (machine.VTime, bool) { return t.st.timer, t.st.timer != 0 }

// Served is how many client requests the toy has served.
func (t *Toy) Served() uint64 { return t.st.served }

// Corrupt is how many times a read brought something else than the last write
// to its sector. A racing read may also bring what was written later.
func (t *Toy) Corrupt() uint64 { return t.st.corrupt }

// Failed is how many disk requests were completed with an error.
func (t *Toy) Failed() uint64 { return t.st.failed }

// RxRoom says how many frames or console bytes the toy takes now.
func (t *Toy) RxRoom(p machine.Port) int {
	switch {
	case t.st.off:
		return 0
	case p == machine.Port{Kind: machine.PortNIC}:
		return toyRx - len(t.st.rx)
	case p == machine.Port{Kind: machine.PortConsole}:
		return 64
	}
	return 0
}

// ConsoleTail is the last console output.
func (t *Toy) ConsoleTail(console uint8) (uint64, []byte) {
	if console != 0 {
		return 0, nil
	}
	return t.st.conOut - uint64(len(t.st.conTail)), append([]byte(nil), t.st.conTail...)
}

// Outputs appends what came out since the last call.
func (t *Toy) Outputs(buf []machine.Output) []machine.Output {
	buf = append(buf, t.out...)
	clear(t.out)
	t.out = t.out[:0]
	return buf
}

// Pending appends the requests that wait for an input.
func (t *Toy) Pending(buf []machine.Output) []machine.Output {
	for _, p := range t.st.pending {
		buf = append(buf, p.Output)
	}
	return buf
}

// Run executes up to and not beyond until.
func (t *Toy) Run(until machine.Icount) machine.Exit {
	s := &t.st
	for s.pos < until {
		if s.off {
			return machine.PoweredOff
		}
		if s.timer != 0 && s.clock.At(s.pos) >= s.timer {
			s.timer, s.waiting = 0, false
			s.reg[1] = mix(s.reg[1] ^ uint64(s.pos))
		}
		if s.waiting {
			return machine.Idle
		}
		s.pos++
		if exit := t.step(); exit != machine.Reached {
			return exit
		}
	}
	return machine.Reached
}

// step executes one instruction.
func (t *Toy) step() machine.Exit {
	s := &t.st
	h := mix(s.reg[0] + uint64(s.pos)*0x9e3779b97f4a7c15)
	s.reg[0] = h
	s.reg[h>>2&3] ^= h >> 8
	arg := h >> 16
	if s.stop || t.cfg.PowerOffAfter != 0 && s.served >= t.cfg.PowerOffAfter {
		if h&7 == 0 {
			if t.cfg.Racing { // and waits for nothing
				t.request(machine.DiskRead, arg%6, 0)
				t.request(machine.DiskWrite, arg%6, arg>>8)
			}
			s.off = true
			t.emit(machine.Output{Port: machine.Port{Kind: machine.PortPower}})
			return machine.PoweredOff
		}
	}
	switch h & 255 {
	case 0, 1:
		t.print(byte('a' + arg%26))
	case 2, 3:
		t.emit(machine.Output{Port: machine.Port{Kind: machine.PortNIC}, Bytes: words(arg)})
		return machine.OutputReady
	case 4, 5, 6:
		return t.request(machine.DiskWrite, arg%toySectors, arg>>8)
	case 7, 8:
		return t.request(machine.DiskRead, arg%toySectors, 0)
	case 9:
		return t.request(machine.DiskFlush, 0, 0)
	case 10:
		return t.wantEntropy()
	case 20, 21, 22, 23, 24, 25, 26:
		if t.cfg.Racing {
			return t.race(arg)
		}
	case 11, 12, 13:
		s.timer = s.clock.At(s.pos) + 1 + machine.VTime(arg%300)
	case 14, 15, 16, 17, 18, 19:
		if s.timer == 0 {
			s.timer = s.clock.At(s.pos) + 1 + machine.VTime(arg%300)
		}
		if len(s.rx) == 0 && s.clock.At(s.pos) < s.timer { // else pending, and a no-op (R4)
			s.waiting = true
			return machine.Idle
		}
	default:
		if h&15 == 15 && len(s.rx) > 0 {
			return t.receive()
		}
	}
	return machine.Reached
}

// receive takes the oldest frame.
func (t *Toy) receive() machine.Exit {
	s := &t.st
	f := s.rx[0]
	s.rx = s.rx[1:]
	if len(f) != 16 {
		for _, b := range f {
			s.reg[2] = mix(s.reg[2] ^ uint64(b))
		}
		return machine.Reached
	}
	number, payload := binary.LittleEndian.Uint64(f), binary.LittleEndian.Uint64(f[8:])
	switch {
	case number == s.served+1:
		s.served = number
		s.hash = RequestHash(s.hash, payload)
		s.replies[number%toyReplies] = toyReply{number, s.hash, s.reg[0]}
		s.reg[2] ^= payload
	case number > s.served:
		return machine.Reached
	}
	r := s.replies[number%toyReplies]
	if r.number != number || number == 0 {
		return machine.Reached
	}
	t.emit(machine.Output{Port: machine.Port{Kind: machine.PortNIC}, Bytes: words(r.number, r.hash, r.word)})
	return machine.OutputReady
}

// RequestHash is the running hash over payloads that answers carry.
func RequestHash(before, payload uint64) uint64 { return mix(before*3 + payload) }

// Request is the frame of a client's request.
func Request(number, payload uint64) []byte { return words(number, payload) }

func words(v ...uint64) []byte {
	b := make([]byte, 0, 8*len(v))
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// emit sends a held output.
func (t *Toy) emit(o machine.Output) {
	o.Pos = t.st.pos
	t.st.mark = t.st.mark.Add(o)
	o.Count = t.st.mark.Count
	t.out = append(t.out, o)
}

func (t *Toy) print(b byte) {
	s := &t.st
	t.emit(machine.Output{Port: machine.Port{Kind: machine.PortConsole}, Offset: s.conOut, Bytes: []byte{b}})
	s.conOut++
	s.conTail = append(s.conTail, b)
	if over := len(s.conTail) - machine.ConsoleTailSize; over > 0 {
		s.conTail = s.conTail[over:]
	}
}

// request makes a disk request unless one for the same sector is pending.
func (t *Toy) request(op machine.DiskOp, sector, value uint64) machine.Exit {
	s := &t.st
	switch {
	case len(s.pending) >= t.requests(), t.cfg.DiskUntil != 0 && s.clock.At(s.pos) >= t.cfg.DiskUntil:
		return machine.Reached
	case t.cfg.Racing:
		t.ask(t.racing(op, sector, value))
		return machine.OutputReady
	}
	for _, p := range s.pending {
		if p.Port.Kind == machine.PortDisk && (op == machine.DiskFlush || p.Sector == sector || p.Op == machine.DiskFlush) {
			return machine.Reached
		}
	}
	o := machine.Output{Pos: s.pos, Port: machine.Port{Kind: machine.PortDisk}, Op: op, ID: s.nextID, Local: t.cfg.LocalDisk, Sector: sector}
	s.nextID++
	switch op {
	case machine.DiskWrite:
		o.Bytes = block{id: o.ID, value: value}.bytes()
	case machine.DiskRead:
		o.Length = 512
	}
	t.ask(o)
	return machine.OutputReady
}

// ask makes a disk request.
func (t *Toy) ask(o machine.Output) {
	s := &t.st
	if o.Held() {
		s.mark = s.mark.Add(o)
		o.Count = s.mark.Count
	}
	t.out = append(t.out, o)
	s.pending = append(s.pending, toyRequest{Output: o, wants: t.wants(o)})
}

func (t *Toy) wantEntropy() machine.Exit {
	s := &t.st
	for _, p := range s.pending {
		if p.Port.Kind == machine.PortEntropy {
			return machine.Reached
		}
	}
	o := machine.Output{Pos: s.pos, Port: machine.Port{Kind: machine.PortEntropy}, Length: 8}
	t.out = append(t.out, o)
	s.pending = append(s.pending, toyRequest{Output: o})
	return machine.OutputReady
}

var (
	errToyOff  = errors.New("sim: the toy is off")
	errToyRoom = errors.New("sim: the toy has no room for a frame")
	errToyNone = errors.New("sim: nothing waits for this completion")
)

// Deliver applies one input at the current position.
func (t *Toy) Deliver(in machine.Input) error {
	s := &t.st
	if _, clock := in.(machine.SetClock); s.off && !clock {
		return errToyOff
	}
	switch in := in.(type) {
	case machine.SetClock:
		if in.Clock.I0 != s.pos || in.Clock.T0 < s.clock.At(s.pos) {
			return fmt.Errorf("sim: clock %+v does not fit position %d", in.Clock, s.pos)
		}
		s.clock = in.Clock
		return nil // the time alone wakes nobody
	case machine.Frame:
		if in.NIC != 0 || len(s.rx) >= toyRx {
			return errToyRoom
		}
		s.rx = append(s.rx, append([]byte(nil), in.Bytes...))
	case machine.ConsoleInput:
		if in.Session != s.conSession {
			s.conSession, s.conTaken = in.Session, 0
		}
		for i, b := range in.Bytes {
			if at := in.Offset + uint64(i); at == s.conTaken {
				s.conTaken++
				s.reg[3] = mix(s.reg[3] ^ uint64(b))
			}
		}
	case machine.DiskDone:
		if !t.complete(in) {
			return errToyNone
		}
	case machine.Entropy:
		i := t.find(machine.PortEntropy, 0)
		if i < 0 || len(in.Bytes) != 8 {
			return errToyNone
		}
		s.pending = append(s.pending[:i], s.pending[i+1:]...)
		s.reg[3] ^= binary.LittleEndian.Uint64(in.Bytes)
	case machine.Stop:
		s.stop = true
	default:
		return fmt.Errorf("sim: the toy takes no %T", in)
	}
	s.reg[0] = mix(s.reg[0] ^ uint64(s.pos))
	s.waiting = false
	return nil
}

func (t *Toy) find(kind machine.PortKind, id uint64) int {
	for i, p := range t.st.pending {
		if p.Port.Kind == kind && p.ID == id {
			return i
		}
	}
	return -1
}

func (t *Toy) complete(in machine.DiskDone) bool {
	s := &t.st
	i := t.find(machine.PortDisk, in.ID)
	if i < 0 || in.Disk != 0 {
		return false
	}
	p := s.pending[i]
	if p.Op == machine.DiskRead && in.Status == machine.DiskOK && len(in.Bytes) != int(p.Length) {
		return false
	}
	s.pending = append(s.pending[:i], s.pending[i+1:]...)
	if in.Status != machine.DiskOK {
		s.failed++
		s.reg[1] = mix(s.reg[1] + uint64(in.Status))
		return true
	}
	if t.cfg.Racing {
		t.raced(p, in.Bytes)
		return true
	}
	switch p.Op {
	case machine.DiskWrite:
		s.written[p.Sector], s.writeID[p.Sector] = binary.LittleEndian.Uint64(p.Bytes), p.ID
	case machine.DiskFlush:
		s.flushID = s.writeID // nothing else is pending at a flush
	case machine.DiskRead:
		v := binary.LittleEndian.Uint64(in.Bytes)
		if v != s.written[p.Sector] {
			s.corrupt++
		}
		s.reg[1] ^= v
	}
	return true
}
