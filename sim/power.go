package sim

import (
	"slices"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

// written is a write that a machine has made.
type written struct {
	sector uint64
	block  block
}

// flushedAt is what a machine knew to be flushed from a position on.
type flushedAt struct {
	pos machine.Icount
	ids [toySectors]uint64
}

// operator powers the VM on again when every process of it is gone: by itself
// from a copy that it may use, else, now and then, as a person who accepts a
// loss.
func (w *World) operator() {
	w.after(50, w.operator)
	for _, p := range w.procs {
		if !p.dead && p.r != nil {
			w.idle = 0
			return
		}
	}
	if w.idle++; w.idle < 3 || w.runs >= 8 {
		return
	}
	first := w.rnd.Intn(2)
	for i := range 2 {
		h := w.hosts[(first+i)%2]
		if h.down {
			continue
		}
		if w.powerOn(h, ft.OrderNone) {
			return
		}
		if h.other().down && w.rnd.OneIn(6) && w.powerOn(h, ft.OrderBackup) {
			return
		}
	}
}

// powerOn begins a run from the copy of a host, if the rules allow it.
func (w *World) powerOn(h *host, order ft.Order) bool {
	c := h.copy
	both := w.cfg.Disks == DisksLocalBoth || w.broken(BreakLocalBackupUnattended)
	err := ft.PowerOn(w.arbiter.copies, c.label.Image, both, order)
	if err != nil && !w.broken(BreakLocalStalePowerOn) {
		w.tracef("host %d: %v", h.n, err)
		w.refusals++
		return false
	}
	if h.proc != nil {
		h.proc.kill(false)
	}
	if w.runs > 0 {
		w.check.powersOn(h, order)
	}
	w.runs, w.began = w.runs+1, w.now
	w.run = ft.Run{Ordinal: uint64(w.runs), ID: [16]byte{byte(w.cfg.Seed), byte(w.cfg.Seed >> 8), byte(w.runs)}}
	w.program = ToyConfig{Seed: w.rnd.Uint64(), LocalDisk: true}
	if w.rnd.OneIn(8) {
		w.program.PowerOffAfter = uint64(w.rnd.Between(5, 60))
	}
	w.base = c.cache
	if !w.broken(BreakLocalPowerOnUnflushed) {
		c.sync() // what a computer reads after its power-on is on the disk
	}
	c.label.Gen = ft.WinnerGeneration(w.run, 0)
	c.commit()
	w.arbiter.ended, w.arbiter.copies = false, ft.ClaimedCopies(w.run, 0, c.label.ID)
	w.sw.kept = nil
	w.client = &client{}
	w.client.init(w)
	w.check.newRun()
	w.tracef("host %d powers the VM on: run %v, order %d", h.n, w.run, order)
	w.startPrimary(h)
	if o := h.other(); w.runs > 1 && o.proc == nil {
		w.respawn(o)
	}
	return true
}

// heir is who has won the last claim of this run; the arbiter knows.
func (w *World) heir() *proc {
	var last cell
	for _, c := range w.arbiter.cells {
		if c.run == w.run && (last.run != w.run || c.epoch >= last.epoch) {
			last = c
		}
	}
	for _, p := range w.procs {
		if p.id == last.by {
			return p
		}
	}
	return nil
}

func (c *checker) newRun() {
	c.out, c.lastLive, c.excused, c.protected = nil, nil, "", false
	c.promised = [toySectors]uint64{}
}

// powersOn: the disk that a run begins with holds nothing that its last run did
// not write, and everything that was flushed and told; and it is not stale.
func (c *checker) powersOn(h *host, order ft.Order) {
	w := c.w
	heir := w.heir()
	if heir == nil {
		return
	}
	if order == ft.OrderNone && w.cfg.Disks == DisksLocal && heir.host != h {
		c.fail("host %d powers on, but the VM was last %v's", h.n, heir)
	}
	for s, b := range h.copy.cache {
		explained := b == w.base[s] || slices.Contains(heir.made, written{uint64(s), b})
		// Ordered from the other copy, it may hold what the heir never wrote.
		for _, p := range w.procs {
			explained = explained || order != ft.OrderNone && p.host == h && slices.Contains(p.made, written{uint64(s), b})
		}
		floor := max(heir.m.st.flushID[s], c.promised[s])
		if order != ft.OrderNone {
			floor = 0 // a person has accepted the loss
		}
		// A write that was not flushed may be torn, as on any computer.
		over := slices.ContainsFunc(heir.made, func(x written) bool { return x.sector == uint64(s) && x.block.id > floor })
		switch {
		case b.id == torn && b != w.base[s] && over:
		case !explained:
			c.fail("host %d powers on, and sector %d holds %+v, which the VM did not write", h.n, s, b)
		case b.id < floor:
			c.fail("host %d powers on, and sector %d holds write %d; write %d was flushed", h.n, s, b.id, floor)
		}
	}
}

// told: when an output leaves, what was flushed before it may not be lost.
func (c *checker) told(p *proc, o machine.Output) {
	if !c.w.local() {
		return
	}
	for i := len(p.flushed) - 1; i >= 0; i-- {
		if f := p.flushed[i]; f.pos < o.Pos {
			for s, id := range f.ids {
				c.promised[s] = max(c.promised[s], id)
			}
			return
		}
	}
}

// seesItsDisk: but for writes under way, the own copy holds what the guest wrote.
func (c *checker) seesItsDisk(p *proc) {
	if !c.w.local() {
		return
	}
	s := &p.m.st
	for sector, b := range p.host.copy.cache {
		if want := (block{s.writeID[sector], s.written[sector]}); b != want && !p.m.busy(uint64(sector)) {
			c.fail("the copy of %v holds %+v in sector %d; the guest has written %+v", p, b, sector, want)
		}
	}
}

func (d Disks) String() string {
	return [...]string{"shared", "local", "local, flush both", "read by the backup"}[d]
}

func (w *World) initLocal() {
	if !w.local() {
		return
	}
	for _, h := range w.hosts {
		h.copy = newCopy(w, h.n)
	}
	w.after(w.rnd.Between(1, 50), w.operator)
}
