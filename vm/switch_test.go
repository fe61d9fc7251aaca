package vm

import (
	"path/filepath"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/network"
)

// attach plugs a NIC into the stage's switch.
func (s *stage) attach(vm string, number ft.Fence) *network.NIC {
	s.t.Helper()
	n, err := network.Dial(s.t.Context(), network.NICConfig{Switch: s.sw, VM: vm, MAC: [6]byte{2, 0, 0, 0, 0, 9}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = n.Close() })
	n.GoLive(number)
	return n
}

// Who goes live takes over the port of the switch: where the guest is now reaches
// others.
func TestLiveReplicaSpeaksOnTheSwitch(t *testing.T) {
	s := newStage(t)
	other := s.attach("other", ft.Fence{Run: 1, Number: 1})
	heard := func() bool {
		select {
		case <-other.Frames():
			return true
		default:
			return false
		}
	}
	primary, backup := s.pair()
	primary.box.do(func() { primary.proto.FencedOff() })
	primary.wait(t, Halted)
	backup.log.await(t, EventLive)
	backup.soon(t, "announcement", heard)
	backup.cancel()
	backup.wait(t, Ended)
}

// DESIGN R19: the switch "refuses older fence numbers", and a refused replica
// halts.
func TestReplicaThatTheSwitchRefusesHalts(t *testing.T) {
	s := newStage(t)
	g := s.powerOn("")
	g.works(t, 20)
	s.attach("toy", ft.Fence{Run: 1 << 62, Number: 1})
	g.wait(t, Halted)
	if s.ended() {
		t.Error("a replica that was fenced off has recorded the end of the run")
	}
}

// DESIGN R17: "a side whose own link is down ... waits one time-out more". A link is
// down from the loss of its switch until that is there again.
func TestLinksAreCounted(t *testing.T) {
	s := newStage(t)
	s.sw = "unix:" + filepath.Join(s.dir, "another")
	start := func() *network.Switch {
		sw, err := network.NewSwitch(network.SwitchConfig{Listen: []string{s.sw}})
		if err != nil {
			t.Fatal(err)
		}
		return sw
	}
	sw := start()
	g := s.powerOn("")
	links := func(n int) func() bool { return func() bool { return g.links == n } }
	if !g.asks(links(1)) {
		t.Error("a NIC that reaches its switch is no link")
	}
	_ = sw.Close()
	g.log.awaitText(t, "the switch is gone")
	if !g.asks(links(0)) {
		t.Error("a NIC that has lost its switch is a link")
	}
	sw = start()
	defer sw.Close()
	g.log.awaitText(t, "the switch is there again")
	if !g.asks(links(1)) {
		t.Error("a NIC that reaches its switch again is no link")
	}
	g.cancel()
	g.wait(t, Ended)
}
