package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// errNoFence: the server does not know fence numbers.
var errNoFence = errors.New("the server knows no fence numbers, so it cannot keep an old primary's late writes away; use lockstep store")

// link is one connection in the transmission phase.
type link struct {
	conn   net.Conn
	in     *bufio.Reader
	info   Info
	round  uint64
	reader bool
	out    *Sender
}

// connect dials and negotiates: with number as the writer, without one as a
// reader.
func (c *Client) connect(ctx context.Context, number *ft.Fence) (*link, error) {
	conn, err := c.cfg.Address.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("nbd: no store answers at %s: %w", c.cfg.Address.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	l := &link{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: NewSender(conn)}
	err = l.negotiate(c.cfg, number)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) negotiate(cfg Config, number *ft.Fence) error {
	rw := struct {
		io.Reader
		io.Writer
	}{l.in, l.conn}
	l.conn.SetDeadline(time.Now().Add(silence))
	if err := hello(rw); err != nil {
		return err
	}
	f := Fence{Reader: true, Process: cfg.Process, Export: cfg.Address.Export, VM: cfg.VM}
	if number != nil {
		f.Reader, f.Number = false, *number
		// The store answers when the writes of those before are done, however
		// long their disk takes.
		l.conn.SetDeadline(time.Time{})
	}
	err := ask(rw, OptFence, f.Append(nil), noData)
	if r := (refusal{}); errors.As(err, &r) && r.kind == RepErrUnsup {
		err = nil
		if number != nil && !cfg.Unfenced {
			err = errNoFence
		}
	} else if err == nil {
		l.reader = f.Reader
	}
	if err != nil {
		return err
	}
	l.conn.SetDeadline(time.Now().Add(silence))
	if l.info, err = start(rw, cfg.Address.Export); err != nil {
		return err
	}
	if number != nil && l.info.Flags&ReadOnly != 0 {
		return refusal{kind: RepErrPolicy, text: "the export is read-only there; make the disk read-only"}
	}
	l.conn.SetDeadline(time.Time{})
	return nil
}

// send writes a request. What cannot be written is sent again on the next link:
// the connection is closed, which run sees.
func (l *link) send(r *call) { l.out.Send(r.Append(nil), r.data) }

// bye tells the server that nothing more comes.
func (l *link) bye() {
	l.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = l.conn.Write(Request{Type: CmdDisc}.Append(nil))
}

// run owns the connection: it takes the answers and, when the link is lost,
// makes the next. Only one link is ever read, so two of them cannot fill one
// buffer.
func (c *Client) run(l *link) {
	defer close(c.done)
	defer c.fail()
	var resend sync.WaitGroup
	for {
		err := c.answers(l)
		l.conn.Close()
		resend.Wait()
		l = c.relink(err)
		if l == nil {
			return
		}
		c.mu.Lock()
		if c.ended != nil {
			c.mu.Unlock()
			l.conn.Close()
			return
		}
		if l.round != c.round { // claimed meanwhile
			c.mu.Unlock()
			l.conn.Close()
			continue
		}
		// Whatever is registered from here on is sent by who registers it.
		again := make([]*call, 0, len(c.pending))
		for _, handle := range slices.Sorted(maps.Keys(c.pending)) {
			again = append(again, c.pending[handle])
		}
		c.link, c.trouble = l, nil
		c.tell()
		c.mu.Unlock()
		resend.Go(func() {
			for _, r := range again {
				l.send(r)
			}
		})
	}
}

// relink connects again, and again, until it works or there is no use. why is
// what ended the link before.
func (c *Client) relink(why error) *link {
	const shortest, longest = 10 * time.Millisecond, time.Second
	told := false
	for wait := shortest; ; wait = min(2*wait, longest) {
		c.mu.Lock()
		wanted := c.link != nil // else it was dropped on purpose
		c.drop()
		ended, number, round, changed := c.ended, c.number, c.round, c.changed
		ctx, cancel := context.WithCancel(c.ctx)
		c.abort = cancel
		c.mu.Unlock()
		if ended != nil {
			cancel()
			return nil
		}
		if wanted {
			told = true
			c.note("the store at %s is lost, connecting again: %v", c.cfg.Address, why)
		}
		l, err := c.connect(ctx, number)
		cancel()
		if err == nil && (l.info.Size != c.info.Size || l.info.blockSize() != c.info.blockSize()) {
			l.conn.Close()
			err = fmt.Errorf("nbd: %s has %d bytes; it had %d before", c.cfg.Address, l.info.Size, c.info.Size)
		}
		if err == nil {
			l.round = round
			if told {
				c.note("the store at %s is there again", c.cfg.Address)
			}
			return l
		}
		var fenced storage.ErrFenced
		if errors.As(err, &fenced) {
			c.mu.Lock()
			stale := c.round != round
			c.mu.Unlock()
			if !stale {
				c.end(c.wrap("claim", err))
				return nil
			}
		}
		c.mu.Lock()
		if c.round == round {
			c.trouble = err
			c.tell()
			changed = c.changed
		} else {
			wait = shortest
		}
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-c.ctx.Done():
		case <-changed: // a claim, or its end
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *Client) note(format string, args ...any) {
	if c.cfg.Note != nil {
		c.cfg.Note(fmt.Sprintf(format, args...))
	}
}

// answers takes replies until the link is lost.
func (c *Client) answers(l *link) error {
	for {
		var head [ReplySize]byte
		if _, err := io.ReadFull(l.in, head[:]); err != nil {
			return err
		}
		reply, err := ParseReply(&head)
		if err != nil {
			return err
		}
		if reply.Error == ESHUTDOWN {
			// The store stops, or this connection was cut off. The next one tells.
			return errors.New("nbd: the store ends the connection")
		}
		c.mu.Lock()
		r := c.pending[reply.Handle]
		c.mu.Unlock()
		if r == nil {
			return fmt.Errorf("nbd: the server answers request %d, which was not made", reply.Handle)
		}
		if reply.Error == 0 {
			if _, err := io.ReadFull(l.in, r.into); err != nil {
				return err
			}
		}
		c.finish(reply.Handle)
		r.done <- c.result(r, reply.Error)
	}
}
