package logchan

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// DESIGN section 6 and issue: a mismatch is a clear refusal on both sides.
func TestMismatchIsRefusedOnBothSides(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Config)
		code   RefuseCode
		text   string
	}{
		"vm":     {func(c *Config) { c.VM = "db" }, RefuseVM, `"web"`},
		"config": {func(c *Config) { c.ConfigHash[0] = 9 }, RefuseConfig, "configured"},
	} {
		t.Run(name, func(t *testing.T) {
			bc := config('b')
			c.change(&bc)
			x := connect(t, config('p'), bc, "")
			at := await(t, x.pe, DialFailed)
			if at.Code != c.code || at.Refused || !strings.Contains(at.Err.Error(), c.text) {
				t.Errorf("the primary sees %+v", at)
			}
			at = await(t, x.be, PeerRefused)
			if at.Code != c.code || !strings.Contains(at.Err.Error(), "refused a peer") {
				t.Errorf("the backup sees %+v", at)
			}
		})
	}
}

func TestTwoPrimariesRefuseEachOther(t *testing.T) {
	a, b := listen(t, config('p')), listen(t, config('q'))
	if _, err := a.OpenPrimary(Pairing{Run: testRun, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: a.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	if ev := await(t, b, DialFailed); ev.Code != RefuseRole || ev.Refused {
		t.Errorf("%+v", ev)
	}
}

// A second primary, or one with another run or epoch, is not let in.
func TestPairedBackupRefusesOthers(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	await(t, x.pe, Connected)
	ignore(t, x.be)
	for name, c := range map[string]struct {
		run   ft.Run
		epoch ft.Epoch
		code  RefuseCode
	}{
		"same pairing, other process": {testRun, 1, RefuseBusy},
		"other run":                   {ft.Run{Ordinal: 4}, 1, RefuseUnknownRun},
		"earlier epoch":               {testRun, 0, RefuseUnknownRun},
		"later epoch":                 {testRun, 2, RefuseBusy},
	} {
		q := listen(t, config('q'))
		if _, err := q.OpenPrimary(Pairing{Run: c.run, Epoch: c.epoch, Peer: x.be.Addr().String()}); err != nil {
			t.Fatal(err)
		}
		if ev := await(t, q, DialFailed); ev.Code != c.code {
			t.Errorf("%s: %+v", name, ev)
		}
	}
}

// DESIGN R17: "After a win anyone of the old pairing is answered 'closed',
// which counts as refused."
func TestSealedSideAnswersClosed(t *testing.T) {
	for _, side := range []string{"backup", "primary"} {
		t.Run(side, func(t *testing.T) {
			x := connect(t, config('p'), config('b'), "")
			_ = x.p.SendState(stateOf(nil))
			await(t, x.be, StateReady)
			await(t, x.pe, StateSent)
			other := x.pe
			if side == "backup" {
				x.b.Seal()
			} else {
				other = x.be
				x.p.Seal()
			}
			await(t, other, Closed)
			if ev := await(t, other, DialFailed); ev.Code != RefuseClosed || !ev.Refused {
				t.Errorf("%+v", ev)
			}
		})
	}
}

// DESIGN R17: "'Refused' or 'unknown run' means that the peer's process is
// gone": nobody listens, or another process does.
func TestPeersProcessIsGone(t *testing.T) {
	for _, successor := range []bool{false, true} {
		x := connect(t, config('p'), config('b'), "")
		_ = x.p.SendState(stateOf(nil))
		await(t, x.pe, StateSent)
		address := x.be.Addr().String()
		_ = x.be.Close()
		if successor {
			bc := config('c')
			bc.Listen = address
			next := listen(t, bc)
			ignore(t, next)
			if _, err := next.OpenBackup(); err != nil {
				t.Fatal(err)
			}
		}
		await(t, x.pe, Closed)
		for {
			ev := await(t, x.pe, DialFailed)
			if ev.Refused && (ev.Code == RefuseUnknownRun) == successor {
				break
			}
		}
	}
}

// Before the first connection there is nobody who could be gone.
func TestBackupThatIsNotThereYetIsNotGone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	_ = ln.Close()
	pl := listen(t, config('p'))
	if _, err := pl.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: address}); err != nil {
		t.Fatal(err)
	}
	if ev := await(t, pl, DialFailed); ev.Refused || ev.Err == nil {
		t.Errorf("%+v", ev)
	}
	bc := config('b')
	bc.Listen = address
	bl := listen(t, bc)
	if _, err := bl.OpenBackup(); err != nil {
		t.Fatal(err)
	}
	await(t, pl, Connected)
}

