package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// guestDialTimeout bounds how long a client of a forward waits for a guest
// that does not answer at all.
const guestDialTimeout = 5 * time.Second

// Forward carries TCP connections to a host address on to a guest. The
// connection with the guest ends in the switch and survives a failover.
type Forward struct {
	Listen string         // on the host: "127.0.0.1:6379"; port 0 lets the system choose
	Guest  netip.AddrPort // without an address: the first guest, at .15
}

func (f Forward) String() string { return f.Listen + "=" + f.Guest.String() }

// ParseForward reads "127.0.0.1:6379=10.0.2.15:6379" or, for the first guest,
// "127.0.0.1:6379=6379".
func ParseForward(s string) (Forward, error) {
	host, guest, ok := strings.Cut(s, "=")
	if ok && !strings.Contains(guest, ":") {
		guest = "0.0.0.0:" + guest
	}
	to, err := netip.ParseAddrPort(guest)
	if !ok || err != nil || to.Port() == 0 || !to.Addr().Is4() {
		return Forward{}, fmt.Errorf("network: %q is not a forward; write HOST:PORT=GUEST:PORT, like 127.0.0.1:6379=10.0.2.15:6379", s)
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		return Forward{}, fmt.Errorf("network: forward %q: %w; write HOST:PORT=GUEST:PORT", s, err)
	}
	return Forward{Listen: host, Guest: to}, nil
}

// forwarder is a Forward at work.
type forwarder struct {
	gateway  *gateway
	listener net.Listener
	guest    netip.AddrPort

	active       atomic.Int64
	total, fails atomic.Uint64
}

func (g *gateway) forward(f Forward, insecure bool) (*forwarder, error) {
	host, _, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return nil, fmt.Errorf("network: forward %s: %w", f, err)
	}
	if !insecure && !loopbackHost(host) {
		return nil, fmt.Errorf("network: forward %s listens beyond loopback, where anybody could reach the guest; use 127.0.0.1 or allow it with --insecure", f)
	}
	to := f.Guest
	if !to.Addr().IsValid() || to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(nth(g.subnet, firstLease), to.Port())
	}
	if !g.subnet.Contains(to.Addr()) || to.Addr() == g.addr {
		return nil, fmt.Errorf("network: forward %s: no guest can have the address %s; the guests' subnet is %s", f, to.Addr(), g.subnet)
	}
	l, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return nil, fmt.Errorf("network: forward %s: %w", f, err)
	}
	fw := &forwarder{gateway: g, listener: l, guest: to}
	g.wait.Go(fw.accept)
	return fw, nil
}

func (f *forwarder) accept() {
	for {
		c, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: the next one may do better.
			time.Sleep(50 * time.Millisecond)
			continue
		}
		host := c.(*net.TCPConn)
		if !f.gateway.begin(&f.gateway.connections, maxConnections) {
			host.SetLinger(0)
			_ = host.Close()
			continue
		}
		go f.carry(host)
	}
}

// carry connects a client with the guest; if the guest refuses, so do we.
func (f *forwarder) carry(host *net.TCPConn) {
	g := f.gateway
	defer g.end(&g.connections)
	f.total.Add(1)
	f.active.Add(1)
	defer f.active.Add(-1)
	ctx, cancel := context.WithTimeout(g.ctx, guestDialTimeout)
	guest, err := dialGuest(ctx, g.stack, tcpip.FullAddress{
		NIC: gatewayNIC, Addr: tcpip.AddrFrom4(f.guest.Addr().As4()), Port: f.guest.Port(),
	}, ipv4.ProtocolNumber)
	cancel()
	if err != nil {
		f.fails.Add(1)
		host.SetLinger(0)
		_ = host.Close()
		return
	}
	splice(g.ctx, host, guest)
}
