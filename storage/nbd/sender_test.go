package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// counting is a connection that counts what is written to it, one write at a time.
type counting struct {
	net.Conn
	gate   chan struct{} // a value lets a write go on
	mu     sync.Mutex
	buf    bytes.Buffer
	closed bool
	fails  bool
}

func (c *counting) Write(b []byte) (int, error) {
	<-c.gate
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails || c.closed {
		return 0, errors.New("the cable is cut")
	}
	return c.buf.Write(b)
}

func (c *counting) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// Messages of many goroutines leave whole, each once, and those of one goroutine
// in its order; who sends comes back when his message is written.
func TestSenderWritesEachMessageOnce(t *testing.T) {
	a, b := net.Pipe()
	s := NewSender(a)
	const senders, each = 16, 200
	var wg sync.WaitGroup
	for id := range senders {
		wg.Go(func() {
			for n := range each {
				head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(id)), uint32(n))
				s.Send(head, bytes.Repeat([]byte{byte(id)}, n%3*10))
			}
		})
	}
	go func() {
		wg.Wait()
		_ = a.Close()
	}()
	var next [senders]uint32
	for {
		var head [8]byte
		if _, err := io.ReadFull(b, head[:]); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		id, n := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if id >= senders || n != next[id] {
			t.Fatalf("message %d of sender %d, want %d", n, id, next[id])
		}
		next[id]++
		data := make([]byte, n%3*10)
		if _, err := io.ReadFull(b, data); err != nil || !bytes.Equal(data, bytes.Repeat([]byte{byte(id)}, len(data))) {
			t.Fatalf("data %v (%v) behind message %d of sender %d", data, err, n, id)
		}
	}
	for id, n := range next {
		if n != each {
			t.Errorf("%d messages of sender %d", n, id)
		}
	}
}

// What is sent while a write is under way waits for it, and nobody comes back
// before his message is written or the connection has failed.
func TestSenderWaitsForTheWrite(t *testing.T) {
	c := &counting{gate: make(chan struct{})}
	s := NewSender(c)
	sent := make(chan int, 8)
	for i := range 8 {
		go func() {
			s.Send([]byte{byte(i)}, nil)
			sent <- i
		}()
	}
	first := -1
	for first < 0 {
		select {
		case c.gate <- struct{}{}:
		case first = <-sent:
		}
	}
	c.mu.Lock()
	if got := c.buf.Bytes(); !bytes.Contains(got, []byte{byte(first)}) {
		t.Errorf("sender %d came back; written is %v", first, got)
	}
	c.fails = true
	c.mu.Unlock()
	close(c.gate)
	for range 7 {
		<-sent
	}
	s.Send([]byte("another"), nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		t.Error("a connection that fails was not closed")
	}
}
