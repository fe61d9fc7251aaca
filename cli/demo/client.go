package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tally is what the client has seen. Its JSON is part of the demo's report.
type Tally struct {
	Connections  int     `json:"connections"`
	Reconnects   int     `json:"reconnects"`
	Operations   int     `json:"operations"`
	Acknowledged int     `json:"acknowledged"` // writes that were answered
	Lost         int     `json:"lost"`         // acknowledged writes that the final read did not find
	Wrong        int     `json:"wrong"`        // reads that gave another value than was written
	LongestStall float64 `json:"longest_stall_ms"`
}

// client holds one TCP connection to the guest's server and writes and reads
// numbered keys, one at a time: it waits for each answer.
type client struct {
	addr string
	conn net.Conn
	in   *bufio.Reader

	mu    sync.Mutex
	tally Tally
	last  time.Time // of the last answer
	tempo tempo
}

// snapshot is the tally so far, with a stall that still goes on.
func (c *client) snapshot() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	if !c.last.IsZero() {
		t.LongestStall = max(t.LongestStall, milliseconds(time.Since(c.last)))
	}
	return t
}

// rates counts the operations in the last n spans of recentWidth, and in those
// of lossWidth around the loss; nil before the work or the loss has begun.
func (c *client) rates(n int, loss time.Time) (recent, around []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		return nil, nil
	}
	now := time.Now()
	recent = c.tempo.recent(recentWidth, n, now)
	if !loss.IsZero() {
		around = c.tempo.around(loss, lossWidth, lossBefore, n, now)
	}
	return recent, around
}

// connect tries until the guest's server has answered once.
func (c *client) connect(ctx context.Context) error {
	for {
		if err := c.try(ctx); err == nil {
			c.mu.Lock()
			c.tally.Connections++
			c.mu.Unlock()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo: the guest's server never answered: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *client) try(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.conn, c.in = conn, bufio.NewReader(conn)
	// A switch whose guest does not listen yet closes; one whose guest does not
	// exist yet may take its time.
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	answer, err := c.ask("PING")
	if err == nil && answer != "PONG" {
		err = fmt.Errorf("demo: the server says %q to PING", answer)
	}
	stop()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return conn.SetReadDeadline(time.Time{})
}

// work writes and reads until done is closed. Every fourth operation reads a
// key that was acknowledged before.
func (c *client) work(done <-chan struct{}) error {
	c.mu.Lock()
	c.last = time.Now()
	c.tempo.begin(c.last)
	c.mu.Unlock()
	for n := 0; ; n++ {
		select {
		case <-done:
			return nil
		default:
		}
		answer, err := c.ask("SET", key(n), value(n))
		if err != nil {
			return err
		}
		if answer != "OK" {
			return fmt.Errorf("demo: the server says %q to SET", answer)
		}
		c.answered(func(t *Tally) { t.Acknowledged++ })
		if n%3 != 2 {
			continue
		}
		old := n - int(mix(uint64(n))%uint64(min(n+1, slots)))
		answer, err = c.ask("GET", key(old))
		if err != nil {
			return err
		}
		c.answered(func(t *Tally) {
			if answer != value(old) {
				t.Wrong++
			}
		})
	}
}

// verify reads every key over the same connection: the newest acknowledged
// write of each must be there.
func (c *client) verify() error {
	const batch = 200
	total := c.snapshot().Acknowledged
	for from := max(total-slots, 0); from < total; from += batch {
		upTo := min(from+batch, total)
		args := []string{"MGET"}
		for n := from; n < upTo; n++ {
			args = append(args, key(n))
		}
		if err := c.send(args...); err != nil {
			return err
		}
		head, err := c.line()
		if err != nil {
			return err
		}
		if head != "*"+strconv.Itoa(upTo-from) {
			return fmt.Errorf("demo: the server says %q to MGET of %d keys", head, upTo-from)
		}
		for n := from; n < upTo; n++ {
			have, err := c.reply()
			if err != nil && !errors.Is(err, errNil) {
				return err
			}
			c.answered(func(t *Tally) {
				switch {
				case errors.Is(err, errNil):
					t.Lost++
				case have != value(n):
					t.Wrong++
				}
			})
		}
	}
	return nil
}

func (c *client) answered(count func(*Tally)) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Operations++
	c.tally.LongestStall = max(c.tally.LongestStall, milliseconds(now.Sub(c.last)))
	c.last = now
	c.tempo.add(now)
	count(&c.tally)
}

// errNil is the server's "there is no such key".
var errNil = errors.New("demo: no such key")

// ask sends one command of the RESP protocol and reads its answer.
func (c *client) ask(args ...string) (string, error) {
	if err := c.send(args...); err != nil {
		return "", err
	}
	return c.reply()
}

func (c *client) send(args ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	_, err := io.WriteString(c.conn, b.String())
	return err
}

func (c *client) line() (string, error) {
	s, err := c.in.ReadString('\n')
	return strings.TrimSuffix(s, "\r\n"), err
}

// reply reads a simple string, an error or a bulk string.
func (c *client) reply() (string, error) {
	head, err := c.line()
	if err != nil {
		return "", err
	}
	switch {
	case head == "$-1":
		return "", errNil
	case strings.HasPrefix(head, "+"):
		return head[1:], nil
	case strings.HasPrefix(head, "$"):
		n, err := strconv.Atoi(head[1:])
		if err != nil || n < 0 || n > 1<<20 {
			return "", fmt.Errorf("demo: the server announces %q", head)
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.in, body); err != nil {
			return "", err
		}
		return string(body[:n]), nil
	}
	return "", fmt.Errorf("demo: the server answers %q", head)
}

// slots bounds the keys, so that a demo that is left alone does not fill the
// server: write n overwrites write n-slots.
const slots = 100_000

func key(n int) string { return "key:" + strconv.Itoa(n%slots) }

// value is what write n leaves; it cannot be guessed from a neighbour's.
func value(n int) string { return fmt.Sprintf("%d:%016x", n, mix(uint64(n)+1)) }

func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
