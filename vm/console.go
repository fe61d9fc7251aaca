package vm

import (
	"io"
	"sync"

	"github.com/lockstep-vm/lockstep/machine"
)

// consoleBacklog bounds what waits for a slow reader of the console; beyond it
// the oldest is dropped. The guest never waits for its console.
const consoleBacklog = 1 << 20

// consoleWriter copies what the guest writes to its consoles to a writer that
// may be slow.
type consoleWriter struct {
	mu     sync.Mutex
	ready  *sync.Cond
	wait   []byte
	closed bool
	done   sync.WaitGroup
}

func newConsoleWriter(w io.Writer) *consoleWriter {
	c := &consoleWriter{}
	c.ready = sync.NewCond(&c.mu)
	if w != nil {
		c.done.Go(func() { c.copy(w) })
	} else {
		c.closed = true
	}
	return c
}

// write takes console output; only the first console is shown.
func (c *consoleWriter) write(o machine.Output) {
	if o.Port.Index != 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wait = append(c.wait, o.Bytes...)
	if over := len(c.wait) - consoleBacklog; over > 0 {
		c.wait = append(c.wait[:0], c.wait[over:]...)
	}
	c.ready.Signal()
}

func (c *consoleWriter) copy(w io.Writer) {
	var out []byte
	for {
		c.mu.Lock()
		for len(c.wait) == 0 && !c.closed {
			c.ready.Wait()
		}
		out = append(out[:0], c.wait...)
		c.wait = c.wait[:0]
		c.mu.Unlock()
		if len(out) == 0 {
			return
		}
		if _, err := w.Write(out); err != nil {
			c.mu.Lock()
			c.closed = true
			c.mu.Unlock()
			return
		}
	}
}

// close writes what is left and waits for it.
func (c *consoleWriter) close() {
	c.mu.Lock()
	c.closed = true
	c.ready.Signal()
	c.mu.Unlock()
	c.done.Wait()
}

// panicWatch looks for the line that a Linux kernel writes when it panics.
type panicWatch struct {
	matched int
	seen    bool
}

const panicText = "Kernel panic - not syncing"

// saw takes the next bytes of the console and says whether they complete the
// first such line.
func (p *panicWatch) saw(b []byte) bool {
	if p.seen {
		return false
	}
	for _, c := range b {
		switch {
		case c == panicText[p.matched]:
			p.matched++
		case c == panicText[0]:
			p.matched = 1
		default:
			p.matched = 0
		}
		if p.matched == len(panicText) {
			p.seen = true
			return true
		}
	}
	return false
}
