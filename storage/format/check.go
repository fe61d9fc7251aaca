package format

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A Report is what Check found.
type Report struct {
	Kind Kind
	Size int64 // of the disk, in bytes
	// Problems are what would lose data, each with what to do. There may be more
	// than are told.
	Problems []string
	More     int
	// Leaked are bytes of the file that nothing uses. They cost only space.
	Leaked int64
	// Notes are no problems, but worth a word.
	Notes []string
}

// maxTold is how many problems a Report tells.
const maxTold = 20

func (r *Report) problem(what string, args ...any) {
	if len(r.Problems) == maxTold {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(what, args...))
}

func (r *Report) note(what string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(what, args...))
}

// CheckOptions say what Check looks for.
type CheckOptions struct {
	Options
	// BlockSize is that of the disk for which the image is meant, in bytes.
	BlockSize uint32
}

// Check looks at the size of an image and, of a qcow2 one, at its tables and
// refcounts and those of its backing files. The error is for what keeps it from
// looking; all that it found wrong is in the report.
func Check(ctx context.Context, path string, o CheckOptions) (*Report, error) {
	f, length, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kind, err := kindOf(f, o.Kind)
	if err != nil {
		return nil, err
	}
	r := &Report{Kind: kind, Size: length}
	if kind == QCOW2 {
		if err := checkQCOW2(ctx, f, length, path, r); err != nil {
			return nil, err
		}
	} else if b, err := first(f); err != nil {
		return nil, err
	} else if like := probe(b); like != "" {
		r.note("it begins like a %s image; if it is one, it must be converted, and if not, its format must be named wherever it is opened", like)
	}
	if err := fits(r.Size, o.BlockSize); err != nil && len(r.Problems) == 0 {
		r.problem("%v; truncate -s (raw) or qemu-img resize (qcow2) changes it, and cutting off loses data", err)
	}
	if kind == QCOW2 && len(r.Problems) == 0 {
		return r, checkBelow(ctx, path, o.Options, r)
	}
	return r, nil
}

// checkBelow checks the backing files of a sound image.
func checkBelow(ctx context.Context, path string, o Options, r *Report) error {
	img, err := openChain(path, o, nil)
	if err != nil {
		r.problem("%v", err)
		return nil
	}
	defer func() { _ = img.Close() }()
	if err := sound(ctx, img.(*qcow2).backing); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.problem("%v", err)
	}
	return nil
}

// checkQCOW2 checks one image without those below it.
func checkQCOW2(ctx context.Context, file io.ReaderAt, length int64, name string, r *Report) error {
	h, err := parseHeader(file, length)
	if err != nil {
		r.problem("it %v", err)
		return nil
	}
	r.Size = h.size
	if err := h.readable(); err != nil {
		r.problem("it %v", err)
		return nil
	}
	q, err := newQCOW2(file, length, name)
	if err != nil {
		return err
	}
	c := &checker{qcow2: q, ctx: ctx, report: r}
	return c.check()
}

// maxCounted is how many clusters of a file are counted: 16 bits for each.
const maxCounted = 1 << 27

// errTooLarge is what an image is refused with whose clusters are too many.
var errTooLarge = errors.New("has more clusters than are counted here; check it with qemu-img check")

// checker counts who uses each cluster of the file and compares that with the
// refcounts.
type checker struct {
	*qcow2
	ctx    context.Context
	report *Report
	used   []uint16 // for each cluster; saturates
	walks  int64    // L2 tables that may yet be walked

	blocks  []uint64 // of the refcount table
	blockAt uint64
	block   []byte
}

func (c *checker) check() error {
	clusters := (c.length + c.cluster() - 1) >> c.clusterBits
	if clusters > maxCounted {
		return fmt.Errorf("format: %s %w", c.name, errTooLarge)
	}
	c.used = make([]uint16, clusters)
	// Each L2 table is walked once for the disk and once for each snapshot that
	// shares it. More than so many walks are made only by images meant to.
	c.walks = 1024 + 64*clusters
	c.use(0, 1, "the header")
	if err := c.refcountTable(); err != nil {
		return err
	}
	if err := c.walk(c.l1Offset, c.l1, true); err != nil {
		return err
	}
	if err := c.walkSnapshots(); err != nil {
		return err
	}
	return c.compare()
}

