package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// Dial makes a stream to a driver. What Close of the stream returns is added to
// the error of the calls that were waiting: how a process ended, for example.
type Dial func(ctx context.Context) (io.ReadWriteCloser, error)

// Times of a client. A store answers by itself, with an error if need be, in
// less than silence.
const (
	// silence is how long one request waits before the driver is taken for
	// stuck and its stream closed.
	silence = 8 * time.Second
	// patience is how long a call goes on starting attempts.
	patience   = 5 * time.Second
	firstPause = 20 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

var errClosed = errors.New("the arbiter was closed")

// Client keeps cells by way of a driver. It dials when it has no stream, and
// asks again on a new one whatever was not answered on a broken one.
type Client struct {
	dial Dial
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	dialing chan struct{} // one token: who holds it looks at link and may dial
	link    *link
	first   hello // of the first driver; fixed by Open
}

var _ cells.Store = (*Client)(nil)

// Open dials the driver once, so that one that cannot work at all is told of at
// once. Whether the driver reaches its store is for the calls to find out.
func Open(dial Dial) (*Client, error) {
	c := &Client{dial: dial, dialing: make(chan struct{}, 1)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	l, err := c.connected()
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	c.first = l.first
	return c, nil
}

// Create is Store's.
func (c *Client) Create(vm, name string, content []byte) ([]byte, error) {
	if err := cells.Check(vm, name, content); err != nil {
		return nil, err
	}
	a, err := c.call(request{Op: opCreate, VM: vm, Name: name, Content: content})
	return a.Content, err
}

// Read is Store's.
func (c *Client) Read(vm, name string) ([]byte, error) {
	if err := cells.Check(vm, name, nil); err != nil {
		return nil, err
	}
	a, err := c.call(request{Op: opRead, VM: vm, Name: name})
	if err == nil && a.Missing {
		return nil, fmt.Errorf("cell %s of %s: %w", name, vm, fs.ErrNotExist)
	}
	return a.Content, err
}

// List is Store's.
func (c *Client) List(vm, prefix string) ([]string, error) {
	if err := cells.CheckVM(vm); err != nil {
		return nil, err
	}
	a, err := c.call(request{Op: opList, VM: vm, Name: prefix})
	return a.Names, err
}

// Ping is Store's.
func (c *Client) Ping() error {
	_, err := c.call(request{Op: opPing})
	return err
}

// Durable is what the driver said of its store.
func (c *Client) Durable() (ok bool, why string) { return c.first.Durable, c.first.WhyNotDurable }

// Outside is what the driver said of its store.
func (c *Client) Outside() (ok bool, why string) { return c.first.Outside, c.first.WhyNotOutside }

// Close closes the stream and, for a driver that was started, ends its process.
func (c *Client) Close() error {
	c.stop()
	c.dialing <- struct{}{}
	l := c.link
	c.link = nil
	<-c.dialing
	if l != nil {
		l.close(errClosed)
		<-l.ended
	}
	return nil
}

// call asks until there is an answer or patience ends. Every request may be
// asked again: one that was carried out answers the same.
func (c *Client) call(req request) (answer, error) {
	for start, pause := time.Now(), firstPause; ; pause = min(2*pause, maxPause) {
		a, err := c.try(req)
		switch {
		case err == nil && a.Error != "":
			return a, errors.New(a.Error)
		case err == nil:
			return a, nil
		case c.ctx.Err() != nil:
			return a, errClosed
		case time.Since(start)+pause > patience:
			return a, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-c.ctx.Done():
			wait.Stop()
			return answer{}, errClosed
		}
	}
}

// try asks once.
func (c *Client) try(req request) (answer, error) {
	l, err := c.connected()
	if err != nil {
		return answer{}, err
	}
	return l.ask(c.ctx, req)
}

// connected is a stream that was whole a moment ago.
func (c *Client) connected() (*link, error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-c.ctx.Done():
		return nil, errClosed
	}
	if c.ctx.Err() != nil {
		return nil, errClosed
	}
	if c.link != nil && c.link.whole() {
		return c.link, nil
	}
	stream, err := c.dial(c.ctx)
	if err != nil {
		return nil, fmt.Errorf("the arbiter's driver: %w", err)
	}
	l, err := newLink(c.ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("the arbiter's driver: %w", err)
	}
	c.link = l
	return l, nil
}

// link is one stream. One goroutine reads it; ended is closed when that one has
// closed the stream, and why is set by then.
type link struct {
	stream io.ReadWriteCloser
	first  hello
	ended  chan struct{}

	writing sync.Mutex // keeps lines whole

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan answer
	why     error // not nil once the stream is broken or closed
}

// newLink starts reading and waits for the driver's first words.
func newLink(ctx context.Context, stream io.ReadWriteCloser) (*link, error) {
	l := &link{stream: stream, ended: make(chan struct{}), waiting: map[uint64]chan answer{}}
	greeted := make(chan hello, 1)
	go l.read(greeted)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	var err error
	select {
	case l.first = <-greeted:
		if err = l.first.check(); err == nil {
			return l, nil
		}
	case <-l.ended:
		return nil, l.why
	case <-ctx.Done():
		err = errClosed
	case <-timer.C:
		err = fmt.Errorf("it said nothing for %v", silence)
	}
	l.close(err)
	<-l.ended
	return nil, err
}

func (l *link) read(greeted chan<- hello) {
	in := lines(l.stream, maxAnswer)
	var first hello
	err := next(in, &first)
	if err == nil {
		greeted <- first
	}
	for err == nil {
		var a answer
		if err = next(in, &a); err == nil {
			l.answered(a)
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it closed the stream")
	}
	if how := l.stream.Close(); how != nil {
		err = fmt.Errorf("%w: %w", err, how)
	}
	l.fail(err)
	close(l.ended)
}

func (l *link) answered(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ch := l.waiting[a.ID]; ch != nil {
		ch <- a
		delete(l.waiting, a.ID)
	}
}

// fail notes why the stream is of no more use; the first reason stays.
func (l *link) fail(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = why
	}
}

// close gives the stream up, which ends its reader.
func (l *link) close(why error) {
	l.fail(why)
	_ = l.stream.Close()
}

func (l *link) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why == nil
}

// ask sends one request and waits for its answer. An error means that the
// stream is of no more use.
func (l *link) ask(ctx context.Context, req request) (answer, error) {
	ch := make(chan answer, 1)
	l.mu.Lock()
	l.lastID++
	req.ID = l.lastID
	l.waiting[req.ID] = ch
	l.mu.Unlock()
	// From before the write: a driver that is stuck does not read either.
	timer := time.AfterFunc(silence, func() { l.close(fmt.Errorf("it did not answer for %v", silence)) })
	defer timer.Stop()
	l.writing.Lock()
	err := put(l.stream, req)
	l.writing.Unlock()
	if err != nil {
		l.close(err)
	}
	select {
	case a := <-ch:
		return a, nil
	case <-ctx.Done():
		return answer{}, errClosed
	case <-l.ended:
	}
	select {
	case a := <-ch: // its last words
		return a, nil
	default:
		return answer{}, fmt.Errorf("the arbiter's driver: %w", l.why)
	}
}
