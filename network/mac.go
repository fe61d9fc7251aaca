package network

import (
	"fmt"
	"net"
)

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText writes the address as in 52:54:00:12:34:56.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ParseMAC reads an address as in 52:54:00:12:34:56.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("network: %q is not a MAC address; write it like 52:54:00:12:34:56", s)
	}
	return MAC(hw), nil
}

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// group reports a broadcast or multicast address.
func (m MAC) group() bool { return m[0]&1 != 0 }
