package dev

import (
	"fmt"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

func get4(off, v uint64) access { return access{off: off, size: 4, v: v} }
func put4(off, v uint64) access { return access{store: true, off: off, size: 4, v: v} }

const (
	ctxM, ctxS = 0x20_0000, 0x20_1000 // threshold; claim is 4 further
	enS        = 0x2080
)

func TestPLICRegisters(t *testing.T) {
	for name, c := range map[string]struct {
		levels uint64
		rows   []access
		m, s   bool
	}{
		"nothing enabled": {levels: 1 << 5, rows: []access{put4(4*5, 1), get4(0x1000, 1<<5), get4(ctxS+4, 0)}},
		"enabled for S":   {levels: 1 << 5, rows: []access{put4(4*5, 1), put4(enS, 1<<5), get4(enS, 1<<5)}, s: true},
		"enabled for M":   {levels: 1 << 40, rows: []access{put4(4*40, 1), put4(0x2004, 1<<8), get4(0x1004, 1<<8)}, m: true},
		"priority zero never interrupts": {levels: 1 << 5,
			rows: []access{put4(enS, 1<<5), get4(ctxS+4, 0)}},
		"the threshold must be exceeded": {levels: 1 << 5,
			rows: []access{put4(4*5, 3), put4(enS, 1<<5), put4(ctxS, 3), get4(ctxS+4, 0)}},
		"highest priority first, then lowest number": {levels: 0b11100,
			rows: []access{put4(8, 1), put4(12, 7), put4(16, 7), put4(enS, 0b11100),
				get4(ctxS+4, 3), get4(ctxS+4, 4), get4(ctxS+4, 2), get4(ctxS+4, 0)}},
		"a claim silences, completion opens again": {levels: 2,
			rows: []access{put4(4, 1), put4(enS, 2), get4(ctxS+4, 1), get4(0x1000, 0), get4(ctxS+4, 0),
				put4(ctxS+4, 1), get4(0x1000, 2)}, s: true},
		"completion of a source not enabled is ignored": {levels: 2,
			rows: []access{put4(4, 1), put4(enS, 2), get4(ctxS+4, 1), put4(enS, 0), put4(ctxS+4, 1), put4(enS, 2), get4(ctxS+4, 0)}},
		"source 0 does not exist":         {levels: 1, rows: []access{put4(0, 7), put4(enS, 1), get4(0, 0), get4(enS, 0)}},
		"priorities have three bits":      {rows: []access{put4(4, 0xffff_ffff), get4(4, 7), put4(ctxM, 9), get4(ctxM, 1)}},
		"beyond the last source, context": {rows: []access{put4(4*64, 1), get4(4*64, 0), get4(0x1008, 0), put4(0x2008, 1), get4(0x2008, 0), put4(0x2100, 1), get4(0x2100, 0), put4(0x20_2000, 1), get4(0x20_2000, 0), put4(0x3ff_fffc, 1), get4(0x3ff_fffc, 0)}},
		"absurd completions":              {rows: []access{put4(ctxS+4, 64), put4(ctxS+4, 0xffff_ffff), put4(ctxM+8, 1)}},
		"other sizes are ignored":         {rows: []access{put(4, 1), get4(4, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &PLIC{}
			p.SetLevels(c.levels)
			play(t, p, c.rows)
			if p.IRQ(PLICMachine) != c.m || p.IRQ(PLICSupervisor) != c.s {
				t.Errorf("lines M %v S %v, want %v %v", p.IRQ(PLICMachine), p.IRQ(PLICSupervisor), c.m, c.s)
			}
			reload(t, p, &PLIC{})
		})
	}
}

func TestPLICRefusesImpossibleState(t *testing.T) {
	for name, p := range map[string]*PLIC{
		"source 0":  {claimed: 1},
		"priority":  {priority: [64]uint8{3: 8}},
		"threshold": {threshold: [2]uint8{0, 9}},
	} {
		e := snapshot.NewEncoder(nil)
		p.SaveState(e)
		if (&PLIC{}).LoadState(snapshot.NewDecoder(e.Bytes())) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type fakeTimer struct{ now, cmp machine.VTime }

func (f *fakeTimer) Time() machine.VTime         { return f.now }
func (f *fakeTimer) Mtimecmp() machine.VTime     { return f.cmp }
func (f *fakeTimer) SetMtimecmp(v machine.VTime) { f.cmp = v }

func TestCLINT(t *testing.T) {
	h := &fakeTimer{now: 0x1_0000_0002, cmp: 5}
	c := NewCLINT(h)
	play(t, c, []access{
		get4(0, 0), put4(0, 3), get4(0, 1),
		{off: 0xbff8, size: 8, v: 0x1_0000_0002}, get4(0xbff8, 2), get4(0xbffc, 1),
		{store: true, off: 0xbff8, size: 8, v: 7}, get4(0xbff8, 2), // time is not written
		get4(0x4000, 5), put4(0x4004, 9), {off: 0x4000, size: 8, v: 9<<32 | 5},
		put4(0x4000, 6), {off: 0x4000, size: 8, v: 9<<32 | 6},
		{store: true, off: 0x4000, size: 8, v: 1 << 63}, {off: 0x4000, size: 8, v: 1 << 63},
		get4(4, 0), get4(0x8000, 0),
	})
	if !c.IRQ() {
		t.Error("msip does not show")
	}
	reload(t, c, NewCLINT(h))
	c.Reset()
	if c.IRQ() {
		t.Error("msip survives a reset")
	}
}

func TestRTC(t *testing.T) {
	now := machine.VTime(0)
	r := NewRTC(5<<32|7, func() machine.VTime { return now })
	play(t, r, []access{get4(0, 7), get4(4, 5)})
	now = 10_000_000 // one second
	play(t, r, []access{get4(0, 1_000_000_007), get4(4, 5)})
	play(t, r, []access{put4(4, 8), put4(0, 99), get4(0, 99), get4(4, 8)})
	now += 3
	play(t, r, []access{get4(0, 399)})
	play(t, r, []access{put4(12, 9), put4(8, 1), get4(8, 1), get4(12, 9), get4(0x18, 1), put4(0x14, 1), get4(0x18, 0), put4(0x10, 1), get4(0x10, 1), get(0, 0)})
	reload(t, r, NewRTC(0, r.now))
	r.Reset()
	play(t, r, []access{get4(8, 0), get4(0, 399)})
}

// The alarm, as goldfish's driver in the kernel uses it.
func TestRTCAlarm(t *testing.T) {
	const (
		base   = 5 << 32
		low    = 0x08
		high   = 0x0c
		enable = 0x10
		clear  = 0x14
		status = 0x18
		ack    = 0x1c
	)
	at := func(ns uint64) []access {
		return []access{put4(high, (base+ns)>>32), put4(low, (base+ns)&0xffff_ffff)}
	}
	for name, c := range map[string]struct {
		before []access
		alarm  machine.VTime // 0: none
		wait   machine.VTime
		irq    bool
		after  []access // leave the line low
	}{
		"fires at its tick":           {append(at(1000), put4(enable, 1), get4(status, 1)), 10, 10, true, []access{get4(status, 0), put4(ack, 1)}},
		"not a tick before":           {append(at(1000), put4(enable, 1)), 10, 9, false, []access{get4(status, 1)}},
		"within a tick":               {append(at(1001), put4(enable, 1)), 11, 11, true, []access{put4(ack, 1)}},
		"the past fires at once":      {append(at(0), put4(enable, 1)), 0, 0, true, []access{get4(status, 0), put4(ack, 0)}},
		"cleared in time":             {append(at(1000), put4(enable, 1), put4(clear, 0), get4(status, 0)), 0, 20, false, nil},
		"cleared too late":            {append(at(1000), put4(enable, 1)), 10, 20, true, []access{put4(clear, 1), get4(status, 0), put4(ack, 1)}},
		"disabled":                    {at(1000), 10, 20, false, []access{get4(status, 0)}},
		"fired before it is enabled":  {append(at(0), put4(enable, 1), put4(enable, 0)), 0, 0, false, nil},
		"the clock is set ahead":      {append(at(1000), put4(enable, 1), put4(0, 1000)), 0, 0, true, []access{put4(0, 0), get4(status, 0), put4(ack, 1)}},
		"the clock is set back":       {append(at(1000), put4(enable, 1), put4(4, 4)), 10 + 1<<32/100 + 1, 20, false, []access{get4(status, 1)}},
		"armed again":                 {append(append(at(0), put4(ack, 1)), append(at(2000), put4(enable, 1))...), 20, 20, true, []access{put4(ack, 1)}},
		"the upper half does not arm": {[]access{put4(enable, 1), put4(high, 0), get4(status, 0)}, 0, 20, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := machine.VTime(0)
			r := NewRTC(base, func() machine.VTime { return now })
			play(t, r, c.before)
			if got, any := r.Alarm(); got != c.alarm || any != (c.alarm != 0) {
				t.Errorf("the alarm is to fire at %d (%v), want %d", got, any, c.alarm)
			}
			now += c.wait
			reload(t, r, NewRTC(0, r.now))
			if r.IRQ() != c.irq {
				t.Errorf("the line is %v", r.IRQ())
			}
			play(t, r, c.after)
			if r.IRQ() {
				t.Error("the line stays high")
			}
		})
	}
}

type fakePower struct{ got []string }

func (f *fakePower) PowerOff()        { f.got = append(f.got, "off") }
func (f *fakePower) Fail(code uint16) { f.got = append(f.got, fmt.Sprint("fail ", code)) }
func (f *fakePower) Restart()         { f.got = append(f.got, "restart") }

func TestSyscon(t *testing.T) {
	p := &fakePower{}
	play(t, NewSyscon(p), []access{
		put4(0, 0x5555), put4(0, 0x7777), put4(0, 0x1234_3333),
		put4(4, 0x5555), put(0, 0x55), put4(0, 0), get4(0, 0),
	})
	if len(p.got) != 3 || p.got[0] != "off" || p.got[1] != "restart" || p.got[2] != "fail 4660" {
		t.Errorf("got %v", p.got)
	}
}
