package sim

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
)

// feed delivers, before position until, the inputs of a script that depends
// only on position, and answers requests.
func feed(t *rapid.T, m *Toy, until machine.Icount, cut func() bool) *Toy {
	var seen uint64
	for m.Icount() < until {
		next := (m.Icount()/37 + 1) * 37
		for m.Icount() < next {
			to := next
			if cut() {
				to = m.Icount() + 1
				if m.Icount()%2 == 0 {
					var b bytes.Buffer
					outs := m.Outputs(nil)
					if err := m.Save(&b); err != nil {
						t.Fatal(err)
					}
					n := NewToy(m.cfg)
					if err := n.Load(&b); err != nil {
						t.Fatal(err)
					}
					n.out = outs
					m = n
				}
			}
			exit := m.Run(to)
			if exit == machine.Idle {
				c := m.Clock()
				timer, _ := m.NextTimer()
				if err := m.Deliver(machine.SetClock{Clock: machine.Clock{T0: max(timer, c.At(m.Icount())), I0: m.Icount(), Mul: c.Mul}}); err != nil {
					t.Fatal(err)
				}
			}
			if exit == machine.PoweredOff {
				return m
			}
		}
		for _, p := range m.Pending(nil) {
			var in machine.Input = machine.Entropy{Bytes: words(uint64(p.Pos))}
			if p.Port.Kind == machine.PortDisk {
				done := machine.DiskDone{ID: p.ID}
				if p.Op == machine.DiskRead {
					done.Bytes = make([]byte, p.Length)
					copy(done.Bytes, words(m.st.written[p.Sector]))
				}
				in = done
			}
			if err := m.Deliver(in); err != nil {
				t.Fatal(err)
			}
		}
		if m.RxRoom(machine.Port{Kind: machine.PortNIC}) > 0 {
			seen++
			if err := m.Deliver(machine.Frame{Bytes: Request(m.Served()+1, uint64(next))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// DESIGN section 2: "run it again cut at random positions [...] saving and
// restoring a snapshot at the cuts; digests are equal".
func TestToyDoesNotNoticeCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := ToyConfig{Seed: rapid.Uint64().Draw(t, "seed")}
		whole := feed(t, NewToy(cfg), 3000, func() bool { return false })
		rnd := NewRand(rapid.Uint64().Draw(t, "cuts"))
		pieces := feed(t, NewToy(cfg), 3000, func() bool { return rnd.OneIn(3) })
		if whole.Digest() != pieces.Digest() {
			t.Fatalf("digests differ: %v and %v", whole.Digest(), pieces.Digest())
		}
		if a, b := fmt.Sprint(whole.Outputs(nil)), fmt.Sprint(pieces.Outputs(nil)); a != b {
			t.Fatal("outputs differ")
		}
		if whole.Served() == 0 || whole.Mark().Count == 0 || whole.Corrupt() != 0 {
			t.Fatalf("served %d, outputs %d, corrupt %d", whole.Served(), whole.Mark().Count, whole.Corrupt())
		}
	})
}

func TestToyFeelsWhereAnInputIsDelivered(t *testing.T) {
	digest := func(at machine.Icount) machine.Digest {
		m := NewToy(ToyConfig{Seed: 5})
		for m.Icount() < at {
			m.Run(at)
			m.st.waiting = false
		}
		if err := m.Deliver(machine.Frame{Bytes: Request(1, 2)}); err != nil {
			t.Fatal(err)
		}
		m.Run(200)
		return m.Digest()
	}
	if digest(20) == digest(21) {
		t.Error("the position of an input makes no difference")
	}
}

func TestToyRefusesDamagedState(t *testing.T) {
	m := NewToy(ToyConfig{Seed: 1})
	m.Run(50)
	m.Outputs(nil)
	var b bytes.Buffer
	if err := m.Save(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, b.Bytes()[:b.Len()-1], append(bytes.Clone(b.Bytes()), 0)} {
		if err := NewToy(ToyConfig{Seed: 1}).Load(bytes.NewReader(bad)); err == nil {
			t.Errorf("Load took %d of %d bytes", len(bad), b.Len())
		}
	}
	if err := NewToy(ToyConfig{Seed: 2}).Load(bytes.NewReader(b.Bytes())); err == nil {
		t.Error("Load took the State of another configuration")
	}
}

func TestToyPowersOff(t *testing.T) {
	m := NewToy(ToyConfig{Seed: 3})
	if err := m.Deliver(machine.Stop{}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if m.Run(1000) == machine.PoweredOff {
			break
		}
		m.st.waiting = false
	}
	outs := m.Outputs(nil)
	if last := outs[len(outs)-1]; last.Port.Kind != machine.PortPower || last.Count != m.Mark().Count {
		t.Errorf("last output is %+v", last)
	}
	if m.Run(machine.Never) != machine.PoweredOff {
		t.Error("a toy that is off runs")
	}
}
