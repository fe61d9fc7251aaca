package network

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// socketPair is a connected pair of unix sockets.
func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// Whether a message goes out at once, in part, or waits: the order holds.
func TestSenderKeepsOrder(t *testing.T) {
	a, b := socketPair(t)
	s := newSender(a, 64<<20, patience)
	const count, size = 20000, 400 // more than the sockets take unread
	go func() {
		m := make([]byte, size)
		for i := range uint32(count) {
			binary.BigEndian.PutUint32(m, i)
			if !s.put(m[:4], m[4:]) {
				t.Errorf("message %d was dropped", i)
			}
		}
		s.finish()
	}()
	m := make([]byte, size)
	for i := range uint32(count) {
		if _, err := io.ReadFull(b, m); err != nil || binary.BigEndian.Uint32(m) != i {
			t.Fatalf("message %d is %d, %v", i, binary.BigEndian.Uint32(m), err)
		}
	}
	if _, err := b.Read(m); err != io.EOF {
		t.Errorf("after finish: %v", err)
	}
	s.wait()
}

func TestSenderIsBoundedAndGivesUp(t *testing.T) {
	a, _ := socketPair(t)
	s := newSender(a, 100<<10, time.Millisecond)
	m := make([]byte, 10<<10)
	for i := 0; s.put(m); i++ {
		if i > 1000 {
			t.Fatal("10 MB were taken with nobody reading")
		}
	}
	s.wait() // the deadline has passed: the connection is given up
	if s.put(m) {
		t.Error("a message was taken for a dead connection")
	}
}

func BenchmarkSenderDirect(b *testing.B) {
	here, there := socketPair(b)
	go io.Copy(io.Discard, there)
	s := newSender(here, 4<<20, patience)
	frame := make([]byte, 1514)
	head := sendHeader(len(frame))
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		for !s.put(head[:], frame) {
			time.Sleep(time.Microsecond)
		}
	}
	s.abort()
	s.wait()
}
