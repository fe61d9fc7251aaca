package replay

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// A Side is one of two machines that re-execute one log.
type Side struct {
	Name    string // of its engine
	Machine machine.Machine
}

// Comparison re-executes a log on two machines side by side and finds the
// instruction after which they differ.
//
//	S ───────── L ─────── p
//	snapshot    agreed    differ: back to S or L, and halve (L, p]
//
// They are compared after every entry and after Every instructions, and both
// run in the same pieces. A difference that is gone again at the next check is
// not seen; a smaller Every sees more.
type Comparison struct {
	A, B  Side           // the engine that is examined, and the one it is measured by
	Start Point          // the entries follow this point; both machines are in that State
	Every machine.Icount // 0 means DefaultEvery
	// Outputs, if not nil, gets what A has put out.
	Outputs func([]machine.Output)

	ra, rb *Replayer
	agreed machine.Icount // position of the last check, after the last entry of the base's tail
	saved  base
	buf    []machine.Output
}

// DefaultEvery is how many instructions lie between two checks at most.
const DefaultEvery = 1_000_000

// A base is a State of both sides that can be gone back to, and the entries
// that were applied since.
type base struct {
	at    Point
	pos   machine.Icount
	state []byte
	tail  []Entry
	size  int // bytes in tail
}

// How far the newest base may lie behind, in checks of Every instructions and
// in bytes of entries.
const (
	baseChecks = 32
	baseBytes  = 64 << 20
)

// Finding is where two machines came to differ.
type Finding struct {
	Since machine.Icount // where they last agreed at a check
	Seen  machine.Icount // where the next check saw them differ
	// Exact: they are equal at At and differ after the attempt that follows
	// or, if Entry is not nil, after that entry was applied at At. Otherwise
	// Why says what is in the way.
	Exact bool
	Why   string
	At    machine.Icount
	Entry *Entry
	// The attempt, if the machines are Inspectors: its address, the encoding
	// there, and whether an interrupt came before.
	Fetched   bool
	PC        machine.GVA
	Encoding  uint32
	Interrupt bool
	// Parts are what differs then. In them Log is B's and Here is A's.
	Parts []Difference
	Bytes *ByteDifference
}

// ByteDifference is the lowest page that differs, from its first to its last
// byte that does.
type ByteDifference struct {
	Addr machine.GPA
	A, B []byte
}

// Run re-executes the entries that next yields. Its result is nil without an
// error if both sides agree with each other and with the log up to its end,
// which next tells by io.EOF or ErrTruncated. A *Divergence means that both
// sides agree, but not with the log: the machine that was recorded differed.
// Other errors are those of next.
func (c *Comparison) Run(next func() (Entry, error)) (*Finding, error) {
	c.ra, c.rb = NewReplayer(c.A.Machine, c.Start), NewReplayer(c.B.Machine, c.Start)
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.A.Machine.Digest() != c.B.Machine.Digest() {
		f := &Finding{Since: c.Start.Pos, Seen: c.A.Machine.Icount(), Why: "they differ before the first instruction"}
		c.tell(f)
		return f, nil
	}
	if err := c.save(c.Start); err != nil {
		return nil, err
	}
	for {
		e, err := next()
		if err != nil {
			return nil, err
		}
		e = cloneEntry(e)
		for done := false; !done; {
			var ea, eb error
			until := min(e.Pos, c.agreed+c.Every)
			done, ea = c.step(c.ra, e, until)
			_, eb = c.step(c.rb, e, until)
			if (ea == nil) != (eb == nil) || c.A.Machine.Digest() != c.B.Machine.Digest() {
				return c.narrow(e, until)
			}
			if ea != nil {
				return nil, ea
			}
			if c.agreed = c.A.Machine.Icount(); done {
				c.saved.tail = append(c.saved.tail, e)
				c.saved.size += SizeBound(e)
			}
		}
		if c.agreed-c.saved.pos >= baseChecks*c.Every || c.saved.size >= baseBytes {
			if err := c.save(c.ra.Last()); err != nil {
				return nil, err
			}
		}
	}
}

