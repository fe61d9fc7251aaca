package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	gatewayNIC = 1
	gatewayMTU = 1500

	// A lost segment is repeated soon, but not before a guest's delayed
	// acknowledgement (40 ms and a timer tick) could have come.
	gatewayMinRTO = 60 * time.Millisecond
	gatewayMaxRTO = time.Second
	// With gatewayMaxRTO, how many seconds a connection outlives a guest that
	// does not answer: nobody may conclude from silence that it is dead.
	gatewayRetries = 600

	maxConnections = 1024 // TCP connections through the gateway, forwards included
	maxDatagrams   = 512  // UDP sessions
)

// gateway is the switch's internal port: a TCP/IP stack that is the guests'
// router, DHCP and DNS server.
type gateway struct {
	sw     *Switch
	mac    MAC
	addr   netip.Addr
	subnet netip.Prefix
	link   *gatewayLink
	ether  *ethernet.Endpoint
	stack  *stack.Stack
	leases *leases
	cfg    SwitchConfig

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu          sync.Mutex
	closed      bool
	connections int
	datagrams   int
	resolver    int // which of the resolvers is asked
}

func newGateway(s *Switch, cfg SwitchConfig) (*gateway, error) {
	if !cfg.Subnet.IsValid() {
		cfg.Subnet = netip.MustParsePrefix("10.0.2.0/24")
	}
	subnet := cfg.Subnet.Masked()
	if !subnet.Addr().Is4() || subnet.Bits() < 16 || subnet.Bits() > 27 {
		return nil, fmt.Errorf("network: the subnet %s must be IPv4 with a prefix of 16 to 27 bits, like 10.0.2.0/24", cfg.Subnet)
	}
	g := &gateway{
		sw:     s,
		mac:    MAC{0x52, 0x55, 0, 0, 0, 2},
		addr:   nth(subnet, 2),
		subnet: subnet,
		leases: newLeases(subnet),
		cfg:    cfg,
	}
	base := subnet.Addr().As4()
	copy(g.mac[2:], base[:])
	g.mac[5] |= 2
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := g.start(); err != nil {
		g.cancel()
		return nil, fmt.Errorf("network: start the gateway: %w", err)
	}
	return g, nil
}

// nth is the nth address of a subnet.
func nth(subnet netip.Prefix, n uint32) netip.Addr {
	b := subnet.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

func (g *gateway) start() error {
	nud := stack.DefaultNUDConfigurations()
	// A failover that takes its time must not make the gateway forget where
	// the guest is: asking on for ten minutes costs nothing.
	nud.MaxUnicastProbes = 600
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		NUDConfigs:         nud,
	})
	minRTO, maxRTO := tcpip.TCPMinRTOOption(gatewayMinRTO), tcpip.TCPMaxRTOOption(gatewayMaxRTO)
	retries := tcpip.TCPMaxRetriesOption(gatewayRetries)
	sack, delay := tcpip.TCPSACKEnabled(true), tcpip.TCPDelayEnabled(false)
	// The loss probe of RACK waits 200 ms when one segment is outstanding, as
	// is usual with a client that waits for its answers; our RTO is shorter.
	recovery := tcpip.TCPRecovery(0)
	for _, o := range []tcpip.SettableTransportProtocolOption{&minRTO, &maxRTO, &retries, &sack, &delay, &recovery} {
		if err := g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("set %T: %s", o, err)
		}
	}
	g.link = &gatewayLink{gateway: g}
	g.ether = ethernet.New(g.link)
	if err := g.stack.CreateNIC(gatewayNIC, g.ether); err != nil {
		return fmt.Errorf("create the interface: %s", err)
	}
	local := tcpip.AddrFrom4(g.addr.As4()).WithPrefix()
	local.PrefixLen = g.subnet.Bits()
	if err := g.stack.AddProtocolAddress(gatewayNIC, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: local}, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("add the address: %s", err)
	}
	g.stack.SetRouteTable([]tcpip.Route{{Destination: local.Subnet(), NIC: gatewayNIC}})
	// Take packets to, and answer from, every address out there.
	if err := g.stack.SetPromiscuousMode(gatewayNIC, true); err != nil {
		return fmt.Errorf("take all packets: %s", err)
	}
	if err := g.stack.SetSpoofing(gatewayNIC, true); err != nil {
		return fmt.Errorf("send for all addresses: %s", err)
	}
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(g.stack, 0, 256, g.outwardTCP).HandlePacket)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(g.stack, g.outwardUDP).HandlePacket)
	return nil
}

