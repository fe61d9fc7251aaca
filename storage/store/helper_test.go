package store

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

const diskSize = 1 << 20

// image makes a disk of n bytes.
func image(t testing.TB, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
	return path
}

// notes keeps what a server or client says.
type notes struct {
	mu   sync.Mutex
	text []string
	wake chan struct{}
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, text)
	if n.wake != nil {
		close(n.wake)
		n.wake = nil
	}
}

// until waits for a note that has the text in it.
func (n *notes) until(t testing.TB, text string) {
	t.Helper()
	for {
		n.mu.Lock()
		for _, have := range n.text {
			if strings.Contains(have, text) {
				n.mu.Unlock()
				return
			}
		}
		if n.wake == nil {
			n.wake = make(chan struct{})
		}
		wake := n.wake
		n.mu.Unlock()
		select {
		case <-wake:
		case <-t.Context().Done():
			t.Fatalf("nothing said %q", text)
		}
	}
}

// serve starts a server on TCP that exports the file as disk0.
func serve(t testing.TB, path string, change ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Listen: []string{"127.0.0.1:0"}, Exports: []Export{{Name: "disk0", File: path}}}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// address is where the server's disk0 is.
func address(t testing.TB, s *Server) nbd.Address {
	t.Helper()
	a, err := nbd.ParseURL(s.URL("disk0"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func process(b byte) ft.ProcessID { return ft.ProcessID{0: b, 15: b} }

func number(run, n uint64) ft.Fence { return ft.Fence{Run: run, Number: n} }

// open connects process b of VM web.
func open(t testing.TB, a nbd.Address, b byte, change ...func(*nbd.Config)) *nbd.Client {
	t.Helper()
	cfg := nbd.Config{Address: a, VM: "web", Process: process(b)}
	for _, c := range change {
		c(&cfg)
	}
	c, err := nbd.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func claim(t testing.TB, c *nbd.Client, n ft.Fence) {
	t.Helper()
	if err := c.Claim(context.Background(), n, nil); err != nil {
		t.Fatal(err)
	}
}

func block(b byte) []byte {
	p := make([]byte, 4096)
	for i := range p {
		p[i] = b
	}
	return p
}

// onDisk is the first byte of a block of 4096 bytes in the file; -1 if the block
// is torn.
func onDisk(t testing.TB, path string, at int64) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [4096]byte
	if _, err := f.ReadAt(p[:], at); err != nil {
		t.Fatal(err)
	}
	for _, b := range p {
		if b != p[0] {
			return -1
		}
	}
	return int(p[0])
}

// proxy stands between clients and a server. It holds back, for as long as it is
// told, what clients say after the first limit bytes: to the server such a client
// is frozen in the middle of its words.
type proxy struct {
	t        testing.TB
	listener net.Listener
	to       nbd.Address

	mu    sync.Mutex
	gate  *gate // of connections that come
	conns []net.Conn
}

// gate lets limit bytes through, and the rest when it is opened.
type gate struct {
	mu     sync.Mutex
	armed  bool
	left   int
	open   chan struct{}
	stuck  chan struct{} // closed when the first byte is held back
	closed bool
}

func newGate() *gate { return &gate{open: make(chan struct{}), stuck: make(chan struct{})} }

// arm holds back what comes after n bytes from now on.
func (g *gate) arm(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.left = true, n
}

func (g *gate) thaw() { close(g.open) }

// pass says how many of n bytes may go on now.
func (g *gate) pass(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed {
		return n
	}
	n = min(n, g.left)
	g.left -= n
	if g.left == 0 && !g.closed {
		g.closed = true
		close(g.stuck)
	}
	return n
}

func newProxy(t testing.TB, to nbd.Address) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, to: to, gate: newGate()}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c)
		}
	}()
	return p
}

func (p *proxy) address() nbd.Address {
	return nbd.Address{Net: "tcp", Path: p.listener.Addr().String(), Export: p.to.Export}
}

// cut ends the connections there are.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// fresh gives connections that come from here on a gate of their own, and
// returns that of those there are.
func (p *proxy) fresh() *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.gate
	p.gate = newGate()
	return old
}

func (p *proxy) carry(client net.Conn) {
	server, err := net.Dial(p.to.Net, p.to.Path)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	g := p.gate
	p.conns = append(p.conns, client)
	p.mu.Unlock()
	go func() {
		_, _ = io.Copy(client, server)
		client.Close()
	}()
	// A client that is gone leaves what it said on its way to the server.
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		now := g.pass(n)
		_, _ = server.Write(buf[:now])
		if now < n {
			<-g.open
			_, _ = server.Write(buf[now:n])
			g.arm(1 << 40)
		}
		if err != nil {
			server.Close()
			return
		}
	}
}
