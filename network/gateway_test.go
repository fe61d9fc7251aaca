package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const guestAddr = "10.0.2.15"

// echoServer answers every connection to a guest's port 7 with what it says.
func echoServer(t testing.TB, g *guest) {
	t.Helper()
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{Port: 7}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	g.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wait.Go(func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err == nil {
					c.(*gonet.TCPConn).CloseWrite()
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Shutdown()
		l.Close()
	})
}

func forwardTo(guest string) func(*SwitchConfig) {
	return func(c *SwitchConfig) {
		c.Forwards = []Forward{{Listen: "127.0.0.1:0", Guest: netip.MustParseAddrPort(guest)}}
	}
}

func dialForward(t testing.TB, s *Switch) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", s.ForwardAddresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func TestForwardEchoesAndHonoursHalfClose(t *testing.T) {
	s := testSwitch(t, forwardTo("0.0.0.0:7"))
	g := newGuest(t, macA, guestAddr)
	echoServer(t, g)
	defer g.runOn(plugLive(t, s, "vm", macA, 0))()
	c := dialForward(t, s)
	want := make([]byte, 300<<10)
	rand.Read(want)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	// The guest's answer ends only after it has seen our end.
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d came back: %v", len(got), len(want), err)
	}
}

func TestForwardToRefusingGuestCloses(t *testing.T) {
	s := testSwitch(t, forwardTo("10.0.2.15:9"))
	g := newGuest(t, macA, guestAddr)
	defer g.runOn(plugLive(t, s, "vm", macA, 0))()
	// The reset may come before or after the dial has returned.
	if c, err := net.Dial("tcp", s.ForwardAddresses()[0]); err == nil {
		c.SetDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); err == nil || n != 0 {
			t.Errorf("read %d bytes, %v; want the connection closed", n, err)
		}
		c.Close()
	}
	if f := s.Status().Forwards[0]; f.Failed != 1 || f.Total != 1 {
		t.Errorf("status %+v", f)
	}
}

// Section 8: a forward is a spliced TCP proxy: its guest-side connection is the
// one that survives.
func TestConnectionSurvivesFailover(t *testing.T) {
	s := testSwitch(t, forwardTo("10.0.2.15:7"))
	g := newGuest(t, macA, guestAddr)
	echoServer(t, g)
	primary := plugLive(t, s, "vm", macA, 0)
	backup := plug(t, s, "vm", macA)
	halt := g.runOn(primary)
	c := dialForward(t, s)

	const size, failAt = 1 << 20, 256 << 10
	want := make([]byte, size)
	rand.Read(want)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		wrote <- err
	}()
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got[:failAt]); err != nil {
		t.Fatal(err)
	}
	// The primary stops in mid-stream: what it has received since was never
	// logged. Then it is killed and the backup goes live.
	halt()
	kill(primary)
	backup.GoLive(fence(1))
	defer g.runOn(backup)()
	if _, err := io.ReadFull(c, got[failAt:]); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the echo differs; write: %v", err)
	}
	if f := s.Status().Forwards[0]; f.Total != 1 || f.Failed != 0 {
		t.Errorf("status %+v", f)
	}
}