func TestAddressesBeyondLoopbackAreRefused(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "192.0.2.1:7", "example.org:7", "[::]:0"} {
		c := config('p')
		c.Listen = address
		if e, err := Listen(c); err == nil {
			_ = e.Close()
			t.Errorf("%s: no error", address)
		} else if !strings.Contains(err.Error(), "not encrypted") {
			t.Errorf("%s: %v", address, err)
		}
	}
	e := listen(t, config('p'))
	if _, err := e.OpenPrimary(Pairing{Peer: "192.0.2.1:7"}); err == nil {
		t.Error("a peer beyond loopback is dialled")
	}
	c := config('p')
	c.Listen, c.Insecure = "0.0.0.0:0", true
	listen(t, c)
}

func TestDialBackAddress(t *testing.T) {
	remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 999}
	for advertised, want := range map[string]string{
		"0.0.0.0:7":     "10.0.0.7:7",
		":7":            "10.0.0.7:7",
		"[::]:7":        "10.0.0.7:7",
		"192.0.2.1:7":   "192.0.2.1:7",
		"example.org:7": "example.org:7",
		"nonsense":      "",
	} {
		if got := dialBack(advertised, remote); got != want {
			t.Errorf("%s: %s, want %s", advertised, got, want)
		}
	}
}

// hostile dials an endpoint and speaks frames by hand.
type hostile struct {
	net.Conn
	chain  replay.Chain
	frames *replay.FrameReader
}

func dialHostile(t *testing.T, e *Endpoint) *hostile {
	nc, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &hostile{Conn: nc, frames: replay.NewFrameReader(nc)}
}

func (h *hostile) say(t replay.FrameType, body []byte) {
	_, _ = h.Write(h.chain.Append(nil, t, body))
}

func TestOtherFormatVersionIsRefused(t *testing.T) {
	e := listen(t, config('b'))
	if _, err := e.OpenBackup(); err != nil {
		t.Fatal(err)
	}
	h := dialHostile(t, e)
	h.say(replay.FrameHello, []byte("LSCH\x63\x00whatever a later version says"))
	typ, body, err := h.frames.Next()
	if err != nil || typ != replay.FrameRefuse {
		t.Fatalf("frame %d, %v", typ, err)
	}
	if r, err := decodeRefuse(body); err != nil || r.Code != RefuseFormat || !strings.Contains(r.Text, "99") {
		t.Errorf("%+v %v", r, err)
	}
	if ev := await(t, e, PeerRefused); ev.Code != RefuseFormat {
		t.Errorf("%+v", ev)
	}
}

