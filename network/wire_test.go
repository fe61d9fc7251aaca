package network

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

// reread reads one message back.
func reread(t *testing.T, b []byte, kind byte) []byte {
	t.Helper()
	r := newMessageReader(bytes.NewReader(b))
	k, body, err := r.next()
	if err != nil || k != kind {
		t.Fatalf("message %d, %v; want %d", k, err, kind)
	}
	if _, _, err := r.next(); err != io.EOF {
		t.Fatalf("after the message: %v", err)
	}
	return body
}

func TestMessagesReadBack(t *testing.T) {
	h := hello{version: 1, index: 3, mac: macA, process: [16]byte{1, 2}, vm: "web"}
	if got, err := decodeHello(reread(t, h.encode(), msgHello)); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	g := goLive{fence: ft.Fence{Run: 4, Number: 5}, sw: [16]byte{6}, received: 7}
	if got, err := decodeGoLive(reread(t, g.encode(), msgGoLive)); err != nil || got != g {
		t.Errorf("%+v, %v", got, err)
	}
	if v, sw, err := decodeWelcome(reread(t, encodeWelcome([16]byte{9}), msgWelcome)); err != nil || v != wireVersion || sw != [16]byte{9} {
		t.Errorf("%d %x %v", v, sw, err)
	}
	if f, err := decodeLive(reread(t, encodeLive(g.fence), msgLive)); err != nil || f != g.fence {
		t.Errorf("%v, %v", f, err)
	}
	r := RefusedError{Reason: RefusedFence, Holder: g.fence, Text: "no"}
	if got, err := decodeRefused(reread(t, encodeRefused(r), msgRefused)); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	if n, err := decodeConfirm(reread(t, encodeConfirm(11), msgConfirm)); err != nil || n != 11 {
		t.Errorf("%d, %v", n, err)
	}
	frame := frameOf(macB, macA, "payload")
	head := receiveHeader(12, len(frame))
	if n, f, err := decodeReceive(reread(t, append(head[:], frame...), msgReceive)); err != nil || n != 12 || !bytes.Equal(f, frame) {
		t.Errorf("%d %x %v", n, f, err)
	}
	sent := sendHeader(len(frame))
	if f := reread(t, append(sent[:], frame...), msgSend); !bytes.Equal(f, frame) {
		t.Errorf("%x", f)
	}
}

// Wire numbers are for ever.
func TestWireBytes(t *testing.T) {
	h := hello{version: 1, index: 2, mac: macA, process: [16]byte{0: 0xaa, 15: 0xbb}, vm: "vm"}
	want := unhex(t, `00000020 01 4c4b5357 0001 02 52540000000a aa0000000000000000000000000000bb 766d`)
	if !bytes.Equal(h.encode(), want) {
		t.Errorf("hello is %x, want %x", h.encode(), want)
	}
}

func TestBadLengthsAreRefused(t *testing.T) {
	for _, b := range [][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 1, 0, 0}} {
		if _, _, err := newMessageReader(bytes.NewReader(b)).next(); !errors.Is(err, errProtocol) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, _, err := newMessageReader(bytes.NewReader([]byte{0, 0, 0, 9, 1})).next(); err != io.ErrUnexpectedEOF {
		t.Errorf("cut: %v", err)
	}
}

