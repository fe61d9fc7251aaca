package nbd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// ErrClosed is what requests end with that Close found waiting for the store.
var ErrClosed = errors.New("nbd: the disk is closed")

// Config is what a Client is made of.
type Config struct {
	Address Address
	// VM names the machine the disk belongs to, and Process this replica. A zero
	// Process is made at random.
	VM      string
	Process ft.ProcessID
	// ReadOnly makes Claim take nothing: the disk is read beside the VM's writer.
	ReadOnly bool
	// Unfenced accepts a server that knows no fence numbers. Nothing there keeps
	// the late write of an old primary away.
	Unfenced bool
	// Note, if set, is told when the connection is lost and when it is back.
	Note func(text string)
}

// Client is a disk whose blocks an NBD server keeps: a storage.Backend.
//
//	Open --reader--> connected --Claim(number)--> claimed <--> reconnecting
//	                                                 \--refused--> fenced off
//
// Before Claim it reads beside whoever writes. Requests that are under way when
// a connection is lost are sent again on the next one, with the same number, so
// they end only with the server's answer, with ErrFenced, or with Close. The
// store drops what the lost connection still had under way before it accepts the
// next, so a request of an old connection cannot land after one of a newer. A
// server that knows no fence numbers does not promise that.
type Client struct {
	cfg    Config
	info   Info
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{} // requests in flight
	done   chan struct{} // run has ended

	mu      sync.Mutex
	link    *link // nil while there is none
	pending map[uint64]*call
	handle  uint64
	number  *ft.Fence // what to claim with; nil to be a reader
	round   uint64    // counts claims, so that one knows its own links
	ended   error     // why nothing can be done any more
	trouble error     // why there is no link
	changed chan struct{}
	abort   context.CancelFunc // ends the attempt to connect that is under way
}

// depth is how many requests may be in flight at once.
const depth = 128

// call is one request and where its answer goes.
type call struct {
	Request
	data []byte // of a write
	into []byte // of a read
	done chan error
}

// Open connects to the export and asks what it is. It reads until Claim.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Process == (ft.ProcessID{}) {
		if _, err := rand.Read(cfg.Process[:]); err != nil {
			panic("BUG: crypto/rand does not fail: " + err.Error())
		}
	}
	c := &Client{
		cfg: cfg, slots: make(chan struct{}, depth), done: make(chan struct{}),
		pending: map[uint64]*call{}, changed: make(chan struct{}),
	}
	first, err := c.connect(ctx, nil)
	if err != nil {
		return nil, c.wrap("open", err)
	}
	if !cfg.ReadOnly && first.info.Flags&ReadOnly != 0 && !first.reader {
		first.conn.Close()
		return nil, fmt.Errorf("nbd: %s is read-only there; make the disk read-only", cfg.Address)
	}
	c.info, c.link = first.info, first
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run(first)
	return c, nil
}

func (c *Client) wrap(what string, err error) error {
	return fmt.Errorf("nbd: %s of %s: %w", what, c.cfg.Address, err)
}

// Sectors is Backend's.
func (c *Client) Sectors() uint64 { return c.info.Size / 512 }

// BlockSize is Backend's.
func (c *Client) BlockSize() uint32 { return c.info.blockSize() }

// Claim is Backend's. It asks on while the store cannot be reached.
func (c *Client) Claim(ctx context.Context, number ft.Fence, waiting func(why string)) error {
	if c.cfg.ReadOnly {
		return nil
	}
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		return c.ended
	}
	before := c.number
	c.number = &number
	c.round++
	round := c.round
	c.trouble = nil
	c.drop()
	c.tell()
	c.mu.Unlock()

	told := waiting == nil
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for {
		c.mu.Lock()
		ended, trouble, changed := c.ended, c.trouble, c.changed
		there := c.link != nil && c.link.round == round
		c.mu.Unlock()
		var final refusal
		switch {
		case ended != nil:
			return ended
		case there:
			return nil
		case errors.As(trouble, &final) && final.kind != RepErrShutdown || errors.Is(trouble, errNoFence):
			c.unclaim(round, before)
			return c.wrap("claim", trouble)
		case trouble != nil && !told:
			told = true
			waiting(trouble.Error())
		}
		select {
		case <-ctx.Done():
			c.unclaim(round, before)
			return c.wrap("claim", ctx.Err())
		case <-patience.C:
			if !told {
				told = true
				waiting(fmt.Sprintf("the store at %s has not answered yet", c.cfg.Address))
			}
		case <-changed:
		}
	}
}

// unclaim goes back to the number before, for a Claim that gives up.
func (c *Client) unclaim(round uint64, before *ft.Fence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round == round && c.ended == nil {
		c.number = before
		c.round++
		c.drop()
		c.tell()
	}
}

// drop ends the link there is, or the attempt to make one; run makes the next.
// The lock is held.
func (c *Client) drop() {
	if c.abort != nil {
		c.abort()
		c.abort = nil
	}
	if c.link != nil {
		c.link.conn.Close()
		c.link = nil
	}
}

