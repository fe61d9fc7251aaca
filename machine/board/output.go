package board

import "github.com/lockstep-vm/lockstep/machine"

// emit takes one output, stamps it with position and count, and keeps the mark.
func (b *Board) emit(o machine.Output) {
	o.Pos = b.hart.Icount
	if o.Port.Kind == machine.PortConsole {
		b.emitConsole(o)
		return
	}
	if o.Held() {
		b.mark = b.mark.Add(o)
		o.Count = b.mark.Count
	}
	b.out = append(b.out, o)
	b.requestExit(machine.OutputReady)
}

// emitConsole counts every byte by itself, then joins bytes that follow each
// other. Position and count of what is joined are those of its last byte.
func (b *Board) emitConsole(o machine.Output) {
	for i := range o.Bytes {
		one := o
		one.Bytes = o.Bytes[i : i+1]
		b.mark = b.mark.Add(one)
	}
	o.Count = b.mark.Count
	if n := len(b.out); n > 0 && b.out[n-1].Port == o.Port {
		last := &b.out[n-1]
		last.Bytes = append(last.Bytes, o.Bytes...)
		last.Pos, last.Count = o.Pos, o.Count
		return
	}
	b.out = append(b.out, o)
}

// powerOff is the last output.
func (b *Board) powerOff(failed bool) {
	if b.off {
		return
	}
	o := machine.Output{Port: machine.Port{Kind: machine.PortPower}}
	if failed {
		o.Bytes = []byte{machine.GuestFailed}
	}
	b.emit(o)
	b.off, b.restart = true, false
	b.requestExit(machine.PoweredOff)
}

// Outputs implements machine.Machine. What is returned shares no memory with
// the machine.
func (b *Board) Outputs(buf []machine.Output) []machine.Output {
	buf = append(buf, b.out...)
	clear(b.out)
	b.out = b.out[:0]
	return buf
}

// Pending implements machine.Machine.
func (b *Board) Pending(buf []machine.Output) []machine.Output {
	for _, d := range b.disks {
		buf = d.Pending(buf)
	}
	return b.rng.Pending(buf)
}

// Mark implements machine.Machine.
func (b *Board) Mark() machine.Mark { return b.mark }

// ConsoleTail implements machine.Machine.
func (b *Board) ConsoleTail(console uint8) (offset uint64, tail []byte) {
	switch console {
	case 0:
		return b.uart.Tail()
	case virtioConsole:
		return b.con.Tail()
	case ProgramConsole:
		if b.program != nil {
			return b.program.errors.Tail()
		}
	}
	return 0, nil
}
