package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestUnknownUnicastFloodsAndKnownDoesNot(t *testing.T) {
	s := testSwitch(t, nil)
	a := plugLive(t, s, "a", macA, 0)
	b := plugLive(t, s, "b", macB, 0)
	c := plugLive(t, s, "c", MAC{2, 0, 0, 0, 0, 1}, 0)
	a.Send(frameOf(macB, macA, "unknown"))
	for _, n := range []*NIC{b, c} {
		if got := textOf(expectFrame(t, n)); got != "unknown" {
			t.Errorf("flooded %q", got)
		}
	}
	b.Send(frameOf(macA, macB, "answer"))
	if got := textOf(expectFrame(t, a)); got != "answer" {
		t.Errorf("a got %q", got)
	}
	a.Send(frameOf(macB, macA, "known"))
	if got := textOf(expectFrame(t, b)); got != "known" {
		t.Errorf("b got %q", got)
	}
	a.Send(frameOf(broadcast, macA, "to all"))
	if got := textOf(expectFrame(t, c)); got != "to all" {
		t.Errorf("c got %q; a frame for b must not reach it", got)
	}
}

func TestGatewayAddressCannotBeTaken(t *testing.T) {
	s := testSwitch(t, nil)
	a := plugLive(t, s, "a", macA, 0)
	b := plugLive(t, s, "b", macB, 0)
	a.Send(frameOf(broadcast, s.gateway.mac, "I am the gateway"))
	a.Send(frameOf(broadcast, macA, "I am a"))
	if got := textOf(expectFrame(t, b)); got != "I am a" {
		t.Errorf("b got %q", got)
	}
}

// R15: switch, store and locks see the number; section 8: the switch refuses
// older fence numbers.
func TestOlderFenceIsRefused(t *testing.T) {
	s := testSwitch(t, nil)
	primary := plugLive(t, s, "vm", macA, 2)
	winner := plugLive(t, s, "vm", macA, 3)
	e := expectEvent(t, primary, NICRefused)
	var refused *RefusedError
	if !errors.As(e.Err, &refused) || refused.Reason != RefusedFence || refused.Holder != fence(3) {
		t.Fatalf("primary was told %v", e.Err)
	}
	if !strings.Contains(refused.Text, "must halt") {
		t.Errorf("text %q does not say what to do", refused.Text)
	}
	late := plug(t, s, "vm", macA)
	late.GoLive(fence(2))
	expectEvent(t, late, NICRefused)

	// What the refused ones send reaches nobody.
	other := plugLive(t, s, "other", macB, 0)
	primary.Send(frameOf(broadcast, macA, "old"))
	late.Send(frameOf(broadcast, macA, "late"))
	winner.Send(frameOf(broadcast, macA, "new"))
	if got := textOf(expectFrame(t, other)); got != "new" {
		t.Errorf("other got %q", got)
	}
	if st := s.Status().Ports; len(st) != 2 || st[1].Fence != "1.3" || !st[1].Live {
		t.Errorf("status %+v", st)
	}
}

// A replica that was frozen while another took over finds out by its next frame.
func TestFrameInFlightFromOlderFenceIsRefused(t *testing.T) {
	s := testSwitch(t, nil)
	name := portName{"vm", 0}
	old, peer := rawAttach(t, s, "vm", macA)
	defer peer.Close()
	write(t, peer, goLive{fence: fence(0)}.encode())
	if kind, _, err := old.next(); kind != msgLive || err != nil {
		t.Fatalf("message %d, %v", kind, err)
	}
	winner := plugLive(t, s, "vm", macA, 1)
	other := plugLive(t, s, "other", macB, 0)
	frame := frameOf(broadcast, macA, "late write")
	head := sendHeader(len(frame))
	write(t, peer, append(head[:], frame...))
	kind, body, err := old.next()
	if kind != msgRefused || err != nil {
		t.Fatalf("message %d, %v", kind, err)
	}
	if r, err := decodeRefused(body); err != nil || r.Reason != RefusedFence || r.Holder != fence(1) {
		t.Fatalf("refusal %+v, %v", r, err)
	}
	winner.Send(frameOf(broadcast, macA, "new"))
	if got := textOf(expectFrame(t, other)); got != "new" {
		t.Errorf("other got %q", got)
	}
	s.mu.RLock()
	p := s.ports[name]
	s.mu.RUnlock()
	if st := p.status(); st.FromGuest != 1 {
		t.Errorf("%d frames were taken from the guest, want 1", st.FromGuest)
	}
}

