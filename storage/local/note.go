package local

import (
	"context"
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// note changes the header durably.
func (c *Copy) note(change func(*header)) error {
	if f := c.failed.Load(); f != nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.h
	change(&h)
	c.intent.fill(&h)
	h.Seq++
	_, err := c.side.WriteAt(h.encode(), int64(h.Seq%2)*slotSize)
	if err == nil {
		err = c.side.Sync()
	}
	if err != nil {
		return c.fail(&Error{Copy: c.id, Path: c.path + sidecarSuffix, Op: "note state", Err: err, Final: true})
	}
	c.h = h
	return nil
}

// fail keeps the first error after which this process uses the copy no more.
func (c *Copy) fail(e *Error) *Error {
	c.failed.CompareAndSwap(nil, e)
	return c.failed.Load()
}

// Enter notes durably that the copy is used, and of which generation it is: at
// power-on, when a claim is won, and so before the run record names it. Only
// then it may be written. An image that a power-on has marked and that the record
// then did not name, since it could not be written or another was faster, may be
// entered by the next run: the record's caller knows which copy is current.
func (c *Copy) Enter(gen ft.Generation) error {
	s := c.Status()
	if err := s.valid(c.path); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	if gen.Less(s.Gen) {
		return fmt.Errorf("storage: %w: %s is of generation %s, not older than %s: another run or epoch has used it; ask the run record which copy is current", ErrClaimed, c.path, s.Gen, gen)
	}
	return c.enter(gen)
}

// Take is Enter by a person's order: whatever has used the copy, and though it is
// stale. One in the middle of a re-synchronisation is no disk all the same.
func (c *Copy) Take(gen ft.Generation) error {
	if s := c.Status(); s.State == Syncing {
		return fmt.Errorf("storage: %w", s.valid(c.path))
	}
	return c.enter(gen)
}

func (c *Copy) enter(gen ft.Generation) error {
	if err := c.note(func(h *header) { h.Gen, h.State, h.Reason = gen, InUse, "" }); err != nil {
		return err
	}
	c.writable.Store(true)
	return nil
}

func (s *Status) valid(path string) error {
	switch s.State {
	case Syncing:
		return fmt.Errorf("%w: %s is in the middle of a re-synchronisation: start it as a backup, and it is brought up to date", ErrInvalid, path)
	case Stale:
		return fmt.Errorf("%w: %s is stale (%s): start it as a backup, and it is brought up to date; if no other copy is left, remove its sidecar and adopt the image", ErrInvalid, path, s.Reason)
	}
	return nil
}

// Claim notes the fence number with which this process goes live. The lock is
// held since Open, so there is nobody to wait for. Enter comes before.
func (c *Copy) Claim(_ context.Context, number ft.Fence, _ func(why string)) error {
	c.mu.Lock()
	s, fence := c.h.State, c.h.Fence
	run := c.h.Gen.Run
	c.mu.Unlock()
	if s != InUse || run.Ordinal != number.Run {
		return fmt.Errorf("storage: %w: %s is %s by run %s and cannot be claimed with number %s: it has to be entered first", ErrClaimed, c.path, s, run, number)
	}
	if number.Less(fence) {
		return storage.ErrFenced{By: fence}
	}
	if err := c.note(func(h *header) { h.Fence = number }); err != nil {
		return err
	}
	c.live.Store(true)
	return nil
}

// MarkStale notes durably that the copy is not to be relied on: its replica has
// halted, or it was dropped from the run record.
func (c *Copy) MarkStale(reason string) error {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	return c.note(func(h *header) { h.State, h.Reason = Stale, reason })
}

// Range is bytes of the image.
type Range struct{ Off, Len int64 }

func (r Range) regions(h *header) (first, last uint64) {
	return uint64(r.Off) >> h.RegionShift, uint64(r.Off+r.Len-1) >> h.RegionShift
}

// Cut begins the common point p without a re-synchronisation (ft/cut.go), in memory
// only: it does not wait for the disk. pending are the ranges of the changes
// whose completion is not in the log; no other is under way. False means that an
// earlier cut still counts: Fold, and cut later.
func (c *Copy) Cut(p Point, pending []Range) bool { return c.intent.cut(p, pending) }

// Fold ends a cut that was begun and will not be committed, if there is one.
func (c *Copy) Fold() error {
	if f := c.failed.Load(); f != nil {
		return f
	}
	c.points.Lock()
	defer c.points.Unlock()
	if !c.intent.isCut() {
		return nil
	}
	if err := c.intent.fold(); err != nil {
		return c.noIntent(err)
	}
	return c.note(func(*header) {})
}

// Prepare makes durable what was written before the cut, and notes that this
// copy has the point. The backup calls it, when all requests before the cut are
// done, and then tells the primary.
func (c *Copy) Prepare(p Point) error { return c.prepare(p, func(*header) {}) }

func (c *Copy) prepare(p Point, change func(*header)) error {
	if err := c.Sync(); err != nil {
		return err
	}
	c.intent.do(func(m *ft.Intent) { m.Prepare(p) })
	return c.note(change)
}

// Commit makes p the common point and forgets the map that led to it. The
// primary calls it when all its requests before the cut are done and the other
// copy is prepared, and then tells the backup, which calls it too. If the cut was
// folded, nothing comes of it.
func (c *Copy) Commit(p Point) error {
	if err := c.Sync(); err != nil {
		return err
	}
	c.points.Lock()
	defer c.points.Unlock()
	if !c.intent.mayCommit(p) {
		return nil
	}
	if err := c.intent.commit(p); err != nil {
		return c.noIntent(err)
	}
	return c.note(func(h *header) { h.Gen = p.Gen })
}

func (c *Copy) noIntent(err error) error {
	return c.fail(&Error{Copy: c.id, Path: c.path + sidecarSuffix, Op: "note intent", Err: err, Final: true})
}