// Malformed input ends the connection with a refusal that says why.
func TestMalformedInputIsAnswered(t *testing.T) {
	s := testSwitch(t, nil)
	good := hello{version: wireVersion, mac: macA, vm: "vm"}
	frame := frameOf(broadcast, macA, "x")
	send := sendHeader(len(frame))
	short := sendHeader(3)
	for name, c := range map[string]struct {
		input  []byte
		reason RefuseReason
		text   string
	}{
		"not a hello":         {encodeConfirm(1), RefusedProtocol, "hello"},
		"http":                {[]byte("GET / HTTP/1.1\r\n\r\n"), RefusedProtocol, "bytes"},
		"version":             {hello{version: 9, mac: macA, vm: "vm"}.encode(), RefusedVersion, "release"},
		"no name":             {hello{version: 1, mac: macA}.encode(), RefusedProtocol, "name"},
		"long name":           {hello{version: 1, mac: macA, vm: strings.Repeat("n", 129)}.encode(), RefusedProtocol, "name"},
		"group MAC":           {hello{version: 1, mac: broadcast, vm: "vm"}.encode(), RefusedProtocol, "MAC"},
		"frame in standby":    {append(append(good.encode(), send[:]...), frame...), RefusedProtocol, "not live"},
		"confirm in standby":  {append(good.encode(), encodeConfirm(1)...), RefusedProtocol, "not live"},
		"unknown message":     {append(good.encode(), 0, 0, 0, 1, 99), RefusedProtocol, "message 99"},
		"short frame":         {append(append(append(good.encode(), goLive{}.encode()...), short[:]...), 1, 2, 3), RefusedProtocol, "frame of 3 bytes"},
		"go-live of one byte": {append(good.encode(), 0, 0, 0, 2, msgGoLive, 0), RefusedProtocol, "go-live"},
	} {
		t.Run(name, func(t *testing.T) {
			c2, err := net.Dial("unix", strings.TrimPrefix(s.Addresses()[0], "unix:"))
			if err != nil {
				t.Fatal(err)
			}
			defer c2.Close()
			c2.SetReadDeadline(time.Now().Add(patience))
			write(t, c2, c.input)
			r := newMessageReader(c2)
			kind, body, err := r.next()
			for err == nil && kind != msgRefused {
				kind, body, err = r.next()
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decodeRefused(body); err != nil || got.Reason != c.reason || !strings.Contains(got.Text, c.text) {
				t.Errorf("refused with %+v, %v", got, err)
			}
		})
	}
}

// FuzzSwitch feeds a connection whatever comes: the switch must neither crash
// nor keep it, and the next VM is served as before.
func FuzzSwitch(f *testing.F) {
	h := hello{version: wireVersion, mac: macA, vm: "vm"}.encode()
	live := append(h, goLive{}.encode()...)
	frame := frameOf(broadcast, macA, "text")
	head := sendHeader(len(frame))
	f.Add([]byte("hello"))
	f.Add(append(live, append(head[:], frame...)...))
	f.Add(append(live, encodeConfirm(1<<63)...))
	arp := arpFrame(etherARP, 1, macA, [4]byte{10, 0, 2, 15}, MAC{}, [4]byte{10, 0, 2, 2})
	head = sendHeader(len(arp))
	f.Add(append(live, append(head[:], arp...)...))
	s := testSwitch(f, nil)
	f.Fuzz(func(t *testing.T, input []byte) {
		here, there := net.Pipe()
		if !s.admit(there) {
			t.Fatal("the switch is full: connections are not forgotten")
		}
		done := make(chan struct{})
		go func() { defer close(done); s.serve(there) }()
		go io.Copy(io.Discard, here)
		here.SetWriteDeadline(time.Now().Add(patience))
		here.Write(input)
		here.Close()
		<-done
	})
}

// FuzzGatewayFrame feeds frames of a live guest to the gateway.
func FuzzGatewayFrame(f *testing.F) {
	s := testSwitch(f, nil)
	n := plugLive(f, s, "vm", macA, 0)
	f.Add(ping(s, "10.0.2.2"))
	f.Add(ping(s, "8.8.8.8"))
	f.Add(arpFrame(etherARP, 1, macA, [4]byte{10, 0, 2, 15}, MAC{}, [4]byte{10, 0, 2, 2}))
	f.Add(append(append(append([]byte{}, broadcast[:]...), macA[:]...), 8, 0, 0x45))
	s.mu.RLock()
	p := s.ports[portName{"vm", 0}]
	s.mu.RUnlock()
	f.Fuzz(func(t *testing.T, frame []byte) {
		n.Learn(frame)
		if checkFrame(frame) == nil {
			s.switchFrame(p, frame)
		}
		for len(n.Frames()) > 0 {
			<-n.Frames()
		}
	})
}
