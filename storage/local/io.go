package local

import (
	"fmt"
)

// ReadAt reads from the image.
func (c *Copy) ReadAt(p []byte, off int64) error {
	c.within(off, int64(len(p)))
	if f := c.failed.Load(); f != nil {
		return f
	}
	if _, err := c.file.ReadAt(p, off); err != nil {
		return &Error{Copy: c.id, Path: c.path, Op: "read", Off: off, Len: int64(len(p)), Err: err}
	}
	return nil
}

// ReadPromptly implements storage.Prompt.
func (c *Copy) ReadPromptly(p []byte, off int64) bool {
	c.within(off, int64(len(p)))
	f, ok := c.file.(prompt)
	return ok && c.failed.Load() == nil && f.ReadPromptly(p, off)
}

// WriteAt writes, after the intent is durable.
func (c *Copy) WriteAt(p []byte, off int64) error {
	return c.change("write", off, int64(len(p)), func() error {
		_, err := c.file.WriteAt(p, off)
		return err
	})
}

// WritePromptly implements storage.PromptWriter, in regions whose intent is
// durable.
func (c *Copy) WritePromptly(p []byte, off int64) bool {
	n := int64(len(p))
	c.within(off, n)
	f, ok := c.file.(prompt)
	if !ok || n == 0 || c.failed.Load() != nil || !c.writable.Load() || !c.gate.TryRLock() {
		return false
	}
	defer c.gate.RUnlock()
	if !c.intent.marked(Range{off, n}.regions(c.intent.h)) {
		return false
	}
	defer c.changed(off, n)
	return f.WritePromptly(p, off)
}

// Zero makes a range read as zeros and gives its space back.
func (c *Copy) Zero(off, n int64) error {
	return c.change("zero", off, n, func() error { return c.file.PunchHole(off, n) })
}

// Discard is Zero. The guest may read what it discarded, and has to read the
// same from every copy: nothing of that is in the log.
func (c *Copy) Discard(off, n int64) error { return c.Zero(off, n) }

// Sync makes all writes durable that have returned.
func (c *Copy) Sync() error {
	if f := c.failed.Load(); f != nil {
		return f
	}
	if err := c.file.Sync(); err != nil {
		// What the kernel could not write it may forget, and then say that all is well.
		return c.fail(&Error{Copy: c.id, Path: c.path, Op: "sync", Err: err, Final: true})
	}
	return nil
}

func (c *Copy) change(op string, off, n int64, do func() error) error {
	if n == 0 {
		return nil
	}
	c.within(off, n)
	if f := c.failed.Load(); f != nil {
		return f
	}
	if !c.writable.Load() {
		panic("BUG: storage: a write to a copy that was not entered")
	}
	c.gate.RLock()
	defer c.gate.RUnlock()
	if err := c.intent.mark(Range{off, n}.regions(c.intent.h)); err != nil {
		return c.noIntent(err)
	}
	defer c.changed(off, n)
	if err := do(); err != nil {
		return &Error{Copy: c.id, Path: c.path, Op: op, Off: off, Len: n, Err: err}
	}
	return nil
}

// changed tells a Source, after the change: one that read the blocks before reads
// them again.
func (c *Copy) changed(off, n int64) {
	if t := c.track.Load(); t != nil {
		unit := int64(1) << c.intent.h.RegionShift / tracksInRegion
		t.setRange(uint64(off/unit), uint64((off+n-1)/unit))
	}
}

func (c *Copy) within(off, n int64) {
	if off < 0 || n < 0 || uint64(off)+uint64(n) > c.intent.h.Sectors*512 {
		panic(fmt.Sprintf("BUG: storage: %d bytes at %d of a disk of %d sectors", n, off, c.intent.h.Sectors))
	}
}
