package nbd

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Address is where an export is.
type Address struct {
	Net    string // "tcp" or "unix"
	Path   string // host:port, or the socket's path
	Export string // its name; may be empty: the server's default export
}

// String is the address as a URL.
func (a Address) String() string {
	if a.Net == "unix" {
		u := url.URL{Scheme: "nbd+unix", Path: "/" + a.Export, RawQuery: "socket=" + url.QueryEscape(a.Path)}
		return "nbd+unix://" + u.EscapedPath() + "?" + u.RawQuery
	}
	u := url.URL{Scheme: "nbd", Host: a.Path, Path: "/" + a.Export}
	return u.String()
}

// ParseURL reads nbd://HOST:PORT/NAME, where the port may be left out, and
// nbd+unix:///NAME?socket=PATH, the forms that NBD's URI document and QEMU have.
func ParseURL(s string) (Address, error) {
	bad := func(format string, args ...any) (Address, error) {
		return Address{}, fmt.Errorf("nbd: %q: %s; write nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH", s, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(s)
	if err != nil {
		return bad("not a URL")
	}
	a := Address{Export: strings.TrimPrefix(u.Path, "/")}
	if len(a.Export) > MaxName || strings.ContainsRune(a.Export, 0) {
		return bad("no export can have this name")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its query cannot be read")
	}
	for key := range query {
		if key != "socket" || u.Scheme != "nbd+unix" {
			return bad("%q means nothing here", key)
		}
	}
	switch u.Scheme {
	case "nbd":
		if u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			return bad("it needs a host, and no more than that")
		}
		port := u.Port()
		if port == "" {
			port = DefaultPort
		}
		a.Net, a.Path = "tcp", net.JoinHostPort(u.Hostname(), port)
	case "nbd+unix":
		if u.Host != "" || len(query["socket"]) != 1 || query.Get("socket") == "" {
			return bad("it needs one socket and no host")
		}
		// The kernel's sockaddr_un holds 108 bytes with the final zero.
		if len(query.Get("socket")) > 107 {
			return bad("the socket's path is longer than 107 bytes")
		}
		a.Net, a.Path = "unix", query.Get("socket")
	case "nbds", "nbds+unix":
		return bad("there is no TLS here; let a tunnel carry the connection")
	default:
		return bad("not a URL of an export")
	}
	return a, nil
}

// silence is how long a host may not answer at all before a connection to it
// counts as lost.
const silence = 10 * time.Second

func (a Address) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         silence,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 5, Count: 3},
	}
	c, err := d.DialContext(ctx, a.Net, a.Path)
	if err != nil {
		return nil, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		// Data that a dead host does not acknowledge gives up as soon as silence
		// does. Where the option is not known, the kernel's own limit holds.
		if raw, err := t.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
			})
		}
	}
	return c, nil
}

// ParseListen reads where a store listens: HOST:PORT, tcp:HOST:PORT or
// unix:PATH.
func ParseListen(s string) (network, path string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" || len(path) > 107 {
			return "", "", fmt.Errorf("nbd: %q: a socket's path has 1 to 107 bytes", s)
		}
		return "unix", path, nil
	}
	path = strings.TrimPrefix(s, "tcp:")
	if _, port, err := net.SplitHostPort(path); err != nil || port == "" {
		return "", "", fmt.Errorf("nbd: %q is no address; write HOST:PORT or unix:PATH", s)
	}
	return "tcp", path, nil
}

// Loopback says whether HOST:PORT is reached from this host alone.
func Loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