// Follow is storage.Follower's: every read is the server's to answer.
func (c *Client) Follow() error { return nil }

// ReadAt is Backend's.
func (c *Client) ReadAt(p []byte, off int64) error {
	return c.pieces(p, off, func(p []byte, off int64) *call {
		return &call{Request: Request{Type: CmdRead, Offset: uint64(off), Length: uint32(len(p))}, into: p}
	})
}

// WriteAt is Backend's.
func (c *Client) WriteAt(p []byte, off int64) error {
	return c.pieces(p, off, func(p []byte, off int64) *call {
		return &call{Request: Request{Type: CmdWrite, Offset: uint64(off), Length: uint32(len(p))}, data: p}
	})
}

// pieces does one request after another of what the server takes at once.
func (c *Client) pieces(p []byte, off int64, request func(p []byte, off int64) *call) error {
	most := int(min(c.info.MaxPayload, MaxPayload) / c.BlockSize() * c.BlockSize())
	for len(p) > 0 {
		n := min(len(p), most)
		if err := c.do(request(p[:n], off)); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Sync is Backend's. A server without a flush command is taken to write through.
func (c *Client) Sync() error {
	if c.info.Flags&SendFlush == 0 {
		return nil
	}
	return c.do(&call{Request: Request{Type: CmdFlush}})
}

// Discard is Backend's; a server that cannot trim keeps the contents.
func (c *Client) Discard(off, n int64) error {
	if c.info.Flags&SendTrim == 0 {
		return nil
	}
	return c.ranges(CmdTrim, 0, off, n)
}

// Zero is Backend's; a server without a command for it gets zeros written.
func (c *Client) Zero(off, n int64) error { return c.zero(FlagNoHole, off, n) }

// Unmap is storage.Unmapper's.
func (c *Client) Unmap(off, n int64) error { return c.zero(0, off, n) }

func (c *Client) zero(flags uint16, off, n int64) error {
	if c.info.Flags&SendWriteZeroes != 0 {
		return c.ranges(CmdWriteZeroes, flags, off, n)
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		piece := min(n, int64(len(zeros)))
		if err := c.WriteAt(zeros[:piece], off); err != nil {
			return err
		}
		off, n = off+piece, n-piece
	}
	return nil
}

// rangeMost bounds one trim or zeroing: a claim waits for one that is under way.
const rangeMost = 256 << 20

func (c *Client) ranges(command, flags uint16, off, n int64) error {
	for n > 0 {
		piece := min(n, rangeMost)
		if err := c.do(&call{Request: Request{Type: command, Flags: flags, Offset: uint64(off), Length: uint32(piece)}}); err != nil {
			return err
		}
		off, n = off+piece, n-piece
	}
	return nil
}

// do brings one request to its end.
func (c *Client) do(r *call) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.done:
	}
	r.done = make(chan error, 1)
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		return c.ended
	}
	if r.Type != CmdRead && c.number == nil && !c.cfg.Unfenced {
		c.mu.Unlock()
		return fmt.Errorf("nbd: %s is not claimed, so it can only be read", c.cfg.Address)
	}
	c.handle++
	r.Handle = c.handle
	c.pending[r.Handle] = r
	l := c.link
	c.mu.Unlock()
	if l != nil {
		l.send(r)
	}
	return <-r.done
}

// finish takes the call with that handle off the list.
func (c *Client) finish(handle uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, handle)
}

// result is the error, or none, of an answered request.
func (c *Client) result(r *call, code uint32) error {
	if code == 0 {
		return nil
	}
	what := map[uint16]string{CmdRead: "read", CmdWrite: "write", CmdFlush: "flush", CmdTrim: "discard", CmdWriteZeroes: "zeroing"}[r.Type]
	errno := syscall.EIO // whatever the server's number is, it is no number of ours
	switch code {
	case EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP:
		errno = syscall.Errno(code)
	}
	return fmt.Errorf("nbd: %s of %d bytes at %d of %s: %w", what, r.Length, r.Offset, c.cfg.Address, errno)
}

// Abandon is storage.Abandoner's: it ends with ErrClosed whatever waits, also for
// a store that is gone.
func (c *Client) Abandon() { c.end(ErrClosed) }

// Close leaves the export. Requests that still wait end with ErrClosed.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.cancel()
	<-c.done
	return nil
}

// end makes err the answer of every request: of later ones at once, of those
// under way when run, which may be filling their buffers, has ended.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return
	}
	c.ended = err
	if c.link != nil && len(c.pending) == 0 {
		c.link.bye()
	}
	c.drop()
	c.tell()
}

// fail ends what is under way; nothing is read any more.
func (c *Client) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for handle, r := range c.pending {
		delete(c.pending, handle)
		r.done <- c.ended
	}
}

// tell wakes those that wait for a change. The lock is held.
func (c *Client) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

var _ interface {
	storage.Backend
	storage.Unmapper
	storage.Abandoner
} = (*Client)(nil)
