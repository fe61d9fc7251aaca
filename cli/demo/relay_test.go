package demo

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func through(t *testing.T, to string) (*relay, net.Conn) {
	t.Helper()
	r, err := newRelay()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.forward(to)
	return r, dial(t, r)
}

func dial(t *testing.T, r *relay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// says sends a text and wants it back.
func says(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v; want %q", got, err, text)
	}
}

// silent wants nothing from a connection: no bytes, no end, no reset.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

func TestRelayForwards(t *testing.T) {
	r, c := through(t, echo(t))
	says(t, c, "one")
	says(t, c, "two")
	says(t, dial(t, r), "another connection")
}

func TestRelayPassesAnEndOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, c := through(t, l.Addr().String())
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("bytes from a closed connection")
	}
}

// "The logging channel goes silent both ways (packets dropped, no reset)."
func TestRelayPartitionIsSilent(t *testing.T) {
	r, c := through(t, echo(t))
	says(t, c, "before")
	r.partition()
	for range 3 {
		if _, err := io.WriteString(c, "into the void"); err != nil {
			t.Fatalf("a write after the partition: %v", err)
		}
	}
	silent(t, c)
	fresh := dial(t, r)
	if _, err := io.WriteString(fresh, "hello?"); err != nil {
		t.Fatal(err)
	}
	silent(t, fresh)
}

// Behind a partition nobody learns that the other end is gone.
func TestRelayPartitionHidesAnEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, c := through(t, l.Addr().String())
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.partition()
	far.Close()
	silent(t, c)
}

// A process that is gone is told from a silent one: its host refuses.
func TestRelayRefusesAfterTheFarEndDid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	r, first := through(t, gone)
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Fatal("bytes from nobody")
	}
	// The listener was closed before the first connection.
	if _, err := net.Dial("tcp", r.addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the second connection: %v; want it refused", err)
	}
}