func TestSameFenceFromAnotherProcessIsRefused(t *testing.T) {
	s := testSwitch(t, nil)
	plugLive(t, s, "vm", macA, 1)
	twin := plug(t, s, "vm", macA)
	twin.GoLive(fence(1))
	var refused *RefusedError
	if e := expectEvent(t, twin, NICRefused); !errors.As(e.Err, &refused) || refused.Reason != RefusedInUse {
		t.Errorf("the twin was told %v", e.Err)
	}
}

func TestStandbyReceivesNothing(t *testing.T) {
	s := testSwitch(t, nil)
	live := plugLive(t, s, "vm", macA, 0)
	standby := plug(t, s, "vm", macA)
	standby.Send(frameOf(broadcast, macA, "from standby")) // dropped in the host half
	other := plugLive(t, s, "other", macB, 0)
	other.Send(frameOf(broadcast, macB, "one"))
	f := expectFrame(t, live)
	live.Confirm(f.Number)
	live.Send(frameOf(macB, macA, "two"))
	if got := textOf(expectFrame(t, other)); got != "two" {
		t.Errorf("other got %q", got)
	}
	// The confirmation came before "two", so there is nothing left for it.
	standby.GoLive(fence(1))
	expectEvent(t, standby, NICLive)
	other.Send(frameOf(broadcast, macB, "three"))
	if got := textOf(expectFrame(t, standby)); got != "three" {
		t.Errorf("standby got %q before it was live", got)
	}
}

// Section 5: the switch keeps frames it sent to a port until the live port
// confirms them as logged, and gives the rest to the next live port.
func TestUnconfirmedFramesGoToTheNextLivePort(t *testing.T) {
	s := testSwitch(t, nil)
	primary := plugLive(t, s, "vm", macA, 0)
	backup := plug(t, s, "vm", macA)
	other := plugLive(t, s, "other", macB, 0)
	for i := range 10 {
		other.Send(frameOf(broadcast, macB, fmt.Sprint("frame ", i)))
	}
	var numbers []uint64
	for range 10 {
		numbers = append(numbers, expectFrame(t, primary).Number)
	}
	primary.Confirm(numbers[3])
	primary.Send(frameOf(macB, macA, "confirmed"))
	expectFrame(t, other)
	kill(primary)
	other.Send(frameOf(macA, macB, "while dead"))
	backup.GoLive(fence(1))
	expectEvent(t, backup, NICLive)
	for i := 4; i < 10; i++ {
		f := expectFrame(t, backup)
		if textOf(f) != fmt.Sprint("frame ", i) || f.Number != numbers[i] {
			t.Fatalf("frame %d (%s), want %d (frame %d)", f.Number, textOf(f), numbers[i], i)
		}
	}
	if got := textOf(expectFrame(t, backup)); got != "while dead" {
		t.Errorf("got %q", got)
	}
}

