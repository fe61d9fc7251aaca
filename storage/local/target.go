package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/zeebo/blake3"

	"github.com/lockstep-vm/lockstep/ft"
)

// Conn carries the messages of one re-synchronisation, whole and in order. Send
// may keep what it is given.
type Conn interface {
	Send(ctx context.Context, message []byte) error
	Receive(ctx context.Context) ([]byte, error)
}

// Target takes a copy's contents from a Source. It outlives its connections.
//
//	Hello, Map.. --> Begin (durably syncing) --> Ask, Data, Zero.. --> End --> Prepared (durably in use) --> Commit
type Target struct {
	c        *Copy
	instance [16]byte
	session  [16]byte
	phase    targetPhase
	point    Point
	buf      []byte
}

type targetPhase uint8

const (
	targetIdle targetPhase = iota
	targetSyncing
	targetPrepared
	targetDone
)

// NewTarget makes a copy that is not live the target of a re-synchronisation.
// Close ends it.
func (c *Copy) NewTarget() (*Target, error) {
	if c.live.Load() {
		return nil, fmt.Errorf("storage: %w: %s is written by the live VM, and is no target", ErrClaimed, c.path)
	}
	t := &Target{c: c}
	if _, err := io.ReadFull(c.rand, t.instance[:]); err != nil {
		return nil, err
	}
	if !c.source.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("storage: %w: %s takes part in another re-synchronisation", ErrClaimed, c.path)
	}
	return t, nil
}

// Hello is what the target sends first on every connection.
func (t *Target) Hello() [][]byte {
	s := t.c.Status()
	out := [][]byte{Encode(Hello{Status: s, Instance: t.instance, Map: true})}
	words := t.c.intent.union()
	for first := 0; first < len(words); first += mapPart {
		end := min(first+mapPart, len(words))
		out = append(out, Encode(MapPart{First: uint64(first), Words: words[first:end], Last: end == len(words)}))
	}
	return out
}

// Handle takes one message and gives the answers to it. After an error the
// connection is of no use; a new one may go on.
func (t *Target) Handle(message []byte) ([][]byte, error) {
	m, err := Decode(message)
	if err != nil {
		return nil, err
	}
	if b, ok := m.(Begin); ok {
		return nil, t.begin(b)
	}
	if c, ok := m.(Commit); ok && t.phase == targetPrepared && c.Point == t.point {
		t.phase = targetDone
		return nil, t.c.Commit(t.point)
	}
	if t.phase != targetSyncing {
		return nil, errMessage
	}
	switch m := m.(type) {
	case Ask:
		return t.ask(m)
	case Data:
		if !t.within(m.Off, int64(len(m.Bytes))) {
			return nil, errMessage
		}
		return nil, t.c.WriteAt(m.Bytes, m.Off)
	case Zero:
		if !t.within(m.Off, m.Len) {
			return nil, errMessage
		}
		return nil, t.zero(m)
	case End:
		return t.end(m)
	}
	return nil, errMessage
}

// Prepared says whether the copy has the contents of the point, durably. From
// then on the replica may write it.
func (t *Target) Prepared() bool { return t.phase >= targetPrepared }

// Done says whether the common point is noted.
func (t *Target) Done() bool { return t.phase == targetDone }

// Close lets the copy take part in another re-synchronisation.
func (t *Target) Close() { t.c.source.Store(false) }

