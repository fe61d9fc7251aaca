package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// store is a small server that speaks the client's part of RESP. A test may
// have it forget or spoil keys and hold answers back.
type store struct {
	t *testing.T
	l net.Listener

	mu     sync.Mutex
	keys   map[string]string
	answer func(command []string) // called before every answer
	served sync.WaitGroup
}

func newStore(t *testing.T) *store {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, l: l, keys: map[string]string{}, answer: func([]string) {}}
	s.served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.served.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.served.Wait()
	})
	return s
}

func (s *store) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		answer(command)
		s.mu.Lock()
		reply := s.reply(command)
		s.mu.Unlock()
		if _, err := io.WriteString(c, reply); err != nil {
			return
		}
	}
}

func (s *store) reply(command []string) string {
	bulk := func(k string) string {
		v, ok := s.keys[k]
		if !ok {
			return "$-1\r\n"
		}
		return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
	}
	switch command[0] {
	case "PING":
		return "+PONG\r\n"
	case "SET":
		s.keys[command[1]] = command[2]
		return "+OK\r\n"
	case "GET":
		return bulk(command[1])
	case "MGET":
		out := fmt.Sprintf("*%d\r\n", len(command)-1)
		for _, k := range command[1:] {
			out += bulk(k)
		}
		return out
	}
	return "-ERR unknown command\r\n"
}

func readCommand(in *bufio.Reader) ([]string, error) {
	count := func(prefix string) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), prefix))
	}
	n, err := count("*")
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		length, err := count("$")
		if err != nil {
			return nil, err
		}
		b := make([]byte, length+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:length])
	}
	return words, nil
}

// worked is a client that has had at least n writes acknowledged by the store.
func worked(t *testing.T, s *store, n int) *client {
	t.Helper()
	c := &client{addr: s.l.Addr().String()}
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	done := make(chan struct{})
	enough := sync.OnceFunc(func() { close(done) })
	s.mu.Lock()
	before := s.answer
	s.answer = func(command []string) {
		before(command)
		if command[0] == "SET" && command[1] == key(n) {
			enough()
		}
	}
	s.mu.Unlock()
	if err := c.work(done); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientFindsEveryKey(t *testing.T) {
	c := worked(t, newStore(t), 450) // more than two batches of the final read
	before := c.snapshot()
	if err := c.verify(); err != nil {
		t.Fatal(err)
	}
	got := c.snapshot()
	if got.Acknowledged <= 450 || got.Lost != 0 || got.Wrong != 0 || got.Connections != 1 || got.Reconnects != 0 {
		t.Errorf("%+v", got)
	}
	if got.Operations != before.Operations+before.Acknowledged {
		t.Errorf("the final read made %d operations for %d keys", got.Operations-before.Operations, before.Acknowledged)
	}
}

func TestClientCountsWhatIsLostAndWrong(t *testing.T) {
	s := newStore(t)
	c := worked(t, s, 300)
	s.mu.Lock()
	delete(s.keys, key(7))
	delete(s.keys, key(250))
	s.keys[key(9)] = value(10) // a neighbour's
	s.mu.Unlock()
	if err := c.verify(); err != nil {
		t.Fatal(err)
	}
	if got := c.snapshot(); got.Lost != 2 || got.Wrong != 1 {
		t.Errorf("%d lost, %d wrong; want 2 and 1", got.Lost, got.Wrong)
	}
}

// A write that was never answered may be there or not.
func TestClientLeavesOutAWriteWithoutAnswer(t *testing.T) {
	s := newStore(t)
	c := worked(t, s, 20)
	s.mu.Lock()
	s.keys[key(c.snapshot().Acknowledged)] = "half"
	s.mu.Unlock()
	if err := c.verify(); err != nil {
		t.Fatal(err)
	}
	if got := c.snapshot(); got.Lost != 0 || got.Wrong != 0 {
		t.Errorf("%+v", got)
	}
}

func TestClientReadsWrongValuesAtWork(t *testing.T) {
	s := newStore(t)
	s.answer = func(command []string) {
		if command[0] == "GET" {
			s.mu.Lock()
			s.keys[command[1]] = "spoilt"
			s.mu.Unlock()
		}
	}
	if got := worked(t, s, 30).snapshot(); got.Wrong == 0 {
		t.Errorf("%+v: no wrong read was seen", got)
	}
}

func TestClientCountsAStall(t *testing.T) {
	const stall = 150 * time.Millisecond
	s := newStore(t)
	s.answer = func(command []string) {
		if command[0] == "SET" && command[1] == key(10) {
			time.Sleep(stall) // the stall is what is measured
		}
	}
	c := worked(t, s, 20)
	if got := c.snapshot().LongestStall; got < milliseconds(stall) {
		t.Errorf("the longest stall is %v ms; the server held an answer for %v", got, stall)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := 0
	for _, n := range c.tempo.counts[:c.tempo.newest] {
		if n == 0 {
			idle++
		}
	}
	if idle < int(stall/beat)-2 {
		t.Errorf("the tempo shows %d empty spans of %v", idle, beat)
	}
}

// A stall that still goes on counts.
func TestClientCountsAStallThatGoesOn(t *testing.T) {
	c := worked(t, newStore(t), 5)
	c.mu.Lock()
	c.last = c.last.Add(-time.Hour)
	c.mu.Unlock()
	if got := c.snapshot().LongestStall; got < milliseconds(time.Hour) {
		t.Errorf("%v ms", got)
	}
}

func TestClientSaysThatItsConnectionBroke(t *testing.T) {
	s := newStore(t)
	c := &client{addr: s.l.Addr().String()}
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.conn.Close()
	if err := c.work(nil); err == nil {
		t.Error("a client without a connection works on")
	}
}

func TestClientConnectEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts and never answers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &client{addr: l.Addr().String()}
	if err := c.connect(ctx); err == nil {
		t.Error("connected to a server that says nothing")
	}
}

func TestReplies(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"+OK\r\n", "OK", ""},
		{"$3\r\nabc\r\n", "abc", ""},
		{"$0\r\n\r\n", "", ""},
		{"$-1\r\n", "", "no such key"},
		{"-ERR no\r\n", "", `answers "-ERR no"`},
		{"$-2\r\n", "", "announces"},
		{"$9999999999\r\n", "", "announces"},
		{"$x\r\n", "", "announces"},
		{"$5\r\nab", "", "EOF"},
		{"", "", "EOF"},
	} {
		cl := &client{in: bufio.NewReader(strings.NewReader(c.in))}
		got, err := cl.reply()
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %q, %v; want %q, %q", c.in, got, err, c.want, c.err)
		}
	}
}
