package vm

import (
	"io"
	"sync"

	"github.com/lockstep-vm/lockstep/machine"
)

// consoleBacklog bounds what waits for a slow reader of the console; beyond it
// the oldest is dropped. The guest never waits for its console.
const consoleBacklog = 1 << 20

// consoleWriter copies what the guest writes to its first console to a reader
// that may be slow.
type consoleWriter struct {
	byOffset bool // the reader knows the bytes that it has by their offsets

	mu     sync.Mutex
	ready  *sync.Cond
	wait   []byte
	next   uint64 // offset behind the last byte taken
	closed bool
	done   sync.WaitGroup
}

// newConsoleWriter writes to w, or to at by offset; both may be nil.
func newConsoleWriter(w io.Writer, at func(offset uint64, b []byte) error) *consoleWriter {
	c := &consoleWriter{byOffset: at != nil}
	c.ready = sync.NewCond(&c.mu)
	if at == nil && w != nil {
		at = func(_ uint64, b []byte) error {
			_, err := w.Write(b)
			return err
		}
	}
	if at != nil {
		c.done.Go(func() { c.copy(at) })
	} else {
		c.closed = true
	}
	return c
}

// write takes console output; only the first console is shown.
func (c *consoleWriter) write(o machine.Output) {
	if o.Port.Index == 0 {
		c.take(o.Offset, o.Bytes)
	}
}

// resume gives a reader by offset the console's tail when this replica takes
// over: what the old primary has released may never have been shown.
func (c *consoleWriter) resume(offset uint64, tail []byte) {
	if c.byOffset && len(tail) > 0 {
		c.take(offset, tail)
	}
}

// take shows bytes, but none that it has shown.
func (c *consoleWriter) take(offset uint64, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if offset < c.next {
		b = b[min(c.next-offset, uint64(len(b))):]
		offset = c.next
	}
	c.wait = append(c.wait, b...)
	c.next = offset + uint64(len(b))
	if over := len(c.wait) - consoleBacklog; over > 0 {
		c.wait = append(c.wait[:0], c.wait[over:]...)
	}
	c.ready.Signal()
}

func (c *consoleWriter) copy(show func(offset uint64, b []byte) error) {
	var out []byte
	for {
		c.mu.Lock()
		for len(c.wait) == 0 && !c.closed {
			c.ready.Wait()
		}
		out = append(out[:0], c.wait...)
		offset := c.next - uint64(len(out))
		c.wait = c.wait[:0]
		c.mu.Unlock()
		if len(out) == 0 {
			return
		}
		if err := show(offset, out); err != nil {
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
