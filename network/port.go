package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

const (
	// A VM process that takes nothing for this long is cut off; it attaches
	// again when it lives.
	portWriteDeadline = 2 * time.Second
	portSendBuffer    = 16 << 20 // bytes: more than is retained, with headers
	// lingerAfterRefusal lets a refusal reach its process before the close.
	lingerAfterRefusal = time.Second
)

// portName names a logical port.
type portName struct {
	vm    string
	index uint8
}

// port is a logical port: one NIC of one VM, whichever process is live.
//
//	attachment:  standby --go live, fence not below the port's--> live
//	                |                                              |
//	                +---- lower fence ----> refused <-- higher fence went live
type port struct {
	name portName
	mac  MAC
	macs int // addresses learned; under Switch.mu

	mu          sync.Mutex
	fence       ft.Fence // the highest that has gone live
	everLive    bool
	live        *attachment // nil while no process is attached as live
	attachments int
	keep        retained

	leases int

	fromGuest, toGuest, overrun uint64
	confirmed                   uint64
}

// mayLease counts an address that a guest on this port asks for; a guest that
// makes up MAC addresses must not use up the subnet.
func (p *port) mayLease() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leases >= leasesPerPort {
		return false
	}
	p.leases++
	return true
}

// attachment is one connection of one process to a logical port.
type attachment struct {
	conn    net.Conn
	out     *sender
	process [16]byte
	fence   ft.Fence // asked for by go live
	lost    error    // under port.mu: why it is live no more
}

// displace takes the port from an attachment. It stays connected for a moment,
// so that a refusal can reach it.
func (a *attachment) displace(err error) {
	a.lost = err
	wait := time.Duration(0)
	var refused *RefusedError
	if errors.As(err, &refused) {
		a.out.put(encodeRefused(*refused))
		wait = lingerAfterRefusal
	}
	a.conn.SetReadDeadline(time.Now().Add(wait))
}

// serve speaks with one VM process until the connection ends.
func (s *Switch) serve(c net.Conn) {
	out := newSender(c, portSendBuffer, portWriteDeadline)
	defer func() {
		out.abort()
		out.wait()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	in := newMessageReader(c)
	p, a, err := s.welcome(c, in, out)
	if err == nil {
		err = s.converse(p, a, in)
		if lost := p.detach(a); lost != nil {
			err = lost
		}
		s.event(SwitchEvent{Kind: SwitchDetached, VM: p.name.vm, NIC: p.name.index, MAC: p.mac, Text: reason(err)})
	}
	var refused *RefusedError
	if errors.Is(err, errProtocol) {
		s.malformed.Add(1)
		refused = &RefusedError{Reason: RefusedProtocol, Text: err.Error()}
	} else if !errors.As(err, &refused) {
		return
	}
	e := SwitchEvent{Kind: SwitchRefused, Fence: refused.Holder, Text: refused.Text}
	if p != nil {
		e.VM, e.NIC, e.MAC = p.name.vm, p.name.index, p.mac
	}
	s.event(e)
	// Unread input would make a TCP close drop the refusal on its way, so read
	// on until the process has closed its side.
	out.put(encodeRefused(*refused))
	c.SetReadDeadline(time.Now().Add(lingerAfterRefusal))
	_, _ = io.Copy(io.Discard, c)
}

func reason(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return "closed"
	}
	return err.Error()
}

// welcome reads the hello and attaches the process in standby.
func (s *Switch) welcome(c net.Conn, in *messageReader, out *sender) (*port, *attachment, error) {
	c.SetReadDeadline(time.Now().Add(helloTimeout))
	kind, body, err := in.next()
	if err != nil {
		return nil, nil, err
	}
	c.SetReadDeadline(time.Time{})
	if kind != msgHello {
		return nil, nil, fmt.Errorf("%w: message %d for a hello", errProtocol, kind)
	}
	h, err := decodeHello(body)
	if err != nil {
		return nil, nil, err
	}
	if h.version != wireVersion {
		return nil, nil, &RefusedError{Reason: RefusedVersion,
			Text: fmt.Sprintf("the switch speaks version %d of the protocol and the VM version %d; use the same release for both", wireVersion, h.version)}
	}
	p, refused := s.portOf(portName{h.vm, h.index}, h.mac)
	if refused != nil {
		return nil, nil, refused
	}
	a := &attachment{conn: c, out: out, process: h.process}
	p.mu.Lock()
	p.attachments++
	p.mu.Unlock()
	out.put(encodeWelcome(s.id))
	s.event(SwitchEvent{Kind: SwitchAttached, VM: h.vm, NIC: h.index, MAC: h.mac, Text: "standby"})
	return p, a, nil
}

