package sim

import "fmt"

// faults is the plan of what goes wrong. A fault strikes at a time, or at the
// n-th hook: a hook stands at every step of the protocol, so that crashes come
// between any two of them.
type faults struct {
	w    *World
	rnd  *Rand
	plan []fault
	n    int // hooks so far
	over bool
	done []string
}

type fault struct {
	at   int // time; or hook, if hook is set
	hook bool
	// then: the next one strikes soon after this one.
	then bool
}

func (f *faults) init(w *World) {
	f.w, f.rnd = w, NewRand(w.cfg.Seed^0xfa017)
	if w.cfg.OneFault {
		f.plan = []fault{{hook: true, at: f.rnd.Between(1, 250)}}
		return
	}
	count := 1
	if !f.rnd.OneIn(3) {
		count = f.rnd.Between(2, 6)
	}
	for range count {
		x := fault{hook: f.rnd.OneIn(2), then: f.rnd.OneIn(2)}
		switch {
		case !x.hook:
			x.at = f.rnd.Between(20, faultsEnd-200)
		case f.rnd.OneIn(2):
			x.at = f.rnd.Between(1, 60) // the first pairing
		default:
			x.at = f.rnd.Between(1, 600)
		}
		f.plan = append(f.plan, x)
		if !x.hook {
			w.after(x.at, func() { f.strike(x, f.anybody()) })
		}
	}
}

func (f *faults) anybody() *proc {
	if p := f.w.hosts[f.rnd.Intn(2)].proc; p != nil {
		return p
	}
	if p := f.w.hosts[0].proc; p != nil {
		return p
	}
	return f.w.hosts[1].proc
}

// hook is a step of p's.
func (f *faults) hook(p *proc, name string) {
	if f.over || p.dead || f.w.cfg.OneFault && !f.w.check.protected {
		return
	}
	f.n++
	if f.w.cfg.PowerCutAt == name && f.rnd.OneIn(2) {
		f.powerCut(p.host)
		return
	}
	if f.w.cfg.ResetAt == name && p.conn != nil && f.rnd.OneIn(6) {
		f.w.tracef("reset at step %q of %v", name, p)
		p.conn.reset()
		return
	}
	for _, x := range f.plan {
		if x.hook && x.at == f.n {
			f.w.tracef("fault at step %q of %v", name, p)
			f.strike(x, p)
			return
		}
	}
}

// sharedFaults are the kinds of faults where the backup reads a shared disk.
var sharedFaults = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12, 17, 17, 18}

// powerCut is the end of both hosts.
func (f *faults) powerCut(h *host) {
	for _, x := range []*host{h.other(), h} {
		if x.proc != nil {
			x.proc.kill(true)
		} else if !x.down {
			x.losePower()
		}
	}
}

// strike does one fault to p, its host or its links.
func (f *faults) strike(x fault, p *proc) {
	w := f.w
	if f.over || p == nil || p.dead {
		return
	}
	h := p.host
	d := f.rnd.Between(10, 60)
	if f.rnd.OneIn(2) {
		d = f.rnd.Between(60, 700)
	}
	name := ""
	kinds := 13
	if w.local() {
		kinds = 17
	}
	kind := f.rnd.Intn(kinds)
	if w.readByBackup() {
		kind = sharedFaults[f.rnd.Intn(len(sharedFaults))]
	}
	switch kind {
	case 0, 1:
		name = "kill"
	case 2:
		name = "host dies"
	case 3, 4:
		name = "pause"
	case 5:
		name = "partition"
	case 6:
		name = "one way out"
	case 7:
		name = "one way in"
	case 8, 9:
		name = "reset"
	case 10:
		name = "arbiter away"
	case 11:
		name = "host cut off"
	case 12:
		name = "switch cut"
	case 13, 14:
		name = "power cut"
	case 15, 16:
		name = "bad copy"
	case 17:
		name = "bad way to the disk"
	case 18:
		name = "full disk"
	}
	f.done = append(f.done, fmt.Sprintf("%s %v in %s at %d for %d", name, p, p.stateName(), w.now, d))
	w.tracef("fault: %s", f.done[len(f.done)-1])
	until := func(set func(on bool)) {
		set(true)
		w.after(d, func() {
			if !f.over {
				set(false)
				w.pumpAll()
			}
		})
	}
	switch name {
	case "kill":
		p.kill(false)
	case "host dies":
		p.kill(true)
	case "pause":
		p.paused = true
		w.after(d, p.unpause)
	case "partition":
		until(func(on bool) { h.cutTo, h.other().cutTo = on, on })
	case "one way out":
		until(func(on bool) { h.cutTo = on })
	case "one way in":
		until(func(on bool) { h.other().cutTo = on })
	case "reset":
		if p.conn != nil {
			p.conn.reset()
		}
	case "arbiter away":
		if f.rnd.OneIn(2) {
			until(func(on bool) { w.arbiter.down = on })
			w.arbiter.restart()
		} else {
			until(func(on bool) { h.cutArbiter = on })
		}
	case "host cut off":
		sees := f.rnd.OneIn(2)
		until(func(on bool) {
			h.cutAll = on
			if sees && h.proc != nil && h.proc.r != nil {
				h.proc.later(func() {
					if h.proc != nil && h.proc.r != nil {
						h.proc.r.OwnLink(!on)
					}
				})
			}
		})
	case "power cut":
		f.powerCut(h)
	case "bad copy":
		until(func(on bool) { h.copy.failing = on })
	case "bad way to the disk":
		until(func(on bool) { h.badDisk = on })
	case "full disk":
		until(func(on bool) { w.disk.full = on })
	case "switch cut":
		until(func(on bool) { h.cutSwitch = on })
	}
	if x.then {
		y := fault{then: f.rnd.OneIn(3)}
		w.after(f.rnd.Between(1, 250), func() { f.strike(y, f.anybody()) })
	}
}
