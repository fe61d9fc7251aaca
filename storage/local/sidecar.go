package local

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/ft"
)

// The sidecar of IMAGE is IMAGE.lockstep. All numbers are little-endian.
//
//	0      slot 0 of the header, 4096 bytes
//	4096   slot 1
//	8192   map area 0, in sectors of 512 bytes
//	...    map area 1, as long
//
// The header is written into the two slots in turn, and the valid one with the
// greater sequence number counts: a torn write leaves the one before it.
//
// The map's bits of generation g lie in area g%2, in sectors that each name
// their generation and carry a checksum. Those of the header's generation and of
// the next one count, older ones are as if empty. So one write of the header
// both notes a common point and forgets the map that led to it, and a cut, where
// the next generation begins, writes nothing at all. A sector that cannot be
// read has all its bits set.
const (
	sidecarSuffix  = ".lockstep"
	sidecarMagic   = "LKSTEPDK"
	sidecarVersion = 1

	slotSize       = 4096
	areaStart      = 2 * slotSize
	sectorSize     = 512
	sectorHeader   = 16 // checksum, generation
	sectorBits     = (sectorSize - sectorHeader) * 8
	maxName        = 255
	maxReason      = 1024
	minRegionShift = 20 // 1 MiB
	maxRegionShift = 23
	maxRegions     = 1 << 24
	tracksInRegion = 16
)

// header is what the sidecar says about its copy beside the map.
type header struct {
	Seq         uint64
	Copy        ft.CopyID
	VM          string
	Gen         ft.Generation
	State       State
	Sectors     uint64
	RegionShift uint8
	Generation  uint64 // the older of the two that count; from 1
	Common      Point
	Prepared    Point // this copy has it durably, its map counts from Common yet
	Fence       ft.Fence
	Reason      string // why it is stale
}

// regionShiftFor is the size of a region for a disk: 1 MiB, and more as the map
// would grow over 2 MiB.
func regionShiftFor(sectors uint64) (uint8, error) {
	for shift := uint8(minRegionShift); shift <= maxRegionShift; shift++ {
		if sectors <= uint64(maxRegions)<<(shift-9) {
			return shift, nil
		}
	}
	return 0, fmt.Errorf("a disk of %d sectors is too large for a local copy: at most 128 TiB", sectors)
}

func (h *header) regions() uint64 {
	size := uint64(1) << (h.RegionShift - 9)
	return (h.Sectors + size - 1) / size
}

// areaSize is the length of one map area in bytes.
func (h *header) areaSize() int64 {
	n := int64((h.regions()+sectorBits-1)/sectorBits) * sectorSize
	return (n + slotSize - 1) / slotSize * slotSize
}

func (h *header) sectorAt(generation, sector uint64) int64 {
	return areaStart + int64(generation%2)*h.areaSize() + int64(sector)*sectorSize
}

func appendGeneration(b []byte, g ft.Generation) []byte {
	b = binary.LittleEndian.AppendUint64(b, g.Run.Ordinal)
	b = append(b, g.Run.ID[:]...)
	return binary.LittleEndian.AppendUint64(b, g.Number)
}

