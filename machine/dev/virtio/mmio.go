// Package virtio is the guest halves of the virtio devices: block, net, console
// and entropy, behind the MMIO transport, version 2 (virtio 1.2, 4.2).
//
// A guest half is State only: registers, virtqueues, and the requests that wait
// for the host, with their bytes. What leaves goes to a bus.Emitter; what comes
// in is given to Complete, Receive, Input or Fill. Nothing here does I/O.
//
// The guest is not trusted. A driver that breaks the rules (a descriptor loop, an
// address outside RAM, an impossible index) finds DEVICE_NEEDS_RESET in the
// status and a device that is quiet until it is reset. The work that one
// register write can cause is bounded.
package virtio

import (
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine/mem"
)

// WindowSize is how many bytes of guest-physical address space a device takes.
const WindowSize = 0x1000

// Device status bits (2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128
)

// Feature bits of the transport (6).
const (
	featureIndirect = 1 << 28
	featureEventIdx = 1 << 29
	featureVersion1 = 1 << 32
	featuresCommon  = featureIndirect | featureEventIdx | featureVersion1
)

// Interrupt status bits (4.2.2).
const (
	interruptUsed   = 1
	interruptConfig = 2
)

// Register offsets (4.2.2).
const (
	regMagic             = 0x000
	regVersion           = 0x004
	regDeviceID          = 0x008
	regVendorID          = 0x00c
	regDeviceFeatures    = 0x010
	regDeviceFeaturesSel = 0x014
	regDriverFeatures    = 0x020
	regDriverFeaturesSel = 0x024
	regQueueSel          = 0x030
	regQueueNumMax       = 0x034
	regQueueNum          = 0x038
	regQueueReady        = 0x044
	regQueueNotify       = 0x050
	regInterruptStatus   = 0x060
	regInterruptACK      = 0x064
	regStatus            = 0x070
	regQueueDescLow      = 0x080
	regQueueDescHigh     = 0x084
	regQueueDriverLow    = 0x090
	regQueueDriverHigh   = 0x094
	regQueueDeviceLow    = 0x0a0
	regQueueDeviceHigh   = 0x0a4
	regSHMLenLow         = 0x0b0
	regSHMBaseHigh       = 0x0bc
	regConfigGeneration  = 0x0fc
	regConfig            = 0x100
)

const (
	magic    = 0x74726976 // "virt"
	version  = 2
	vendorID = 0x50534b4c // "LKSP"
)

// MMIO is the register block of one device: status, feature negotiation, queue
// set-up and interrupts. It meets bus.Device and is embedded in each device.
//
//	reset --ACKNOWLEDGE, DRIVER--> FEATURES_OK --> DRIVER_OK: live
//	  ^                                              |
//	  +---- status = 0 ---- DEVICE_NEEDS_RESET <-----+ the driver broke a rule
//
// Only a live device takes buffers; only a live device has requests whose
// buffers it may write to.
type MMIO struct {
	ram     *mem.RAM
	dev     guestHalf
	id      uint32 // device type (5)
	offered uint64
	scratch chain // of the chain at hand; not State

	status            uint32
	deviceFeaturesSel uint32
	driverFeaturesSel uint32
	driverFeatures    uint64
	queueSel          uint32
	interrupt         uint32
	queues            []queue
}

// guestHalf is what a kind of device adds to the register block.
type guestHalf interface {
	// config is the device's configuration space. It never changes, so the
	// configuration generation is always 0.
	config() []byte
	// notify says that the driver made buffers available in queue q, which is
	// ready; the device is live.
	notify(q int)
	// forget says that buffers taken from queue q must not be touched again.
	forget(q int)
}

func (m *MMIO) init(ram *mem.RAM, dev guestHalf, id uint32, features uint64, queueMax ...uint32) {
	m.ram, m.dev, m.id = ram, dev, id
	m.offered = features | featuresCommon
	m.queues = make([]queue, len(queueMax))
	for i, n := range queueMax {
		m.queues[i].max = n
	}
}

// IRQ is the level of the device's interrupt line.
func (m *MMIO) IRQ() bool { return m.interrupt != 0 }

// Reset is a device reset (2.4): by the driver, or with the whole machine.
// Requests that wait for the host are forgotten by the guest but not by State:
// their completions are still expected, and dropped.
func (m *MMIO) Reset() {
	m.forgetAll()
	m.status, m.interrupt = 0, 0
	m.deviceFeaturesSel, m.driverFeaturesSel, m.driverFeatures = 0, 0, 0
	m.queueSel = 0
	for i := range m.queues {
		m.queues[i] = queue{max: m.queues[i].max}
	}
}

// live says whether the device may take buffers.
func (m *MMIO) live() bool {
	return m.status&(statusDriverOK|statusNeedsReset|statusFailed) == statusDriverOK
}

