package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// small is a store of cells in memory; whoever serves it serves one request at
// a time.
type small struct {
	have    map[string][]byte
	created int // Creates that were asked for
	down    error
}

func newSmall() *small { return &small{have: map[string][]byte{}} }

func (s *small) Create(vm, name string, content []byte) ([]byte, error) {
	s.created++
	if s.down != nil {
		return nil, s.down
	}
	if _, taken := s.have[vm+"/"+name]; !taken {
		s.have[vm+"/"+name] = slices.Clone(content)
	}
	return s.have[vm+"/"+name], nil
}

func (s *small) Read(vm, name string) ([]byte, error) {
	content, ok := s.have[vm+"/"+name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

func (s *small) List(string, string) ([]string, error) { return nil, s.down }
func (s *small) Ping() error                           { return s.down }
func (s *small) Durable() (bool, string)               { return false, "it is small" }
func (s *small) Outside() (bool, string)               { return true, "" }
func (s *small) Close() error                          { return nil }

var _ cells.Store = (*small)(nil)

// fragile is a stream that breaks before the write number breakAt.
type fragile struct {
	net.Conn
	writes, breakAt int
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.writes++; f.writes == f.breakAt {
		_ = f.Close()
		return 0, io.ErrClosedPipe
	}
	return f.Conn.Write(b)
}

// serving dials a driver for store that breaks its stream before its write
// number breakAt: the first is its greeting. 0 is never.
func serving(store cells.Store, breakAt func() int) Dial {
	return func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() { _ = Serve(&fragile{Conn: theirs, breakAt: breakAt()}, store) }()
		return ours, nil
	}
}

func never() int { return 0 }

// mute dials a driver that greets and then reads, if at all, without a word.
func mute(reads bool) Dial {
	return func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			_ = put(theirs, hello{Lockstep: "cells", Version: Version})
			if reads {
				_, _ = io.Copy(io.Discard, theirs)
			}
		}()
		return ours, nil
	}
}

// DESIGN R16: "Asking again is part of the claim and gives the same answer; a
// lost answer costs nothing".
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, dials := newSmall(), 0
		c, err := Open(serving(store, func() int { dials++; return 1 + dials%4 })) // 1: not even the greeting
		for range 3 {
			if err == nil {
				break
			}
			c, err = Open(serving(store, func() int { dials++; return 1 + dials%4 }))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for i := range 50 {
			name, mine := fmt.Sprintf("claim-%d", i), fmt.Appendf(nil, "mine %d", i)
			if have, err := c.Create("web", name, mine); err != nil || string(have) != string(mine) {
				t.Fatalf("%s: %q, %v", name, have, err)
			}
			if have, err := c.Create("web", name, []byte("other")); err != nil || string(have) != string(mine) {
				t.Fatalf("%s, asked by another: %q, %v; want %q", name, have, err, mine)
			}
			if have, err := c.Read("web", name); err != nil || string(have) != string(mine) {
				t.Fatalf("%s read: %q, %v", name, have, err)
			}
			if _, err := c.Read("web", name+".ended"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a cell that is not there: %v", err)
			}
		}
		if store.created <= 100 || dials < 50 {
			t.Errorf("%d Creates for 100 answers, on %d streams: no answer was lost", store.created, dials)
		}
	})
}

func TestErrorsOfTheStorePassThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSmall()
		c, err := Open(serving(store, never))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if ok, why := c.Durable(); ok || why != "it is small" {
			t.Errorf("durable: %v, %q", ok, why)
		}
		if ok, why := c.Outside(); !ok || why != "" {
			t.Errorf("outside: %v, %q", ok, why)
		}
		store.down = errors.New("no quorum")
		if _, err := c.Create("web", "run-1", nil); err == nil || err.Error() != "no quorum" {
			t.Errorf("create: %v", err)
		}
		if err := c.Ping(); err == nil || err.Error() != "no quorum" {
			t.Errorf("ping: %v", err)
		}
		store.down = nil
		if err := c.Ping(); err != nil {
			t.Errorf("ping: %v", err)
		}
		if _, err := c.call(request{Op: "delete", VM: "web", Name: "run-1"}); err == nil || !strings.Contains(err.Error(), "does not know the request") {
			t.Errorf("an unknown request: %v", err)
		}
		for _, req := range []request{{Op: opCreate, VM: "../x", Name: "run-1"}, {Op: opRead, VM: "web", Name: "../x"}, {Op: opList, VM: ""}} {
			if _, err := c.call(req); err == nil || !strings.Contains(err.Error(), "cannot name") {
				t.Errorf("%v: %v; the driver trusts nobody's names", req, err)
			}
		}
	})
}

// A driver that hangs is given up; the next call has a new one.
func TestStuckDriver(t *testing.T) {
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store, dials := newSmall(), 0
			c, err := Open(func(ctx context.Context) (io.ReadWriteCloser, error) {
				if dials++; dials == 1 {
					return mute(reads)(ctx)
				}
				return serving(store, never)(ctx)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Create("web", "run-1", nil); err == nil || !strings.Contains(err.Error(), "did not answer for 8s") {
				t.Errorf("the driver hangs: %v", err)
			}
			if _, err := c.Create("web", "run-1", nil); err != nil || dials != 2 {
				t.Errorf("the next call: %v, after %d dials", err, dials)
			}
		})
	}
}

func TestCloseEndsWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Open(mute(true))
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() { got <- c.Ping() }()
		synctest.Wait() // the call waits for its answer
		_ = c.Close()
		if err := <-got; !errors.Is(err, errClosed) {
			t.Errorf("the call that waited: %v", err)
		}
		if err := c.Ping(); !errors.Is(err, errClosed) {
			t.Errorf("a call after Close: %v", err)
		}
	})
}

func TestDriverThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Open(func(context.Context) (io.ReadWriteCloser, error) {
			ours, _ := net.Pipe()
			return ours, nil
		})
		if err == nil || !strings.Contains(err.Error(), "said nothing for 8s") {
			t.Errorf("open: %v", err)
		}
	})
}

func TestServeEndsAtWhatIsNoRequest(t *testing.T) {
	for _, line := range []string{"GET / HTTP/1.1\n", strings.Repeat("x", maxRequest+1), "\n"} {
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- Serve(theirs, newSmall()) }()
		go func() { _, _ = io.WriteString(ours, line) }()
		_, _ = io.Copy(io.Discard, ours)
		if err := <-served; err == nil || !strings.HasPrefix(err.Error(), "remote: ") {
			t.Errorf("%.20q: %v", line, err)
		}
	}
}
