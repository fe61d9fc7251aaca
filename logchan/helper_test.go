package logchan

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for what must come. It is no
// assertion about speed.
const patience = 20 * time.Second

var testRun = ft.Run{Ordinal: 3, ID: [16]byte{1, 2, 3}}

func config(name byte) Config {
	return Config{
		VM: "web", Process: ft.ProcessID{name}, ConfigHash: [32]byte{7},
		Listen: "127.0.0.1:0", Heartbeat: 20 * time.Millisecond,
	}
}

func listen(t testing.TB, cfg Config) *Endpoint {
	t.Helper()
	e, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// await takes events until one of the kind comes.
func await(t testing.TB, e *Endpoint, kind EventKind) Event {
	t.Helper()
	timeout := time.After(patience)
	var seen []string
	for {
		select {
		case ev := <-e.Events():
			if ev.Kind == kind {
				return ev
			}
			seen = append(seen, fmt.Sprintf("%d: %v", ev.Kind, ev.Err))
		case <-timeout:
			t.Fatalf("no event %d; saw %d others, first %v", kind, len(seen), seen[:min(len(seen), 8)])
		}
	}
}

// ignore takes events for ever.
func ignore(t testing.TB, e *Endpoint) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-e.Events():
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { close(done) })
}

func stateOf(b []byte) State {
	return State{Meta: []byte("meta"), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// pair is a primary and a backup that are connected.
type pair struct {
	pe, be *Endpoint
	p      *Primary
	b      *Backup
	mu     sync.Mutex
	acks   []Ack
}

func connect(t testing.TB, pc, bc Config, via string) *pair {
	t.Helper()
	x := &pair{pe: listen(t, pc), be: listen(t, bc)}
	if via == "" {
		via = x.be.Addr().String()
	}
	return x.open(t, via)
}

// connectVia puts a proxy before each end; pc advertises that of the primary.
func connectVia(t testing.TB, pc, bc Config, toPrimary, toBackup *proxy) *pair {
	t.Helper()
	x := &pair{pe: listen(t, pc), be: listen(t, bc)}
	toPrimary.aim(x.pe.Addr().String())
	toBackup.aim(x.be.Addr().String())
	return x.open(t, toBackup.ln.Addr().String())
}

func (x *pair) open(t testing.TB, via string) *pair {
	t.Helper()
	var err error
	if x.b, err = x.be.OpenBackup(); err != nil {
		t.Fatal(err)
	}
	x.p, err = x.pe.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: via, OnAck: func(a Ack) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.acks = append(x.acks, a)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *pair) lastAck() Ack {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.acks) == 0 {
		return Ack{}
	}
	return x.acks[len(x.acks)-1]
}

// until waits for a condition that must come true.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func horizon(n int) replay.Entry {
	return replay.Entry{Seq: replay.Seq(n), Pos: machine.Icount(n * 100), Body: replay.Horizon{}}
}

func frame(n, size int) replay.Entry {
	return replay.Entry{Seq: replay.Seq(n), Pos: machine.Icount(n * 100),
		Body: replay.Input{In: machine.Frame{Bytes: bytes.Repeat([]byte{byte(n)}, size)}}}
}

// proxy forwards connections to a target and can cut them, or hold back
// everything without closing anything.
type proxy struct {
	ln     net.Listener
	target string
	mu     sync.Mutex
	cond   *sync.Cond
	mute   bool
	closed bool
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

func newProxy(t testing.TB, target string) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]bool{}}
	p.cond = sync.NewCond(&p.mu)
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cond.Broadcast()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		out, err := net.Dial("tcp", target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		if p.closed {
			_ = in.Close()
			_ = out.Close()
		}
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(in, out) })
		p.wg.Go(func() { p.forward(out, in) })
	}
}

func (p *proxy) forward(from, to net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.mute && !p.closed {
			p.cond.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = from.Close()
	_ = to.Close()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

func (p *proxy) aim(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

func (p *proxy) silence(on bool) {
	p.mu.Lock()
	p.mute = on
	p.mu.Unlock()
	p.cond.Broadcast()
}
