package ft_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
)

func diskOp(op machine.DiskOp, id, sector, sectors uint64) machine.Output {
	o := machine.Output{Port: machine.Port{Kind: machine.PortDisk}, Op: op, ID: id, Sector: sector}
	switch op {
	case machine.DiskRead:
		o.Length = uint32(sectors * 512)
	case machine.DiskWrite:
		o.Bytes = make([]byte, sectors*512)
	default:
		o.Sectors = sectors
	}
	return o
}

// DESIGN section 7: "the gate of a write that overlaps an earlier read needs the
// backup's 'read done' as well".
func TestWriteWaitsForTheBackupsRead(t *testing.T) {
	for _, op := range []machine.DiskOp{machine.DiskWrite, machine.DiskDiscard, machine.DiskZero} {
		var p ft.PeerReads
		p.Begin()
		p.Made(diskOp(machine.DiskRead, 1, 8, 8))
		p.Made(diskOp(machine.DiskRead, 2, 16, 8))
		p.Made(diskOp(op, 3, 15, 2)) // both
		p.Made(diskOp(op, 4, 24, 8)) // neither
		p.Made(diskOp(machine.DiskRead, 5, 15, 2))
		if p.Released(ft.Request{ID: 3}) || !p.Released(ft.Request{ID: 4}) || !p.Waiting() {
			t.Fatalf("%v: the wrong one waits", op)
		}
		if c, _ := p.Completed(machine.DiskDone{ID: 5}); !c.Own || c.Awaited {
			t.Fatalf("%v: of a read that nothing waits for: %+v", op, c)
		}
		for _, id := range []uint64{2, 1} {
			if c, run := p.Completed(machine.DiskDone{ID: id}); !c.Own || !c.Awaited || run != nil {
				t.Fatalf("%v: read %d: %+v, runs %v", op, id, c, run)
			}
		}
		if run := p.PeerDone(2); run != nil {
			t.Fatalf("%v: runs %v after one read of two", op, run)
		}
		if run := p.PeerDone(3); !slices.Equal(run, []ft.Request{{ID: 3}}) || p.Waiting() {
			t.Fatalf("%v: runs %v after both reads", op, run)
		}
	}
}

// A change that the backup has read before waits for the gate alone.
func TestReadThatIsDoneHoldsNothing(t *testing.T) {
	var p ft.PeerReads
	p.Begin()
	p.Made(diskOp(machine.DiskRead, 1, 0, 8))
	p.Made(diskOp(machine.DiskWrite, 2, 0, 8))
	p.Completed(machine.DiskDone{ID: 1})
	if run := p.PeerDone(1); run != nil || p.Waiting() {
		t.Errorf("runs %v, which the gate holds", run)
	}
	if !p.Released(ft.Request{ID: 2}) {
		t.Error("waits for a read that is done")
	}
}

// DESIGN section 7: "a failed read on the primary ships its outcome"; and nobody
// waits for a backup that is lost, or for a read that a guest which is off never
// sees completed.
func TestNobodyWaitsForReadsThatTheBackupDoesNot(t *testing.T) {
	for name, end := range map[string]func(p *ft.PeerReads) []ft.Request{
		"failed": func(p *ft.PeerReads) []ft.Request {
			c, run := p.Completed(machine.DiskDone{ID: 1, Status: machine.DiskIOError})
			if c.Own {
				t.Error("a failed read is the backup's own")
			}
			return run
		},
		"off":   (*ft.PeerReads).PoweredOff,
		"alone": (*ft.PeerReads).End,
		"new":   (*ft.PeerReads).Begin,
	} {
		var p ft.PeerReads
		p.Begin()
		p.Made(diskOp(machine.DiskRead, 1, 0, 8))
		p.Made(diskOp(machine.DiskWrite, 2, 0, 8))
		p.Released(ft.Request{ID: 2})
		if run := end(&p); !slices.Equal(run, []ft.Request{{ID: 2}}) {
			t.Errorf("%s: runs %v", name, run)
		}
		if c, _ := p.Completed(machine.DiskDone{ID: 1}); c.Own {
			t.Errorf("%s: the read is the backup's own", name)
		}
	}
}

