package vm

import (
	"bytes"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// holder is the network between a replica and the block store. After hold it
// cuts the next write in the middle of its data and keeps what follows on that
// connection until let.
type holder struct {
	t     *testing.T
	store string

	mu      sync.Mutex
	holding bool
	wires   []net.Conn

	held    chan nbd.Request // the write that was cut
	letting chan struct{}    // closed by let
	told    chan bool        // whether the store says that it is done, or ends the connection
}

// between is a holder before the stage's store, and its socket.
func (s *stage) between() (h *holder, socket string) {
	s.t.Helper()
	h = &holder{
		t: s.t, store: s.store,
		held: make(chan nbd.Request, 1), letting: make(chan struct{}), told: make(chan bool, 1),
	}
	socket = filepath.Join(s.dir, "between")
	l, err := net.Listen("unix", socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = l.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range h.wires {
			_ = c.Close()
		}
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", h.store)
			if err != nil {
				_ = client.Close()
				continue
			}
			h.mu.Lock()
			h.wires = append(h.wires, client, server)
			h.mu.Unlock()
			cut := make(chan nbd.Request, 1)
			go h.up(client, server, cut)
			go h.down(client, server, cut)
		}
	}()
	return h, socket
}

// hold cuts the next write and is its request.
func (h *holder) hold() nbd.Request {
	h.t.Helper()
	h.mu.Lock()
	h.holding = true
	h.mu.Unlock()
	select {
	case r := <-h.held:
		return r
	case <-time.After(patience):
		h.t.Fatal("the guest does not write")
		return nbd.Request{}
	}
}

// let passes the rest of the write on and says whether the store says that the
// write is done.
func (h *holder) let() bool {
	h.t.Helper()
	close(h.letting)
	select {
	case done := <-h.told:
		return done
	case <-time.After(patience):
		h.t.Fatal("the store neither answers the late write nor ends its connection")
		return false
	}
}

// up carries what a client says.
func (h *holder) up(client, server net.Conn, cut chan<- nbd.Request) {
	defer server.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		said := buf[:n]
		if r, end, ok := h.middle(said); ok {
			_, _ = server.Write(said[:end])
			cut <- r
			h.held <- r
			<-h.letting
			_, _ = server.Write(said[end:])
			<-h.t.Context().Done() // the client is frozen; its end is not
			return
		}
		if _, err := server.Write(said); err != nil {
			return
		}
	}
}

// middle finds a write in what a client said, and the middle of its data.
func (h *holder) middle(said []byte) (r nbd.Request, end int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.holding {
		return nbd.Request{}, 0, false
	}
	head := nbd.Request{Type: nbd.CmdWrite}.Append(nil)[:8]
	at := bytes.Index(said, head)
	if at < 0 || at+nbd.RequestSize > len(said) {
		return nbd.Request{}, 0, false
	}
	r, err := nbd.ParseRequest((*[nbd.RequestSize]byte)(said[at:]))
	end = at + nbd.RequestSize + int(r.Length/2)
	if err != nil || end >= len(said) {
		return nbd.Request{}, 0, false
	}
	h.holding = false
	return r, end, true
}

// down carries what the store says.
func (h *holder) down(client, server net.Conn, cut <-chan nbd.Request) {
	defer client.Close()
	var done, since []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		select {
		case r := <-cut:
			done = nbd.Reply{Handle: r.Handle}.Append(nil)
		default:
		}
		if done != nil {
			if since = append(since, buf[:n]...); bytes.Contains(since, done) || err != nil {
				h.told <- err == nil
				return
			}
		}
		if err != nil {
			return
		}
		_, _ = client.Write(buf[:n])
	}
}
