package network

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// announceAgain are the pauses between repetitions of an announcement: a
// single one can be lost, and a switch may still be waking its ports.
var announceAgain = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 350 * time.Millisecond, 500 * time.Millisecond, time.Second}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd

	maxAnnounced = 8 // addresses of each family
)

// announcer knows the addresses of a guest from what it sends, and builds the
// frames that tell switches and neighbours where it is.
type announcer struct {
	mac    MAC
	v4, v6 []netip.Addr
	byARP  bool // v4 comes from ARP, which is certain
}

// learn looks at one frame from the guest. ARP and neighbour advertisements
// name the guest's own addresses. The source of an IP packet is only a guess
// (the guest may route), so it serves while nothing better is known and only
// if its hop limit was not yet counted down.
func (a *announcer) learn(frame []byte) {
	if len(frame) < minFrame || MAC(frame[6:12]) != a.mac {
		return
	}
	body := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		if len(body) < 28 || binary.BigEndian.Uint16(body[2:]) != etherIPv4 || MAC(body[8:14]) != a.mac {
			return
		}
		if ip := netip.AddrFrom4([4]byte(body[14:18])); own(ip) {
			if !a.byARP {
				a.v4, a.byARP = nil, true
			}
			a.v4 = remember(a.v4, ip)
		}
	case etherIPv4:
		if len(body) < 20 || body[0]>>4 != 4 || a.byARP || !fresh(body[8]) {
			return
		}
		if ip := netip.AddrFrom4([4]byte(body[12:16])); own(ip) {
			a.v4 = []netip.Addr{ip}
		}
	case etherIPv6:
		a.learn6(body)
	}
}

func (a *announcer) learn6(p []byte) {
	if len(p) < 40 || p[0]>>4 != 6 || !fresh(p[7]) {
		return
	}
	if ip := netip.AddrFrom16([16]byte(p[8:24])); own(ip) {
		a.v6 = remember(a.v6, ip)
	}
	const icmpv6, advertisement = 58, 136
	if p[6] == icmpv6 && len(p) >= 64 && p[40] == advertisement {
		if ip := netip.AddrFrom16([16]byte(p[48:64])); own(ip) {
			a.v6 = remember(a.v6, ip)
		}
	}
}

// own reports an address that can be a host's own.
func own(ip netip.Addr) bool {
	return !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// fresh reports a hop limit that common systems start with.
func fresh(hops byte) bool { return hops == 64 || hops == 128 || hops == 255 }

// remember keeps the most recent addresses, newest last.
func remember(list []netip.Addr, ip netip.Addr) []netip.Addr {
	if i := slices.Index(list, ip); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == maxAnnounced {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, ip)
}

// frames are the announcements: for each IPv4 address a gratuitous ARP request
// and reply (some systems heed only one of them), for each IPv6 address an
// unsolicited neighbour advertisement, and if no IPv4 address is known a
// reverse ARP, which moves the MAC in switches.
func (a *announcer) frames() [][]byte {
	var out [][]byte
	for _, ip := range a.v4 {
		out = append(out,
			arpFrame(etherARP, 1, a.mac, ip.As4(), MAC{}, ip.As4()),
			arpFrame(etherARP, 2, a.mac, ip.As4(), a.mac, ip.As4()))
	}
	if len(a.v4) == 0 {
		out = append(out, arpFrame(etherRARP, 3, a.mac, [4]byte{}, a.mac, [4]byte{}))
	}
	for _, ip := range a.v6 {
		out = append(out, advertisementFrame(a.mac, ip.As16()))
	}
	return out
}

// arpFrame is a broadcast ARP or RARP frame of 42 bytes (RFC 826, RFC 903).
func arpFrame(ether, op uint16, sender MAC, senderIP [4]byte, target MAC, targetIP [4]byte) []byte {
	b := make([]byte, 0, 42)
	b = append(b, broadcast[:]...)
	b = append(b, sender[:]...)
	b = binary.BigEndian.AppendUint16(b, ether)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, lengths
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, sender[:]...)
	b = append(b, senderIP[:]...)
	b = append(b, target[:]...)
	return append(b, targetIP[:]...)
}

// advertisementFrame is an unsolicited neighbour advertisement to all nodes, of
// 86 bytes, with the override flag (RFC 4861, 4.4 and 7.2.6).
func advertisementFrame(mac MAC, ip [16]byte) []byte {
	b := make([]byte, 0, 86)
	b = append(b, 0x33, 0x33, 0, 0, 0, 1)
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, 32, 58, 255)                     // 32 bytes of ICMPv6, hop limit 255
	b = append(b, ip[:]...)                                          // source
	b = append(b, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) // ff02::1
	b = append(b, 136, 0, 0, 0, 0x20, 0, 0, 0)                       // advertisement, override
	b = append(b, ip[:]...)                                          // target
	b = append(b, 2, 1)                                              // option: target's link-layer address
	b = append(b, mac[:]...)
	binary.BigEndian.PutUint16(b[56:], checksum6(b[14:54], b[54:]))
	return b
}

// checksum6 is the ICMPv6 checksum over the pseudo header and the message,
// whose checksum field is zero (RFC 8200, 8.1).
func checksum6(ipv6, message []byte) uint16 {
	sum := uint32(len(message)) + 58
	for _, part := range [][]byte{ipv6[8:40], message} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
