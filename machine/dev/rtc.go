package dev

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// RTCSize is the size of the real-time clock's window in bytes.
const RTCSize = 0x1000

const (
	rtcTimeLow     = 0x00
	rtcTimeHigh    = 0x04
	rtcAlarmLow    = 0x08
	rtcAlarmHigh   = 0x0c
	rtcIRQEnabled  = 0x10
	rtcClearAlarm  = 0x14
	rtcAlarmStatus = 0x18
	rtcClearIRQ    = 0x1c
)

// nsPerTick is nanoseconds per tick of virtual time.
const nsPerTick = 1_000_000_000 / machine.TimeBase

// RTC is goldfish's real-time clock: nanoseconds since 1970, derived from
// virtual time, with an alarm.
//
//	idle --write of the lower half--> armed --time >= alarm--> fired: IRQ
//	  ^---------- clear alarm ----------'                        |
//	  '------------------- clear interrupt ----------------------'
//
// That the alarm has fired follows from the time and needs no event: it shows
// at the first position where the time has come, however the machine is run.
type RTC struct {
	now func() machine.VTime

	base       uint64 // nanoseconds since 1970 at VTime 0
	high       uint32 // upper half of the time, latched when the lower is read
	alarm      uint64 // nanoseconds since 1970
	armed      bool   // and not known to have fired
	fired      bool   // and the interrupt not cleared
	irqEnabled bool
}

// NewRTC is a clock that shows base nanoseconds since 1970 when now shows 0.
func NewRTC(base uint64, now func() machine.VTime) *RTC { return &RTC{base: base, now: now} }

// Reset puts the registers back to power-on. The time goes on: a real-time
// clock has a battery.
func (r *RTC) Reset() { *r = RTC{now: r.now, base: r.base} }

func (r *RTC) time() uint64 { return r.base + uint64(r.now())*nsPerTick }

// due says whether an armed alarm has fired.
func (r *RTC) due() bool { return r.armed && r.time() >= r.alarm }

// IRQ is the level of the interrupt line. It rises by itself when the time of
// Alarm comes.
func (r *RTC) IRQ() bool { return r.irqEnabled && (r.fired || r.due()) }

// Alarm is when the alarm is going to fire, and whether it is.
func (r *RTC) Alarm() (machine.VTime, bool) {
	if !r.armed || r.due() {
		return 0, false
	}
	ns := r.alarm - r.time()
	return r.now() + machine.VTime((ns-1)/nsPerTick+1), true
}

// Wakes says whether the alarm is going to raise the interrupt line.
func (r *RTC) Wakes() bool { return r.irqEnabled && !r.fired }

// settle makes an alarm that has fired a thing of the past, before registers
// change that it follows from.
func (r *RTC) settle() {
	if r.due() {
		r.armed, r.fired = false, true
	}
}

// Load implements bus.Device; registers are words of 32 bits.
func (r *RTC) Load(off uint64, size uint8) uint64 {
	if size != 4 {
		return 0
	}
	switch off {
	case rtcTimeLow:
		t := r.time()
		r.high = uint32(t >> 32)
		return t & 0xffff_ffff
	case rtcTimeHigh:
		return uint64(r.high)
	case rtcAlarmLow:
		return r.alarm & 0xffff_ffff
	case rtcAlarmHigh:
		return r.alarm >> 32
	case rtcIRQEnabled:
		return truth(r.irqEnabled)
	case rtcAlarmStatus:
		return truth(r.armed && !r.due())
	}
	return 0
}

// Store implements bus.Device.
func (r *RTC) Store(off uint64, size uint8, v uint64) {
	if size != 4 {
		return
	}
	v &= 0xffff_ffff
	r.settle()
	switch off {
	case rtcTimeLow:
		t := r.time()
		r.base += t&^0xffff_ffff | v - t
	case rtcTimeHigh:
		t := r.time()
		r.base += (t&0xffff_ffff | v<<32) - t
	case rtcAlarmLow:
		r.alarm = r.alarm&^0xffff_ffff | v
		r.armed = true // the lower half is written last
	case rtcAlarmHigh:
		r.alarm = r.alarm&0xffff_ffff | v<<32
	case rtcIRQEnabled:
		r.irqEnabled = v&1 != 0
	case rtcClearAlarm:
		r.armed = false
	case rtcClearIRQ:
		r.fired = false
	}
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// SaveState writes the State.
func (r *RTC) SaveState(e *snapshot.Encoder) {
	e.Section("rtc")
	e.U64(r.base)
	e.U32(r.high)
	e.U64(r.alarm)
	e.Bool(r.armed)
	e.Bool(r.fired)
	e.Bool(r.irqEnabled)
}

// LoadState replaces the State.
func (r *RTC) LoadState(d *snapshot.Decoder) error {
	d.Section("rtc")
	r.base = d.U64()
	r.high = d.U32()
	r.alarm = d.U64()
	r.armed = d.Bool()
	r.fired = d.Bool()
	r.irqEnabled = d.Bool()
	return d.Err()
}
