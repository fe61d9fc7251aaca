package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	hostDialTimeout = 10 * time.Second
	dnsPort         = 53
	udpIdle         = time.Minute
	dnsIdle         = 10 * time.Second
	maxDatagram     = 64 << 10
)

// outward maps the destination that a guest asked for to the one that is
// dialled on the host. The gateway's own address stands for its DNS server and,
// if that is allowed, for the host's loopback.
func (g *gateway) outward(addr tcpip.Address, port uint16) (to netip.AddrPort, dns, ok bool) {
	ip := netip.AddrFrom4(addr.As4())
	switch {
	case ip == g.addr && port == dnsPort:
		r, ok := g.dnsServer()
		return r, true, ok
	case ip == g.addr:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), false, g.cfg.HostLoopback
	case ip.IsGlobalUnicast() && ip.As4()[0] < 240 && ip.As4()[0] != 0:
		return netip.AddrPortFrom(ip, port), false, true
	}
	// Loopback, link-local (where clouds keep their credentials), multicast
	// and reserved addresses are the host's own affair.
	return netip.AddrPort{}, false, false
}

// outwardTCP connects a guest with the outside: first the host's side, so that
// a refusal there is one for the guest.
func (g *gateway) outwardTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to, _, ok := g.outward(id.LocalAddress, id.LocalPort)
	if !ok || !g.begin(&g.connections, maxConnections) {
		r.Complete(true)
		return
	}
	defer g.end(&g.connections)
	ctx, cancel := context.WithTimeout(g.ctx, hostDialTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		r.Complete(true)
		return
	}
	wq := new(waiter.Queue)
	ep, terr := r.CreateEndpoint(wq)
	r.Complete(false)
	if terr != nil {
		c.Close()
		return
	}
	splice(g.ctx, c.(*net.TCPConn), newGuestConn(wq, ep))
}

// outwardUDP opens a session for a guest's datagrams to one destination. It
// runs in the stack's packet path and must not wait.
func (g *gateway) outwardUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to, dns, ok := g.outward(id.LocalAddress, id.LocalPort)
	if !ok {
		return false // the stack answers: unreachable
	}
	if !g.begin(&g.datagrams, maxDatagrams) {
		return true // dropped
	}
	wq := new(waiter.Queue)
	ep, terr := r.CreateEndpoint(wq)
	if terr != nil {
		g.end(&g.datagrams)
		return false
	}
	go func() {
		defer g.end(&g.datagrams)
		g.carryDatagrams(gonet.NewUDPConn(wq, ep), to, dns)
	}()
	return true
}

func (g *gateway) carryDatagrams(guest *gonet.UDPConn, to netip.AddrPort, dns bool) {
	defer guest.Close()
	host, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer func() { _ = host.Close() }()
	s := &session{idle: udpIdle}
	if dns {
		s.idle = dnsIdle
	}
	end := func() {
		_ = host.SetDeadline(time.Unix(1, 0))
		_ = guest.SetDeadline(time.Unix(1, 0))
	}
	stop := context.AfterFunc(g.ctx, func() { s.over.Store(true); end() })
	defer stop()
	s.touch()
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer end()
		defer s.over.Store(true)
		s.carry(guest, host, func() { s.answered.Store(true) })
	}()
	s.carry(host, guest, func() {})
	s.over.Store(true)
	end()
	<-back
	if dns && !s.answered.Load() && g.ctx.Err() == nil {
		g.nextResolver(to)
	}
}

// session is one UDP exchange; it ends when nothing came either way for a while.
type session struct {
	idle     time.Duration
	last     atomic.Int64 // time of the last datagram, ns
	over     atomic.Bool
	answered atomic.Bool
}

func (s *session) touch() { s.last.Store(time.Now().UnixNano()) }

// quietUntil is when the session will have been idle for long enough.
func (s *session) quietUntil() time.Time { return time.Unix(0, s.last.Load()).Add(s.idle) }

func (s *session) carry(dst, src net.Conn, each func()) {
	b := make([]byte, maxDatagram)
	src.SetReadDeadline(s.quietUntil())
	for !s.over.Load() {
		n, err := src.Read(b)
		if err != nil {
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || s.over.Load() || !time.Now().Before(s.quietUntil()) {
				return
			}
			src.SetReadDeadline(s.quietUntil())
			continue
		}
		s.touch()
		each()
		if _, err := dst.Write(b[:n]); err != nil {
			return
		}
	}
}