func appendPoint(b []byte, p Point) []byte {
	return append(appendGeneration(b, p.Gen), p.ID[:]...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

// encode makes the contents of a slot.
func (h *header) encode() []byte {
	b := make([]byte, 0, slotSize)
	b = append(b, sidecarMagic...)
	b = binary.LittleEndian.AppendUint64(b, sidecarVersion)
	b = binary.LittleEndian.AppendUint64(b, h.Seq)
	b = append(b, h.Copy[:]...)
	b = appendGeneration(b, h.Gen)
	b = append(b, byte(h.State), h.RegionShift)
	b = binary.LittleEndian.AppendUint64(b, h.Sectors)
	b = binary.LittleEndian.AppendUint64(b, h.Generation)
	b = appendPoint(b, h.Common)
	b = appendPoint(b, h.Prepared)
	b = binary.LittleEndian.AppendUint64(b, h.Fence.Run)
	b = binary.LittleEndian.AppendUint64(b, h.Fence.Number)
	b = appendText(b, h.VM)
	b = appendText(b, h.Reason)
	b = append(b, make([]byte, slotSize-8-len(b))...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

// errNoHeader is a slot that holds no header: never written, or torn.
var errNoHeader = fmt.Errorf("%w: no valid header", ErrDamaged)

// decodeHeader reads a slot.
func decodeHeader(b []byte) (header, error) {
	var h header
	if len(b) != slotSize || string(b[:8]) != sidecarMagic {
		return h, errNoHeader
	}
	if xxh3.Hash(b[:slotSize-8]) != binary.LittleEndian.Uint64(b[slotSize-8:]) {
		return h, errNoHeader
	}
	r := reader{b: b[8 : slotSize-8]}
	if v := r.u64(); v != sidecarVersion {
		return h, fmt.Errorf("the sidecar has version %d, and this program knows %d: use the one that wrote it, or newer", v, sidecarVersion)
	}
	h.Seq = r.u64()
	r.bytes(h.Copy[:])
	h.Gen = r.generation()
	h.State = State(r.u8())
	h.RegionShift = r.u8()
	h.Sectors = r.u64()
	h.Generation = r.u64()
	h.Common = r.point()
	h.Prepared = r.point()
	h.Fence.Run = r.u64()
	h.Fence.Number = r.u64()
	h.VM = string(r.take(int(r.u16())))
	h.Reason = string(r.take(int(r.u16())))
	if r.bad {
		return h, errNoHeader
	}
	return h, h.validate()
}

func (h *header) validate() error {
	switch {
	case h.State < Clean || h.State > Stale:
		return fmt.Errorf("%w: state %d", ErrDamaged, h.State)
	case h.RegionShift < 13 || h.RegionShift > maxRegionShift:
		return fmt.Errorf("%w: regions of 2^%d bytes", ErrDamaged, h.RegionShift)
	case h.Sectors == 0 || h.Sectors > maxRegions<<(maxRegionShift-9) || h.regions() > maxRegions:
		return fmt.Errorf("%w: %d sectors", ErrDamaged, h.Sectors)
	case h.Generation == 0 || h.Generation > 1<<62 || h.Seq > 1<<62:
		return fmt.Errorf("%w: generation %d, sequence %d", ErrDamaged, h.Generation, h.Seq)
	case len(h.VM) == 0 || len(h.VM) > maxName || len(h.Reason) > maxReason:
		return fmt.Errorf("%w: a name of %d bytes, a reason of %d", ErrDamaged, len(h.VM), len(h.Reason))
	}
	return nil
}

// encodeMapSector makes sector number n of the map from the bits.
func encodeMapSector(generation uint64, words []uint64, n uint64) []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(b[8:], generation)
	for w := range uint64(sectorBits / 64) {
		if at := n*(sectorBits/64) + w; at < uint64(len(words)) {
			binary.LittleEndian.PutUint64(b[sectorHeader+w*8:], words[at])
		}
	}
	binary.LittleEndian.PutUint64(b, xxh3.Hash(b[8:]))
	return b
}

var zeroSector [sectorSize]byte

// decodeMapSector is the generation of a sector, 0 if it was never written.
func decodeMapSector(b []byte) (generation uint64, damaged bool) {
	if bytes.Equal(b, zeroSector[:]) {
		return 0, false
	}
	if xxh3.Hash(b[8:]) != binary.LittleEndian.Uint64(b) {
		return 0, true
	}
	return binary.LittleEndian.Uint64(b[8:]), false
}

// addMapSector adds the bits of sector n to m: all of them if it is damaged.
func addMapSector(m *bitmap, n uint64, b []byte, damaged bool) {
	for i := range uint64(sectorBits) {
		if region := n*sectorBits + i; region < m.n && (damaged || b[sectorHeader+i/8]&(1<<(i%8)) != 0) {
			m.set(region)
		}
	}
}
