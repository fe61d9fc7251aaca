package vm

import (
	"sync"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/network"
)

// mailbox is where the goroutines of the adapters meet the one goroutine that
// owns the machine. It is looked at between two slices.
//
// Every queue is bounded by whoever fills it: disk completions by the requests
// in flight, frames and console bytes by mailboxFrames and mailboxConsole,
// commands by the few who give them.
type mailbox struct {
	wake chan struct{} // of capacity 1: something has arrived

	mu       sync.Mutex
	room     *sync.Cond // frames or console bytes were taken
	closed   bool
	frames   []arrived
	disks    []machine.DiskDone
	console  []machine.ConsoleInput
	commands []func() // run by the owner
}

// arrived is a frame that waits for the guest to have room.
type arrived struct {
	nic   uint8
	frame network.Received
}

const (
	mailboxFrames  = 256
	mailboxConsole = 64
)

func newMailbox() *mailbox {
	m := &mailbox{wake: make(chan struct{}, 1)}
	m.room = sync.NewCond(&m.mu)
	return m
}

func (m *mailbox) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// putFrame waits while the mailbox is full; false after close.
func (m *mailbox) putFrame(a arrived) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.frames) >= mailboxFrames && !m.closed {
		m.room.Wait()
	}
	if m.closed {
		return false
	}
	m.frames = append(m.frames, a)
	m.ring()
	return true
}

// putConsole waits while the mailbox is full; false after close.
func (m *mailbox) putConsole(in machine.ConsoleInput) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.console) >= mailboxConsole && !m.closed {
		m.room.Wait()
	}
	if m.closed {
		return false
	}
	m.console = append(m.console, in)
	m.ring()
	return true
}

func (m *mailbox) putDisk(d machine.DiskDone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks = append(m.disks, d)
	m.ring()
}

// do has the owner run f between two slices.
func (m *mailbox) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = append(m.commands, f)
	m.ring()
}

func (m *mailbox) takeCommands() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.commands
	m.commands = nil
	return c
}

// takeDisks returns every completion that has arrived.
func (m *mailbox) takeDisks() []machine.DiskDone {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks
	m.disks = nil
	return d
}

// takeFrames removes frames, oldest first, as long as room says that their NIC
// takes one more; room is called under the mailbox's lock.
func (m *mailbox) takeFrames(buf []arrived, room func(nic uint8) bool) []arrived {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.frames[:0]
	for _, a := range m.frames {
		if room(a.nic) {
			buf = append(buf, a)
		} else {
			kept = append(kept, a)
		}
	}
	if len(kept) < len(m.frames) {
		clear(m.frames[len(kept):])
		m.frames = kept
		m.room.Broadcast()
	}
	return buf
}

// takeConsole removes at most room bytes of the oldest input.
func (m *mailbox) takeConsole(room func(console uint8) int) (machine.ConsoleInput, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.console) == 0 {
		return machine.ConsoleInput{}, false
	}
	in := m.console[0]
	n := min(room(in.Console), len(in.Bytes))
	if n == 0 {
		return machine.ConsoleInput{}, false
	}
	rest := in
	in.Bytes, rest.Bytes, rest.Offset = in.Bytes[:n], in.Bytes[n:], in.Offset+uint64(n)
	if len(rest.Bytes) > 0 {
		m.console[0] = rest
	} else {
		m.console = m.console[1:]
		m.room.Broadcast()
	}
	return in, true
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.room.Broadcast()
}
