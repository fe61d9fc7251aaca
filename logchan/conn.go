package logchan

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockstep-vm/lockstep/replay"
)

// writeSize is about how much is gathered for one write.
const writeSize = 256 << 10

// conn is one connection of a pairing. The link that it belongs to reads from
// it by one goroutine; writing is done by whoever has something to say, under
// mu, as long as the socket takes it, and by the writer goroutine when it does
// not.
//
//	open ──socket full──► blocked ──writable, all written──► open
//	  └──────────────┴── fail, close ──► closed
type conn struct {
	nc     *net.TCPConn
	raw    syscall.RawConn
	frames *replay.FrameReader
	gen    uint64
	peer   Hello
	ep     *Endpoint
	done   chan struct{} // closed by close

	// fill appends the next frames by add, with mu held, when everything
	// before was written. It is the link's.
	fill func(c *conn)

	kick chan struct{} // the writer goroutine has something to do

	mu      sync.Mutex
	chain   replay.Chain
	out     outgoing // what the socket has not taken yet
	pieces  [][]byte // of out, for one write
	blocked bool
	limited bool // a write deadline is set
	closed  bool
	err     error // why it was closed, if not by us
	sent    time.Time
	bye     ByeCode // to be sent behind everything else

	ready  bool          // primary: the peer has the whole State, entries may follow; mu
	chunks chan chunk    // primary: pieces of the State to send
	answer *ack          // backup: the acknowledgement to send next; mu
	acked  time.Duration // backup: when one was last made,
	since  int           // and the bytes received since; link.mu

	inquiry  replay.Seq // backup: to be sent; primary: received; 0 for none; mu
	accounts [][]byte   // primary: bodies of Account frames to send; mu

	disks disksOut // messages and notes about local disks to send
	syncs syncsIn  // messages about local disks received

	stalled atomic.Bool // the reader waits for its owner, not for the peer
}

func newConn(ep *Endpoint, nc *net.TCPConn) (*conn, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("logchan: %w", err)
	}
	return &conn{
		nc: nc, raw: raw, ep: ep,
		frames: replay.NewFrameReader(bufio.NewReaderSize(nc, 64<<10)),
		done:   make(chan struct{}),
		kick:   make(chan struct{}, 1),
		chunks: make(chan chunk, 2),
		disks:  disksOut{messages: make(chan []byte, disksAhead)},
		fill:   func(*conn) {},
	}, nil
}

// add appends a frame to what is to be written. mu is held.
func (c *conn) add(t replay.FrameType, body []byte) {
	c.out.frame(&c.chain, t, body)
}

// send adds a frame, unless the socket is blocked or closed, and writes.
// It says whether the frame was added.
func (c *conn) send(t replay.FrameType, body []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocked || c.closed {
		return false
	}
	c.add(t, body)
	c.pump()
	return true
}

// flush writes what fill has, as far as the socket takes it.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.blocked && !c.closed {
		c.pump()
	}
}

// pump writes without waiting. mu is held.
func (c *conn) pump() {
	if c.limited {
		_ = c.nc.SetWriteDeadline(time.Time{})
		c.limited = false
	}
	err := c.raw.Write(func(fd uintptr) bool {
		c.drain(fd)
		return true
	})
	if err != nil {
		c.broken(err)
	}
	if c.blocked {
		c.block()
	}
}

// block hands over to the writer goroutine. mu is held.
func (c *conn) block() {
	c.blocked = true
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// drain writes until everything is written or the socket takes no more, and
// sets blocked. It runs inside raw.Write. mu is held.
func (c *conn) drain(fd uintptr) {
	for !c.closed {
		if c.out.left() == 0 {
			c.out.reset()
			if c.fill(c); c.out.left() == 0 {
				break
			}
		}
		c.pieces = c.out.pieces(c.pieces[:0])
		n, err := writeNow(fd, c.pieces)
		clear(c.pieces)
		if err != nil {
			c.broken(err)
			return
		}
		if n == 0 {
			c.blocked = true
			return
		}
		c.out.wrote(n)
		c.sent = time.Now()
	}
	c.blocked = false
}

// broken closes the connection for an error. mu is held.
func (c *conn) broken(err error) {
	if c.err == nil && !c.closed {
		c.err = err
	}
	c.shut()
}

// shut wakes the goroutines; the writer closes the socket. Closing it here
// would wait for whoever is inside a write, who may wait for mu. mu is held.
func (c *conn) shut() {
	if c.closed {
		return
	}
	c.closed = true
	c.out = outgoing{}
	close(c.done)
	_ = c.nc.SetDeadline(time.Unix(1, 0))
}

// close ends the connection; what was not written is dropped. err, if not nil,
// is the reason.
func (c *conn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.broken(err)
	}
	c.shut()
}

// reason is why the connection ended, given what its reader saw.
func (c *conn) reason(read error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return read
}

// write is the writer goroutine: it waits for a blocked socket and calls beat
// when nothing was sent for a heartbeat.
func (c *conn) write(beat func(c *conn)) {
	defer func() { _ = c.nc.Close() }()
	interval := c.ep.cfg.Heartbeat
	next := time.NewTimer(interval)
	defer next.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-c.kick:
			c.waitWritable()
		case <-next.C:
			c.mu.Lock()
			quiet, blocked := time.Since(c.sent), c.blocked
			c.mu.Unlock()
			if !blocked && quiet >= interval*3/4 {
				beat(c)
				quiet = 0
			}
			next.Reset(max(interval-quiet, interval/4))
		}
	}
}

// waitWritable writes everything, waiting for the socket as long as it takes
// something within WriteTimeout. It enters the socket's write only while
// blocked is set, which nobody else clears: the others hold mu when they enter it.
func (c *conn) waitWritable() {
	for {
		c.mu.Lock()
		if !c.blocked || c.closed {
			c.mu.Unlock()
			return
		}
		c.limited = true
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.ep.cfg.WriteTimeout))
		c.mu.Unlock()
		err := c.raw.Write(func(fd uintptr) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			before := c.sent
			c.drain(fd)
			// Come back with every step forward, so that it gets a new deadline.
			return !c.blocked || c.sent != before
		})
		if err != nil {
			if errors.Is(err, syscall.ETIMEDOUT) || isTimeout(err) {
				err = fmt.Errorf("logchan: the peer has taken no bytes for %v", c.ep.cfg.WriteTimeout)
			}
			c.close(err)
			return
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