// A connection that breaks and comes back continues where it was: the same
// process is not given again what it has.
func TestSamePortReconnects(t *testing.T) {
	s := testSwitch(t, nil)
	n := plugLive(t, s, "vm", macA, 0)
	other := plugLive(t, s, "other", macB, 0)
	other.Send(frameOf(broadcast, macB, "one"))
	expectFrame(t, n)
	n.mu.Lock()
	n.out.conn.Close()
	n.mu.Unlock()
	other.Send(frameOf(broadcast, macB, "two"))
	for _, k := range []NICEventKind{NICLost, NICRestored, NICLive} {
		expectEvent(t, n, k)
	}
	other.Send(frameOf(broadcast, macB, "three"))
	for _, want := range []string{"two", "three"} {
		if got := textOf(expectFrame(t, n)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSwitchRestart(t *testing.T) {
	s := testSwitch(t, nil)
	cfg := s.cfg
	n := plugLive(t, s, "vm", macA, 7)
	early := plugLive(t, s, "early", macB, 0)
	early.Send(frameOf(broadcast, macB, "first"))
	first := expectFrame(t, n)
	early.Close()
	s.Close()
	expectEvent(t, n, NICLost)
	again, err := NewSwitch(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	expectEvent(t, n, NICRestored)
	expectEvent(t, n, NICLive)
	other := plugLive(t, again, "other", macB, 0)
	other.Send(frameOf(broadcast, macB, "hello again"))
	expectFrame(t, n)
	// A confirmation for the first switch comes late: it must not count here.
	n.Confirm(first.Number)
	n.Send(frameOf(broadcast, macA, "after it"))
	expectFrame(t, other)
	next := plugLive(t, again, "vm", macA, 8)
	if got := textOf(expectFrame(t, next)); got != "hello again" {
		t.Errorf("got %q", got)
	}
	expectEvent(t, n, NICRefused)
}

// What was received from one switch says nothing about another's numbers.
func TestReceivedCountsForOneSwitchOnly(t *testing.T) {
	s := testSwitch(t, nil)
	kill(plugLive(t, s, "vm", macA, 0))
	other := plugLive(t, s, "other", macB, 0)
	other.Send(frameOf(broadcast, macB, "kept"))
	plugLive(t, s, "third", MAC{2}, 0).Send(frameOf(macB, MAC{2}, "after it"))
	expectFrame(t, other)
	r, c := rawAttach(t, s, "vm", macA)
	defer c.Close()
	write(t, c, goLive{fence: fence(1), sw: [16]byte{1}, received: 1 << 63}.encode())
	for _, want := range []byte{msgLive, msgReceive} {
		if kind, _, err := r.next(); kind != want || err != nil {
			t.Fatalf("message %d, %v; want %d", kind, err, want)
		}
	}
}

// A VM process that takes nothing must not hold up the others.
func TestStuckPortDoesNotBlockOthers(t *testing.T) {
	s := testSwitch(t, nil)
	_, stuck := rawAttach(t, s, "stuck", MAC{2, 0, 0, 0, 0, 9})
	defer stuck.Close()
	write(t, stuck, goLive{fence: fence(0)}.encode())
	a := plugLive(t, s, "a", macA, 0)
	b := plugLive(t, s, "b", macB, 0)
	big := frameOf(broadcast, macA, strings.Repeat("x", 9000))
	for i := range 2500 { // more than any socket buffer and more than is kept
		a.Send(big)
		if f := expectFrame(t, b); len(f.Bytes) != len(big) {
			t.Fatalf("frame %d has %d bytes", i, len(f.Bytes))
		}
	}
	for _, p := range s.Status().Ports {
		if p.HeldBytes > 4<<20 {
			t.Errorf("port %s holds %d bytes", p.VM, p.HeldBytes)
		}
		if p.VM == "stuck" && p.Dropped+p.Overrun == 0 {
			t.Error("nothing was dropped for the stuck port; the test tests nothing")
		}
	}
}

func TestNICRefusesForeignSwitch(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Write([]byte("220 mail.example ESMTP\r\n"))
			c.Close()
		}
	}()
	_, err = Dial(context.Background(), NICConfig{Switch: "tcp:" + l.Addr().String(), VM: "vm", MAC: macA})
	if err == nil {
		t.Fatal("attached to a mail server")
	}
}

func TestDialWithoutSwitch(t *testing.T) {
	_, err := Dial(context.Background(), NICConfig{Switch: "unix:" + t.TempDir() + "/none", VM: "vm", MAC: macA})
	if err == nil || !strings.Contains(err.Error(), "lockstep switch") {
		t.Errorf("error %v does not say what to do", err)
	}
}

// rawAttach attaches by hand, for what a NIC would never do.
func rawAttach(t testing.TB, s *Switch, vm string, mac MAC) (*messageReader, net.Conn) {
	t.Helper()
	c, err := net.Dial("unix", strings.TrimPrefix(s.Addresses()[0], "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	write(t, c, hello{version: wireVersion, mac: mac, vm: vm, process: [16]byte(append([]byte(vm), make([]byte, 16)...))}.encode())
	r := newMessageReader(c)
	if kind, _, err := r.next(); kind != msgWelcome || err != nil {
		t.Fatalf("message %d, %v; want a welcome", kind, err)
	}
	return r, c
}

func write(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}
