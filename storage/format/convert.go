package format

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// CreateOptions say what is made.
type CreateOptions struct {
	Size      int64  // of the disk, in bytes
	BlockSize uint32 // of the disk, in bytes: 512 or 4096; Size is a multiple of it
}

// Result is what became of a Create or Convert.
type Result struct {
	From, To  Kind // From is Auto if nothing was converted
	Size      int64
	Allocated int64 // bytes of the file that take space
	// Warnings are what its user should know, a sentence each.
	Warnings []string
}

const noHoles = "this file system stores no holes, so that an image takes its whole size there; keep thin images on ext4, XFS or Btrfs"

// Create makes a raw image that reads as zeros and takes space only as it is
// written. A file of that name is left alone.
func Create(path string, o CreateOptions) (*Result, error) {
	if err := fits(o.Size, o.BlockSize); err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	if named(path) == QCOW2 {
		return nil, fmt.Errorf("format: %s has the name of a qcow2 image, and VMs run from raw ones; choose a name that ends in .img or .raw", path)
	}
	d, err := newDraft(path)
	if err != nil {
		return nil, err
	}
	r := &Result{To: Raw, Size: o.Size}
	if err := d.fill(r, func() error { return d.truncate(o.Size) }); err != nil {
		return nil, err
	}
	return r, nil
}

// fill makes the draft by write and publishes it, or drops it.
func (d *draft) fill(r *Result, write func() error) error {
	sparse, err := d.sparse()
	if err == nil {
		err = write()
	}
	if err == nil {
		r.Allocated, err = allocated(d.File)
	}
	if err != nil {
		d.drop()
		return err
	}
	if !sparse {
		r.Warnings = append(r.Warnings, noHoles)
	}
	return d.publish()
}

func (d *draft) truncate(size int64) error {
	if err := d.Truncate(size); err != nil {
		return fmt.Errorf("format: a file of %s cannot be made here: %w; choose a smaller size or another file system", Human(size), errors.Unwrap(err))
	}
	return nil
}

// ConvertOptions say how an image is converted.
type ConvertOptions struct {
	From Options
	// To is what is made; Auto goes by the new name.
	To          Kind
	Compression Compression // of a qcow2 image
	// Progress, if not nil, is told how much of the disk is done, in bytes.
	Progress func(done, total int64)
}

// Convert copies the disk in the image at src, with its backing files, to an image
// of its own at dst. What reads as zeros takes no space there. dst appears when
// it is whole and durable; a file of that name is left alone.
func Convert(ctx context.Context, src, dst string, o ConvertOptions) (*Result, error) {
	to, err := target(dst, o)
	if err != nil {
		return nil, err
	}
	img, err := Open(src, o.From)
	if err != nil {
		return nil, err
	}
	defer func() { _ = img.Close() }()
	r := &Result{From: Raw, To: to, Size: img.Size()}
	if q, ok := img.(*qcow2); ok {
		r.From = QCOW2
		if q.snapshots > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("the %d internal snapshots of %s stay behind: only the disk as it is was taken", q.snapshots, src))
		}
	}
	if err := sound(ctx, img); err != nil {
		return nil, err
	}
	d, err := newDraft(dst)
	if err != nil {
		return nil, err
	}
	c := &conversion{ctx: ctx, img: img, progress: o.Progress, buffer: make([]byte, 1<<20)}
	err = d.fill(r, func() error {
		if to == QCOW2 {
			return c.toQCOW2(d, o.Compression)
		}
		return c.toRaw(d)
	})
	if err != nil {
		return nil, err
	}
	if b := c.first; to == Raw && probe(b) != "" {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the disk begins like a %s image: name its format, raw, wherever the image is opened", probe(b)))
	}
	return r, nil
}

// target is the kind to make. A name that says another is refused, since whoever
// goes by it later would be wrong.
func target(dst string, o ConvertOptions) (Kind, error) {
	to, says := o.To, named(dst)
	switch {
	case to == Auto && says == Auto:
		to = Raw
	case to == Auto:
		to = says
	case says != Auto && says != to:
		return Auto, fmt.Errorf("format: %s has the name of a %s image, but %s is asked for; choose another name or format", dst, says, to)
	}
	if to != QCOW2 && o.Compression != None {
		return Auto, fmt.Errorf("format: a %s image is not compressed; leave the compression out, or make a qcow2 image", to)
	}
	return to, nil
}

// sound refuses an image, or one below it, whose tables contradict one another:
// what is read from it may not be what was written.
func sound(ctx context.Context, img Image) error {
	for q, ok := img.(*qcow2); ok; q, ok = q.backing.(*qcow2) {
		report := &Report{}
		c := &checker{qcow2: q, ctx: ctx, report: report}
		if err := c.check(); err != nil && !errors.Is(err, errTooLarge) {
			return err
		}
		if len(report.Problems) > 0 {
			return fmt.Errorf("format: %s is damaged: %s", q.name, report.Problems[0])
		}
	}
	return nil
}

// zeroUnit is what is not copied.
var zeroUnit [writeCluster]byte

// conversion copies a disk.
type conversion struct {
	ctx      context.Context
	img      Image
	progress func(done, total int64)
	buffer   []byte
	first    []byte // of the disk, for probe
}

// each calls copy with what is not zeros, in pieces of whole units of the disk,
// the last of which may be cut off, in ascending order.
func (c *conversion) each(unit int64, copy func(p []byte, off int64) error) error {
	size := c.img.Size()
	for off := int64(0); off < size; {
		if err := c.ctx.Err(); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		if c.progress != nil {
			c.progress(off, size)
		}
		e, err := c.img.Extent(off)
		if err != nil {
			return err
		}
		n := (e.Length + unit - 1) / unit * unit
		if e.Zero {
			end := off + e.Length
			if end < size {
				end = end / unit * unit
			}
			if end > off {
				off = end
				continue
			}
			n = unit // in which something else follows
		}
		p := c.buffer[:min(n, int64(len(c.buffer)), size-off)]
		if err := c.img.ReadAt(p, off); err != nil {
			return err
		}
		if off == 0 {
			c.first = bytes.Clone(p[:min(probeLength, len(p))])
		}
		for len(p) > 0 {
			n := min(int64(len(p)), unit)
			if !bytes.Equal(p[:n], zeroUnit[:n]) {
				if err := copy(p[:n], off); err != nil {
					return err
				}
			}
			p, off = p[n:], off+n
		}
	}
	if c.progress != nil {
		c.progress(size, size)
	}
	return nil
}

// rawUnit is the smallest hole that is kept, in bytes: a block of the usual file
// systems.
const rawUnit = 4096

func (c *conversion) toRaw(d *draft) error {
	if err := d.truncate(c.img.Size()); err != nil {
		return err
	}
	return c.each(rawUnit, func(p []byte, off int64) error {
		if _, err := d.WriteAt(p, off); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		return nil
	})
}

func (c *conversion) toQCOW2(d *draft, how Compression) error {
	w, err := newWriter(d, c.img.Size(), how)
	if err != nil {
		return err
	}
	padded := make([]byte, writeCluster)
	err = c.each(writeCluster, func(p []byte, off int64) error {
		if len(p) < writeCluster {
			clear(padded[copy(padded, p):])
			p = padded
		}
		return w.cluster(p, off)
	})
	if err != nil {
		return err
	}
	length, err := w.finish()
	if err != nil {
		return err
	}
	return d.truncate(length)
}
