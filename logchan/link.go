package logchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

const (
	handshakeTime = 2 * time.Second
	dialTime      = 500 * time.Millisecond
	maxBackoff    = 250 * time.Millisecond
	// The backup dials a little later than the primary, so that they seldom
	// replace each other's connection.
	backupDelay = 5 * time.Millisecond
	// A connection that is silent for so many heartbeats is given a successor,
	// if one can be made: TCP's own retransmission backs off too far.
	silentBeats = 4
	// A connection that lived for so long was a good one.
	goodLife = time.Second
)

var errGone = errors.New("logchan: another connection is newer, or the epoch is sealed")

// end is what Primary and Backup add to a link. The methods marked (mu) are
// called with the link's lock held.
type end interface {
	// hello is what this side says of itself (mu).
	hello() Hello
	// resumable says what is wrong with the peer's account of the log (mu).
	resumable(h Hello) *Refusal
	// welcome begins on a new connection, before its goroutines start (mu).
	welcome(c *conn)
	// frame handles a frame of c, on its reader goroutine.
	frame(c *conn, t replay.FrameType, body []byte) error
	// beat sends something, as nothing was sent for a heartbeat.
	beat(c *conn)
	// fill adds frames to an empty c.out; c.mu is held.
	fill(c *conn)
	// sealing is called once, by Seal (mu).
	sealing()
}

// link is what both ends of a pairing have in common: the newest connection,
// how it is replaced, and the seal.
//
//	dialling ──handshake──► connected ──lost──► dialling
//	    └───────────────────────┴──── Seal ───► sealed
//
// Of two connections the one with the greater number wins. The primary gives
// the numbers, so both sides agree even if both dial at once.
//
// Locks are taken in this order: link.mu, conn.mu, outbox.mu.
type link struct {
	ep     *Endpoint
	role   Role
	end    end
	redial chan struct{}
	done   chan struct{} // closed by Seal
	heard  atomic.Int64  // nanoseconds of ep.now; 0 if never

	mu     sync.Mutex // the one lock of R13
	run    ft.Run
	epoch  ft.Epoch
	paired bool // run, epoch and peer are known
	peer   ft.ProcessID
	addr   string // to dial; "" if not known
	gen    uint64 // greatest number given or seen
	cur    *conn
	since  time.Time  // when cur became the newest
	notes  []DiskNote // received, not taken
	sealed bool
	ended  bool // the peer said Bye, or this side must not resume: Inquire
}

func (l *link) open(ep *Endpoint, role Role, e end) {
	l.ep, l.role, l.end = ep, role, e
	l.redial, l.done = make(chan struct{}, 1), make(chan struct{})
}

func (l *link) ours() Hello {
	h := Hello{
		Format: FormatVersion, VM: l.ep.cfg.VM, ConfigHash: l.ep.cfg.ConfigHash,
		Run: l.run, Epoch: l.epoch, Process: l.ep.cfg.Process, Role: l.role, DialBack: l.ep.advertise,
	}
	if l.paired {
		h.Expect = l.peer
	}
	return h
}

// check says why a peer that says h cannot be this link's peer. mu is held.
func (l *link) check(h Hello) *Refusal {
	refuse := func(code RefuseCode, format string, args ...any) *Refusal {
		return &Refusal{Code: code, Text: fmt.Sprintf(format, args...), Ours: true}
	}
	switch {
	case l.sealed || l.ended:
		return refuse(RefuseClosed, "epoch %d of run %s is closed", l.epoch, l.run)
	case h.Role == l.role || h.Role != RolePrimary && h.Role != RoleBackup:
		return refuse(RefuseRole, "this process is the %s and the other says it is the %s", l.role, h.Role)
	case l.role == RolePrimary || l.paired:
		if h.Run != l.run || h.Epoch < l.epoch {
			return refuse(RefuseUnknownRun, "this process is in run %s, epoch %d, not in %s, epoch %d", l.run, l.epoch, h.Run, h.Epoch)
		}
		if h.Epoch > l.epoch {
			return refuse(RefuseBusy, "this process is still in epoch %d", l.epoch)
		}
	}
	if l.paired && h.Process != l.peer {
		if h.Expect == l.ep.cfg.Process {
			return refuse(RefuseUnknownRun, "process %s is not the one that this process is paired with", h.Process)
		}
		return refuse(RefuseBusy, "this process is paired with %s", l.peer)
	}
	if !l.paired && l.role == RoleBackup && h.Expect != (ft.ProcessID{}) {
		return refuse(RefuseUnknownRun, "this process takes no part in run %s yet", h.Run)
	}
	return l.end.resumable(h)
}

