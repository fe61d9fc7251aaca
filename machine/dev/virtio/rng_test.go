package virtio

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

func (d *driver) rng() *RNG { return d.dev.(*RNG) }

func entropy(n uint32) machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortEntropy}, Length: n}
}

func (d *driver) emitted(want ...machine.Output) {
	d.Helper()
	if got := d.out.take(); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		d.Fatalf("emitted %v, want %v", got, want)
	}
}

func TestRNGLife(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.start(0, 8)
	if d.rng().Fill(machine.Entropy{}) == nil {
		t.Error("entropy that nobody asked for was taken")
	}
	h0 := d.chain(0, nil, []segment{readable(dataArea, 5), readable(dataArea+0x100, 20)})
	h1 := d.chain(0, nil, []segment{readable(dataArea+0x1000, 4096)})
	d.push(0, h0)
	d.push(0, h1)
	d.kick(0)
	d.emitted(entropy(25)) // the oldest only
	d.kick(0)
	d.emitted()
	if got := d.rng().Pending(nil); !reflect.DeepEqual(got, []machine.Output{entropy(25)}) {
		t.Fatalf("pending %v", got)
	}
	was := string(state(d.dev))
	for _, n := range []int{0, 24, 26} {
		if d.rng().Fill(machine.Entropy{Bytes: make([]byte, n)}) == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
	if string(state(d.dev)) != was {
		t.Fatal("an error changed State")
	}
	d.cut(newTestRNG)
	want := pattern(25, 1)
	if err := d.rng().Fill(machine.Entropy{Bytes: want}); err != nil {
		t.Fatal(err)
	}
	d.reapOne(0, usedElem{h0, 25})
	d.interrupted(true)
	if got := append(d.bytes(dataArea, 5), d.bytes(dataArea+0x100, 20)...); !bytes.Equal(got, want) {
		t.Errorf("RAM holds %x", got)
	}
	d.emitted(entropy(MaxEntropy)) // less than asked for
	if err := d.rng().Fill(machine.Entropy{Bytes: make([]byte, MaxEntropy)}); err != nil {
		t.Fatal(err)
	}
	d.reapOne(0, usedElem{h1, MaxEntropy})
	d.emitted()
	if len(d.rng().Pending(nil)) != 0 {
		t.Error("a request is left")
	}
	d.healthy()
}

// The request that a reset forgot is filled into nothing before the next goes out.
func TestRNGForgotten(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.start(0, 8)
	d.send(0, nil, []segment{readable(dataArea, 8)})
	d.emitted(entropy(8))
	d.start(0, 8)
	h := d.send(0, nil, []segment{readable(dataArea+0x100, 16)})
	d.emitted()
	if got := d.rng().Pending(nil); !reflect.DeepEqual(got, []machine.Output{entropy(8)}) {
		t.Fatalf("pending %v", got)
	}
	d.cut(newTestRNG)
	if err := d.rng().Fill(machine.Entropy{Bytes: pattern(8, 1)}); err != nil {
		t.Fatal(err)
	}
	if len(d.reap(0)) != 0 || !bytes.Equal(d.bytes(dataArea, 8), make([]byte, 8)) {
		t.Error("the forgotten request reached the guest")
	}
	d.emitted(entropy(16))
	if err := d.rng().Fill(machine.Entropy{Bytes: pattern(16, 1)}); err != nil {
		t.Fatal(err)
	}
	d.reapOne(0, usedElem{h, 16})
}

func TestRNGHostile(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.start(0, 8)
	d.send(0, []segment{readable(dataArea, 8)}, nil)
	d.broken()
	// Entropy written over the ring itself: the next index is nonsense.
	d.start(0, 8)
	d.send(0, nil, []segment{readable(d.queues[0].driver, 8)})
	d.emitted(entropy(8))
	if err := d.rng().Fill(machine.Entropy{Bytes: bytes.Repeat([]byte{0x77}, 8)}); err != nil {
		t.Fatal(err)
	}
	d.broken()
}
