package demo

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/vm"
)

// child is a process that the demo started. It ends when the demo does: its
// commands come by a pipe whose other end only the demo has.
type child struct {
	name     string
	cmd      *exec.Cmd
	commands *os.File
	done     chan struct{} // closed when it has ended and its lines are read

	mu     sync.Mutex
	status vm.Status
	events []vm.Event
	stderr tail
	code   int
}

// start runs this program again with other arguments. lines is called for every
// line of the child, by one goroutine.
func start(name string, lines func(*child, control.Line), args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	c := &child{name: name, cmd: exec.Command(self, args...), done: make(chan struct{})}
	commandsR, commandsW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	eventsR, eventsW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("demo: %w", err), commandsR.Close(), commandsW.Close())
	}
	c.commands = commandsW
	c.cmd.ExtraFiles = []*os.File{commandsR, eventsW}
	c.cmd.Stderr = &c.stderr
	// A group of its own: Ctrl-C at the terminal is the demo's to handle.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = c.cmd.Start()
	_ = commandsR.Close()
	_ = eventsW.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("demo: %s: %w", name, err), commandsW.Close(), eventsR.Close())
	}
	go c.read(eventsR, lines)
	return c, nil
}

func (c *child) read(r *os.File, lines func(*child, control.Line)) {
	defer close(c.done)
	in := bufio.NewReader(r)
	dec := json.NewDecoder(in)
	for {
		var l control.Line
		if err := dec.Decode(&l); err != nil {
			break
		}
		c.mu.Lock()
		if l.Status != nil {
			c.status = *l.Status
		}
		if l.Event != nil {
			c.events = append(c.events, *l.Event)
		}
		c.mu.Unlock()
		lines(c, l)
	}
	_ = r.Close()
	_ = c.cmd.Wait()
	c.mu.Lock()
	c.code = c.cmd.ProcessState.ExitCode() // -1 if it was killed
	c.mu.Unlock()
	_ = c.commands.Close()
}

func (c *child) command(text string) { _, _ = fmt.Fprintln(c.commands, text) }

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// ended says whether the process has ended, and with which exit code.
func (c *child) ended() (code int, ok bool) {
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.code, true
	default:
		return 0, false
	}
}

// stop ends the process: by order, and after the patience by force.
func (c *child) stop(patience time.Duration) {
	if c == nil {
		return
	}
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(patience):
		c.signal(syscall.SIGKILL)
		<-c.done
	}
}

func (c *child) latest() vm.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// first is the first event of a kind at or after a moment.
func (c *child) first(kind vm.EventKind, after time.Time) (vm.Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.Kind == kind && !e.Time.Before(after) {
			return e, true
		}
	}
	return vm.Event{}, false
}

// tail keeps the end of what a child writes to its standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - 8192; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
