package ft

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

func frame(count uint64) machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortNIC}, Count: count, Bytes: []byte{byte(count)}}
}

// paired is a gate in epoch 1 whose Arm is entry 10, acknowledged.
func paired() *Gate {
	g := NewGate(100, 1<<20)
	g.Obey(GateOrder{Mode: GatePaired, Epoch: 1, Gen: 7})
	g.Arm(1, 10)
	g.Acked(7, 1, 10)
	return g
}

func counts(os []machine.Output) string {
	s := ""
	for _, o := range os {
		s += fmt.Sprint(o.Count, " ")
	}
	return s
}

func want(t *testing.T, g *Gate, released string) {
	t.Helper()
	if got := counts(g.Release(nil)); got != released {
		t.Errorf("released %q, want %q", got, released)
	}
}

// Paper, section 2.2: "the primary VM may not send an output to the external
// world, until the backup VM has received and acknowledged the log entry
// associated with the operation producing the output."
func TestGateHoldsUntilTheMarkerIsAcknowledged(t *testing.T) {
	g := paired()
	g.Hold(frame(1))
	g.Hold(frame(2))
	want(t, g, "")
	g.Cover(12)
	g.Hold(frame(3))
	g.Acked(7, 1, 11)
	want(t, g, "")
	g.Acked(7, 1, 12)
	want(t, g, "1 2 ")
	if g.Released() != 2 {
		t.Errorf("Released = %d, want 2", g.Released())
	}
	// R9: "every output is covered by a marker before it may leave".
	g.Acked(7, 1, 99)
	want(t, g, "")
	g.Cover(100)
	g.Acked(7, 1, 100)
	want(t, g, "3 ")
}

// R18: with a wanted backup nothing at all leaves from power-on until Arm is
// acknowledged, not even what the backup has.
func TestGateIsClosedFromPowerOnUntilArmed(t *testing.T) {
	g := NewGate(10, 1000)
	g.Hold(frame(1))
	g.Cover(3)
	g.Acked(1, 1, 5)
	want(t, g, "")
	g.Obey(GateOrder{Mode: GatePaired, Epoch: 1, Gen: 1})
	g.Acked(1, 1, 5)
	want(t, g, "") // the marker is acknowledged, Arm is not
	g.Arm(1, 6)
	want(t, g, "")
	g.Acked(1, 1, 6)
	want(t, g, "1 ")
}

// R17: "Acknowledgements count only on the newest connection of the current
// epoch; after a resume the primary releases only what is acknowledged anew."
func TestGateCountsTheNewestConnectionOnly(t *testing.T) {
	g := paired()
	g.Hold(frame(1))
	g.Cover(11)
	for _, a := range []struct {
		gen uint64
		e   Epoch
	}{{6, 1}, {8, 1}, {7, 0}, {7, 2}, {0, 1}} {
		if g.Acked(a.gen, a.e, 11) {
			t.Errorf("an acknowledgement on connection %d of epoch %d counts", a.gen, a.e)
		}
	}
	want(t, g, "")
	g.Connection(1, 8)
	if g.Acked(7, 1, 11) {
		t.Error("the old connection still counts")
	}
	want(t, g, "")
	g.Acked(8, 1, 10) // what the backup says it has
	want(t, g, "")
	g.Acked(8, 1, 11)
	want(t, g, "1 ")
}

// R17: an acknowledgement that came by the old connection and released nothing
// yet must be given anew.
func TestGateForgetsAcknowledgementsAtAResume(t *testing.T) {
	g := paired()
	g.Hold(frame(1))
	g.Cover(11)
	g.Acked(7, 1, 11)
	g.Connection(1, 8)
	want(t, g, "")
}

// R16: "meanwhile no output leaves that was not already acknowledged in this
// epoch." R17: sending the claim seals the epoch.
func TestGateSealedByAClaim(t *testing.T) {
	g := paired()
	g.Hold(frame(1))
	g.Cover(11)
	g.Hold(frame(2))
	g.Cover(12)
	g.Acked(7, 1, 11)
	g.Obey(GateOrder{Mode: GateSealed})
	if g.Acked(7, 1, 12) {
		t.Error("an acknowledgement counts after the claim")
	}
	want(t, g, "1 ")
	g.Connection(1, 9)
	g.Acked(9, 1, 12)
	want(t, g, "")
	g.Obey(GateOrder{Mode: GateOpen}) // won
	want(t, g, "2 ")
}

