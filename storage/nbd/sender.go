package nbd

import (
	"net"
	"runtime"
	"sync"
)

// Sender writes what many goroutines send on one connection. What is sent while
// a write is under way, or by goroutines that were ready together, goes in one
// write: a write costs about as much as a small request does.
type Sender struct {
	conn net.Conn

	mu      sync.Mutex
	writing bool
	next    *together // nil if there is nothing
}

// together is what goes in one write.
type together struct {
	bytes   net.Buffers
	written chan struct{}
}

// NewSender writes on conn, and closes it when that fails.
func NewSender(conn net.Conn) *Sender { return &Sender{conn: conn} }

// Send writes a head and data, and returns when that is done or cannot be done.
func (s *Sender) Send(head, data []byte) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &together{written: make(chan struct{})}
	}
	mine := s.next
	mine.bytes = append(mine.bytes, head)
	if len(data) > 0 {
		mine.bytes = append(mine.bytes, data)
	}
	leads := !s.writing
	s.writing = true
	s.mu.Unlock()
	if leads {
		runtime.Gosched() // those who are ready join
		s.write()
	}
	<-mine.written
}

// write writes what there is. What has come meanwhile is for another goroutine:
// this one has a request to see to.
func (s *Sender) write() {
	s.mu.Lock()
	now := s.next
	s.next = nil
	s.mu.Unlock()
	if _, err := now.bytes.WriteTo(s.conn); err != nil {
		s.conn.Close()
	}
	close(now.written)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.writing = false
	} else {
		go s.write()
	}
}
