package logchan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

const (
	maxHandshakes = 16 // at a time
	maxEvents     = 64 // that wait for the owner, before new connections are turned away
)

// Endpoint is the one listener of a replica's process.
type Endpoint struct {
	cfg       Config
	ln        *net.TCPListener
	advertise string
	start     time.Time
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	events    chan Event
	isolated  atomic.Bool

	mu     sync.Mutex
	link   *link // the pairing that is open
	over   bool  // overRun and overEpoch are the last pairing that was sealed
	orun   ft.Run
	oepoch ft.Epoch
	queue  []Event       // not handed out yet
	posted chan struct{} // something was queued
}

// Listen opens an Endpoint. An address other than loopback is refused unless
// Config.Insecure is set.
func Listen(cfg Config) (*Endpoint, error) {
	if cfg.VM == "" || len(cfg.VM) > maxName {
		return nil, fmt.Errorf("logchan: the VM's name has %d bytes; it must have 1 to %d", len(cfg.VM), maxName)
	}
	if err := checkAddress(cfg.Listen, cfg.Insecure); err != nil {
		return nil, err
	}
	defaults(&cfg)
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("logchan: %w", err)
	}
	e := &Endpoint{
		cfg: cfg, ln: ln.(*net.TCPListener), advertise: cfg.Advertise, start: time.Now().Add(-1),
		events: make(chan Event), posted: make(chan struct{}, 1),
	}
	if e.advertise == "" {
		e.advertise = ln.Addr().String()
	}
	if len(e.advertise) > maxName {
		_ = ln.Close()
		return nil, errors.New("logchan: the address to advertise is too long")
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.wg.Go(e.accept)
	e.wg.Go(e.deliver)
	return e, nil
}

func defaults(cfg *Config) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.Heartbeat, 50*time.Millisecond)
	def(&cfg.WriteTimeout, 5*time.Second)
	if cfg.BufferLimit <= 0 {
		cfg.BufferLimit = 64 << 20
	}
	if cfg.MailboxLimit <= 0 {
		cfg.MailboxLimit = 64 << 20
	}
	if cfg.StateLimit <= 0 {
		cfg.StateLimit = 4 << 30
	}
}

// Addr is the address that the endpoint listens on.
func (e *Endpoint) Addr() net.Addr { return e.ln.Addr() }

// Events is what happened, in order. While many are not taken, new connections
// are turned away; entries and acknowledgements do not wait for them.
func (e *Endpoint) Events() <-chan Event { return e.events }

// Isolate cuts this process off from its peer, as a partition of the network
// would, until it is called with false: no connection is kept or made, and what
// would be resumed is resumed then. It may be called by any goroutine.
func (e *Endpoint) Isolate(on bool) {
	if e.isolated.Store(on); !on {
		return
	}
	e.mu.Lock()
	l := e.link
	e.mu.Unlock()
	if l != nil {
		l.drop()
	}
}

// turnsAway says whether no connection is to be made now.
func (e *Endpoint) turnsAway() bool { return e.isolated.Load() || e.crowded() }

// Close seals what is open and returns when all goroutines have ended.
func (e *Endpoint) Close() error {
	e.cancel()
	err := e.ln.Close()
	e.mu.Lock()
	l := e.link
	e.mu.Unlock()
	if l != nil {
		l.seal()
	}
	e.wg.Wait()
	return err
}

// ended says whether done is closed.
func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// now is the time since the endpoint was opened; never 0.
func (e *Endpoint) now() time.Duration { return time.Since(e.start) }

// OpenPrimary opens the primary's end of a pairing and dials the backup until
// it answers. An endpoint has one pairing at a time; the one before must be sealed.
func (e *Endpoint) OpenPrimary(p Pairing) (*Primary, error) {
	if p.Peer != "" {
		if err := checkAddress(p.Peer, e.cfg.Insecure); err != nil {
			return nil, err
		}
	}
	return newPrimary(e, p)
}

// OpenBackup waits for a primary; the first one that fits is the one.
func (e *Endpoint) OpenBackup() (*Backup, error) { return newBackup(e) }

// enter makes l the open pairing.
func (e *Endpoint) enter(l *link) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return errors.New("logchan: the endpoint is closed")
	}
	if e.link != nil {
		return errors.New("logchan: the endpoint has a pairing already; seal it first")
	}
	e.link = l
	e.wg.Go(l.dialLoop)
	return nil
}

