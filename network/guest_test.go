package network

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should happen at once; only a failing test meets it.
const patience = 10 * time.Second

var (
	macA = MAC{0x52, 0x54, 0, 0, 0, 0xa}
	macB = MAC{0x52, 0x54, 0, 0, 0, 0xb}
)

func fence(number uint64) ft.Fence { return ft.Fence{Run: 1, Number: number} }

// testSwitch starts a switch on a unix socket.
func testSwitch(t testing.TB, change func(*SwitchConfig)) *Switch {
	t.Helper()
	cfg := SwitchConfig{Listen: []string{"unix:" + filepath.Join(t.TempDir(), "d", "s")}}
	if change != nil {
		change(&cfg)
	}
	s, err := NewSwitch(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func plug(t testing.TB, s *Switch, vm string, mac MAC) *NIC {
	t.Helper()
	n, err := Dial(context.Background(), NICConfig{Switch: s.Addresses()[0], VM: vm, MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func plugLive(t testing.TB, s *Switch, vm string, mac MAC, number uint64) *NIC {
	t.Helper()
	n := plug(t, s, vm, mac)
	n.GoLive(fence(number))
	expectEvent(t, n, NICLive)
	return n
}

func expectEvent(t testing.TB, n *NIC, kind NICEventKind) NICEvent {
	t.Helper()
	select {
	case e := <-n.Events():
		if e.Kind != kind {
			t.Fatalf("event %v (%v), want %v", e.Kind, e.Err, kind)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event; want %v", kind)
	}
	panic("unreachable")
}

func expectFrame(t testing.TB, n *NIC) Received {
	t.Helper()
	select {
	case f := <-n.Frames():
		return f
	case <-time.After(patience):
		t.Fatal("no frame came")
	}
	panic("unreachable")
}

// unplug breaks the NIC's connection as kill -9 of its process does: nothing
// is flushed and nothing is dialled again.
func kill(n *NIC) {
	n.cancel()
	n.done.Wait()
}

// frameOf is a frame with a payload that names it.
func frameOf(dst, src MAC, text string) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	return append(append(b, 0x88, 0xb5), text...) // an EtherType for experiments
}

func textOf(f Received) string { return string(f.Bytes[14:]) }

// guest is a real TCP/IP stack that plays the guest. It survives its host
// halves, as the guest of a protected VM does.
type guest struct {
	stack *stack.Stack
	link  *channel.Endpoint
	wait  sync.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex
	change  sync.Cond
	nic     *NIC // nil while no replica is live: the guest stands still, it loses nothing
	stopped bool
}

func newGuest(t testing.TB, mac MAC, addr string) *guest {
	t.Helper()
	g := &guest{link: channel.New(1024, 1514, tcpip.LinkAddress(mac[:]))}
	g.change.L = &g.mu
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	must := func(err tcpip.Error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.stack.CreateNIC(1, ethernet.New(g.link)))
	local := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(netip.MustParseAddr(addr).As4()), PrefixLen: 24}
	must(g.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: local}, stack.AddressProperties{}))
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: local.Subnet(), NIC: 1},
		{Destination: header.IPv4EmptySubnet, NIC: 1, Gateway: tcpip.AddrFrom4([4]byte{10, 0, 2, 2})},
	})
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	g.wait.Go(func() {
		for pkt := g.link.ReadContext(ctx); pkt != nil; pkt = g.link.ReadContext(ctx) {
			v := pkt.ToView()
			g.mu.Lock()
			for g.nic == nil && !g.stopped {
				g.change.Wait()
			}
			if g.nic != nil {
				g.nic.Send(v.AsSlice())
			}
			g.mu.Unlock()
			v.Release()
			pkt.DecRef()
		}
	})
	t.Cleanup(func() {
		g.stop()
		g.mu.Lock()
		g.stopped = true
		g.change.Broadcast()
		g.mu.Unlock()
		g.stack.Close() // wakes whoever reads from a connection
		g.wait.Wait()
		g.stack.Wait()
	})
	return g
}

// take hands a received frame to the stack, as applying its log entry does.
func (g *guest) take(f Received) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f.Bytes)})
	g.link.InjectInbound(0, pkt)
	pkt.DecRef()
}

// attach lets the guest send to a host half.
func (g *guest) attach(n *NIC) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nic = n
	g.change.Broadcast()
}

// runOn lets the guest live on a host half until the returned function is called.
func (g *guest) runOn(n *NIC) (halt func()) {
	g.attach(n)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case f := <-n.Frames():
				g.take(f)
				n.Confirm(f.Number)
			case <-stop:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		g.attach(nil)
		close(stop)
		wait.Wait()
	})
}
