// Package control is how the demo watches and steers the processes that it
// starts: JSON lines over two inherited pipes. A child reads commands from
// Commands and ends when that is closed, so that it cannot outlive the demo,
// however the demo ends; it writes what happens to Events.
package control

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/lockstep-vm/lockstep/network"
	"github.com/lockstep-vm/lockstep/vm"
)

// File descriptors of a child.
const (
	Commands = 3
	Events   = 4
)

// ResetStatistics is the command that starts a replica's statistics anew.
const ResetStatistics = "reset-statistics"

// Resume is the command that tries the disks that have stopped again at once.
const Resume = "resume"

// Save, followed by a path, is the command that writes a snapshot of the VM. An
// event tells how it went.
const Save = "save "

// Line is one line of a child: one of its fields is set, and Offset beside
// Console.
type Line struct {
	Event    *vm.Event            `json:"event,omitempty"`
	Status   *vm.Status           `json:"status,omitempty"`
	Console  []byte               `json:"console,omitempty"`
	Offset   uint64               `json:"offset,omitempty"`   // of the console's bytes
	Address  string               `json:"address,omitempty"`  // where a replica's logging channel listens
	Forwards []string             `json:"forwards,omitempty"` // addresses of a switch's forwards on this host
	Switch   *network.SwitchEvent `json:"switch,omitempty"`
}

// Writer writes lines from any goroutine.
type Writer struct {
	mu  sync.Mutex
	out *json.Encoder
}

// NewWriter writes to the inherited descriptor.
func NewWriter() *Writer {
	return &Writer{out: json.NewEncoder(os.NewFile(Events, "events"))}
}

// Write writes one line. An error means that the reader is gone; the commands'
// end says so too.
func (w *Writer) Write(l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(l)
}