// A request that the dead primary had received but not logged is answered by
// the next one without TCP repeating it: the gateway's stack sends nothing.
func TestFailoverNeedsNoRetransmission(t *testing.T) {
	s := testSwitch(t, forwardTo("10.0.2.15:7"))
	g := newGuest(t, macA, guestAddr)
	echoServer(t, g)
	primary := plugLive(t, s, "vm", macA, 0)
	backup := plug(t, s, "vm", macA)
	halt := g.runOn(primary)
	c := dialForward(t, s)
	ping := func() {
		t.Helper()
		b := []byte("ping")
		c.Write(b)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	ping()
	halt()
	c.Write([]byte("pong"))
	lost := expectSegment(t, primary, "pong") // received, and not logged
	kill(primary)
	backup.GoLive(fence(1))
	f := expectSegment(t, backup, "pong")
	if f.Number != lost.Number {
		t.Fatalf("frame %d carries the request, want %d: it was sent again", f.Number, lost.Number)
	}
	g.attach(backup)
	g.take(f)
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "pong" {
		t.Fatalf("%q, %v", b, err)
	}
}

// expectSegment skips bare acknowledgements.
func expectSegment(t *testing.T, n *NIC, payload string) Received {
	t.Helper()
	for {
		f := expectFrame(t, n)
		if binary.BigEndian.Uint16(f.Bytes[12:]) != etherIPv4 {
			continue
		}
		if ip := header.IPv4(f.Bytes[14:]); string(header.TCP(ip.Payload()).Payload()) == payload {
			return f
		}
	}
}

func TestOutwardTCP(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		s := testSwitch(t, func(c *SwitchConfig) { c.HostLoopback = allowed })
		g := newGuest(t, macA, guestAddr)
		halt := g.runOn(plugLive(t, s, "vm", macA, 0))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		port := netip.MustParseAddrPort(l.Addr().String()).Port()
		for _, to := range [][4]byte{{10, 0, 2, 2}, {127, 0, 0, 1}, {169, 254, 169, 254}} {
			if to[0] != 10 && allowed {
				continue // never allowed, and silent ones cost time
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			if allowed {
				ctx, cancel = context.WithTimeout(context.Background(), patience)
			}
			c, err := gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{Addr: tcpip.AddrFrom4(to), Port: port}, ipv4.ProtocolNumber)
			if (err == nil) != allowed {
				t.Errorf("allowed %v: guest dials %v: %v", allowed, to, err)
			}
			if err == nil {
				c.Write([]byte("hello"))
				c.CloseWrite()
				if b, err := io.ReadAll(c); string(b) != "hello" {
					t.Errorf("got %q, %v", b, err)
				}
				c.Close()
			}
			cancel()
		}
		l.Close()
		halt()
	}
}

func TestOutwardAddresses(t *testing.T) {
	g := testSwitch(t, nil).gateway
	for to, want := range map[string]bool{
		"1.1.1.1": true, "192.168.1.1": true, "127.0.0.1": false, "127.1.2.3": false, "0.0.0.0": false, "0.1.2.3": false,
		"169.254.169.254": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false, "10.0.2.2": false,
	} {
		if _, _, ok := g.outward(tcpip.AddrFrom4(netip.MustParseAddr(to).As4()), 80); ok != want {
			t.Errorf("guest to %s: %v", to, ok)
		}
	}
}

func TestRoutes(t *testing.T) {
	g := testSwitch(t, nil).gateway
	const tcp, udp, icmp = 6, 17, 1
	for _, c := range []struct {
		src, dst string
		proto    uint8
		want     bool
	}{
		{"10.0.2.15", "10.0.2.2", icmp, true},
		{"10.0.2.15", "1.1.1.1", tcp, true},
		{"10.0.2.15", "1.1.1.1", udp, true},
		{"10.0.2.15", "1.1.1.1", icmp, false},  // cannot be translated without privileges
		{"10.0.2.15", "10.0.2.16", tcp, false}, // neighbours speak to each other
		{"10.0.2.2", "10.0.2.2", icmp, false},  // that is us
		{"192.0.2.1", "1.1.1.1", tcp, false},   // not our guest
	} {
		ip := make(header.IPv4, 20)
		ip.Encode(&header.IPv4Fields{TotalLength: 20, Protocol: c.proto,
			SrcAddr: tcpip.AddrFrom4(netip.MustParseAddr(c.src).As4()), DstAddr: tcpip.AddrFrom4(netip.MustParseAddr(c.dst).As4())})
		if g.routes(ip) != c.want {
			t.Errorf("%+v: %v", c, !c.want)
		}
	}
}