// Run handles what comes over conn until the copy is prepared, and until the
// point is noted if it is called again.
func (t *Target) Run(ctx context.Context, conn Conn) error {
	if !t.Prepared() {
		for _, m := range t.Hello() {
			if err := conn.Send(ctx, m); err != nil {
				return err
			}
		}
	}
	for was := t.phase; t.phase < targetPrepared || t.phase == was && was == targetPrepared; {
		m, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		answers, err := t.Handle(m)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if err := conn.Send(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin notes, before anything is written, that this is no valid copy.
func (t *Target) begin(m Begin) error {
	h := t.c.Status()
	if m.Source == h.Copy || !m.Common.None() && m.Common != h.Common && m.Common != h.Prepared {
		return errMessage
	}
	if t.phase == targetSyncing && t.session == m.Session {
		return nil
	}
	if err := t.c.Fold(); err != nil {
		return err
	}
	// The map counts from Common, and so from a point that it was prepared for too.
	t.c.intent.do(func(i *ft.Intent) { i.Rebase(m.Common) })
	if err := t.c.note(func(h *header) { h.State, h.Reason = Syncing, "" }); err != nil {
		return err
	}
	t.c.writable.Store(true)
	t.session, t.phase = m.Session, targetSyncing
	return nil
}

func (t *Target) ask(m Ask) ([][]byte, error) {
	c := t.c
	answer := Hashes{Region: m.Region, Mask: m.Mask}
	if m.Region >= c.intent.h.regions() {
		return nil, errMessage
	}
	for mask := m.Mask; mask != 0; mask &= mask - 1 {
		off, n := c.chunk(m.Region*tracksInRegion + uint64(bits.TrailingZeros16(mask)))
		if n <= 0 {
			return nil, errMessage
		}
		_, h, err := c.hashChunk(off, n, &t.buf)
		if err != nil {
			return nil, err
		}
		answer.Hashes = append(answer.Hashes, h)
	}
	return [][]byte{Encode(answer)}, nil
}

// zero leaves alone what is a hole.
func (t *Target) zero(m Zero) error {
	start, end, err := t.c.file.NextData(m.Off)
	if err != nil {
		return t.c.readError(m.Off, m.Len, err)
	}
	if start == end || start >= m.Off+m.Len {
		return nil
	}
	return t.c.Zero(m.Off, m.Len)
}

// end makes the contents durable before the sidecar says that they are valid.
// What the replica writes from here on belongs to the next common point.
func (t *Target) end(m End) ([][]byte, error) {
	if !t.c.Cut(m.Point, nil) {
		return nil, errMessage
	}
	if err := t.c.prepare(m.Point, func(h *header) { h.State, h.Gen = InUse, m.Point.Gen }); err != nil {
		return nil, err
	}
	t.point, t.phase = m.Point, targetPrepared
	return [][]byte{Encode(Prepared(m))}, nil
}

func (t *Target) within(off, n int64) bool {
	size := int64(t.c.intent.h.Sectors) * 512
	return off >= 0 && n > 0 && off%512 == 0 && n%512 == 0 && off <= size && n <= size-off
}

// chunk is the range of a chunk, shorter at the end of the disk; n <= 0 beyond.
func (c *Copy) chunk(i uint64) (off, n int64) {
	unit := int64(1) << c.intent.h.RegionShift / tracksInRegion
	off = int64(i) * unit
	return off, min(unit, int64(c.intent.h.Sectors)*512-off)
}

// hashChunk reads a chunk, none if it is zeros, into buf.
func (c *Copy) hashChunk(off, n int64, buf *[]byte) ([]byte, Hash, error) {
	start, end, err := c.file.NextData(off)
	if err != nil {
		return nil, Hash{}, c.readError(off, n, err)
	}
	if start == end || start >= off+n {
		return nil, Hash{}, nil
	}
	if int64(len(*buf)) < n {
		*buf = make([]byte, 1<<c.intent.h.RegionShift/tracksInRegion)
	}
	b := (*buf)[:n]
	if err := c.ReadAt(b, off); err != nil {
		return nil, Hash{}, err
	}
	if isZero(b) {
		return nil, Hash{}, nil
	}
	sum := blake3.Sum256(b)
	return b, Hash(sum[:16]), nil
}

var zeros [4096]byte

func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

func (c *Copy) readError(off, n int64, err error) error {
	return &Error{Copy: c.id, Path: c.path, Op: "read", Off: off, Len: n, Err: err}
}