// sharedDisk is a primary and a backup of one guest on one disk, in which
// everything takes as long as it likes. Values are versions of blocks.
type sharedDisk struct {
	r    *rand.Rand
	disk [4]uint64

	ops      []machine.Output // of the guest
	p        ft.PeerReads
	held     []machine.Output // at the gate
	open     []machine.Output // let go, not done
	primary  map[uint64]uint64
	log      []step
	b        *ft.OwnReads
	executed int // steps
	received int
	reading  []machine.Output
	told     uint64 // on its way to the primary

	ignorePeer, ignoreOwn bool // break the rules
}

// step is an entry of the log: a request that is made there, or a completion.
type step struct {
	made *machine.Output
	done *machine.DiskDone
	own  bool
}

func (s *sharedDisk) overlap(a, b machine.Output) bool { return a.Sector == b.Sector }

// act does one thing that may happen; it says whether the backup has read
// something else than the primary.
func (s *sharedDisk) act(more bool) (bad bool) {
	switch s.r.IntN(7) {
	case 0: // the guest makes a request
		if !more {
			return false
		}
		op := machine.DiskRead
		if s.r.IntN(2) == 0 {
			op = machine.DiskWrite
		}
		o := diskOp(op, uint64(len(s.ops)+1), uint64(s.r.IntN(len(s.disk))), 1)
		s.ops = append(s.ops, o)
		s.p.Made(o)
		s.log = append(s.log, step{made: &o})
		if op == machine.DiskWrite {
			s.held = append(s.held, o)
		}
		s.open = append(s.open, o)
	case 1: // the gate lets one go
		if len(s.held) > 0 {
			o := s.held[0]
			s.held = s.held[1:]
			if s.p.Released(ft.RequestOf(o)) || s.ignorePeer {
				s.release(ft.RequestOf(o))
			}
		}
	case 2: // the primary does a request
		if len(s.open) > 0 {
			s.primaryDoes(s.r.IntN(len(s.open)))
		}
	case 3: // the backup receives
		if s.received < len(s.log) {
			e := s.log[s.received]
			s.received++
			if e.own {
				s.reading = append(s.reading, s.b.Logged(ft.Request{ID: e.done.ID})...)
			}
		}
	case 4: // and executes
		return s.backupExecutes()
	case 5: // and reads
		if len(s.reading) > 0 {
			i := s.r.IntN(len(s.reading))
			o := s.reading[i]
			s.reading = slices.Delete(s.reading, i, i+1)
			s.b.Done(machine.DiskDone{ID: o.ID, Bytes: []byte{byte(s.disk[o.Sector]), byte(s.disk[o.Sector] >> 8)}})
		}
	case 6: // and tells
		s.told = s.b.Count()
		for _, req := range s.p.PeerDone(s.told) {
			s.release(req)
		}
	}
	return false
}

func (s *sharedDisk) release(req ft.Request) {
	for i, o := range s.open {
		if o.ID == req.ID {
			s.open[i].Count = 1 // may run
		}
	}
}

func (s *sharedDisk) primaryDoes(i int) {
	o := s.open[i]
	if o.Op == machine.DiskWrite && o.Count == 0 {
		return
	}
	for _, before := range s.open[:i] {
		if s.overlap(before, o) && (before.Op == machine.DiskWrite || o.Op == machine.DiskWrite) {
			return
		}
	}
	s.open = slices.Delete(s.open, i, i+1)
	d := machine.DiskDone{ID: o.ID}
	if o.Op == machine.DiskWrite {
		s.disk[o.Sector] = o.ID
	} else {
		s.primary[o.ID] = s.disk[o.Sector]
	}
	c, run := s.p.Completed(d)
	for _, req := range run {
		s.release(req)
	}
	s.log = append(s.log, step{done: &d, own: c.Own})
}

func (s *sharedDisk) backupExecutes() (bad bool) {
	if s.executed == s.received {
		return false
	}
	e := s.log[s.executed]
	switch {
	case e.made != nil:
		if s.ignoreOwn && e.made.Op == machine.DiskWrite {
			break
		}
		if s.b.Made(*e.made) {
			s.reading = append(s.reading, *e.made)
		}
	case e.own:
		d, ok := s.b.Result(ft.Request{ID: e.done.ID})
		if !ok {
			return false
		}
		if want := s.primary[e.done.ID]; d.Bytes[0] != byte(want) || d.Bytes[1] != byte(want>>8) {
			bad = true
		}
		fallthrough
	default:
		s.reading = append(s.reading, s.b.Completed(ft.Request{ID: e.done.ID})...)
	}
	s.executed++
	return bad
}

