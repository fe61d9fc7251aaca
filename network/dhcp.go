package network

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	dhcpServerPort = 67
	dhcpClientPort = 68
	firstLease     = 15 // host number in the subnet
	leaseTime      = 24 * time.Hour
	leasesPerPort  = 16
)

// leases gives each MAC address its own IP address for the life of the switch,
// in the order in which they first appear.
type leases struct {
	subnet netip.Prefix

	mu    sync.Mutex
	byMAC map[MAC]netip.Addr
	next  uint32
}

func newLeases(subnet netip.Prefix) *leases {
	return &leases{subnet: subnet, byMAC: map[MAC]netip.Addr{}, next: firstLease}
}

// get returns the address of a MAC, and whether it is new; it is invalid when
// none is left.
func (l *leases) get(mac MAC) (ip netip.Addr, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ip, ok := l.byMAC[mac]; ok {
		return ip, false
	}
	ip = nth(l.subnet, l.next)
	// The last address of the subnet is its broadcast address.
	if !l.subnet.Contains(nth(l.subnet, l.next+1)) {
		return netip.Addr{}, false
	}
	l.next++
	l.byMAC[mac] = ip
	return ip, true
}

// known returns the address of a MAC without giving one.
func (l *leases) known(mac MAC) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ip, ok := l.byMAC[mac]
	return ip, ok
}

// dhcpPayload returns the message if the packet is one to a DHCP server.
func dhcpPayload(ip header.IPv4) []byte {
	if ip.TransportProtocol() != header.UDPProtocolNumber || ip.More() || ip.FragmentOffset() != 0 {
		return nil
	}
	datagram := header.UDP(ip.Payload())
	if len(datagram) < header.UDPMinimumSize || datagram.DestinationPort() != dhcpServerPort {
		return nil
	}
	n := int(datagram.Length())
	if n < header.UDPMinimumSize || n > len(datagram) {
		return []byte{}
	}
	return datagram[header.UDPMinimumSize:n]
}

// serveDHCP answers a request that came in a frame of the given MAC.
func (g *gateway) serveDHCP(from *port, mac MAC, payload []byte) {
	request, err := dhcpv4.FromBytes(payload)
	if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest || string(request.ClientHWAddr) != string(mac[:]) {
		return
	}
	if _, ok := g.leases.known(mac); !ok && !from.mayLease() {
		return
	}
	ip, fresh := g.leases.get(mac)
	if !ip.IsValid() {
		return
	}
	if fresh {
		g.sw.event(SwitchEvent{Kind: SwitchLease, VM: from.name.vm, NIC: from.name.index, MAC: mac, Text: fmt.Sprintf("%s for %s", ip, mac)})
	}
	reply, err := g.dhcpReply(request, ip)
	if err != nil || reply == nil {
		return
	}
	g.sw.switchFrame(nil, g.dhcpFrame(request, reply, mac))
}

// dhcpReply is the answer to a request, or nil if it needs none (RFC 2131, 4.3).
func (g *gateway) dhcpReply(request *dhcpv4.DHCPv4, ip netip.Addr) (*dhcpv4.DHCPv4, error) {
	self := net.IP(g.addr.AsSlice())
	kind := dhcpv4.MessageTypeAck
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if id := request.ServerIdentifier(); id != nil && !id.Equal(self) {
			return nil, nil // it chose another server
		}
		want := request.RequestedIPAddress()
		if want == nil {
			want = request.ClientIPAddr
		}
		if !want.Equal(ip.AsSlice()) {
			return dhcpv4.NewReplyFromRequest(request,
				dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self)))
		}
	case dhcpv4.MessageTypeInform:
	default:
		return nil, nil
	}
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self)),
		dhcpv4.WithNetmask(net.CIDRMask(g.subnet.Bits(), 32)),
		dhcpv4.WithRouter(self),
		dhcpv4.WithDNS(self),
	}
	if request.MessageType() != dhcpv4.MessageTypeInform {
		mods = append(mods, dhcpv4.WithYourIP(ip.AsSlice()), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
	}
	return dhcpv4.NewReplyFromRequest(request, mods...)
}

// dhcpFrame packs a reply, addressed as RFC 2131, 4.1 says.
func (g *gateway) dhcpFrame(request, reply *dhcpv4.DHCPv4, mac MAC) []byte {
	dst := tcpip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		mac = broadcast
	case !request.ClientIPAddr.IsUnspecified():
		dst = tcpip.AddrFrom4Slice(request.ClientIPAddr.To4())
	case request.IsBroadcast():
		mac = broadcast
	default:
		dst = tcpip.AddrFrom4Slice(reply.YourIPAddr.To4())
	}
	payload := reply.ToBytes()
	src := tcpip.AddrFrom4(g.addr.As4())
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.UDPMinimumSize, 600)
	header.Ethernet(b).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(g.mac[:]), DstAddr: tcpip.LinkAddress(mac[:]), Type: header.IPv4ProtocolNumber,
	})
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + header.UDPMinimumSize + len(payload)),
		TTL:         64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: src, DstAddr: dst,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	length := uint16(header.UDPMinimumSize + len(payload))
	datagram := header.UDP(b[header.EthernetMinimumSize+header.IPv4MinimumSize:])
	datagram.Encode(&header.UDPFields{SrcPort: dhcpServerPort, DstPort: dhcpClientPort, Length: length})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, length)
	datagram.SetChecksum(^datagram.CalculateChecksum(checksum.Checksum(payload, sum)))
	return append(b, payload...)
}
