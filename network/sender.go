package network

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// sender writes messages to a stream without ever making its caller wait. A
// message goes to the socket at once if the socket takes it; what it does not
// take waits in a bounded buffer for a goroutine that writes with a deadline.
// A peer that takes nothing until the deadline loses the connection.
type sender struct {
	conn     net.Conn
	raw      syscall.RawConn // nil if conn is no socket
	limit    int             // bytes that may wait
	deadline time.Duration
	done     chan struct{}

	mu      sync.Mutex
	wake    sync.Cond
	pending []byte
	writing bool // the goroutine is writing: order forbids to pass it
	ending  bool // close when pending is written
	dead    bool
}

func newSender(conn net.Conn, limit int, deadline time.Duration) *sender {
	s := &sender{conn: conn, limit: limit, deadline: deadline, done: make(chan struct{})}
	s.wake.L = &s.mu
	if c, ok := conn.(syscall.Conn); ok {
		s.raw, _ = c.SyscallConn()
	}
	go s.run()
	return s
}

// put sends one message given in parts, which are not kept. It reports false
// if the message was dropped: the buffer is full or the connection is closing.
func (s *sender) put(parts ...[]byte) bool {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.ending || len(s.pending)+size > s.limit {
		return false
	}
	before := len(s.pending)
	for _, p := range parts {
		s.pending = append(s.pending, p...)
	}
	if s.writing || before > 0 || s.raw == nil {
		s.wake.Signal()
		return true
	}
	n := tryWrite(s.raw, s.pending)
	s.pending = s.pending[:copy(s.pending, s.pending[n:])]
	if len(s.pending) > 0 {
		s.wake.Signal()
	}
	return true
}

// finish closes the connection once everything put so far is written.
func (s *sender) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	s.wake.Signal()
}

// abort closes the connection now.
func (s *sender) abort() {
	s.mu.Lock()
	s.dead = true
	s.wake.Signal()
	s.mu.Unlock()
	s.conn.Close()
}

// wait returns when the goroutine has ended: after finish, abort or a failure.
func (s *sender) wait() { <-s.done }

func (s *sender) run() {
	defer close(s.done)
	defer s.conn.Close()
	var batch []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.pending) == 0 && !s.ending && !s.dead {
			s.wake.Wait()
		}
		if s.dead || len(s.pending) == 0 {
			s.dead = true
			return
		}
		batch, s.pending = s.pending, batch[:0]
		s.writing = true
		s.mu.Unlock()
		s.conn.SetWriteDeadline(time.Now().Add(s.deadline))
		_, err := s.conn.Write(batch)
		s.conn.SetWriteDeadline(time.Time{})
		s.mu.Lock()
		s.writing = false
		if err != nil {
			s.dead = true
			return
		}
		// A burst must not hold its memory for good.
		if cap(batch) > 256<<10 {
			batch = nil
		}
	}
}
