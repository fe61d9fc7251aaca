package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	helloTimeout = 2 * time.Second
	// A switch that takes nothing for this long is given up and dialled again.
	nicWriteDeadline = 2 * time.Second
	nicSendBuffer    = 4 << 20 // bytes
	redialFirst      = 10 * time.Millisecond
	redialMax        = 500 * time.Millisecond
)

// link is one connection to the switch, from hello to its end.
type link struct {
	conn net.Conn
	in   *messageReader
	out  *sender
	sw   [16]byte
}

// connect dials the switch and attaches in standby.
func (n *NIC) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := n.addr.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	l, err := n.attach(conn)
	if !stop() && err == nil {
		err = fmt.Errorf("network: attach to the switch at %s: %w", n.addr, context.Cause(ctx))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l.out = newSender(conn, nicSendBuffer, nicWriteDeadline)
	return l, nil
}

func (n *NIC) attach(conn net.Conn) (*link, error) {
	h := hello{version: wireVersion, index: n.cfg.Index, mac: n.cfg.MAC, process: n.process, vm: n.cfg.VM}
	if _, err := conn.Write(h.encode()); err != nil {
		return nil, fmt.Errorf("network: attach to the switch at %s: %w", n.addr, err)
	}
	l := &link{conn: conn, in: newMessageReader(conn)}
	kind, body, err := l.in.next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("network: attach to the switch at %s: %w", n.addr, err)
	case kind == msgRefused:
		refused, err := decodeRefused(body)
		if err != nil {
			return nil, err
		}
		return nil, &refused
	case kind != msgWelcome:
		return nil, fmt.Errorf("%w: message %d for a welcome; is %s a lockstep switch?", errProtocol, kind, n.addr)
	}
	version, sw, err := decodeWelcome(body)
	if err != nil {
		return nil, err
	}
	if version != wireVersion {
		return nil, fmt.Errorf("network: the switch at %s speaks version %d of the protocol and this program version %d; use the same release for both", n.addr, version, wireVersion)
	}
	l.sw = sw
	return l, nil
}

// run owns the connections one after the other, until Close or a refusal.
func (n *NIC) run(l *link) {
	for {
		stop := context.AfterFunc(n.ctx, l.out.abort)
		n.plug(l)
		err := n.receive(l)
		n.unplug()
		l.out.abort()
		l.out.wait()
		stop()
		if n.ended(err) {
			return
		}
		n.emit(NICEvent{Kind: NICLost, Err: err})
		if l = n.redial(); l == nil {
			return
		}
		n.emit(NICEvent{Kind: NICRestored})
	}
}

// ended reports that no further connection is wanted.
func (n *NIC) ended(err error) bool {
	var refused *RefusedError
	if errors.As(err, &refused) {
		n.mu.Lock()
		n.refused = true
		n.mu.Unlock()
		n.emit(NICEvent{Kind: NICRefused, Err: refused})
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed || n.ctx.Err() != nil
}

func (n *NIC) redial() *link {
	for wait := redialFirst; ; wait = min(2*wait, redialMax) {
		select {
		case <-n.ctx.Done():
			return nil
		case <-time.After(wait):
		}
		l, err := n.connect(n.ctx)
		if err == nil {
			return l
		}
		if n.ended(err) {
			return nil
		}
	}
}

// plug makes the connection the one to send on, and asks for the port again if
// the NIC is live.
func (n *NIC) plug(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sw != l.sw {
		n.sw, n.received = l.sw, 0
	}
	n.out = l.out
	if n.live {
		n.out.put(goLive{fence: n.fence, sw: n.sw, received: n.received}.encode())
		n.out.put(encodeConfirm(n.confirmed.Load()))
	}
}

func (n *NIC) unplug() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out = nil
}

// receive reads until the connection ends. It never waits for the guest, so
// that a refusal is seen at once.
func (n *NIC) receive(l *link) error {
	for {
		kind, body, err := l.in.next()
		if err != nil {
			return fmt.Errorf("network: connection to the switch at %s: %w", n.addr, err)
		}
		switch kind {
		case msgReceive:
			number, frame, err := decodeReceive(body)
			if err != nil {
				return err
			}
			n.take(number, frame)
		case msgLive:
			if _, err := decodeLive(body); err != nil {
				return err
			}
			n.emit(NICEvent{Kind: NICLive})
		case msgRefused:
			refused, err := decodeRefused(body)
			if err != nil {
				return err
			}
			return &refused
		default:
			return fmt.Errorf("%w: message %d from the switch", errProtocol, kind)
		}
	}
}

func (n *NIC) take(number uint64, frame []byte) {
	n.mu.Lock()
	n.received = max(n.received, number)
	n.mu.Unlock()
	select {
	case n.frames <- Received{Number: number, Bytes: append([]byte(nil), frame...)}:
		n.got.Add(1)
	default:
		n.gotDrops.Add(1)
	}
}

// emit is called by the NIC's goroutine only. One place is kept for the
// refusal, which comes last.
func (n *NIC) emit(e NICEvent) {
	if e.Kind == NICRefused || len(n.events) < cap(n.events)-1 {
		n.events <- e
	}
}