// R11: "When the VM is Alone the gate is open by state."
func TestGateOpenWhenAlone(t *testing.T) {
	g := NewGate(10, 1000)
	g.Obey(GateOrder{Mode: GateOpen})
	g.Hold(frame(1))
	want(t, g, "1 ")
	// R18: "stops releasing anything that is not acknowledged in epoch e".
	g.Obey(GateOrder{Mode: GatePaired, Epoch: 4, Gen: 2})
	g.Hold(frame(2))
	g.Cover(20)
	g.Acked(2, 4, 25)
	want(t, g, "") // Arm(4) is not in the log yet
	g.Arm(3, 1)    // of another epoch
	want(t, g, "")
	g.Arm(4, 22)
	want(t, g, "2 ")
}

// DESIGN section 6: "Halted: nothing more is handed to an adapter, ever".
func TestGateHaltedForEver(t *testing.T) {
	g := paired()
	g.Hold(frame(1))
	g.Cover(11)
	g.Acked(7, 1, 11)
	g.Obey(GateOrder{Mode: GateHalted})
	g.Obey(GateOrder{Mode: GateOpen})
	g.Hold(frame(2))
	want(t, g, "")
	if n, b := g.Waiting(); n != 0 || b != 0 {
		t.Errorf("a halted gate keeps %d outputs, %d bytes", n, b)
	}
}

// R12: "What waits is bounded".
func TestGateFull(t *testing.T) {
	g := NewGate(3, 10000)
	g.Obey(GateOrder{Mode: GatePaired, Epoch: 1, Gen: 1})
	for i := uint64(1); i <= 3; i++ {
		if g.Full() {
			t.Errorf("full with %d outputs", i-1)
		}
		g.Hold(frame(i))
	}
	if !g.Full() {
		t.Error("not full at the bound of outputs")
	}
	g.Obey(GateOrder{Mode: GateOpen})
	g.Release(nil)
	big := frame(4)
	big.Bytes = make([]byte, 10000)
	if g.Full() {
		t.Error("full when empty")
	}
	if g.Hold(big); !g.Full() {
		t.Error("not full at the bound of bytes")
	}
}

// DESIGN section 5: "Disk reads are not outputs".
func TestGateTakesNoDiskRead(t *testing.T) {
	g := paired()
	defer func() {
		if recover() == nil {
			t.Error("the gate takes a disk read")
		}
	}()
	g.Hold(machine.Output{Port: machine.Port{Kind: machine.PortDisk}, Op: machine.DiskRead})
}

// Whatever happens to a gate, what leaves it leaves once and in order, and never
// without an acknowledgement or an open gate.
func TestGateReleasesOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGate(50, 1<<20)
		var count, last uint64
		var seq, ackedNow replay.Seq
		marker := map[uint64]replay.Seq{}
		uncovered := []uint64{}
		open := false
		var e Epoch
		var gen uint64
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1:
				count++
				g.Hold(frame(count))
				uncovered = append(uncovered, count)
			case 2:
				seq++
				g.Cover(seq)
				for _, c := range uncovered {
					marker[c] = seq
				}
				uncovered = nil
			case 3:
				a := replay.Seq(rapid.Uint64Range(0, uint64(seq)).Draw(t, "ack"))
				if g.Acked(gen, e, a) {
					ackedNow = a
				}
			case 4:
				gen++
				g.Connection(e, gen)
				ackedNow = 0
			case 5:
				if rapid.Bool().Draw(t, "open") {
					g.Obey(GateOrder{Mode: GateOpen})
					open = true
				} else {
					e, gen, ackedNow, open = e+1, gen+1, 0, false
					g.Obey(GateOrder{Mode: GatePaired, Epoch: e, Gen: gen})
					seq++
					g.Arm(e, seq)
				}
			}
			for _, o := range g.Release(nil) {
				if o.Count != last+1 {
					t.Fatalf("output %d after %d", o.Count, last)
				}
				last = o.Count
				if !open && (marker[o.Count] == 0 || marker[o.Count] > ackedNow) {
					t.Fatalf("output %d left with marker %d, acknowledged %d", o.Count, marker[o.Count], ackedNow)
				}
			}
		}
	})
}