// step brings one side to until, and applies e if that is its position.
func (c *Comparison) step(r *Replayer, e Entry, until machine.Icount) (done bool, err error) {
	done, err = r.ApplyUntil(e, until)
	c.drain(r.m)
	return done, err
}

func (c *Comparison) drain(m machine.Machine) {
	c.buf = m.Outputs(c.buf[:0])
	if m == c.A.Machine && c.Outputs != nil {
		c.Outputs(c.buf)
	}
	clear(c.buf)
}

// save makes the present State, which is that of both sides, the base.
func (c *Comparison) save(at Point) error {
	var buf bytes.Buffer
	buf.Grow(len(c.saved.state))
	if err := c.A.Machine.Save(&buf); err != nil {
		return err
	}
	c.saved = base{at: at, pos: c.A.Machine.Icount(), state: buf.Bytes()}
	c.agreed = c.saved.pos
	return nil
}

// narrow finds out after which attempt in (agreed, until], or by which entry at
// until, the sides came to differ.
//
// It goes on first from where they last agreed, and then, as what an engine
// has cached is gone after a snapshot, from the base before.
func (c *Comparison) narrow(e Entry, until machine.Icount) (*Finding, error) {
	c.Outputs = nil
	f := &Finding{Since: c.agreed, Seen: c.A.Machine.Icount()}
	far := c.saved
	if ok, err := c.goBack(); err != nil {
		return nil, err
	} else if ok {
		if err := c.save(c.ra.Last()); err != nil {
			return nil, err
		}
		if ok, err := c.halve(f, e, until); ok || err != nil {
			return f, err
		}
		c.saved = far
		if ok, err := c.halve(f, e, until); ok || err != nil {
			return f, err
		}
	}
	f.Why = "they do not differ when execution begins with a snapshot shortly before: it depends on what an engine had cached by then"
	return f, nil
}

// goBack brings both sides to the place where they last agreed, in the pieces
// in which they went there before, and says whether they agree.
func (c *Comparison) goBack() (bool, error) {
	for _, m := range []machine.Machine{c.A.Machine, c.B.Machine} {
		if err := m.Load(bytes.NewReader(c.saved.state)); err != nil {
			return false, fmt.Errorf("replay: a machine does not take the State that it gave: %w", err)
		}
	}
	c.ra, c.rb = NewReplayer(c.A.Machine, c.saved.at), NewReplayer(c.B.Machine, c.saved.at)
	pos := c.saved.pos
	for _, e := range c.saved.tail {
		for done := false; !done; {
			var ea, eb error
			until := min(e.Pos, pos+c.Every)
			done, ea = c.step(c.ra, e, until)
			_, eb = c.step(c.rb, e, until)
			if ea != nil || eb != nil {
				return false, nil
			}
			pos = c.A.Machine.Icount()
		}
	}
	for pos < c.agreed {
		pos = min(c.agreed, pos+c.Every)
		c.runTo(pos)
	}
	return c.A.Machine.Digest() == c.B.Machine.Digest(), nil
}

// runTo runs both sides to a position without an entry in between.
func (c *Comparison) runTo(pos machine.Icount) {
	for _, m := range []machine.Machine{c.A.Machine, c.B.Machine} {
		for stuck := 0; m.Icount() < pos && stuck < maxStuck; {
			before := m.Icount()
			exit := m.Run(pos)
			c.drain(m)
			if stuck++; m.Icount() > before {
				stuck = 0
			} else if exit == machine.Idle || exit == machine.PoweredOff {
				break
			}
		}
	}
}

// equalAt goes back, runs to pos and compares.
func (c *Comparison) equalAt(pos machine.Icount) (bool, error) {
	if ok, err := c.goBack(); !ok || err != nil {
		return ok, err
	}
	c.runTo(pos)
	return c.A.Machine.Digest() == c.B.Machine.Digest(), nil
}