// use counts a user of n bytes of the file from off on.
func (c *checker) use(off uint64, n int64, what string) bool {
	if !c.holds(off, n) {
		c.report.problem("%s lies at %d, beyond the end of the file: what it held is lost; fetch the image again", what, off)
		return false
	}
	for i := off >> c.clusterBits; i <= (off+uint64(n)-1)>>c.clusterBits; i++ {
		if c.used[i] < math.MaxUint16 {
			c.used[i]++
		}
	}
	return true
}

// aligned counts a user of one whole cluster.
func (c *checker) aligned(off uint64, what string) bool {
	if off%uint64(c.cluster()) != 0 {
		c.report.problem("%s lies at %d, in the middle of a cluster; repair a copy with qemu-img check -r all", what, off)
		return false
	}
	return c.use(off, c.cluster(), what)
}

func (c *checker) refcountTable() error {
	if c.refTableBytes == 0 {
		c.report.problem("it has no refcount table; repair a copy with qemu-img check -r all")
		return nil
	}
	var err error
	if c.blocks, err = c.table(c.refTableOffset, c.refTableBytes/8); err != nil {
		return err
	}
	c.use(uint64(c.refTableOffset), c.refTableBytes, "the refcount table")
	for i, b := range c.blocks {
		if b != 0 && !c.aligned(b, fmt.Sprintf("refcount block %d", i)) {
			c.blocks[i] = 0
		}
	}
	return nil
}

// refcount is that of a cluster on disk; saturated at 16 bits, as used is.
func (c *checker) refcount(cluster uint64) (uint16, error) {
	perBlock := uint64(c.cluster()) * 8 >> c.refcountOrder
	if cluster/perBlock >= uint64(len(c.blocks)) || c.blocks[cluster/perBlock] == 0 {
		return 0, nil
	}
	if at := c.blocks[cluster/perBlock]; at != c.blockAt {
		if c.block == nil {
			c.block = make([]byte, c.cluster())
		}
		if err := readFull(c.file, c.block, int64(at)); err != nil {
			return 0, c.wrap(err)
		}
		c.blockAt = at
	}
	i, be := cluster%perBlock, binary.BigEndian
	var n uint64
	switch c.refcountOrder {
	case 0, 1, 2: // from the lowest bits of a byte on
		bit := i << c.refcountOrder
		n = uint64(c.block[bit/8]) >> (bit % 8) & (1<<(1<<c.refcountOrder) - 1)
	case 3:
		n = uint64(c.block[i])
	case 4:
		n = uint64(be.Uint16(c.block[2*i:]))
	case 5:
		n = uint64(be.Uint32(c.block[4*i:]))
	case 6:
		n = be.Uint64(c.block[8*i:])
	}
	return uint16(min(n, math.MaxUint16)), nil
}

