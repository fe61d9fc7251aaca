package virtio

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

var (
	_ bus.Device = (*Block)(nil)
	_ bus.Device = (*Net)(nil)
	_ bus.Device = (*Console)(nil)
	_ bus.Device = (*RNG)(nil)
)

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		id   uint32
		make func(*mem.RAM, *sink) device
		max  []uint32
	}{
		{2, newTestBlock, []uint32{128}},
		{1, newTestNet, []uint32{256, 256}},
		{3, newTestConsole, []uint32{64, 64}},
		{4, newTestRNG, []uint32{16}},
	} {
		d := newDriver(t, c.make)
		if d.get(regMagic) != 0x74726976 || d.get(regVersion) != 2 || d.get(regDeviceID) != c.id {
			t.Errorf("device %d: magic %#x, version %d, id %d", c.id, d.get(regMagic), d.get(regVersion), d.get(regDeviceID))
		}
		for i, max := range append(c.max, 0) {
			d.set(regQueueSel, uint32(i))
			if got := d.get(regQueueNumMax); got != max {
				t.Errorf("device %d queue %d: QueueNumMax %d, want %d", c.id, i, got, max)
			}
		}
		if d.get(regSHMLenLow) != 0xffff_ffff || d.get(regConfigGeneration) != 0 {
			t.Errorf("device %d: shared memory or configuration generation", c.id)
		}
	}
}

// "the device MUST NOT ... unless the driver has accepted": 2.2.2, 3.1.1 step 6.
func TestFeatureNegotiation(t *testing.T) {
	d := newDriver(t, newTestBlock)
	offered := d.features()
	want := uint64(featuresCommon | blockFeatureFlush | blockFeatureSegMax | blockFeatureSizeMax | blockFeatureBlkSize | blockFeatureTopology | blockFeatureDiscard | blockFeatureZero)
	if offered != want {
		t.Fatalf("offers %#x, want %#x", offered, want)
	}
	d.set(regDeviceFeaturesSel, 2)
	if d.get(regDeviceFeatures) != 0 {
		t.Error("features beyond bit 63")
	}
	for _, c := range []struct {
		name     string
		features uint64
		ok       bool
	}{
		{"all", offered, true},
		{"version 1 alone", featureVersion1, true},
		{"legacy", offered &^ featureVersion1, false},
		{"one that is not offered", offered | 1<<40, false},
	} {
		d.negotiate(c.features)
		if got := d.get(regStatus)&statusFeaturesOK != 0; got != c.ok {
			t.Errorf("%s: FEATURES_OK is %v", c.name, got)
		}
		d.set(regStatus, d.get(regStatus)|statusDriverOK)
		if got := d.get(regStatus)&statusDriverOK != 0; got != c.ok {
			t.Errorf("%s: DRIVER_OK is %v", c.name, got)
		}
	}
	// What was agreed on cannot be changed without a reset.
	d.negotiate(featureVersion1)
	d.set(regDriverFeaturesSel, 0)
	d.set(regDriverFeatures, 0xffff_ffff)
	if d.dev.(*Block).driverFeatures != featureVersion1 {
		t.Error("features changed after FEATURES_OK")
	}
}

func TestFeaturesNeedADriver(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.set(regDriverFeaturesSel, 1)
	d.set(regDriverFeatures, featureVersion1>>32)
	d.set(regStatus, statusFeaturesOK)
	if s := d.get(regStatus); s != 0 {
		t.Errorf("status %#x", s)
	}
	d.set(regStatus, 0xffff_ffff)
	if s := d.get(regStatus); s&statusNeedsReset != 0 {
		t.Errorf("the driver set DEVICE_NEEDS_RESET: %#x", s)
	}
}

func TestOddAccessesAreIgnored(t *testing.T) {
	d := newDriver(t, newTestNet)
	for _, size := range []uint8{1, 2, 8} {
		if v := d.dev.Load(regMagic, size); v != 0 {
			t.Errorf("magic read with %d bytes is %#x", size, v)
		}
		d.dev.Store(regStatus, size, statusAcknowledge)
	}
	if d.get(regStatus) != 0 {
		t.Error("a store of another size than 4 was taken")
	}
	for off := uint64(0); off < WindowSize; off += 4 {
		d.dev.Load(off, 4)
	}
}

