package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"

	"github.com/lockstep-vm/lockstep/ft"
)

// SourceOptions bound a re-synchronisation.
type SourceOptions struct {
	// Converged is how many bytes may be left for the last round, while the
	// guest's writes wait; 0 for 2 MiB.
	Converged int64
	// Passes is how often what the guest has written meanwhile is sent again
	// before Run gives up; 0 for 20.
	Passes int
	// Pace, if it is not nil, is called for n bytes before they are sent, and
	// takes as long as the bandwidth needs: see Limit.
	Pace func(ctx context.Context, n int) error
}

// Progress of a re-synchronisation, in bytes of the disk.
type Progress struct {
	Full  bool
	Why   string
	Total int64 // what the plan is about, and what the guest wrote meanwhile
	Left  int64 // of it, not yet compared
	Sent  int64 // contents that differed, before compression
	Wire  int64 // bytes of messages
	Pass  int
}

// Done is how much of Total is dealt with.
func (p Progress) Done() int64 { return p.Total - p.Left }

// ErrNotConverging is what Run answers when the guest writes faster than what
// it wrote can be sent: slow it down and call Run again, or hold it for longer.
var ErrNotConverging = errors.New("storage: the guest writes faster than the copy can follow")

// Source copies what differs to a Target, while the guest goes on writing. One
// goroutine uses it; only Progress may be called by others.
//
//	Run --> (Hold --> Release) --> Commit
//	 ^  |       |                     |
//	 +--+-------+-- lost connection --+
type Source struct {
	c *Copy
	o SourceOptions

	conn     Conn
	session  [16]byte
	instance [16]byte // of the target that todo is about
	todo     *bitmap  // chunks; nil without a plan
	point    Point
	held     bool
	ended    bool

	asked       uint64 // Asks sent on this connection
	answered    uint64
	open        []ask // sent and not answered
	unconfirmed []ask // dealt with, and perhaps not yet done by the target

	full                    atomic.Bool
	why                     atomic.Pointer[string]
	total, left, sent, wire atomic.Int64
	pass                    atomic.Int64
	buf                     []byte
}

// ask is a batch: chunks of one region, or a run of regions that are a hole.
type ask struct {
	region, regions uint64
	mask            uint16
	confirmedBy     uint64 // the Ask whose answer says that the target has done it
}

// window is how many Asks are on the way at a time: as many regions at most are
// in the target's buffers.
const window = 4

// NewSource makes the live VM's copy the source of a re-synchronisation. Close
// ends it.
func (c *Copy) NewSource(o SourceOptions) (*Source, error) {
	if o.Converged == 0 {
		o.Converged = 2 << 20
	}
	if o.Passes == 0 {
		o.Passes = 20
	}
	if !c.source.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("storage: %w: %s takes part in another re-synchronisation", ErrClaimed, c.path)
	}
	return &Source{c: c, o: o}, nil
}

// Progress may be called at any time.
func (s *Source) Progress() Progress {
	p := Progress{Full: s.full.Load(), Total: s.total.Load(), Left: s.left.Load(), Sent: s.sent.Load(), Wire: s.wire.Load(), Pass: int(s.pass.Load())}
	if why := s.why.Load(); why != nil {
		p.Why = *why
	}
	return p
}

// Close gives up what is not committed. The target stays as it is: syncing, or
// prepared.
func (s *Source) Close() {
	if s.held {
		s.Release()
	}
	s.c.track.Store(nil)
	s.c.source.Store(false)
}

// Run compares and sends until little is left. With a new connection it goes on
// where the old one was lost, if the target's process is still the same.
func (s *Source) Run(ctx context.Context, conn Conn) error {
	if s.held {
		panic("BUG: storage: Run of a Source that holds the guest's writes")
	}
	if conn != s.conn {
		if err := s.begin(ctx, conn); err != nil {
			s.conn = nil
			return err
		}
	}
	unit := int64(1) << s.c.intent.h.RegionShift / tracksInRegion
	for range s.o.Passes {
		s.pass.Add(1)
		if err := s.onePass(ctx); err != nil {
			s.conn = nil
			return err
		}
		if s.left.Store(int64(s.todo.count()) * unit); s.left.Load() <= s.o.Converged {
			return nil
		}
		s.total.Add(s.left.Load())
	}
	return ErrNotConverging
}

// begin reads who the target is, and plans anew unless it goes on.
func (s *Source) begin(ctx context.Context, conn Conn) error {
	s.conn, s.asked, s.answered = conn, 0, 0
	m, err := s.receive(ctx)
	if err != nil {
		return err
	}
	hello, ok := m.(Hello)
	if !ok {
		return errMessage
	}
	words, err := s.receiveMap(ctx, hello)
	if err != nil {
		return err
	}
	if s.todo != nil && !s.ended && s.instance == hello.Instance {
		for _, a := range append(s.open, s.unconfirmed...) {
			s.again(a)
		}
		s.open, s.unconfirmed = nil, nil
		return s.send(ctx, Begin{Source: s.c.id, Session: s.session, Common: hello.Status.Common})
	}
	return s.plan(ctx, hello, words)
}

