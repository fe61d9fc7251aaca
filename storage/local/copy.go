// Package local is the storage side of a local disk: each replica has an image
// of its own, and writes it. Beside the image lies a sidecar that says whose
// copy it is, what state it is in, and which regions were written since the last
// moment at which two copies were alike (a common point), so that a
// re-synchronisation compares and copies only those (DESIGN section 7).
//
//	         Open              Enter            Close
//	(raw) --adopt--> clean ----------> in use --------> clean
//	                                   |   ^ \
//	                 a Target's Begin  |   |  \ MarkStale, a failed write
//	                                   v   |   \
//	              Create ----------> syncing    stale --Begin--> syncing
//	                                   its End
//
// The sidecar never says that a copy is current: the run record does.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// Options say what is to be opened.
type Options struct {
	FS FS // nil for OS
	// VM is the name of the VM whose disk this is, with the disk's own.
	VM string
	// Copy, if it is not zero, is the copy that it has to be, or is made.
	Copy ft.CopyID
	// Run, if it is not zero, is the run that opens it: an image that a later
	// run used is refused.
	Run ft.Run
	// BlockSize is the smallest unit of access, 512 (also if 0) or 4096 bytes.
	BlockSize uint32
	// Adopt makes the sidecar of a raw image that has none. Every other copy
	// then needs a full copy of it.
	Adopt bool
	// Waiting is called once, with the reason, if another process holds the
	// image; Open then waits for it. If it is nil, Open refuses.
	Waiting func(why string)
	// Rand is where ids come from; nil for crypto/rand.
	Rand io.Reader

	regionShift uint8 // for tests: 0 for what fits the size
}

// Copy is a local copy of a disk: a raw image with its sidecar. It is a
// storage.Backend.
type Copy struct {
	fs        FS
	path      string
	id        ft.CopyID // the header's: it does not change while the copy is open
	file      File      // the image, locked
	side      File
	blockSize uint32
	rand      io.Reader

	// gate is held for reading by whatever changes the image, and for writing
	// by the last round of a Source, where nothing may.
	gate   sync.RWMutex
	intent *intent
	points sync.Mutex             // one point is committed, or given up, at a time
	track  atomic.Pointer[bitmap] // for a Source: what has changed meanwhile
	failed atomic.Pointer[Error]
	live   atomic.Bool
	source atomic.Bool // there is a Source or Target
	// writable: the sidecar says durably that the image is being written.
	writable atomic.Bool

	mu sync.Mutex
	h  header
}

var _ storage.Backend = (*Copy)(nil)

// Status is what the sidecar says, for people and for the handshake.
type Status struct {
	Copy       ft.CopyID
	VM         string
	Gen        ft.Generation
	State      State
	Reason     string // why it is stale
	Sectors    uint64
	RegionSize int64 // bytes for which the map has one bit
	Regions    uint64
	Marked     uint64 // regions that were written since the common point
	Common     Point
	Prepared   Point
}

