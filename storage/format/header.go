package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The layout of qcow2 is that of docs/interop/qcow2 in QEMU's manual. Numbers
// are big-endian.
const (
	qcow2Magic      = 0x514649fb
	headerV2        = 72
	headerV3        = 104
	minClusterBits  = 9
	maxClusterBits  = 21
	maxL1Bytes      = 32 << 20 // QEMU makes and opens none that is larger
	maxRefcountTab  = 8 << 20
	maxSnapshots    = 65536
	maxBackingName  = 1023
	maxExtensions   = 64
	extBackingKind  = 0xe2792aca
	extDataFile     = 0x44415441
	extBitmaps      = 0x23852875
	copied          = 1 << 63 // in L1 and L2 entries: the refcount is exactly one
	compressed      = 1 << 62 // in L2 entries
	readsZero       = 1       // in L2 entries, version 3
	offsetMask      = 0x00ff_ffff_ffff_fe00
	reservedL2      = 0x3f00_0000_0000_01fe
	reservedL1      = 0x7f00_0000_0000_01ff
	incompatDirty   = 1 << 0
	incompatCorrupt = 1 << 1
	incompatExtData = 1 << 2
	incompatCompr   = 1 << 3
	incompatExtL2   = 1 << 4
	incompatKnown   = 1<<5 - 1
	compatLazy      = 1 << 0
	autoclearBitmap = 1 << 0
)

// Compression is how clusters are compressed.
type Compression uint8

// None compresses nothing. QEMU reads Zlib everywhere, Zstd since its 5.1.
const (
	None Compression = iota
	Zlib
	Zstd
)

func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Zlib:
		return "zlib"
	case Zstd:
		return "zstd"
	}
	panic(fmt.Sprintf("BUG: format: compression %d", uint8(c)))
}

// ParseCompression is the compression of that name.
func ParseCompression(s string) (Compression, error) {
	for c := None; c <= Zstd; c++ {
		if s == c.String() {
			return c, nil
		}
	}
	return None, fmt.Errorf("format: there is no compression %q; there are none, zlib and zstd", s)
}

// header is a qcow2 header whose numbers have been checked against one another
// and the length of the file.
type header struct {
	version        uint32
	clusterBits    uint
	size           int64 // of the disk, in bytes
	crypt          uint32
	l1Size         uint32 // entries
	l1Offset       int64
	refTableOffset int64
	refTableBytes  int64
	refcountOrder  uint
	snapshots      uint32
	snapshotOffset int64
	incompatible   uint64
	compatible     uint64
	autoclear      uint64
	compression    Compression
	backing        string // empty if there is none
	backingKind    string // as the header says it, or empty
	dataFile       bool
	bitmaps        bool
}

func (h *header) cluster() int64   { return 1 << h.clusterBits }
func (h *header) l2Entries() int64 { return 1 << (h.clusterBits - 3) }
func (h *header) perL1() int64     { return 1 << (2*h.clusterBits - 3) } // bytes of the disk for an L1 entry

// parseHeader reads the header of a file of length bytes. What is well formed but
// cannot be read here is not an error: see readable.
func parseHeader(r io.ReaderAt, length int64) (*header, error) {
	var b [112]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n < headerV2 {
		return nil, fmt.Errorf("is cut off: it has only %d bytes of a header; fetch it again", n)
	}
	be := binary.BigEndian
	u32 := func(at int) uint32 { return be.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return be.Uint64(b[at:]) }
	if u32(0) != qcow2Magic {
		return nil, errors.New("is no qcow2 image: it does not begin with the magic of one")
	}
	h := &header{version: u32(4), crypt: u32(32), l1Size: u32(36), snapshots: u32(60), refcountOrder: 4, compression: Zlib}
	if h.version != 2 && h.version != 3 {
		return nil, fmt.Errorf("has version %d of the format, and only 2 and 3 are read; convert it with qemu-img", h.version)
	}
	if bits := u32(20); bits < minClusterBits || bits > maxClusterBits {
		return nil, damaged("clusters of 2^%d bytes", bits)
	}
	h.clusterBits = uint(u32(20))
	headerLength := uint32(headerV2)
	if h.version == 3 {
		if n < headerV3 {
			return nil, fmt.Errorf("is cut off: it has only %d bytes of a header; fetch it again", n)
		}
		h.incompatible, h.compatible, h.autoclear = u64(72), u64(80), u64(88)
		order := u32(96)
		headerLength = u32(100)
		if order > 6 {
			return nil, damaged("refcounts of 2^%d bits", order)
		}
		h.refcountOrder = uint(order)
		if headerLength < headerV3 || headerLength%8 != 0 || int64(headerLength) > h.cluster() {
			return nil, damaged("a header of %d bytes", headerLength)
		}
		if err := h.parseCompression(headerLength, b[104]); err != nil {
			return nil, err
		}
	}
	if err := h.parseTables(u64, u32, length); err != nil {
		return nil, err
	}
	return h, h.parseNames(r, headerLength, u64(8), u32(16), length)
}

func (h *header) parseCompression(headerLength uint32, kind byte) error {
	given := headerLength >= 112 && kind != 0
	switch {
	case given != (h.incompatible&incompatCompr != 0):
		return damaged("a compression type that its feature bit contradicts")
	case given && kind == 1:
		h.compression = Zstd
	case given:
		return fmt.Errorf("is compressed with type %d, and only zlib and zstd are read; convert it with qemu-img", kind)
	}
	return nil
}