func (s *Source) receiveMap(ctx context.Context, hello Hello) ([]uint64, error) {
	if !hello.Map {
		return nil, nil
	}
	if hello.Status.Regions > maxRegions {
		return nil, errMessage
	}
	words := make([]uint64, (hello.Status.Regions+63)/64)
	for last := false; !last; {
		m, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		part, ok := m.(MapPart)
		if !ok || part.First > uint64(len(words)) || uint64(len(part.Words)) > uint64(len(words))-part.First {
			return nil, errMessage
		}
		copy(words[part.First:], part.Words)
		last = part.Last
	}
	return words, nil
}

// plan begins a session: what to compare, and from here on what is written.
func (s *Source) plan(ctx context.Context, hello Hello, words []uint64) error {
	if err := s.c.Fold(); err != nil {
		return err
	}
	if _, err := io.ReadFull(s.c.rand, s.session[:]); err != nil {
		return err
	}
	// First track, then read the map: a write is in one of them at least.
	s.todo = newBitmap(s.c.intent.h.regions() * tracksInRegion)
	s.c.track.Store(s.todo)
	p, err := MakePlan(s.c.Status(), hello.Status, s.c.intent.union(), words)
	if err != nil {
		return err
	}
	planned := int64(0)
	for region := range s.c.intent.h.regions() {
		if p.has(region) {
			s.again(ask{region: region, regions: 1, mask: ^uint16(0)})
			planned += 1 << s.c.intent.h.RegionShift
		}
	}
	s.instance, s.ended = hello.Instance, false
	s.open, s.unconfirmed = nil, nil
	s.full.Store(p.Full)
	s.why.Store(&p.Why)
	s.total.Store(planned)
	s.left.Store(planned)
	s.sent.Store(0)
	s.pass.Store(0)
	return s.send(ctx, Begin{Source: s.c.id, Session: s.session, Common: p.Common})
}

// again puts a batch back.
func (s *Source) again(a ask) {
	for region := a.region; region < a.region+a.regions; region++ {
		for i := range uint64(tracksInRegion) {
			if _, n := s.c.chunk(region*tracksInRegion + i); n > 0 && a.mask&(1<<i) != 0 {
				s.todo.set(region*tracksInRegion + i)
			}
		}
	}
}

// onePass deals once with every chunk that is to do.
func (s *Source) onePass(ctx context.Context) error {
	at := uint64(0)
	for {
		i, more := s.todo.next(at)
		if !more || len(s.open) >= window {
			if len(s.open) == 0 {
				return s.barrier(ctx)
			}
			if err := s.answer(ctx); err != nil {
				return err
			}
			continue
		}
		a := ask{region: i / tracksInRegion, regions: 1}
		for k := range uint64(tracksInRegion) {
			if s.todo.has(a.region*tracksInRegion + k) {
				a.mask |= 1 << k
				s.todo.clear(a.region*tracksInRegion + k)
			}
		}
		at = (a.region + 1) * tracksInRegion
		hole, err := s.hole(ctx, &a)
		if err != nil {
			s.again(a)
			return err
		}
		s.left.Add(-int64(bits.OnesCount16(a.mask)) * int64(a.regions) << s.c.intent.h.RegionShift / tracksInRegion)
		if hole {
			at = (a.region + a.regions) * tracksInRegion
			continue
		}
		s.open = append(s.open, a)
		s.asked++
		if err := s.send(ctx, Ask{a.region, a.mask}); err != nil {
			return err
		}
	}
}

// hole sends a region that is a hole without a comparison, and the regions
// behind it that are holes as well.
func (s *Source) hole(ctx context.Context, a *ask) (bool, error) {
	h := s.c.intent.h
	off := int64(a.region) << h.RegionShift
	start, end, err := s.c.file.NextData(off)
	if err != nil {
		return false, s.c.readError(off, 0, err)
	}
	size := int64(h.Sectors) * 512
	if start == end {
		start = size
	}
	if start < min(off+1<<h.RegionShift, size) || a.mask != ^uint16(0) {
		return false, nil
	}
	for next := a.region + 1; next < h.regions() && int64(next+1)<<h.RegionShift <= start && s.todo.hasRange(next*tracksInRegion, (next+1)*tracksInRegion-1); next++ {
		for k := range uint64(tracksInRegion) {
			s.todo.clear(next*tracksInRegion + k)
		}
		a.regions++
	}
	// A write may have come since the hole was seen, but it is to do again then.
	a.confirmedBy = s.asked + 1
	s.unconfirmed = append(s.unconfirmed, *a)
	return true, s.send(ctx, Zero{off, min(int64(a.regions)<<h.RegionShift, size-off)})
}

