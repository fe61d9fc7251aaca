package sim

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// World is one seeded run: two hosts, an arbiter, a switch with a client, a
// shared disk, and faults.
type World struct {
	cfg Config
	rnd *Rand // of what happens by itself; faults have their own
	now int
	at  [][]func() // by time

	hosts   [2]*host
	procs   []*proc
	run     ft.Run
	program ToyConfig
	links   []*pipe // every pipe with something in it, for heals

	arbiter arbiter
	sw      ethernet
	disk    disk
	client  *client
	faults  faults

	check checker

	// With local disks.
	base     [toySectors]block // what the disk held when this run began
	runs     int               // so far
	began    int               // when the last one did
	idle     int               // looks of the operator at a VM without a process
	refusals int               // power-ons that the rules refused
	partial  int               // synchronisations of a part of the disk
	points   int               // common points that were begun
	commits  int               // those that both copies have, without a synchronisation

	// With reads by the backup.
	ownReads, waited int
}

// host is one of the two hosts. Cuts are one way each.
type host struct {
	w    *World
	n    int
	proc *proc // at most one process of the VM at a time
	copy *localCopy
	// badDisk: its way to the shared disk is broken.
	badDisk bool
	// down: the host itself is dead; nobody answers.
	down bool
	// cutTo: what this host sends to the other one is lost.
	cutTo                         bool
	cutArbiter, cutSwitch, cutAll bool
}

func (h *host) other() *host { return h.w.hosts[1-h.n] }

// reaches says whether a packet from h arrives at the other host.
func (h *host) reaches() bool {
	return !h.down && !h.cutTo && !h.cutAll && !h.other().cutAll && !h.other().down
}

// Result is what became of a world.
type Result struct {
	Seed      uint64
	Violation string // empty if every invariant held
	Served    uint64 // requests that the client got answered
	Epoch     ft.Epoch
	Failovers int // times that a backup went live
	Claims    int // that the arbiter granted
	Excused   bool
	Ended     bool
	Runs      int // power-ons; more than one only with local disks
	Refused   int // power-ons that the rules refused
	Partial   int // synchronisations of a part
	Commits   int // common points while both ran
	OwnReads  int // by backups,
	Waited    int // and changes that waited for one
	Faults    []string
}

// Run runs the world of a configuration to its end or to the first violation.
func Run(cfg Config) Result {
	w := &World{cfg: cfg, rnd: NewRand(cfg.Seed), at: make([][]func(), settled+1)}
	w.run = ft.Run{Ordinal: 1, ID: [16]byte{byte(cfg.Seed), byte(cfg.Seed >> 8)}}
	w.program = ToyConfig{Seed: w.rnd.Uint64()}
	if w.rnd.OneIn(8) {
		w.program.PowerOffAfter = uint64(w.rnd.Between(5, 60))
	}
	if w.readByBackup() {
		w.program.Racing = true
		w.disk.errors = 60
		if w.rnd.OneIn(3) {
			w.disk.errors = w.rnd.Between(4, 20)
		}
		if w.rnd.OneIn(2) {
			w.program.DiskUntil = machine.VTime(vtimeUnit * w.rnd.Between(200, 2400))
		}
		if w.rnd.OneIn(6) {
			w.program.PowerOffAfter = uint64(w.rnd.Between(5, 60))
		}
	}
	w.arbiter.init(w)
	w.sw.w, w.disk.w, w.check.w = w, w, w
	for i := range w.hosts {
		w.hosts[i] = &host{w: w, n: i}
	}
	if w.local() {
		w.initLocal()
		w.faults.init(w)
		w.powerOn(w.hosts[0], ft.OrderNone)
	} else {
		w.client = &client{}
		w.client.init(w)
		w.faults.init(w)
		w.startPrimary(w.hosts[0])
	}
	w.after(w.rnd.Between(1, 60), func() { w.startJoiner(w.hosts[1]) })
	w.after(faultsEnd, w.heal)
	for ; w.now < settled && w.check.violation == ""; w.now++ {
		for i := 0; i < len(w.at[w.now]); i++ { // an event may add to this very moment
			w.at[w.now][i]()
			if w.check.violation != "" {
				break
			}
		}
		w.at[w.now] = nil
	}
	w.check.atEnd()
	r := Result{Seed: cfg.Seed, Violation: w.check.violation, Served: w.client.answered, Failovers: w.check.failovers,
		Claims: len(w.arbiter.cells), Excused: w.check.excused != "", Ended: w.arbiter.ended, Runs: w.runs, Refused: w.refusals, Partial: w.partial, Commits: w.commits, OwnReads: w.ownReads, Waited: w.waited, Faults: w.faults.done}
	for _, p := range w.procs {
		if p.r != nil {
			r.Epoch = max(r.Epoch, p.r.Epoch())
		}
	}
	return r
}

// after runs f some time from now.
func (w *World) after(d int, f func()) {
	if t := w.now + d; t < len(w.at) {
		w.at[t] = append(w.at[t], f)
	}
}

// delay is how long a packet travels.
func (w *World) delay() int {
	if w.rnd.OneIn(40) {
		return w.rnd.Between(5, 30)
	}
	return w.rnd.Between(1, 3)
}

func (w *World) tracef(format string, args ...any) {
	if w.cfg.Trace != nil {
		w.cfg.Trace(fmt.Sprintf("%5d ", w.now) + fmt.Sprintf(format, args...))
	}
}

func (w *World) broken(b Break) bool { return w.cfg.Break == b }

// hostTime is the hosts' clock, in guest ticks.
func (w *World) hostTime() machine.VTime { return machine.VTime(w.now * vtimeUnit) }

// heal ends every fault that can end, so that what is left must come to rest.
func (w *World) heal() {
	w.faults.over = true
	w.tracef("heal")
	w.arbiter.down, w.disk.full = false, false
	for _, h := range w.hosts {
		if h.copy != nil {
			h.copy.failing = false
		}
		h.badDisk = false
		h.cutTo, h.cutArbiter, h.cutSwitch, h.cutAll, h.down = false, false, false, false, false
		if h.proc != nil && h.proc.r != nil {
			h.proc.r.OwnLink(true)
		}
		if h.proc == nil {
			w.respawn(h)
		}
	}
	w.pumpAll()
	for _, p := range w.procs {
		p.unpause()
	}
}

// respawn starts a process that looks for a primary, as the hosts' managers do
// after a failover.
func (w *World) respawn(h *host) {
	w.after(w.rnd.Between(20, 300), func() {
		if h.proc == nil && !h.down && !w.arbiter.ended {
			w.startJoiner(h)
		}
	})
}