// establish makes c, on which the peer said h, the newest connection. With
// answer set the peer has dialled and gets our Hello as the first frame.
func (l *link) establish(c *conn, h Hello, answer bool) *Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.check(h); r != nil {
		return r
	}
	if l.ep.isolated.Load() { // under mu: Isolate drops what was established before
		return &Refusal{Code: RefuseBusy, Text: "this process is cut off for now", Ours: true}
	}
	if answer && l.role == RolePrimary {
		l.gen++
		c.gen = l.gen
	} else if answer || l.role == RoleBackup {
		c.gen = h.Gen
	}
	if l.cur != nil && c.gen <= l.cur.gen || l.role == RoleBackup && c.gen <= l.gen {
		return &Refusal{Code: RefuseBusy, Text: "there is a newer connection", Ours: true}
	}
	l.gen = max(l.gen, c.gen)
	if !l.paired {
		l.run, l.epoch, l.peer, l.paired = h.Run, h.Epoch, h.Process, true
	}
	if a := dialBack(h.DialBack, c.nc.RemoteAddr()); (l.role == RoleBackup || l.addr == "") && checkAddress(a, l.ep.cfg.Insecure) == nil {
		l.addr = a
	}
	if l.cur != nil {
		l.cur.close(errGone)
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.peer = h
	c.fill = l.fill
	l.cur, l.since = c, time.Now()
	l.heardNow()
	if answer {
		ours := l.end.hello()
		ours.Gen = c.gen
		c.send(replay.FrameHello, appendHello(nil, ours))
	}
	l.post(Event{Kind: Connected, Epoch: l.epoch, Gen: c.gen, Peer: h})
	l.end.welcome(c)
	l.ep.wg.Go(func() { c.write(l.end.beat) })
	l.ep.wg.Go(func() { l.read(c) })
	return nil
}

// fill is the end's, and a Bye behind everything.
func (l *link) fill(c *conn) {
	l.end.fill(c)
	if c.out.left() == 0 && c.bye != 0 {
		c.add(replay.FrameBye, []byte{byte(c.bye)})
		c.bye = 0
	}
}

func (l *link) read(c *conn) {
	for {
		t, body, err := c.frames.Next()
		if err == nil && ended(c.done) {
			err = errGone
		}
		if err == nil {
			l.heardNow()
			err = l.handle(c, t, body)
		}
		if err != nil {
			l.lost(c, c.reason(err))
			return
		}
	}
}

func (l *link) handle(c *conn, t replay.FrameType, body []byte) error {
	if t != replay.FrameBye {
		return l.end.frame(c, t, body)
	}
	if len(body) != 1 {
		return errShort
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur == c && !l.sealed {
		l.ended = true
		l.cur = nil
		l.post(Event{Kind: PeerBye, Epoch: l.epoch, Gen: c.gen, Bye: ByeCode(body[0])})
	}
	return io.EOF
}

// lost ends a connection.
func (l *link) lost(c *conn, err error) {
	if err == io.EOF {
		err = errors.New("logchan: the peer closed the connection")
	}
	c.close(nil)
	l.mu.Lock()
	if l.cur == c {
		l.cur = nil
		l.post(Event{Kind: Closed, Epoch: l.epoch, Gen: c.gen, Err: err})
	}
	l.mu.Unlock()
	l.poke()
}

// post queues an event of this pairing.
func (l *link) post(ev Event) {
	ev.of = l
	l.ep.post(ev)
}

func (l *link) poke() {
	select {
	case l.redial <- struct{}{}:
	default:
	}
}

func (l *link) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur != nil {
		l.cur.close(errors.New("logchan: closed by this side"))
	}
}

// current says whether c counts. mu is held.
func (l *link) current(c *conn) bool { return l.cur == c && !l.sealed }

func (l *link) heardNow() { l.heard.Store(int64(l.ep.now())) }

// lastHeard counts a reader that waits for its own side as hearing.
func (l *link) lastHeard() time.Time {
	l.mu.Lock()
	stalled := l.cur != nil && l.cur.stalled.Load()
	l.mu.Unlock()
	if stalled {
		return time.Now()
	}
	if h := l.heard.Load(); h != 0 {
		return l.ep.start.Add(time.Duration(h))
	}
	return time.Time{}
}

// seal ends the epoch on this side. After it returns nothing of it is sent,
// received, acknowledged or resumed (R13, R17).
func (l *link) seal() {
	l.mu.Lock()
	if l.sealed {
		l.mu.Unlock()
		return
	}
	l.sealed = true
	close(l.done)
	if l.cur != nil {
		l.cur.close(ErrSealed)
		l.cur = nil
	}
	l.end.sealing()
	run, epoch, paired := l.run, l.epoch, l.paired
	l.mu.Unlock()
	l.ep.retire(l, run, epoch, paired)
}

