package demo

import (
	"io"
	"net"
	"sync"
)

// relay stands between the two ends of the logging channel, in place of the
// network that a demo on one machine does not have, so that it can be cut. When
// it is cut it swallows what it reads and keeps every connection open: packets
// that are dropped, with no reset.
//
// A host on which nobody listens refuses at once: when the far end refuses, the
// relay stops listening too.
type relay struct {
	listener net.Listener

	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
	cut   bool
	wg    sync.WaitGroup
}

// newRelay listens on a port of its own on loopback.
func newRelay() (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, conns: map[net.Conn]bool{}}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// forward sets where connections go.
func (r *relay) forward(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// partition drops everything from now on, both ways.
func (r *relay) partition() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.splice(near) })
	}
}

func (r *relay) keep(c net.Conn) (to string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return r.to, r.cut
}

func (r *relay) drop(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *relay) splice(near net.Conn) {
	defer r.drop(near)
	to, cut := r.keep(near)
	if cut {
		_, _ = io.Copy(io.Discard, near) // a cut network accepts nothing; the nearest that TCP allows here
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		_ = r.listener.Close()
		return
	}
	defer r.drop(far)
	r.keep(far)
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		r.wg.Go(func() {
			r.pump(way[0], way[1])
			done <- struct{}{}
		})
	}
	<-done
	if r.isCut() {
		<-done // neither end learns that the other is gone
	}
}

func (r *relay) isCut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut
}

func (r *relay) pump(from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if r.isCut() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