// answer takes the answer to the oldest Ask and sends what differs.
func (s *Source) answer(ctx context.Context) error {
	m, err := s.receive(ctx)
	if err != nil {
		return err
	}
	a := s.open[0]
	hashes, ok := m.(Hashes)
	if !ok || hashes.Region != a.region || hashes.Mask != a.mask || len(hashes.Hashes) != bits.OnesCount16(a.mask) {
		return errMessage
	}
	s.answered++
	for len(s.unconfirmed) > 0 && s.unconfirmed[0].confirmedBy <= s.answered {
		s.unconfirmed = s.unconfirmed[1:]
	}
	a.confirmedBy = s.asked + 1
	s.open = s.open[1:]
	s.unconfirmed = append(s.unconfirmed, a)
	k := 0
	for mask := a.mask; mask != 0; mask &= mask - 1 {
		off, n := s.c.chunk(a.region*tracksInRegion + uint64(bits.TrailingZeros16(mask)))
		if err := s.sendChunk(ctx, off, n, &hashes.Hashes[k]); err != nil {
			return err
		}
		k++
	}
	return nil
}

// sendChunk sends a chunk unless the target has it.
func (s *Source) sendChunk(ctx context.Context, off, n int64, have *Hash) error {
	b, hash, err := s.c.hashChunk(off, n, &s.buf)
	if err != nil {
		return err
	}
	if have != nil && hash == *have {
		return nil
	}
	if b == nil {
		return s.send(ctx, Zero{off, n})
	}
	s.sent.Add(n)
	return s.send(ctx, Data{off, b})
}

// barrier returns when the target has done all that was sent.
func (s *Source) barrier(ctx context.Context) error {
	s.open = append(s.open, ask{regions: 1})
	s.asked++
	if err := s.send(ctx, Ask{}); err != nil {
		return err
	}
	err := s.answer(ctx)
	if err == nil {
		s.unconfirmed = nil
	}
	return err
}

// Hold makes the guest's writes wait, sends what is left, and ends with a point
// in the disk's history: the State that is transferred is taken before Release,
// with the requests that wait as pending ones. gen is the generation of the
// pairing, which both copies then note.
func (s *Source) Hold(ctx context.Context, gen ft.Generation) error {
	if s.conn == nil || s.held || s.ended {
		panic("BUG: storage: Hold of a Source that has not run")
	}
	p := Point{Gen: gen}
	if _, err := io.ReadFull(s.c.rand, p.ID[:]); err != nil {
		return err
	}
	s.c.gate.Lock()
	s.held = true
	err := s.last(ctx)
	if err == nil {
		err = s.send(ctx, End{p})
	}
	if err != nil {
		s.Release()
		s.conn = nil
		return err
	}
	if !s.c.Cut(p, nil) { // nothing is under way
		panic("BUG: storage: a re-synchronisation ends and an earlier cut still counts")
	}
	s.c.track.Store(nil)
	s.point, s.ended = p, true
	return nil
}

func (s *Source) last(ctx context.Context) error {
	for i, ok := s.todo.next(0); ok; i, ok = s.todo.next(i + 1) {
		off, n := s.c.chunk(i)
		if err := s.sendChunk(ctx, off, n, nil); err != nil {
			return err
		}
	}
	s.left.Store(0)
	return nil
}

// Release lets the guest's writes go on.
func (s *Source) Release() {
	s.held = false
	s.c.gate.Unlock()
}

// Commit waits until the target has the point durably, notes it as common, and
// tells the target. After it, and not before, the backup may be armed.
func (s *Source) Commit(ctx context.Context) error {
	if !s.ended || s.held || s.conn == nil {
		panic("BUG: storage: Commit of a Source that has not ended")
	}
	m, err := s.receive(ctx)
	if err == nil && m != (any)(Prepared{s.point}) {
		err = errMessage
	}
	if err == nil {
		err = s.c.Commit(s.point)
	}
	if err == nil {
		err = s.send(ctx, Commit{s.point})
	}
	if err != nil {
		s.conn = nil
	}
	return err
}

func (s *Source) send(ctx context.Context, m any) error {
	b := Encode(m)
	s.wire.Add(int64(len(b)))
	if s.o.Pace != nil && !s.held {
		if err := s.o.Pace(ctx, len(b)); err != nil {
			return err
		}
	}
	return s.conn.Send(ctx, b)
}

func (s *Source) receive(ctx context.Context) (any, error) {
	b, err := s.conn.Receive(ctx)
	if err != nil {
		return nil, err
	}
	return Decode(b)
}