func (g *gateway) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.wait.Wait()
	g.stack.Destroy()
}

// begin counts something in that goes on until g.wait.Done, unless the gateway
// is closing or *count has reached limit.
func (g *gateway) begin(count *int, limit int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || *count >= limit {
		return false
	}
	*count++
	g.wait.Add(1)
	return true
}

func (g *gateway) end(count *int) {
	g.mu.Lock()
	*count--
	g.mu.Unlock()
	g.wait.Done()
}

// deliver takes a frame for the gateway from a guest. Only what the stack is
// meant to answer goes in: being open to all addresses, it would answer echo
// requests and address resolution for the whole world.
func (g *gateway) deliver(from *port, frame []byte) {
	body := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		if len(body) >= 28 && netip.AddrFrom4([4]byte(body[24:28])) == g.addr {
			g.link.inject(frame)
		}
	case etherIPv4:
		ip := header.IPv4(body)
		if len(body) < header.IPv4MinimumSize || !ip.IsValid(len(body)) {
			return
		}
		if request := dhcpPayload(ip); request != nil {
			g.serveDHCP(from, MAC(frame[6:12]), request)
			return
		}
		if MAC(frame) == g.mac && g.routes(ip) {
			g.link.inject(frame)
		}
	}
}

// routes says whether a packet is for the gateway or can be sent on.
func (g *gateway) routes(ip header.IPv4) bool {
	src, dst := netip.AddrFrom4(ip.SourceAddress().As4()), netip.AddrFrom4(ip.DestinationAddress().As4())
	if !g.subnet.Contains(src) || src == g.addr {
		return false
	}
	if dst == g.addr {
		return true
	}
	proto := ip.TransportProtocol()
	return !g.subnet.Contains(dst) && (proto == tcp.ProtocolNumber || proto == udp.ProtocolNumber)
}

// gatewayLink is the wire between the stack and the switch. Frames from the
// stack are switched by the goroutine that sends them.
type gatewayLink struct {
	gateway *gateway

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*gatewayLink)(nil)

func (l *gatewayLink) inject(frame []byte) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	d.DeliverNetworkPacket(0, pkt)
}

// WritePackets switches what the stack sends; it never waits.
func (l *gatewayLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		v := pkt.ToView()
		l.gateway.sw.switchFrame(nil, v.AsSlice())
		v.Release()
	}
	return pkts.Len(), nil
}

func (l *gatewayLink) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

func (l *gatewayLink) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

func (l *gatewayLink) LinkAddress() tcpip.LinkAddress               { return tcpip.LinkAddress(l.gateway.mac[:]) }
func (l *gatewayLink) MTU() uint32                                  { return gatewayMTU + header.EthernetMinimumSize }
func (l *gatewayLink) SetMTU(uint32)                                {}
func (l *gatewayLink) MaxHeaderLength() uint16                      { return 0 }
func (l *gatewayLink) SetLinkAddress(tcpip.LinkAddress)             {}
func (l *gatewayLink) Capabilities() stack.LinkEndpointCapabilities { return 0 }
func (l *gatewayLink) Wait()                                        {}
func (l *gatewayLink) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareEther }
func (l *gatewayLink) AddHeader(*stack.PacketBuffer)                {}
func (l *gatewayLink) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (l *gatewayLink) Close()                                       {}
func (l *gatewayLink) SetOnCloseAction(func())                      {}