// converse handles the messages of an attached process.
func (s *Switch) converse(p *port, a *attachment, in *messageReader) error {
	for {
		kind, body, err := in.next()
		if err != nil {
			return err
		}
		switch kind {
		case msgGoLive:
			g, err := decodeGoLive(body)
			if err != nil {
				return err
			}
			if g.sw != s.id {
				g.received = 0
			}
			if err := p.goLive(a, g); err != nil {
				return err
			}
			s.event(SwitchEvent{Kind: SwitchLive, VM: p.name.vm, NIC: p.name.index, MAC: p.mac, Fence: g.fence,
				Text: fmt.Sprintf("fence %s is live", g.fence)})
		case msgSend:
			if err := checkFrame(body); err != nil {
				return err
			}
			if err := p.speaks(a, true); err != nil {
				return err
			}
			s.switchFrame(p, body)
		case msgConfirm:
			number, err := decodeConfirm(body)
			if err != nil {
				return err
			}
			if err := p.speaks(a, false); err != nil {
				return err
			}
			p.confirm(number)
		default:
			return fmt.Errorf("%w: message %d", errProtocol, kind)
		}
	}
}

// goLive gives the port to an attachment, unless a higher fence number has had
// it, and hands it the frames that are not confirmed.
func (p *port) goLive(a *attachment, g goLive) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.everLive && g.fence.Less(p.fence) {
		return p.refusal(g.fence, p.fence)
	}
	if old := p.live; old != nil && old != a {
		switch {
		case old.process == a.process: // it dialled again before we saw the old connection end
			old.displace(ErrClosed)
		case g.fence == p.fence:
			return &RefusedError{Reason: RefusedInUse, Holder: p.fence,
				Text: fmt.Sprintf("another process is live on %s with the same fence number %s; two processes must not share one", p, p.fence)}
		default:
			old.displace(p.refusal(old.fence, g.fence))
		}
	}
	a.fence, a.lost = g.fence, nil
	p.fence, p.everLive, p.live = g.fence, true, a
	a.out.put(encodeLive(g.fence))
	p.keep.expire(time.Now())
	for _, f := range p.keep.held() {
		if f.number > g.received {
			p.transmit(f)
		}
	}
	return nil
}

// refusal is what a process with a lower fence number is told.
func (p *port) refusal(its, holder ft.Fence) *RefusedError {
	return &RefusedError{Reason: RefusedFence, Holder: holder,
		Text: fmt.Sprintf("%s belongs to fence number %s, which is above %s; this replica is not the live one and must halt", p, holder, its)}
}

func (p *port) String() string { return fmt.Sprintf("port %s/nic%d", p.name.vm, p.name.index) }

// speaks says whether an attachment may send: only the live one.
func (p *port) speaks(a *attachment, frame bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == a {
		if frame {
			p.fromGuest++
		}
		return nil
	}
	if a.lost != nil {
		return a.lost
	}
	return fmt.Errorf("%w: a frame from a process that is not live", errProtocol)
}

// deliver numbers a frame for the guest, keeps it until it is confirmed and
// sends it to the live process, if one is attached.
func (p *port) deliver(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.everLive {
		return // no guest has run here yet
	}
	now := time.Now()
	f := heldFrame{bytes: slices.Clone(frame)}
	f.number = p.keep.push(now, f.bytes)
	p.toGuest++
	p.transmit(f)
}

func (p *port) transmit(f heldFrame) {
	if p.live == nil {
		return
	}
	head := receiveHeader(f.number, len(f.bytes))
	if !p.live.out.put(head[:], f.bytes) {
		p.overrun++
	}
}

func (p *port) confirm(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = max(p.confirmed, number)
	p.keep.confirm(number)
}

// detach forgets an attachment, and returns why it had lost the port if it had;
// what arrives for the guest meanwhile is kept for the next.
func (p *port) detach(a *attachment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attachments--
	if p.live == a {
		p.live = nil
	}
	return a.lost
}
