package virtio

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// A disk that is saved and loaded between any two steps does the same as one
// that is not: same outputs, same RAM, same State (R2).
func TestCutsDoNotMatter(t *testing.T) {
	steps := []func(d *driver){
		func(d *driver) { d.start(0, 16) },
		func(d *driver) { d.ask(0, blockOut, 4, pattern(512, 1), 0); d.kick(0) },
		func(d *driver) { d.ask(1, blockIn, 4, nil, 512); d.ask(2, blockFlush, 0, nil, 0); d.kick(0) },
		func(d *driver) { d.done(2, machine.DiskOK, pattern(512, 2)) },
		func(d *driver) { d.reap(0); d.set(regInterruptACK, 1) },
		func(d *driver) { d.ask(4, blockGetID, 0, nil, 20); d.kick(0) },
		func(d *driver) { d.done(1, machine.DiskOK, nil) },
		func(d *driver) { d.start(0, 8) },
		func(d *driver) { d.ask(5, blockIn, 9, nil, 1024); d.kick(0) },
		func(d *driver) { d.done(3, machine.DiskIOError, nil) },
		func(d *driver) { d.done(4, machine.DiskOK, pattern(1024, 3)) },
	}
	play := func(cutBefore int) *driver {
		d := newDriver(t, newTestBlock)
		for i, step := range steps {
			if i == cutBefore || cutBefore < 0 {
				d.cut(newTestBlock)
			}
			step(d)
		}
		return d
	}
	want := play(len(steps))
	for cut := -1; cut < len(steps); cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			got := play(cut)
			if !reflect.DeepEqual(got.out.outs, want.out.outs) {
				t.Error("other outputs")
			}
			if string(state(got.dev)) != string(state(want.dev)) {
				t.Error("another State")
			}
			if string(got.bytes(mem.Base, testRAM)) != string(want.bytes(mem.Base, testRAM)) {
				t.Error("other RAM")
			}
		})
	}
}

// A snapshot that no machine can have written is refused when it is loaded.
func TestDamagedState(t *testing.T) {
	block := func(change func(b *Block)) func() device {
		return func() device {
			d := newDriver(t, newTestBlock)
			d.start(0, 16)
			d.ask(0, blockOut, 4, pattern(512, 1), 0)
			d.ask(1, blockIn, 4, nil, 512)
			d.kick(0)
			change(d.block())
			return d.dev
		}
	}
	rng := func(change func(r *RNG)) func() device {
		return func() device {
			d := newDriver(t, newTestRNG)
			d.start(0, 8)
			d.send(0, nil, []segment{readable(dataArea, 8)})
			change(d.rng())
			return d.dev
		}
	}
	for _, c := range []struct {
		name string
		make func() device
		ok   bool
	}{
		{"block as it was", block(func(*Block) {}), true},
		{"unknown status bit", block(func(b *Block) { b.status |= 16 }), false},
		{"live without features", block(func(b *Block) { b.status &^= statusFeaturesOK }), false},
		{"features that are not offered", block(func(b *Block) { b.driverFeatures |= 1 << 50 }), false},
		{"unknown interrupt", block(func(b *Block) { b.interrupt = 4 }), false},
		{"queue size", block(func(b *Block) { b.queues[0].num = 12 }), false},
		{"queue outside RAM", block(func(b *Block) { b.queues[0].device = 0 }), false},
		{"waiting on a queue that is not ready", block(func(b *Block) { b.queues[0].ready = false }), false},
		{"waiting on a broken device", block(func(b *Block) { b.status |= statusNeedsReset }), false},
		{"number not yet given", block(func(b *Block) { b.nextID = 2 }), false},
		{"numbers out of order", block(func(b *Block) { b.pending[0].id = 2 }), false},
		{"operation", block(func(b *Block) { b.pending[0].op = 4 }), false},
		{"sector", block(func(b *Block) { b.pending[0].sector = 1 << 20 }), false},
		{"bytes missing", block(func(b *Block) { b.pending[0].bytes = nil }), false},
		{"read length", block(func(b *Block) { b.pending[1].length = 1024 }), false},
		{"buffer outside RAM", block(func(b *Block) { b.pending[1].in[0].addr = 0 }), false},
		{"no buffer", block(func(b *Block) { b.pending[1].in = nil }), false},
		{"head", block(func(b *Block) { b.pending[1].head = 16 }), false},
		{"forgotten with a buffer", block(func(b *Block) { b.pending[1].forgotten = true }), false},
		{"too many", block(func(b *Block) {
			r := b.pending[1]
			for range MaxDiskPending {
				r.id = b.nextID
				b.nextID++
				b.pending = append(b.pending, r)
			}
		}), false},
		{"rng as it was", rng(func(*RNG) {}), true},
		{"entropy without a length", rng(func(r *RNG) { r.length = 0 }), false},
		{"too much entropy", rng(func(r *RNG) { r.length = MaxEntropy + 1 }), false},
		{"more entropy than buffer", rng(func(r *RNG) { r.length = 9 }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := c.make()
			fresh := newTestBlock
			if _, is := dev.(*RNG); is {
				fresh = newTestRNG
			}
			err := fresh(mem.New(testRAM), &sink{}).LoadState(snapshot.NewDecoder(state(dev)))
			if (err == nil) != c.ok {
				t.Errorf("load: %v", err)
			}
		})
	}
}

// The State of one kind of device is not that of another.
func TestStateOfAnotherDevice(t *testing.T) {
	ram := mem.New(testRAM)
	if newTestNet(ram, &sink{}).LoadState(snapshot.NewDecoder(state(newTestConsole(ram, &sink{})))) == nil {
		t.Error("a console was loaded into a NIC")
	}
}