// resolver is a host's DNS server: it answers, or counts and says nothing.
func resolver(t *testing.T, answer string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(append([]byte(answer), b[:n]...), from)
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func TestDNSIsRelayed(t *testing.T) {
	r := resolver(t, "answer to ")
	s := testSwitch(t, func(c *SwitchConfig) { c.Resolvers = []netip.AddrPort{r} })
	g := newGuest(t, macA, guestAddr)
	defer g.runOn(plugLive(t, s, "vm", macA, 0))()
	c, err := gonet.DialUDP(g.stack, nil, &tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{10, 0, 2, 2}), Port: 53}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 512)
	for _, q := range []string{"one", "two"} {
		if _, err := c.Write([]byte(q)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:n]) != "answer to "+q {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
	if st := s.Status(); st.UDP != 1 {
		t.Errorf("%d UDP sessions, want 1", st.UDP)
	}
}

func TestNextResolverAfterSilence(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")
	g := testSwitch(t, func(c *SwitchConfig) { c.Resolvers = []netip.AddrPort{a, b} }).gateway
	for _, step := range []struct{ silent, want netip.AddrPort }{{netip.AddrPort{}, a}, {a, b}, {a, b}, {b, a}} {
		g.nextResolver(step.silent)
		if got, ok := g.dnsServer(); !ok || got != step.want {
			t.Errorf("after %v was silent: %v, want %v", step.silent, got, step.want)
		}
	}
}

// ping is an echo request frame to an address, by way of the gateway.
func ping(s *Switch, to string) []byte {
	dst := netip.MustParseAddr(to).As4()
	b := make([]byte, 14+20+8)
	copy(b, s.gateway.mac[:])
	copy(b[6:], macA[:])
	binary.BigEndian.PutUint16(b[12:], etherIPv4)
	ip := header.IPv4(b[14:])
	ip.Encode(&header.IPv4Fields{TotalLength: 28, TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 2, 15}), DstAddr: tcpip.AddrFrom4(dst)})
	ip.SetChecksum(^ip.CalculateChecksum())
	m := header.ICMPv4(b[34:])
	m.SetType(header.ICMPv4Echo)
	m.SetChecksum(header.ICMPv4Checksum(m, 0))
	return b
}

// The gateway answers echo and address resolution for itself, and never for
// the rest of the world.
func TestEchoToGatewayOnly(t *testing.T) {
	s := testSwitch(t, nil)
	n := plugLive(t, s, "vm", macA, 0)
	other := netip.MustParseAddr("10.0.2.99").As4()
	n.Send(arpFrame(etherARP, 1, macA, [4]byte{10, 0, 2, 15}, MAC{}, other))
	n.Send(arpFrame(etherARP, 1, macA, [4]byte{10, 0, 2, 15}, MAC{}, [4]byte{10, 0, 2, 2}))
	f := expectFrame(t, n)
	if a := header.ARP(f.Bytes[14:]); a.Op() != header.ARPReply || !bytes.Equal(a.ProtocolAddressSender(), []byte{10, 0, 2, 2}) ||
		MAC(a.HardwareAddressSender()) != s.gateway.mac {
		t.Fatalf("answer %x", f.Bytes)
	}
	n.Send(ping(s, "8.8.8.8"))
	n.Send(ping(s, "10.0.2.2"))
	f = expectFrame(t, n)
	ip := header.IPv4(f.Bytes[14:])
	if ip.SourceAddress() != tcpip.AddrFrom4([4]byte{10, 0, 2, 2}) || header.ICMPv4(ip.Payload()).Type() != header.ICMPv4EchoReply {
		t.Fatalf("answer %x", f.Bytes)
	}
}

func TestClosingTheSwitchEndsConnections(t *testing.T) {
	s := testSwitch(t, forwardTo("10.0.2.15:7"))
	g := newGuest(t, macA, guestAddr)
	echoServer(t, g)
	defer g.runOn(plugLive(t, s, "vm", macA, 0))()
	c := dialForward(t, s)
	b := []byte("x")
	c.Write(b)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := c.Read(b); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after the switch ended: %v; want a reset", err)
	}
}
