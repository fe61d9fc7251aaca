package network

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(strings.Fields(s), ""), "|", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkAnnouncements(t *testing.T, a *announcer, want ...string) {
	t.Helper()
	got := a.frames()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range got {
		if hex.EncodeToString(got[i]) != hex.EncodeToString(unhex(t, want[i])) {
			t.Errorf("frame %d is\n%x, want\n%x", i, got[i], unhex(t, want[i]))
		}
	}
}

func TestAnnounceUnknownAddress(t *testing.T) {
	checkAnnouncements(t, &announcer{mac: macA},
		`ffffffffffff 52540000000a 8035 | 0001 0800 06 04 0003 52540000000a 00000000 52540000000a 00000000`)
}

func TestAnnounceIPv4(t *testing.T) {
	a := &announcer{mac: macA}
	// An ARP request of the guest for its gateway.
	a.learn(unhex(t, `ffffffffffff 52540000000a 0806 | 0001 0800 06 04 0001 52540000000a 0a00020f 000000000000 0a000202`))
	checkAnnouncements(t, a,
		`ffffffffffff 52540000000a 0806 | 0001 0800 06 04 0001 52540000000a 0a00020f 000000000000 0a00020f`,
		`ffffffffffff 52540000000a 0806 | 0001 0800 06 04 0002 52540000000a 0a00020f 52540000000a 0a00020f`)
}

func TestAnnounceIPv6(t *testing.T) {
	a := &announcer{mac: macA, v4: []netip.Addr{netip.MustParseAddr("10.0.2.15")}, byARP: true}
	// A neighbour advertisement of the guest from its link-local address.
	a.learn(unhex(t, `333300000001 52540000000a 86dd | 60000000 0020 3a ff fe80000000000000505400fffe00000a ff020000000000000000000000000001
		88 00 0000 20000000 fe80000000000000505400fffe00000a 0201 52540000000a`))
	frames := a.frames()
	if len(frames) != 3 || len(frames[2]) != 86 {
		t.Fatalf("%d frames", len(frames))
	}
	want := unhex(t, `333300000001 52540000000a 86dd | 60000000 0020 3a ff fe80000000000000505400fffe00000a ff020000000000000000000000000001
		88 00 0000 20000000 fe80000000000000505400fffe00000a 0201 52540000000a`)
	copy(want[56:58], frames[2][56:58])
	if string(frames[2]) != string(want) {
		t.Errorf("advertisement is\n%x, want\n%x", frames[2], want)
	}
	ip := header.IPv6(frames[2][14:])
	m := header.ICMPv6(ip.Payload())
	if want := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}); m.Checksum() != want {
		t.Errorf("checksum %#x, want %#x", m.Checksum(), want)
	}
}

func TestWhatIsLearned(t *testing.T) {
	ip4 := func(src string, ttl byte) []byte {
		b := append(append(append([]byte{}, broadcast[:]...), macA[:]...), 8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, ttl, 17, 0, 0)
		s := netip.MustParseAddr(src).As4()
		return append(append(b, s[:]...), 1, 1, 1, 1)
	}
	arp := func(sender MAC, ip string) []byte {
		return arpFrame(etherARP, 1, sender, netip.MustParseAddr(ip).As4(), MAC{}, [4]byte{})
	}
	for name, c := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"source of a packet":          {[][]byte{ip4("10.0.2.15", 64)}, "10.0.2.15"},
		"not a routed packet":         {[][]byte{ip4("10.9.9.9", 63)}, ""},
		"not before DHCP":             {[][]byte{ip4("0.0.0.0", 64)}, ""},
		"ARP is certain":              {[][]byte{ip4("10.9.9.9", 64), arp(macA, "10.0.2.15"), ip4("10.8.8.8", 64)}, "10.0.2.15"},
		"not another's ARP":           {[][]byte{arp(macB, "10.0.2.16")}, ""},
		"not an ARP probe":            {[][]byte{arp(macA, "0.0.0.0")}, ""},
		"several, newest last":        {[][]byte{arp(macA, "10.0.2.15"), arp(macA, "10.0.2.20"), arp(macA, "10.0.2.15")}, "10.0.2.20 10.0.2.15"},
		"cut short":                   {[][]byte{arp(macA, "10.0.2.15")[:30], ip4("10.0.2.15", 64)[:20], {1, 2, 3}}, ""},
		"not multicast or broadcast":  {[][]byte{arp(macA, "224.0.0.1"), arp(macA, "255.255.255.255")}, ""},
		"the last of many are enough": {manyARP(20), "10.0.0.12 10.0.0.13 10.0.0.14 10.0.0.15 10.0.0.16 10.0.0.17 10.0.0.18 10.0.0.19"},
	} {
		a := &announcer{mac: macA}
		for _, f := range c.frames {
			a.learn(f)
		}
		var got []string
		for _, ip := range a.v4 {
			got = append(got, ip.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: learned %v, want %s", name, got, c.want)
		}
	}
}

func manyARP(n int) (out [][]byte) {
	for i := range n {
		out = append(out, arpFrame(etherARP, 1, macA, [4]byte{10, 0, 0, byte(i)}, MAC{}, [4]byte{}))
	}
	return out
}

func TestAnnouncementsReachOthers(t *testing.T) {
	s := testSwitch(t, nil)
	other := plugLive(t, s, "other", macB, 0)
	backup := plug(t, s, "vm", macA)
	backup.Learn(arpFrame(etherARP, 1, macA, [4]byte{10, 0, 2, 15}, MAC{}, [4]byte{10, 0, 2, 2}))
	backup.GoLive(fence(1))
	backup.Announce()
	for _, op := range []byte{1, 2, 1, 2} { // at once, and again
		if f := expectFrame(t, other); len(f.Bytes) != 42 || f.Bytes[21] != op {
			t.Fatalf("got %x", f.Bytes)
		}
	}
}