// fail makes the device quiet until it is reset (2.1.2): the driver broke a rule.
func (m *MMIO) fail() {
	m.status |= statusNeedsReset
	if m.status&statusDriverOK != 0 {
		m.interrupt |= interruptConfig
	}
	m.forgetAll()
}

func (m *MMIO) forgetAll() {
	for i := range m.queues {
		m.dev.forget(i)
	}
}

// has says whether a feature was negotiated.
func (m *MMIO) has(feature uint64) bool { return m.driverFeatures&feature != 0 }

// selected is the queue that the queue registers speak of; nil if there is none.
func (m *MMIO) selected() *queue {
	if m.queueSel < uint32(len(m.queues)) {
		return &m.queues[m.queueSel]
	}
	return nil
}

// Load reads a register (4 bytes) or the configuration space (1, 2, 4, 8).
func (m *MMIO) Load(off uint64, size uint8) uint64 {
	if off >= regConfig {
		return loadConfig(m.dev.config(), off-regConfig, size)
	}
	if size != 4 {
		return 0
	}
	switch off {
	case regMagic:
		return magic
	case regVersion:
		return version
	case regDeviceID:
		return uint64(m.id)
	case regVendorID:
		return vendorID
	case regDeviceFeatures:
		if m.deviceFeaturesSel > 1 {
			return 0
		}
		return m.offered >> (32 * m.deviceFeaturesSel) & 0xffff_ffff
	case regQueueNumMax:
		if q := m.selected(); q != nil {
			return uint64(q.max)
		}
	case regQueueReady:
		if q := m.selected(); q != nil && q.ready {
			return 1
		}
	case regInterruptStatus:
		return uint64(m.interrupt)
	case regStatus:
		return uint64(m.status)
	case regConfigGeneration:
		return 0
	}
	if off >= regSHMLenLow && off <= regSHMBaseHigh {
		return 0xffff_ffff // no shared memory regions
	}
	return 0
}

func loadConfig(config []byte, off uint64, size uint8) uint64 {
	var b [8]byte
	if off < uint64(len(config)) {
		copy(b[:size], config[off:])
	}
	return binary.LittleEndian.Uint64(b[:])
}

// Store writes a register. The configuration spaces have nothing to write.
func (m *MMIO) Store(off uint64, size uint8, v uint64) {
	if size != 4 || off >= regConfig {
		return
	}
	w := uint32(v)
	switch off {
	case regDeviceFeaturesSel:
		m.deviceFeaturesSel = w
	case regDriverFeaturesSel:
		m.driverFeaturesSel = w
	case regDriverFeatures:
		// What was agreed on stays agreed on (3.1.1, step 5).
		if m.driverFeaturesSel <= 1 && m.status&statusFeaturesOK == 0 {
			shift := 32 * m.driverFeaturesSel
			m.driverFeatures = m.driverFeatures&^(0xffff_ffff<<shift) | uint64(w)<<shift
		}
	case regQueueSel:
		m.queueSel = w
	case regQueueNotify:
		m.kick(w)
	case regInterruptACK:
		m.interrupt &^= w
	case regStatus:
		m.setStatus(w)
	case regQueueReady:
		m.setReady(w)
	default:
		if q := m.selected(); q != nil && !q.ready {
			q.set(off, w)
		}
	}
}

func (m *MMIO) setStatus(v uint32) {
	if v == 0 {
		m.Reset()
		return
	}
	was := m.live()
	m.status |= v & (statusAcknowledge | statusDriver | statusFailed)
	if v&statusFeaturesOK != 0 && m.status&statusDriver != 0 && m.acceptable() {
		m.status |= statusFeaturesOK
	}
	if v&statusDriverOK != 0 && m.status&statusFeaturesOK != 0 {
		m.status |= statusDriverOK
	}
	switch live := m.live(); {
	case was && !live:
		m.forgetAll()
	case !was && live:
		// Buffers may have been made available before the device was live.
		for i := range m.queues {
			if m.queues[i].ready && m.live() {
				m.dev.notify(i)
			}
		}
	}
}

// acceptable says whether the driver chose features that the device can work
// with: nothing that was not offered, and no legacy interface (6.1).
func (m *MMIO) acceptable() bool {
	return m.driverFeatures&^m.offered == 0 && m.has(featureVersion1)
}

func (m *MMIO) setReady(v uint32) {
	q := m.selected()
	switch {
	case q == nil || v > 1 || q.ready == (v == 1):
	case v == 0:
		m.dev.forget(int(m.queueSel))
		q.ready = false
	case m.status&(statusFeaturesOK|statusNeedsReset) != statusFeaturesOK:
		// Too early, or too late.
	case !q.valid(m.ram):
		m.fail()
	default:
		q.ready, q.avail, q.used = true, 0, 0
	}
}

func (m *MMIO) kick(q uint32) {
	switch {
	case !m.live():
	case q >= uint32(len(m.queues)) || !m.queues[q].ready:
		m.fail()
	default:
		m.dev.notify(int(q))
	}
}