// bye sends a Bye behind everything else, waits until the peer closes, and seals.
func (l *link) bye(code ByeCode, wait time.Duration) {
	l.mu.Lock()
	c := l.cur
	l.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		c.bye = code
		if !c.blocked && !c.closed {
			c.pump()
		}
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-c.done:
		case <-timer.C:
		}
	}
	l.seal()
}

// dialLoop makes a connection whenever there is none, or only a silent one.
func (l *link) dialLoop() {
	var backoff time.Duration
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-l.redial:
		case <-timer.C:
		}
		now := time.Now()
		addr, due, good := l.wantDial(now)
		if good {
			backoff, next = 0, now
			if l.role == RoleBackup {
				backoff, next = backupDelay, now.Add(backupDelay)
			}
		}
		wait := l.ep.cfg.Heartbeat * silentBeats / 2
		if due && now.Before(next) {
			wait = next.Sub(now)
		} else if due {
			if err := l.dial(addr); err != nil {
				l.dialFailed(err)
			}
			backoff = min(max(2*backoff, 10*time.Millisecond), maxBackoff)
			next = time.Now().Add(backoff)
			wait = backoff
		}
		timer.Reset(wait)
	}
}

// wantDial says whether to dial now, and whether the last connection was good
// so that dialling starts afresh.
func (l *link) wantDial(now time.Time) (addr string, due, good bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.sealed || l.ended || l.addr == "" || l.ep.turnsAway():
		return "", false, false
	case l.cur == nil:
		good = !l.since.IsZero() && now.Sub(l.since) >= goodLife
		l.since = time.Time{}
		return l.addr, true, good
	}
	silent := l.ep.now()-time.Duration(l.heard.Load()) > l.ep.cfg.Heartbeat*silentBeats
	return l.addr, silent && !l.cur.stalled.Load(), false
}

func (l *link) dialFailed(err error) {
	var refusal *Refusal
	ev := Event{Kind: DialFailed, of: l, Err: err, Refused: errors.Is(err, syscall.ECONNREFUSED)}
	if errors.As(err, &refusal) {
		ev.Code, ev.Refused = refusal.Code, refusal.Code.Gone()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed || errors.Is(err, errGone) {
		return
	}
	ev.Epoch = l.epoch
	// Before the first connection there is nobody who could be gone.
	ev.Refused = ev.Refused && l.paired
	l.ep.hint(ev)
}

func (l *link) dial(addr string) error {
	if ended(l.done) {
		return errGone
	}
	ctx, cancel := context.WithTimeout(l.ep.ctx, dialTime)
	defer cancel()
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("logchan: %w", err)
	}
	tcp := nc.(*net.TCPConn)
	if ip, _ := tcp.RemoteAddr().(*net.TCPAddr); !l.ep.cfg.Insecure && !ip.IP.IsLoopback() {
		_ = tcp.Close()
		return checkAddress(ip.String(), false)
	}
	c, err := newConn(l.ep, tcp)
	if err != nil {
		_ = tcp.Close()
		return err
	}
	if err := l.introduce(c); err != nil {
		_ = tcp.Close()
		return err
	}
	return nil
}

// introduce is the dialling side's handshake.
func (l *link) introduce(c *conn) error {
	_ = c.nc.SetDeadline(time.Now().Add(handshakeTime))
	stop := context.AfterFunc(l.ep.ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// What the Hello says was received counts as acknowledged, so it leaves
	// under the lock of the seal; an empty socket takes it at once.
	l.mu.Lock()
	if l.sealed || l.ended {
		l.mu.Unlock()
		return errGone
	}
	h := l.end.hello()
	if l.role == RolePrimary {
		l.gen++
		h.Gen, c.gen = l.gen, l.gen
	}
	c.send(replay.FrameHello, appendHello(nil, h))
	l.mu.Unlock()

	peer, err := c.readHello()
	if err != nil {
		return err
	}
	if ended(l.done) {
		return errGone
	}
	if r := l.ep.checkHello(peer); r != nil {
		c.send(replay.FrameRefuse, appendRefuse(nil, r))
		return r
	}
	if l.role == RolePrimary && peer.Gen != c.gen {
		return errors.New("logchan: the peer answers for another connection")
	}
	if r := l.establish(c, peer, false); r != nil {
		c.send(replay.FrameRefuse, appendRefuse(nil, r))
		return r
	}
	return nil
}

// readHello reads the other side's Hello; a Refuse is returned as *Refusal.
func (c *conn) readHello() (Hello, error) {
	t, body, err := c.frames.Next()
	if err != nil {
		return Hello{}, fmt.Errorf("logchan: no answer to the handshake: %w", err)
	}
	switch t {
	case replay.FrameHello:
		return decodeHello(body)
	case replay.FrameRefuse:
		r, err := decodeRefuse(body)
		if err != nil {
			return Hello{}, err
		}
		return Hello{}, r
	}
	return Hello{}, unexpected(t)
}