// Open opens and locks the image at path. Nothing is written but, if adopt is
// asked for, the sidecar of an image that has none.
func Open(ctx context.Context, path string, o Options) (*Copy, error) {
	c, err := open(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return c, nil
}

// Create makes a new, empty copy for a re-synchronisation to fill. It is not
// valid before.
func Create(ctx context.Context, path string, sectors uint64, o Options) (*Copy, error) {
	c, err := create(ctx, path, sectors, o)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return c, nil
}

func create(ctx context.Context, path string, sectors uint64, o Options) (*Copy, error) {
	o.setDefaults()
	if f, err := o.FS.Open(path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s exists already: open it, or move it away if it is not needed", path), f.Close())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// The sidecar comes first, so that there is no moment at which the image
	// looks like one that holds something.
	if err := o.FS.Remove(path + sidecarSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := o.makeSidecar(path, sectors, Syncing); err != nil {
		return nil, err
	}
	f, err := o.FS.Create(path)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(int64(sectors) * 512)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := o.FS.SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return open(ctx, path, o)
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = OS{}
	}
	if o.BlockSize == 0 {
		o.BlockSize = 512
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.VM == "" || len(o.VM) > maxName {
		panic("BUG: storage: a local disk without the name of its VM, or with one over 255 bytes")
	}
}

// makeSidecar writes a new sidecar and gives it its name when it is whole.
func (o *Options) makeSidecar(path string, sectors uint64, state State) error {
	h := header{Seq: 1, VM: o.VM, State: state, Sectors: sectors, RegionShift: o.regionShift, Generation: 1}
	var err error
	if h.RegionShift == 0 {
		if h.RegionShift, err = regionShiftFor(sectors); err != nil {
			return err
		}
	}
	if h.Copy = o.Copy; h.Copy == (ft.CopyID{}) {
		if _, err := io.ReadFull(o.Rand, h.Copy[:]); err != nil {
			return err
		}
	}
	temp := path + sidecarSuffix + "-new"
	if err := o.FS.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := o.FS.Create(temp)
	if err != nil {
		return err
	}
	err = f.Truncate(areaStart + 2*h.areaSize())
	if err == nil {
		_, err = f.WriteAt(h.encode(), int64(h.Seq%2)*slotSize)
	}
	if err == nil {
		// A full disk must not be met at the first write of the guest.
		if err = f.Allocate(0, areaStart+2*h.areaSize()); errors.Is(err, errors.ErrUnsupported) {
			err = nil
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := o.FS.Rename(temp, path+sidecarSuffix); err != nil {
		return err
	}
	return o.FS.SyncDir(filepath.Dir(path))
}

func open(ctx context.Context, path string, o Options) (_ *Copy, err error) {
	o.setDefaults()
	c := &Copy{fs: o.FS, path: path, blockSize: o.BlockSize, rand: o.Rand}
	if c.file, err = o.FS.Open(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closeFiles())
		}
	}()
	if err := c.lock(ctx, o.Waiting); err != nil {
		return nil, err
	}
	size, err := c.file.Size()
	if err != nil {
		return nil, err
	}
	if size <= 0 || size%int64(o.BlockSize) != 0 {
		return nil, fmt.Errorf("%s is %d bytes long: a raw image is a positive multiple of %d", path, size, o.BlockSize)
	}
	c.side, err = o.FS.Open(path + sidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		if !o.Adopt {
			return nil, fmt.Errorf("%w beside %s: if it is a raw image with the right contents, adopt it, and the other copy will be made anew from it", ErrNoSidecar, path)
		}
		if err := o.makeSidecar(path, uint64(size)/512, Clean); err != nil {
			return nil, err
		}
		c.side, err = o.FS.Open(path + sidecarSuffix)
	}
	if err != nil {
		return nil, err
	}
	if err := c.readSidecar(); err != nil {
		return nil, err
	}
	return c, c.mayUse(&o, size)
}

// lock takes the lock of the image's descriptor, the one that writes.
func (c *Copy) lock(ctx context.Context, waiting func(string)) error {
	for first := true; ; first = false {
		err := c.file.Lock()
		if !errors.Is(err, ErrLocked) {
			return err
		}
		why := c.path + " is locked by another process: end that one first"
		if waiting == nil {
			return fmt.Errorf("%s: %w", why, ErrLocked)
		}
		if first {
			waiting(why)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", why, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// readSidecar takes the newer of the two slots, and the map.
func (c *Copy) readSidecar() error {
	found := false
	var version error
	for slot := range int64(2) {
		b := make([]byte, slotSize)
		if _, err := c.side.ReadAt(b, slot*slotSize); err != nil && !errors.Is(err, io.EOF) {
			return &Error{Path: c.path + sidecarSuffix, Op: "read", Err: err}
		}
		h, err := decodeHeader(b)
		switch {
		case err == nil && (!found || h.Seq > c.h.Seq):
			c.h, found = h, true
		case err != nil && !errors.Is(err, errNoHeader):
			version = err
		}
	}
	side := c.path + sidecarSuffix
	if version != nil {
		return fmt.Errorf("%s: %w", side, version)
	}
	if !found {
		return fmt.Errorf("%s: %w: if another copy is good, remove image and sidecar, and it is made anew from that one; if this image is the only one, remove the sidecar and adopt the image", side, ErrDamaged)
	}
	size, err := c.side.Size()
	if err != nil {
		return err
	}
	if want := areaStart + 2*c.h.areaSize(); size < want {
		return fmt.Errorf("%s: %w: it is %d bytes long, not %d; see above for a copy that is made anew", side, ErrDamaged, size, want)
	}
	h := c.h
	c.id = h.Copy
	lost := false
	if c.intent, lost, err = loadIntent(c.side, &h); err != nil {
		return &Error{Copy: c.id, Path: side, Op: "read", Err: err}
	}
	if lost {
		return fmt.Errorf("%s: %w: a header that was written is gone: if another copy is good, remove image and sidecar, and it is made anew from that one", side, ErrDamaged)
	}
	return nil
}

// mayUse refuses the image of another.
func (c *Copy) mayUse(o *Options, size int64) error {
	h := &c.h
	switch {
	case h.Sectors != uint64(size)/512:
		return fmt.Errorf("%w: %s has %d sectors and its sidecar is for %d: put back the image that belongs to it, or remove the sidecar and adopt this one", ErrMismatch, c.path, size/512, h.Sectors)
	case h.VM != o.VM:
		return fmt.Errorf("%w: %s is a disk of VM %q, not of %q: name another image, or remove %s if it is to change hands", ErrClaimed, c.path, h.VM, o.VM, c.path+sidecarSuffix)
	case o.Copy != ft.CopyID{} && h.Copy != o.Copy:
		return fmt.Errorf("%w: %s is copy %s, not %s that was asked for: name the image of that one", ErrClaimed, c.path, h.Copy, o.Copy)
	case o.Run != ft.Run{} && h.Gen.Run.Ordinal > o.Run.Ordinal:
		return fmt.Errorf("%w: %s was used by run %s, which is later than %s: this arbiter or its run record is not the one of that run", ErrClaimed, c.path, h.Gen.Run, o.Run)
	case o.Run != ft.Run{} && h.Gen.Run.Ordinal == o.Run.Ordinal && h.Gen.Run.ID != o.Run.ID:
		return fmt.Errorf("%w: %s was used by run %s, and this one is %s: two arbiters have counted runs of one VM; find out which one is right", ErrClaimed, c.path, h.Gen.Run, o.Run)
	}
	return nil
}

// Status is what the sidecar says.
func (c *Copy) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.h
	return Status{
		Copy: h.Copy, VM: h.VM, Gen: h.Gen, State: h.State, Reason: h.Reason,
		Sectors: h.Sectors, RegionSize: 1 << h.RegionShift, Regions: h.regions(), Marked: c.intent.count(),
		Common: h.Common, Prepared: h.Prepared,
	}
}

// Marked is that of Status. It does not wait for the disk.
func (c *Copy) Marked() uint64 { return c.intent.count() }

// Image is what the protocol wants to know of it.
func (s *Status) Image() ft.Image {
	return ft.Image{ID: s.Copy, Gen: s.Gen, Syncing: s.State == Syncing, Since: s.Common, Prepared: s.Prepared}
}

// Sectors is the capacity in 512-byte sectors.
func (c *Copy) Sectors() uint64 { return c.intent.h.Sectors }

// BlockSize is the smallest unit of access in bytes.
func (c *Copy) BlockSize() uint32 { return c.blockSize }

// Close notes that the copy is clean, if it is, and frees the lock.
func (c *Copy) Close() error {
	var err error
	if c.failed.Load() == nil && c.Status().State == InUse {
		if err = c.Sync(); err == nil {
			err = c.note(func(h *header) { h.State = Clean })
		}
	}
	if err = errors.Join(err, c.closeFiles()); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

func (c *Copy) closeFiles() error {
	var err error
	if c.side != nil {
		err = c.side.Close()
	}
	return errors.Join(err, c.file.Close())
}
