package network

import (
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// dhcpRequestFrame is what a client without an address broadcasts.
func dhcpRequestFrame(mac MAC, m *dhcpv4.DHCPv4) []byte {
	payload := m.ToBytes()
	b := make([]byte, 42, 600)
	copy(b, broadcast[:])
	copy(b[6:], mac[:])
	b[12] = 8
	ip := header.IPv4(b[14:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(28 + len(payload)), TTL: 64, Protocol: 17,
		SrcAddr: tcpip.AddrFrom4([4]byte{}), DstAddr: tcpip.AddrFrom4([4]byte{255, 255, 255, 255})})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.UDP(b[34:]).Encode(&header.UDPFields{SrcPort: 68, DstPort: 67, Length: uint16(8 + len(payload))})
	return append(b, payload...)
}

// dhcpAnswer unpacks a reply and checks what a client's kernel would check.
func dhcpAnswer(t *testing.T, frame []byte) *dhcpv4.DHCPv4 {
	t.Helper()
	ip := header.IPv4(frame[14:])
	if !ip.IsValid(len(frame)-14) || !ip.IsChecksumValid() {
		t.Fatalf("bad IP header in %x", frame)
	}
	u := header.UDP(ip.Payload())
	if u.SourcePort() != 67 || u.DestinationPort() != 68 ||
		!u.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(u.Payload(), 0)) {
		t.Fatalf("bad UDP header in %x", frame)
	}
	m, err := dhcpv4.FromBytes(u.Payload())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLease(t *testing.T) {
	s := testSwitch(t, nil)
	first := plugLive(t, s, "a", macA, 0)
	second := plugLive(t, s, "b", macB, 0)
	// In the order of attaching, whoever asks first.
	for _, c := range []struct {
		nic  *NIC
		mac  MAC
		want string
	}{{second, macB, "10.0.2.16"}, {first, macA, "10.0.2.15"}, {second, macB, "10.0.2.16"}} {
		discover, err := dhcpv4.NewDiscovery(c.mac[:], dhcpv4.WithBroadcast(false))
		if err != nil {
			t.Fatal(err)
		}
		c.nic.Send(dhcpRequestFrame(c.mac, discover))
		f := expectFrameOfType(t, c.nic, etherIPv4)
		offer := dhcpAnswer(t, f.Bytes)
		if offer.MessageType() != dhcpv4.MessageTypeOffer || offer.YourIPAddr.String() != c.want || MAC(f.Bytes) != c.mac {
			t.Fatalf("offer %s", offer.Summary())
		}
		request, err := dhcpv4.NewRequestFromOffer(offer)
		if err != nil {
			t.Fatal(err)
		}
		c.nic.Send(dhcpRequestFrame(c.mac, request))
		ack := dhcpAnswer(t, expectFrameOfType(t, c.nic, etherIPv4).Bytes)
		self := net.IPv4(10, 0, 2, 2)
		if ack.MessageType() != dhcpv4.MessageTypeAck || ack.YourIPAddr.String() != c.want ||
			!ack.Router()[0].Equal(self) || !ack.DNS()[0].Equal(self) || ack.SubnetMask().String() != "ffffff00" ||
			ack.IPAddressLeaseTime(0) != leaseTime {
			t.Errorf("acknowledgement %s", ack.Summary())
		}
	}
	if p := s.Status().Ports; p[0].Address != "10.0.2.15" || p[1].Address != "10.0.2.16" {
		t.Errorf("status %+v", p)
	}
}

// expectFrameOfType skips what other guests broadcast.
func expectFrameOfType(t *testing.T, n *NIC, ether uint16) Received {
	t.Helper()
	for {
		if f := expectFrame(t, n); f.Bytes[12] == byte(ether>>8) && f.Bytes[13] == byte(ether) && f.Bytes[6] == 0x52 && f.Bytes[7] == 0x55 {
			return f
		}
	}
}

func TestForeignAddressIsNotAcknowledged(t *testing.T) {
	s := testSwitch(t, nil)
	n := plugLive(t, s, "a", macA, 0)
	request, err := dhcpv4.New(dhcpv4.WithHwAddr(macA[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(192, 168, 1, 7))))
	if err != nil {
		t.Fatal(err)
	}
	n.Send(dhcpRequestFrame(macA, request))
	f := expectFrame(t, n)
	if nak := dhcpAnswer(t, f.Bytes); nak.MessageType() != dhcpv4.MessageTypeNak || MAC(f.Bytes) != broadcast {
		t.Errorf("answer %s", nak.Summary())
	}
}

func TestLeasesEnd(t *testing.T) {
	l := newLeases(netip.MustParsePrefix("10.0.2.0/27"))
	for i := range 16 { // .15 to .30; .31 is the broadcast address
		if ip, fresh := l.get(MAC{2, byte(i)}); !fresh || ip != netip.AddrFrom4([4]byte{10, 0, 2, byte(15 + i)}) {
			t.Fatalf("lease %d is %v", i, ip)
		}
	}
	if ip, _ := l.get(MAC{2, 99}); ip.IsValid() {
		t.Errorf("one lease too many: %v", ip)
	}
	if ip, fresh := l.get(MAC{2, 3}); fresh || !ip.IsValid() {
		t.Errorf("a lease was not kept: %v", ip)
	}
}

// A guest that makes up addresses must not use up the subnet.
func TestLeasesPerPort(t *testing.T) {
	s := testSwitch(t, nil)
	n := plugLive(t, s, "a", macA, 0)
	for i := range 100 {
		mac := MAC{2, 0, 0, 0, 1, byte(i)}
		m, err := dhcpv4.NewDiscovery(mac[:])
		if err != nil {
			t.Fatal(err)
		}
		n.Send(dhcpRequestFrame(mac, m))
	}
	n.Send(ping(s, "10.0.2.2")) // answered after them
	n.Send(arpFrame(etherARP, 2, macA, [4]byte{10, 0, 2, 15}, s.gateway.mac, [4]byte{10, 0, 2, 2}))
	plugLive(t, s, "b", macB, 0)
	if ip, _ := s.gateway.leases.known(macB); !ip.IsValid() || ip.As4()[3] > 15+1+leasesPerPort {
		t.Errorf("the next guest's address is %v", ip)
	}
}