// play says whether the backup has read what the primary has read. Without a
// broken rule everything comes to an end.
func play(t *testing.T, seed uint64, breakRule func(s *sharedDisk)) (bad bool) {
	s := &sharedDisk{r: rand.New(rand.NewPCG(seed, 1)), primary: map[uint64]uint64{}, b: ft.NewOwnReads(nil)}
	breakRule(s)
	s.p.Begin()
	for range 400 {
		if s.act(true) {
			return true
		}
	}
	for range 100_000 {
		if s.act(false) {
			return true
		}
		if len(s.open) == 0 && s.executed == len(s.log) {
			return false
		}
	}
	t.Fatalf("seed %d: stuck with %d requests open, %d of %d entries executed", seed, len(s.open), s.executed, len(s.log))
	return false
}

// Paper, section 4.2: the backup reads what the primary has read, in every order
// in which the two of them, the gate and the disk can proceed, and nothing waits
// for ever.
func TestBackupReadsWhatThePrimaryHasRead(t *testing.T) {
	for seed := range uint64(300) {
		if play(t, seed, func(*sharedDisk) {}) {
			t.Fatalf("seed %d: the backup has read something else", seed)
		}
	}
}

// Each half of the rule is needed.
func TestBrokenRulesOfReadsAreFound(t *testing.T) {
	for name, rule := range map[string]func(s *sharedDisk){
		"a write waits for the backup's read": func(s *sharedDisk) { s.ignorePeer = true },
		"the backup's read waits for a write": func(s *sharedDisk) { s.ignoreOwn = true },
	} {
		found := false
		for seed := uint64(0); seed < 50 && !found; seed++ {
			found = play(t, seed, rule)
		}
		if !found {
			t.Errorf("%q was broken and nothing was found", name)
		}
	}
}

// A read waits for a change of its blocks that is under way, in State or made
// since, until the change is done or the read's own completion is in the log.
func TestOwnReadWaitsForEarlierWrites(t *testing.T) {
	inState := diskOp(machine.DiskWrite, 1, 0, 8)
	old := diskOp(machine.DiskRead, 2, 64, 8)
	b := ft.NewOwnReads([]machine.Output{inState, old})
	b.Made(diskOp(machine.DiskZero, 3, 4, 8))
	if b.Made(diskOp(machine.DiskRead, 4, 7, 1)) || b.Made(diskOp(machine.DiskRead, 5, 8, 8)) || !b.Made(diskOp(machine.DiskRead, 6, 12, 8)) {
		t.Fatal("the wrong reads begin")
	}
	if begin := b.Completed(ft.Request{ID: 3}); len(begin) != 1 || begin[0].ID != 5 {
		t.Fatalf("after the zeroing begin %v", begin)
	}
	if begin := b.Logged(ft.Request{ID: 4}); len(begin) != 1 || begin[0].ID != 4 {
		t.Fatalf("with its completion in the log begin %v", begin)
	}
	if b.Begun(ft.Request{ID: 2}) || !b.Begun(ft.Request{ID: 6}) {
		t.Error("the read of the State is the primary's, number 6 this replica's")
	}
	// In the order of the log: 6 is not logged yet, 5 comes after 4.
	b.Done(machine.DiskDone{ID: 6})
	b.Done(machine.DiskDone{ID: 5})
	b.Logged(ft.Request{ID: 5})
	if b.Count() != 0 {
		t.Errorf("counts %d before the first of the log is done", b.Count())
	}
	b.Done(machine.DiskDone{ID: 4})
	if b.Count() != 2 {
		t.Errorf("counts %d, not 2", b.Count())
	}
}

// The log may have another outcome than this replica's read.
func TestStrayRead(t *testing.T) {
	b := ft.NewOwnReads(nil)
	b.Made(diskOp(machine.DiskRead, 1, 0, 8))
	b.Completed(ft.Request{ID: 1})
	b.Done(machine.DiskDone{ID: 1})
	if _, ok := b.Result(ft.Request{ID: 1}); ok || b.Stray(ft.Request{ID: 1}) {
		t.Error("the result is kept")
	}
	b.Made(diskOp(machine.DiskRead, 2, 0, 8))
	b.Completed(ft.Request{ID: 2})
	if !b.Stray(ft.Request{ID: 2}) {
		t.Error("a read that is still under way is not known as a stray")
	}
}
