package format

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// qcow2 is a qcow2 image. The mapping goes from a cluster of the disk through
// an entry of the L1 table and one of an L2 table to a cluster of the file.
type qcow2 struct {
	*header
	file    io.ReaderAt
	length  int64 // of the file, in bytes
	name    string
	l1      []uint64
	backing Image // nil if there is none
	closer  io.Closer

	// The last L2 table and the last compressed cluster.
	l2At      int64
	l2        []uint64
	unpackedE uint64
	unpacked  []byte
	unpacker  unpacker
}

// newQCOW2 opens an image in a file of length bytes, without its backing file.
func newQCOW2(file io.ReaderAt, length int64, name string) (*qcow2, error) {
	h, err := parseHeader(file, length)
	if err == nil {
		err = h.readable()
	}
	if err != nil {
		return nil, fmt.Errorf("format: %s %w", name, err)
	}
	q := &qcow2{header: h, file: file, length: length, name: name}
	if q.l1, err = q.table(h.l1Offset, int64(h.l1Size)); err != nil {
		return nil, err
	}
	return q, nil
}

// table reads a table of 64-bit entries.
func (q *qcow2) table(off, entries int64) ([]uint64, error) {
	b := make([]byte, entries*8)
	if err := readFull(q.file, b, off); err != nil {
		return nil, q.wrap(err)
	}
	t := make([]uint64, entries)
	for i := range t {
		t[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return t, nil
}

func (q *qcow2) wrap(err error) error { return fmt.Errorf("format: %s: %w", q.name, err) }

func (q *qcow2) damaged(what string, args ...any) error {
	return fmt.Errorf("format: %s %w", q.name, damaged(what, args...))
}

func (q *qcow2) Size() int64 { return q.size }

func (q *qcow2) Close() error {
	var err error
	if q.backing != nil {
		err = q.backing.Close()
	}
	if q.closer != nil {
		if own := q.closer.Close(); err == nil {
			err = own
		}
	}
	return err
}

// place is where a cluster of the disk comes from.
type place uint8

const (
	unallocated place = iota // from the backing file, or zeros
	zeros
	plain
	packed // compressed
)

// entry decodes an L2 entry.
func (q *qcow2) entry(e uint64) place {
	switch {
	case e&compressed != 0:
		return packed
	case q.version >= 3 && e&readsZero != 0:
		return zeros
	case e&offsetMask == 0:
		return unallocated
	}
	return plain
}

// holds says whether a range of the file is there. Its last cluster may be cut
// off, for zeros.
func (q *qcow2) holds(off uint64, n int64) bool {
	return off <= math.MaxInt64 && n <= (q.length+q.cluster()-1)&^(q.cluster()-1)-int64(off)
}

// l2Table is the L2 table of an L1 entry that is not empty.
func (q *qcow2) l2Table(e uint64) ([]uint64, error) {
	at := e & offsetMask
	if int64(at) == q.l2At {
		return q.l2, nil
	}
	if at%uint64(q.cluster()) != 0 || !q.holds(at, q.cluster()) {
		return nil, q.damaged("an L2 table at %d, where none can be", at)
	}
	t, err := q.table(int64(at), q.l2Entries())
	if err != nil {
		return nil, err
	}
	q.l2At, q.l2 = int64(at), t
	return t, nil
}

// lookup is the L2 entry for byte off of the disk; 0 if it has no L2 table.
func (q *qcow2) lookup(off int64) (uint64, error) {
	e := q.l1[off/q.perL1()]
	if e&offsetMask == 0 {
		return 0, nil
	}
	t, err := q.l2Table(e)
	if err != nil {
		return 0, err
	}
	return t[off/q.cluster()%q.l2Entries()], nil
}

// A run is looked for in so many entries at most, so that a backing file of many
// small extents does not make it looked for again and again.
const maxRun = 1024

// run is how far from byte off on the disk comes from the same place.
func (q *qcow2) run(off int64) (place, int64, error) {
	first, err := q.lookup(off)
	if err != nil {
		return 0, 0, err
	}
	from, end := q.entry(first), off&^(q.cluster()-1)
	for range maxRun {
		if step := q.perL1(); q.l1[end/step]&offsetMask == 0 {
			end = end/step*step + step
		} else {
			end += q.cluster()
		}
		if end >= q.size || end < 0 {
			end = q.size
			break
		}
		next, err := q.lookup(end)
		if err != nil || q.entry(next) != from {
			break // an error is met again when the next run begins with it
		}
	}
	return from, end - off, nil
}

// Extent tells zeros from data, here and in the backing files.
func (q *qcow2) Extent(off int64) (Extent, error) {
	from, n, err := q.run(off)
	e := Extent{Start: off, Length: n, Zero: from == zeros || from == unallocated}
	if err != nil || from != unallocated || q.backing == nil || off >= q.backing.Size() {
		return e, err
	}
	below, err := q.backing.Extent(off)
	below.Length = min(below.Length, n)
	return below, err
}

// ReadAt goes from cluster to cluster.
func (q *qcow2) ReadAt(p []byte, off int64) error {
	for len(p) > 0 {
		n := min(q.cluster()-off%q.cluster(), int64(len(p)))
		if err := q.readCluster(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// readCluster reads from one cluster.
func (q *qcow2) readCluster(p []byte, off int64) error {
	e, err := q.lookup(off)
	if err != nil {
		return err
	}
	switch q.entry(e) {
	case zeros:
		clear(p)
	case unallocated:
		return q.readBacking(p, off)
	case plain:
		at := e & offsetMask
		if at%uint64(q.cluster()) != 0 || !q.holds(at, q.cluster()) {
			return q.damaged("the cluster of byte %d of the disk at %d, where none can be", off, at)
		}
		if err := readFull(q.file, p, int64(at)+off%q.cluster()); err != nil {
			return q.wrap(err)
		}
	case packed:
		if err := q.unpack(e, off); err != nil {
			return err
		}
		copy(p, q.unpacked[off%q.cluster():])
	}
	return nil
}

// readBacking reads what this image does not have. A backing file may be shorter.
func (q *qcow2) readBacking(p []byte, off int64) error {
	n := 0
	if q.backing != nil && off < q.backing.Size() {
		n = int(min(int64(len(p)), q.backing.Size()-off))
		if err := q.backing.ReadAt(p[:n], off); err != nil {
			return err
		}
	}
	clear(p[n:])
	return nil
}