// halve fills f; false if the difference does not show from this base.
func (c *Comparison) halve(f *Finding, e Entry, until machine.Icount) (bool, error) {
	low, high := c.agreed, until
	switch same, err := c.equalAt(until); {
	case err != nil:
		return false, err
	case same && until < e.Pos:
		return false, nil
	case same:
		return c.delivery(f, e)
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		same, err := c.equalAt(middle)
		if err != nil {
			return false, err
		}
		if same {
			low = middle
		} else {
			high = middle
		}
	}
	if same, err := c.equalAt(low); err != nil || !same {
		return false, err
	}
	f.At, f.Exact = low, true
	before := c.A.Machine.Account()
	c.B.Machine.Account()
	if i, ok := c.B.Machine.(machine.Inspector); ok {
		f.PC, f.Encoding, f.Fetched = i.Instruction()
	}
	c.runTo(high)
	c.tell(f)
	f.Interrupt = f.Fetched && interrupted(before, c.B.Machine.Account(), uint64(f.PC))
	return true, nil
}

// delivery finds that it is not an attempt but an entry that the sides take
// differently. Both stand at its position.
func (c *Comparison) delivery(f *Finding, e Entry) (bool, error) {
	c.A.Machine.Account()
	c.B.Machine.Account()
	_, ea := c.step(c.ra, e, e.Pos)
	_, eb := c.step(c.rb, e, e.Pos)
	if (ea == nil) == (eb == nil) && c.A.Machine.Digest() == c.B.Machine.Digest() {
		return false, nil
	}
	f.At, f.Exact, f.Entry = e.Pos, true, &e
	c.tell(f)
	if (ea == nil) != (eb == nil) {
		f.Parts = append(f.Parts, Difference{What: "the entry", Log: taken(eb), Here: taken(ea)})
	}
	return true, nil
}

func taken(err error) string {
	if err != nil {
		return err.Error()
	}
	return "taken"
}

// tell fills in what differs.
func (c *Comparison) tell(f *Finding) {
	a, b := c.A.Machine.Account(), c.B.Machine.Account()
	f.Parts = Differences(b, a)
	pages := differentPages(b.Pages, a.Pages)
	ia, aok := c.A.Machine.(machine.Inspector)
	ib, bok := c.B.Machine.(machine.Inspector)
	if len(pages) == 0 || !aok || !bok {
		return
	}
	at, pa := ia.Page(pages[0].page)
	_, pb := ib.Page(pages[0].page)
	from, to := 0, min(len(pa), len(pb))
	for from < to && pa[from] == pb[from] {
		from++
	}
	for to > from && pa[to-1] == pb[to-1] {
		to--
	}
	f.Bytes = &ByteDifference{Addr: at + machine.GPA(from), A: pa[from:to], B: pb[from:to]}
}

// interrupted says whether an interrupt was taken before the attempt at pc: a
// cause with its highest bit set has come, with pc as the place to return to.
func interrupted(before, after machine.Account, pc uint64) bool {
	value := func(a machine.Account, name string) uint64 {
		for _, r := range a.Registers {
			if r.Name == name {
				return r.Value
			}
		}
		return 0
	}
	for _, mode := range []string{"s", "m"} {
		cause, epc := mode+"cause", mode+"epc"
		if value(after, cause)>>63 == 1 && value(after, epc) == pc &&
			(value(before, cause) != value(after, cause) || value(before, epc) != pc) {
			return true
		}
	}
	return false
}

// cloneEntry is an entry whose bytes are its own.
func cloneEntry(e Entry) Entry {
	in, ok := e.Body.(Input)
	if !ok {
		return e
	}
	switch v := in.In.(type) {
	case machine.Frame:
		v.Bytes = slices.Clone(v.Bytes)
		in.In = v
	case machine.ConsoleInput:
		v.Bytes = slices.Clone(v.Bytes)
		in.In = v
	case machine.DiskDone:
		v.Bytes = slices.Clone(v.Bytes)
		in.In = v
	case machine.Entropy:
		v.Bytes = slices.Clone(v.Bytes)
		in.In = v
	}
	e.Body = in
	return e
}