// parseTables takes over where the tables lie. All of each lies in the file.
func (h *header) parseTables(u64 func(int) uint64, u32 func(int) uint32, length int64) error {
	size := u64(24)
	if size > math.MaxInt64 {
		return damaged("a disk of %d bytes", size)
	}
	if err := fits(int64(size), SectorSize); err != nil {
		return fmt.Errorf("has a disk that none of its users can have: %w; qemu-img resize changes it", err)
	}
	h.size = int64(size)
	if need := (h.size-1)/h.perL1() + 1; int64(h.l1Size)*8 > maxL1Bytes || int64(h.l1Size) < need {
		return damaged("an L1 table of %d entries for a disk of %d bytes", h.l1Size, h.size)
	}
	if int64(u32(56)) > maxRefcountTab>>h.clusterBits {
		return damaged("a refcount table of %d clusters", u32(56))
	}
	h.refTableBytes = int64(u32(56)) << h.clusterBits
	if h.snapshots > maxSnapshots {
		return damaged("%d snapshots", h.snapshots)
	}
	var err error
	within := func(what string, at int, n int64) int64 {
		off := u64(at)
		if n > 0 && (off%uint64(h.cluster()) != 0 || off == 0 || off > math.MaxInt64 || n > length-int64(off)) {
			err = errors.Join(err, damaged("%s of %d bytes at %d in a file of %d bytes", what, n, off, length))
		}
		return int64(off)
	}
	h.l1Offset = within("an L1 table", 40, int64(h.l1Size)*8)
	h.refTableOffset = within("a refcount table", 48, h.refTableBytes)
	h.snapshotOffset = within("a snapshot table", 64, int64(h.snapshots)*40)
	return err
}

// parseNames reads the header's extensions and the name of the backing file, all
// of which lie in the first cluster.
func (h *header) parseNames(r io.ReaderAt, at uint32, nameAt uint64, nameLength uint32, length int64) error {
	end := min(h.cluster(), length)
	if nameAt != 0 {
		if nameLength > maxBackingName || nameAt < uint64(at) || nameAt > uint64(end) || uint64(nameLength) > uint64(end)-nameAt {
			return damaged("the name of a backing file, %d bytes at %d, beyond its first cluster", nameLength, nameAt)
		}
		end = int64(nameAt)
	}
	if err := h.parseExtensions(r, int64(at), end); err != nil {
		return err
	}
	if nameAt == 0 || nameLength == 0 {
		return nil
	}
	name := make([]byte, nameLength)
	if _, err := r.ReadAt(name, int64(nameAt)); err != nil && err != io.EOF {
		return err
	}
	h.backing = string(name)
	if strings.ContainsRune(h.backing, 0) {
		return damaged("the name of a backing file with a zero byte in it")
	}
	return nil
}

func (h *header) parseExtensions(r io.ReaderAt, at, end int64) error {
	for range maxExtensions {
		var b [8]byte
		if end-at < int64(len(b)) {
			return nil
		}
		if _, err := r.ReadAt(b[:], at); err != nil {
			return err
		}
		kind, n := binary.BigEndian.Uint32(b[:]), int64(binary.BigEndian.Uint32(b[4:]))
		at += int64(len(b))
		if kind == 0 {
			return nil
		}
		if n > end-at {
			return damaged("a header extension of %d bytes beyond its first cluster", n)
		}
		switch kind {
		case extBackingKind:
			name := make([]byte, min(n, 64))
			if _, err := r.ReadAt(name, at); err != nil {
				return err
			}
			h.backingKind = string(name)
		case extDataFile:
			h.dataFile = true
		case extBitmaps:
			h.bitmaps = h.autoclear&autoclearBitmap != 0
		}
		at += (n + 7) &^ 7
	}
	return damaged("more than %d header extensions", maxExtensions)
}

// readable says why the image cannot be read here, and what to do.
func (h *header) readable() error {
	switch {
	case h.crypt != 0:
		return errors.New("is encrypted, which is not read here; decrypt it with qemu-img convert and its secret")
	case h.incompatible&incompatCorrupt != 0:
		return errors.New("is marked as corrupt; copy it, repair the copy with qemu-img check -r all, and look at its file systems before you trust it")
	case h.incompatible&incompatDirty != 0:
		return errors.New("was not closed cleanly (its dirty bit is set); make sure that nothing uses it, then repair it with qemu-img check -r all")
	case h.incompatible&incompatExtData != 0 || h.dataFile:
		return errors.New("keeps its data in another file, which is not read here; put all into one with qemu-img convert -O qcow2")
	case h.incompatible&incompatExtL2 != 0:
		return errors.New("has extended L2 entries (subclusters), which are not read here; convert it with qemu-img convert -O qcow2 -o extended_l2=off")
	case h.incompatible&^incompatKnown != 0:
		return fmt.Errorf("needs features that are not known here (bits %#x); convert it with the qemu-img that made it, to qcow2 with -o compat=1.1", h.incompatible&^incompatKnown)
	}
	return nil
}

// damaged is the error of an image that contradicts itself.
func damaged(what string, args ...any) error {
	return fmt.Errorf("is damaged: it has "+what+"; fetch it again, or repair a copy with qemu-img check -r all", args...)
}