// walk counts what one L1 table uses. Only the entries of the active one say
// whether a cluster is written in place.
func (c *checker) walk(at int64, l1 []uint64, active bool) error {
	c.use(uint64(at), int64(len(l1))*8, "an L1 table")
	seen := make(map[uint64]bool)
	for i, e := range l1 {
		if e&reservedL1 != 0 {
			c.report.problem("L1 entry %d has reserved bits set; repair a copy with qemu-img check -r all", i)
		}
		off := e & offsetMask
		switch {
		case off == 0:
			continue
		case seen[off]:
			c.report.problem("the L2 table at %d is used twice by one disk; repair a copy with qemu-img check -r all", off)
			continue
		}
		seen[off] = true
		if c.walks--; c.walks < 0 {
			return c.damaged("more L2 tables in its snapshots than its %d bytes could be made of", c.length)
		}
		if err := c.ctx.Err(); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		if !c.aligned(off, "an L2 table") {
			continue
		}
		if err := c.copied(e, off, active); err != nil {
			return err
		}
		t, err := c.l2Table(e)
		if err != nil {
			return err
		}
		for _, e := range t {
			if err := c.walkEntry(e, active); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) walkEntry(e uint64, active bool) error {
	if e&compressed != 0 {
		off, n := c.packedAt(e)
		start := off &^ (SectorSize - 1)
		c.use(start, min(n+int64(off-start), max(c.length-int64(start), 1)), "a compressed cluster")
		return nil
	}
	if e&reservedL2 != 0 || c.version < 3 && e&readsZero != 0 {
		c.report.problem("an L2 entry has reserved bits set (%#x); repair a copy with qemu-img check -r all", e)
	}
	off := e & offsetMask
	if off == 0 || !c.aligned(off, "a cluster") {
		return nil
	}
	return c.copied(e, off, active)
}

// copied compares the mark of an entry with the refcount that it stands for.
func (c *checker) copied(e, off uint64, active bool) error {
	if !active || len(c.blocks) == 0 {
		return nil
	}
	n, err := c.refcount(off >> c.clusterBits)
	if err == nil && (e&copied != 0) != (n == 1) {
		c.report.problem("the cluster at %d has refcount %d, but its entry says otherwise; repair a copy with qemu-img check -r all", off, n)
	}
	return err
}

// walkSnapshots counts what the internal snapshots use.
func (c *checker) walkSnapshots() error {
	if c.snapshots == 0 {
		return nil
	}
	c.report.note("it has %d internal snapshots, of which nothing is used here: a conversion takes the disk as it is", c.snapshots)
	at := c.snapshotOffset
	tables := make(map[int64]bool)
	for i := range c.snapshots {
		var b [40]byte
		if err := readFull(c.file, b[:], at); err != nil {
			return c.wrap(err)
		}
		be := binary.BigEndian
		l1, entries := be.Uint64(b[:]), int64(be.Uint32(b[8:]))
		at += (40 + int64(be.Uint32(b[36:])) + int64(be.Uint16(b[12:])) + int64(be.Uint16(b[14:])) + 7) &^ 7
		if !c.holds(uint64(at), 0) { // the last entry's padding need not be there
			c.report.problem("its table of snapshots is cut off at entry %d; repair a copy with qemu-img check -r all", i)
			return nil
		}
		if entries == 0 {
			continue
		}
		if l1%uint64(c.cluster()) != 0 || entries*8 > maxL1Bytes || !c.holds(l1, entries*8) || tables[int64(l1)] {
			c.report.problem("the L1 table of snapshot %d is not where one can be; delete that snapshot with qemu-img snapshot -d, in a copy", i)
			continue
		}
		tables[int64(l1)] = true
		t, err := c.table(int64(l1), entries)
		if err != nil {
			return err
		}
		if err := c.walk(int64(l1), t, false); err != nil {
			return err
		}
	}
	c.use(uint64(c.snapshotOffset), at-c.snapshotOffset, "the table of snapshots")
	return nil
}

// compare looks for clusters with a refcount too small, which a writer would
// overwrite, and too large, which are lost space.
func (c *checker) compare() error {
	if len(c.blocks) == 0 {
		return nil
	}
	if c.bitmaps {
		c.report.note("it has dirty bitmaps, so that no space is counted as leaked")
	}
	for i, used := range c.used {
		n, err := c.refcount(uint64(i))
		if err != nil {
			return err
		}
		switch {
		case n < used:
			c.report.problem("the cluster at %d has refcount %d and %d users, so that it would be overwritten; repair a copy with qemu-img check -r all", int64(i)<<c.clusterBits, n, used)
		case n > used && !c.bitmaps:
			c.report.Leaked += c.cluster()
		}
	}
	return nil
}
