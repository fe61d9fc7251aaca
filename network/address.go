package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Address is where a switch listens: "unix:/path" or "tcp:host:port".
type Address struct {
	Net  string // "unix" or "tcp"
	Path string // the socket's path, or host:port
}

func (a Address) String() string { return a.Net + ":" + a.Path }

// ParseAddress reads "unix:/path" or "tcp:127.0.0.1:port". What the switch
// carries is neither encrypted nor authenticated, so a TCP host beyond loopback
// is refused unless insecure is set.
func ParseAddress(s string, insecure bool) (Address, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" {
		return Address{}, fmt.Errorf("network: %q is not a switch address; write unix:/path or tcp:127.0.0.1:port", s)
	}
	switch kind {
	case "unix":
		// The kernel's sockaddr_un holds 108 bytes with the final zero.
		if len(rest) > 107 {
			return Address{}, fmt.Errorf("network: the socket path %q is longer than 107 bytes; choose a shorter directory", rest)
		}
	case "tcp":
		host, _, err := net.SplitHostPort(rest)
		if err != nil {
			return Address{}, fmt.Errorf("network: %q: %w; write tcp:127.0.0.1:port", s, err)
		}
		if !insecure && !loopbackHost(host) {
			return Address{}, fmt.Errorf("network: %q is not a loopback address, and frames would cross the network unencrypted; "+
				"use a unix socket or loopback, or allow it with --insecure on a network that you trust", s)
		}
	default:
		return Address{}, fmt.Errorf("network: %q is not a switch address; write unix:/path or tcp:127.0.0.1:port", s)
	}
	return Address{Net: kind, Path: rest}, nil
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// listen opens the address. A unix socket's directory is made private to the
// user; a socket that nobody answers on is left over from a killed switch and
// is removed.
func (a Address) listen() (net.Listener, error) {
	if a.Net == "unix" {
		if err := os.MkdirAll(filepath.Dir(a.Path), 0o700); err != nil {
			return nil, fmt.Errorf("network: directory of the switch's socket: %w", err)
		}
	}
	l, err := net.Listen(a.Net, a.Path)
	if err != nil && a.Net == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		if err := a.removeStale(); err != nil {
			return nil, err
		}
		l, err = net.Listen(a.Net, a.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("network: listen at %s: %w", a, err)
	}
	if a.Net == "unix" {
		if err := os.Chmod(a.Path, 0o600); err != nil {
			l.Close()
			return nil, fmt.Errorf("network: make %s private: %w", a, err)
		}
	}
	return l, nil
}

func (a Address) removeStale() error {
	if info, err := os.Lstat(a.Path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("network: %s exists and is not a socket; remove it or choose another path", a.Path)
	}
	if c, err := net.Dial("unix", a.Path); err == nil {
		c.Close()
		return fmt.Errorf("network: another switch is listening at %s; stop it or choose another path", a)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("network: %s is in use: %w", a, err)
	}
	if err := os.Remove(a.Path); err != nil {
		return fmt.Errorf("network: remove the left-over socket: %w", err)
	}
	return nil
}

func (a Address) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, a.Net, a.Path)
	if err != nil {
		return nil, fmt.Errorf("network: no switch answers at %s (is `lockstep switch` running?): %w", a, err)
	}
	return c, nil
}