// retire answers later dialers of a sealed pairing.
func (e *Endpoint) retire(l *link, run ft.Run, epoch ft.Epoch, paired bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link == l {
		e.link = nil
	}
	if paired {
		e.over, e.orun, e.oepoch = true, run, epoch
	}
}

// post queues an event. It does not wait: what could queue events without end
// looks at crowded first.
func (e *Endpoint) post(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, ev)
	select {
	case e.posted <- struct{}{}:
	default:
	}
}

// hint queues an event that will come again, if there is room.
func (e *Endpoint) hint(ev Event) {
	if e.crowded() {
		return
	}
	e.post(ev)
}

func (e *Endpoint) crowded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.queue) >= maxEvents
}

func (e *Endpoint) deliver() {
	for {
		e.mu.Lock()
		queue := e.queue
		e.mu.Unlock()
		if len(queue) == 0 {
			select {
			case <-e.posted:
				continue
			case <-e.ctx.Done():
				return
			}
		}
		select {
		case e.events <- queue[0]:
			e.mu.Lock()
			e.queue = e.queue[1:]
			e.mu.Unlock()
		case <-e.ctx.Done():
			return
		}
	}
}

func (e *Endpoint) accept() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		nc, err := e.ln.AcceptTCP()
		if err != nil {
			if e.ctx.Err() != nil {
				return
			}
			select { // out of descriptors, for example
			case <-time.After(10 * time.Millisecond):
			case <-e.ctx.Done():
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = nc.Close()
			continue
		}
		e.wg.Go(func() {
			defer func() { <-slots }()
			if !e.answer(nc) {
				_ = nc.Close()
			}
		})
	}
}

// answer is the accepting side's handshake.
func (e *Endpoint) answer(nc *net.TCPConn) bool {
	_ = nc.SetDeadline(time.Now().Add(handshakeTime))
	stop := context.AfterFunc(e.ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := newConn(e, nc)
	if err != nil {
		return false
	}
	var refusal *Refusal
	h, err := c.readHello()
	switch {
	case ended(e.ctx.Done()) || e.turnsAway():
		return false
	case errors.As(err, &refusal):
		return false
	case err != nil:
		refusal = &Refusal{Code: RefuseMalformed, Text: err.Error(), Ours: true}
	default:
		if refusal = e.route(c, h); refusal == nil {
			return true
		}
	}
	c.send(replay.FrameRefuse, appendRefuse(nil, refusal))
	_ = nc.CloseWrite()
	e.hint(Event{Kind: PeerRefused, Epoch: h.Epoch, Peer: h, Code: refusal.Code, Err: refusal})
	return false
}

// route finds the pairing that a dialling peer belongs to.
func (e *Endpoint) route(c *conn, h Hello) *Refusal {
	if r := e.checkHello(h); r != nil {
		return r
	}
	e.mu.Lock()
	l, over := e.link, e.over && h.Run == e.orun && h.Epoch <= e.oepoch
	e.mu.Unlock()
	switch {
	case over:
		return &Refusal{Code: RefuseClosed, Text: fmt.Sprintf("epoch %d of run %s is closed", h.Epoch, h.Run), Ours: true}
	case l == nil && h.Expect == e.cfg.Process:
		return &Refusal{Code: RefuseClosed, Text: "this process has left that pairing", Ours: true}
	case l == nil:
		return &Refusal{Code: RefuseBusy, Text: "this process takes part in no pairing now", Ours: true}
	}
	return l.establish(c, h, true)
}

// checkHello checks what does not depend on a pairing.
func (e *Endpoint) checkHello(h Hello) *Refusal {
	refuse := func(code RefuseCode, format string, args ...any) *Refusal {
		return &Refusal{Code: code, Text: fmt.Sprintf(format, args...), Ours: true}
	}
	switch {
	case h.Format != FormatVersion:
		return refuse(RefuseFormat, "format version %d is spoken here and %d by the other; run the same version on both hosts", FormatVersion, h.Format)
	case h.VM != e.cfg.VM:
		return refuse(RefuseVM, "this is VM %q, not %q", e.cfg.VM, h.VM)
	case h.ConfigHash != e.cfg.ConfigHash:
		return refuse(RefuseConfig, "VM %q is configured as %x here and %x there; both specs must give the guest the same computer, with the same reads: for its disks", h.VM, e.cfg.ConfigHash[:6], h.ConfigHash[:6])
	case h.Expect != (ft.ProcessID{}) && h.Expect != e.cfg.Process:
		return refuse(RefuseUnknownRun, "process %s is not here any more; this is %s", h.Expect, e.cfg.Process)
	}
	return nil
}
