package format

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Images are written with clusters of this size, QEMU's default.
const (
	writeBits     = 16
	writeCluster  = 1 << writeBits
	writeL2       = writeCluster / 8
	writePerBlock = writeCluster / 2 // refcounts of 16 bits
	maxQCOW2      = maxL1Bytes / 8 * writeL2 * writeCluster
)

// writer writes a qcow2 image from its beginning to its end: data, each L2 table
// after the clusters that it maps, then the other tables, the header last.
type writer struct {
	file   io.WriterAt
	size   int64
	packer *packer
	l1     []uint64
	l2     []uint64
	index  int64    // of the L2 table in l2
	dirty  bool     // l2 maps something
	end    int64    // of what is written, in bytes
	refs   []uint16 // for each cluster of the file
	buffer []byte
}

func newWriter(file io.WriterAt, size int64, how Compression) (*writer, error) {
	if size > maxQCOW2 {
		return nil, fmt.Errorf("format: a qcow2 image has at most %s, and this disk has %s; keep it raw", Human(maxQCOW2), Human(size))
	}
	p, err := newPacker(how)
	if err != nil {
		return nil, err
	}
	const perL1 = writeL2 * writeCluster
	return &writer{
		file: file, size: size, packer: p,
		l1: make([]uint64, (size+perL1-1)/perL1), l2: make([]uint64, writeL2),
		end: writeCluster, refs: []uint16{1}, buffer: make([]byte, writeCluster),
	}, nil
}

// cluster writes a whole cluster of the disk. They come in ascending order.
func (w *writer) cluster(b []byte, off int64) error {
	n := off / writeCluster
	if n/writeL2 != w.index {
		if err := w.flush(); err != nil {
			return err
		}
		w.index = n / writeL2
	}
	e, err := w.place(b)
	if err != nil {
		return err
	}
	w.l2[n%writeL2], w.dirty = e, true
	return nil
}

// place writes a cluster, compressed if that makes it smaller, and returns its
// entry.
func (w *writer) place(b []byte) (uint64, error) {
	packed, err := w.packer.pack(b)
	if err != nil {
		return 0, err
	}
	if packed == nil {
		off, err := w.append(b)
		return uint64(off) | copied, err
	}
	off := w.end
	if _, err := w.file.WriteAt(packed, off); err != nil {
		return 0, fmt.Errorf("format: %w", err)
	}
	w.end += int64(len(packed))
	for i := off / writeCluster; i <= (w.end-1)/writeCluster; i++ {
		if i == int64(len(w.refs)) {
			w.refs = append(w.refs, 0)
		}
		if w.refs[i] == math.MaxUint16 {
			panic("BUG: format: more streams in a cluster than it has bytes for")
		}
		w.refs[i]++
	}
	sectors := (w.end-1)/SectorSize - off/SectorSize
	return compressed | uint64(sectors)<<(62-(writeBits-8)) | uint64(off), nil
}

// append writes whole clusters of the file, each with one user.
func (w *writer) append(b []byte) (int64, error) {
	off := (w.end + writeCluster - 1) &^ (writeCluster - 1)
	if _, err := w.file.WriteAt(b, off); err != nil {
		return 0, fmt.Errorf("format: %w", err)
	}
	w.end = off + (int64(len(b))+writeCluster-1)&^(writeCluster-1)
	for int64(len(w.refs)) < w.end/writeCluster {
		w.refs = append(w.refs, 1)
	}
	return off, nil
}

// flush writes the L2 table.
func (w *writer) flush() error {
	if !w.dirty {
		return nil
	}
	off, err := w.append(w.encode(w.l2))
	if err != nil {
		return err
	}
	w.l1[w.index] = uint64(off) | copied
	clear(w.l2)
	w.dirty = false
	return nil
}

func (w *writer) encode(table []uint64) []byte {
	b := w.buffer[:0]
	for _, e := range table {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// finish writes what maps the rest, and returns the length of the file.
func (w *writer) finish() (int64, error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	l1, err := w.append(w.encode(w.l1))
	if err != nil {
		return 0, err
	}
	// The refcounts count themselves and their table too.
	start := int64(len(w.refs))
	var blocks, tables int64
	for total := start; ; {
		blocks = (total + writePerBlock - 1) / writePerBlock
		tables = (blocks*8 + writeCluster - 1) / writeCluster
		if total == start+blocks+tables {
			break
		}
		total = start + blocks + tables
	}
	if tables*writeCluster > maxRefcountTab {
		return 0, fmt.Errorf("format: the image would need %d clusters, which is more than QEMU reads; keep it raw", start)
	}
	table := make([]uint64, blocks)
	for i := range table {
		table[i] = uint64(start+int64(i)) * writeCluster
	}
	for range blocks + tables {
		w.refs = append(w.refs, 1)
	}
	for i := range table {
		b := make([]byte, 0, writeCluster)
		for _, n := range w.refs[i*writePerBlock : min((i+1)*writePerBlock, len(w.refs))] {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		if _, err := w.file.WriteAt(b, int64(table[i])); err != nil {
			return 0, fmt.Errorf("format: %w", err)
		}
	}
	at := (start + blocks) * writeCluster
	if _, err := w.file.WriteAt(w.encode(table), at); err != nil {
		return 0, fmt.Errorf("format: %w", err)
	}
	if _, err := w.file.WriteAt(w.header(l1, at, tables), 0); err != nil {
		return 0, fmt.Errorf("format: %w", err)
	}
	return int64(len(w.refs)) * writeCluster, nil
}

func (w *writer) header(l1, table, tables int64) []byte {
	b := make([]byte, 120) // and the end of its extensions
	be := binary.BigEndian
	be.PutUint32(b[0:], qcow2Magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], writeBits)
	be.PutUint64(b[24:], uint64(w.size))
	be.PutUint32(b[36:], uint32(len(w.l1)))
	be.PutUint64(b[40:], uint64(l1))
	be.PutUint64(b[48:], uint64(table))
	be.PutUint32(b[56:], uint32(tables))
	be.PutUint32(b[96:], 4) // refcounts of 16 bits
	be.PutUint32(b[100:], 112)
	if w.packer.how == Zstd {
		be.PutUint64(b[72:], incompatCompr)
		b[104] = 1
	}
	return b
}
