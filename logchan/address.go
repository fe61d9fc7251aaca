package logchan

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// checkAddress refuses what is not a loopback address, unless insecure is set.
func checkAddress(address string, insecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("logchan: address %q is not host:port: %w", address, err)
	}
	if insecure || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("logchan: %q is beyond loopback, and the logging channel is not encrypted yet: "+
		"whoever can reach it can read and change the VM; use --insecure on a network that you trust entirely", address)
}

// dialBack completes the address that a peer advertises: a host that is empty
// or unspecified means the address that the connection itself comes from.
func dialBack(advertised string, remote net.Addr) string {
	host, port, err := net.SplitHostPort(advertised)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		from, _, err := net.SplitHostPort(remote.String())
		if err != nil {
			return ""
		}
		host = from
	}
	return net.JoinHostPort(host, port)
}