// Whatever a peer sends after its handshake that does not belong there closes
// the connection with a reason, and nothing of it counts.
func TestHostilePrimary(t *testing.T) {
	begin := appendBegin(nil, State{Meta: []byte("m")})
	entries := func(start replay.Point, es ...replay.Entry) []byte {
		b := replay.AppendPoint(pulse{1, 1}.append(nil), start)
		enc := replay.NewEncoder(start)
		for _, e := range es {
			b, _ = enc.Append(b, e)
		}
		return b
	}
	for name, frames := range map[string][]struct {
		t    replay.FrameType
		body []byte
	}{
		"entries before the State": {{replay.FrameEntries, entries(replay.Point{}, horizon(1))}},
		"state without beginning":  {{replay.FrameState, []byte{stateData, 1}}},
		"state begins twice":       {{replay.FrameState, begin}, {replay.FrameState, begin}},
		"wrong checksum":           {{replay.FrameState, begin}, {replay.FrameState, []byte{stateData, 1}}, {replay.FrameState, append([]byte{stateEnd, 1, 1}, make([]byte, 16)...)}},
		"empty piece":              {{replay.FrameState, nil}},
		"an acknowledgement":       {{replay.FrameAck, ack{epoch: 1}.append(nil)}},
		"a hello":                  {{replay.FrameHello, nil}},
		"unknown type":             {{99, nil}},
		"short heartbeat":          {{replay.FrameHeartbeat, nil}},
		"long bye":                 {{replay.FrameBye, []byte{1, 2}}},
		"malformed entries":        {{replay.FrameEntries, []byte{1, 1, 0, 0, 200, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := listen(t, config('b'))
			b, err := e.OpenBackup()
			if err != nil {
				t.Fatal(err)
			}
			h := dialHostile(t, e)
			h.say(replay.FrameHello, appendHello(nil, Hello{
				Format: FormatVersion, VM: "web", ConfigHash: [32]byte{7}, Run: testRun, Epoch: 1,
				Process: ft.ProcessID{'p'}, Role: RolePrimary, Gen: 1, DialBack: "127.0.0.1:1"}))
			await(t, e, Connected)
			for _, f := range frames {
				h.say(f.t, f.body)
			}
			if ev := await(t, e, Closed); ev.Err == nil {
				t.Error("closed without a reason")
			}
			if b.State() != nil || len(b.Take(nil)) > 0 {
				t.Error("something of it counted")
			}
		})
	}
}

// DESIGN R11: an acknowledgement of what was not sent releases nothing.
func TestHostileBackup(t *testing.T) {
	for name, a := range map[string]ack{
		"not sent":     {epoch: 1, seq: 7},
		"other epoch":  {epoch: 2, seq: 1},
		"before State": {epoch: 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := listen(t, config('p'))
			p, err := e.OpenPrimary(Pairing{Run: testRun, Epoch: 1, OnAck: func(a Ack) { t.Errorf("%+v counts", a) }})
			if err != nil {
				t.Fatal(err)
			}
			h := dialHostile(t, e)
			h.say(replay.FrameHello, appendHello(nil, Hello{
				Format: FormatVersion, VM: "web", ConfigHash: [32]byte{7}, Run: testRun, Epoch: 1,
				Process: ft.ProcessID{'b'}, Expect: ft.ProcessID{'p'}, Role: RoleBackup, DialBack: "127.0.0.1:1"}))
			await(t, e, Connected)
			if name != "before State" {
				_ = p.SendState(stateOf(nil))
				for {
					typ, body, err := h.frames.Next()
					if err != nil {
						t.Fatal(err)
					}
					if typ == replay.FrameState && body[0] == stateEnd {
						break
					}
				}
				_ = p.Append(horizon(1))
				p.Flush()
			}
			h.say(replay.FrameAck, a.append(nil))
			if ev := await(t, e, Closed); ev.Err == nil || errors.Is(ev.Err, net.ErrClosed) {
				t.Errorf("%+v", ev)
			}
		})
	}
}

// What speaks something else, or nothing, does no harm.
func TestStrangersAreTurnedAway(t *testing.T) {
	e := listen(t, config('b'))
	if _, err := e.OpenBackup(); err != nil {
		t.Fatal(err)
	}
	for range 3 * maxHandshakes { // silent ones fill all slots
		nc, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	nc, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: somebody\r\n\r\n"))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1000)
	for err == nil {
		_, err = nc.Read(buf)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection stays open")
	}
}