func TestConfigSpaceTakesAllSizes(t *testing.T) {
	d := newDriver(t, newTestNet)
	for i, want := range []uint64{2, 3, 4, 5, 6, 7, 1, 0, 0} {
		if got := d.dev.Load(regConfig+uint64(i), 1); got != want {
			t.Errorf("byte %d is %d, want %d", i, got, want)
		}
	}
	if got := d.dev.Load(regConfig+4, 2); got != 0x0706 {
		t.Errorf("2 bytes: %#x", got)
	}
	if got := d.dev.Load(regConfig, 4); got != 0x05040302 {
		t.Errorf("4 bytes: %#x", got)
	}
	if got := d.dev.Load(regConfig, 8); got != 0x0001_0706_0504_0302 {
		t.Errorf("8 bytes: %#x", got)
	}
	d.dev.Store(regConfig, 1, 9)
	if got := d.dev.Load(regConfig, 1); got != 2 {
		t.Errorf("the MAC was overwritten: %d", got)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	d := newDriver(t, newTestRNG)
	fresh := string(state(d.dev))
	d.start(0, 8)
	d.send(0, nil, []segment{readable(dataArea, 8)})
	if err := d.dev.(*RNG).Fill(machine.Entropy{Bytes: make([]byte, 8)}); err != nil {
		t.Fatal(err)
	}
	if !d.dev.IRQ() {
		t.Fatal("no interrupt")
	}
	d.set(regStatus, 0)
	if d.dev.IRQ() || string(state(d.dev)) != fresh {
		t.Error("something is left after the reset")
	}
}

// Queues that cannot be.
func TestQueueSetUp(t *testing.T) {
	good := driverQueue{num: 8, desc: queueArea, driver: queueArea + 0x1000, device: queueArea + 0x2000}
	for _, c := range []struct {
		name   string
		change func(*driverQueue)
		ok     bool
	}{
		{"good", func(*driverQueue) {}, true},
		{"largest", func(q *driverQueue) { q.num = 128 }, true},
		{"size zero", func(q *driverQueue) { q.num = 0 }, false},
		{"size no power of two", func(q *driverQueue) { q.num = 12 }, false},
		{"size above the maximum", func(q *driverQueue) { q.num = 256 }, false},
		{"size of 32 bits", func(q *driverQueue) { q.num = 1 << 31 }, false},
		{"without addresses", func(q *driverQueue) { q.desc, q.driver, q.device = 0, 0, 0 }, false},
		{"descriptors not aligned", func(q *driverQueue) { q.desc += 8 }, false},
		{"available ring not aligned", func(q *driverQueue) { q.driver++ }, false},
		{"used ring not aligned", func(q *driverQueue) { q.device += 2 }, false},
		{"descriptors below RAM", func(q *driverQueue) { q.desc = mem.Base - 16 }, false},
		{"descriptors over the end", func(q *driverQueue) { q.desc = mem.Base + testRAM - 7*16 }, false},
		{"available ring over the end", func(q *driverQueue) { q.driver = mem.Base + testRAM - 20 }, false},
		{"used ring over the end", func(q *driverQueue) { q.device = mem.Base + testRAM - 68 }, false},
		{"addresses that wrap", func(q *driverQueue) { q.device = 0xffff_ffff_ffff_fffc }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, newTestBlock)
			d.negotiate(d.features())
			q := good
			c.change(&q)
			d.queues = []*driverQueue{&q}
			d.place(0)
			d.set(regQueueReady, 1)
			if got := d.get(regQueueReady) == 1; got != c.ok {
				t.Errorf("ready is %v", got)
			}
			if got := d.get(regStatus)&statusNeedsReset == 0; got != c.ok {
				t.Errorf("DEVICE_NEEDS_RESET is %v", !got)
			}
			if d.dev.IRQ() {
				t.Error("an interrupt before DRIVER_OK (2.1.2)")
			}
			// A reset heals it.
			d.start(0, 8)
		})
	}
}

func TestReadyQueueKeepsItsPlace(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.start(0, 8)
	was := string(state(d.dev))
	d.set(regQueueDescLow, 0)
	d.set(regQueueNum, 0)
	d.set(regQueueReady, 2)
	d.set(regQueueReady, 1)
	if string(state(d.dev)) != was {
		t.Error("the registers of a ready queue were taken")
	}
	d.set(regQueueSel, 7)
	d.set(regQueueNum, 4)
	d.set(regQueueReady, 1)
	d.set(regQueueSel, 0)
	if string(state(d.dev)) != was {
		t.Error("a queue that does not exist was set up")
	}
}

func TestReadyBeforeFeaturesOK(t *testing.T) {
	d := newDriver(t, newTestBlock)
	d.queues = []*driverQueue{{num: 8, desc: queueArea, driver: queueArea + 0x1000, device: queueArea + 0x2000}}
	d.place(0)
	d.set(regQueueReady, 1)
	if d.get(regQueueReady) != 0 {
		t.Error("a queue became ready before the features were agreed on")
	}
}

// Buffers made available, and kicked, before DRIVER_OK wait for it (3.1.1).
func TestKickBeforeDriverOK(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.negotiate(d.features())
	d.queues = []*driverQueue{{num: 8, desc: queueArea, driver: queueArea + 0x1000, device: queueArea + 0x2000}}
	d.place(0)
	d.set(regQueueReady, 1)
	d.send(0, nil, []segment{readable(dataArea, 8)})
	if len(d.out.outs) != 0 {
		t.Fatal("the device took a buffer before DRIVER_OK")
	}
	d.set(regStatus, d.get(regStatus)|statusDriverOK)
	if len(d.out.outs) != 1 {
		t.Fatal("the device missed the buffer")
	}
}

func TestKickOfAQueueThatIsNotReady(t *testing.T) {
	for _, q := range []uint32{1, 2, 0xffff_ffff} {
		d := newDriver(t, newTestNet)
		d.start(0, 8)
		d.set(regQueueNotify, q)
		d.broken()
	}
}

func TestFailedDriverIsLeftAlone(t *testing.T) {
	d := newDriver(t, newTestRNG)
	d.start(0, 8)
	d.set(regStatus, d.get(regStatus)|statusFailed)
	d.send(0, nil, []segment{readable(dataArea, 8)})
	if len(d.out.outs) != 0 {
		t.Error("the device works for a driver that gave up")
	}
}
