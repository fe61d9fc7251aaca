package virtio

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// Limits of a block device.
const (
	// MaxDiskRequest is how many bytes one request may carry. A driver that
	// keeps to seg_max and size_max cannot exceed it, and with its head it
	// fits a frame of the logging channel.
	MaxDiskRequest = blockSegMax * blockSizeMax
	// MaxDiskPending is how many requests may wait for a completion.
	MaxDiskPending = 128

	blockSegMax  = 126
	blockSizeMax = 8192
	sectorSize   = 512

	// How much one discard or zeroing may be about, in sectors: 1 GiB, and
	// 32 MiB for what a host may have to write.
	maxDiscardSectors = 1 << 21
	maxZeroSectors    = 1 << 16
)

// Block device (5.2).
const (
	blockDevice = 2

	blockFeatureSizeMax  = 1 << 1
	blockFeatureSegMax   = 1 << 2
	blockFeatureRO       = 1 << 5
	blockFeatureBlkSize  = 1 << 6
	blockFeatureFlush    = 1 << 9
	blockFeatureTopology = 1 << 10
	blockFeatureDiscard  = 1 << 13
	blockFeatureZero     = 1 << 14

	blockIn      = 0
	blockOut     = 1
	blockFlush   = 4
	blockGetID   = 8
	blockDiscard = 11
	blockZero    = 13

	blockRange = 16 // bytes: sector, number of sectors, flags
	blockUnmap = 1  // flag of a zeroing

	blockHeader = 16 // bytes: type, reserved, sector
	blockIDSize = machine.MaxSerial
)

// Block is a virtio block device. Reads, writes, flushes, discards and zeroings
// go out as requests and may be completed in any order; everything else is answered at once. The
// bytes of a write are copied out when it is kicked, the bytes of a read are
// copied in when it is completed (the paper's bounce buffers), so a race of the
// guest with its own disk ends the same way on both replicas.
type Block struct {
	MMIO
	out   bus.Emitter
	index uint8
	cfg   machine.DiskConfig
	// perBlock is how many sectors a block has.
	perBlock uint64
	space    [60]byte // configuration space (5.2.4)

	nextID  uint64
	pending []blockRequest // by ascending ID
}

// blockRequest waits for the host.
type blockRequest struct {
	id     uint64
	op     machine.DiskOp
	sector uint64
	length uint32 // bytes to read or write
	// sectors and unmap are of a discard or zeroing.
	sectors uint64
	unmap   bool
	bytes   []byte // to write; emitted, so never changed

	// forgotten: the guest reset the device or stopped the queue. The host
	// still does the request, since a later one to the same blocks may already
	// be in order behind it, and its completion is dropped.
	forgotten bool
	head      uint16
	in        []segment // for the data of a read and the status byte
}

// NewBlock is disk number index as it is at power-on.
func NewBlock(ram *mem.RAM, out bus.Emitter, index uint8, cfg machine.DiskConfig) *Block {
	b := &Block{out: out, index: index, cfg: cfg, nextID: 1}
	features := uint64(blockFeatureSizeMax | blockFeatureSegMax | blockFeatureBlkSize | blockFeatureTopology)
	if cfg.ReadOnly {
		features |= blockFeatureRO
	} else {
		features |= blockFeatureFlush | blockFeatureDiscard | blockFeatureZero
	}
	le, perBlock := binary.LittleEndian, cfg.Block()/sectorSize
	le.PutUint64(b.space[0:], cfg.Sectors)
	le.PutUint32(b.space[8:], blockSizeMax)
	le.PutUint32(b.space[12:], blockSegMax)
	le.PutUint32(b.space[20:], cfg.Block()) // after the geometry
	// Topology: hosts do best with aligned pieces of 4096 bytes.
	const best = 4096
	b.space[24] = byte(bits.TrailingZeros32(best / cfg.Block()))
	le.PutUint16(b.space[26:], uint16(best/cfg.Block()))
	if !cfg.ReadOnly {
		le.PutUint32(b.space[36:], maxDiscardSectors)
		le.PutUint32(b.space[40:], 1) // range in a discard
		le.PutUint32(b.space[44:], best/sectorSize)
		le.PutUint32(b.space[48:], maxZeroSectors)
		le.PutUint32(b.space[52:], 1) // range in a zeroing
		b.space[56] = 1               // a zeroing may unmap
	}
	b.perBlock = uint64(perBlock)
	b.init(ram, b, blockDevice, features, MaxDiskPending)
	return b
}

func (b *Block) config() []byte { return b.space[:] }

func (b *Block) notify(q int) {
	b.serve(q, func() bool { return len(b.pending) < MaxDiskPending }, b.start)
}

func (b *Block) forget(int) {
	for i := range b.pending {
		r := &b.pending[i]
		r.forgotten, r.head, r.in = true, 0, nil
	}
}

// start takes one request from the driver (5.2.6).
func (b *Block) start(q *queue, c *chain) bool {
	var h [blockHeader]byte
	if !b.gather(c.out, 0, h[:]) || c.inLen == 0 {
		return false
	}
	kind := binary.LittleEndian.Uint32(h[0:])
	sector := binary.LittleEndian.Uint64(h[8:])
	toWrite, toRead := c.outLen-blockHeader, c.inLen-1
	// Data in the wrong direction is not a request that can fail, it is a
	// driver that does not know what it does.
	if kind == blockIn && toWrite != 0 || kind == blockOut && toRead != 0 {
		return false
	}
	switch kind {
	case blockIn:
		if !b.inRange(sector, toRead) {
			return b.finish(q, c.head, c.in, machine.DiskIOError, nil)
		}
		b.emit(blockRequest{
			op: machine.DiskRead, sector: sector, length: uint32(toRead),
			head: c.head, in: append([]segment(nil), c.in...),
		})
	case blockOut:
		if b.cfg.ReadOnly || !b.inRange(sector, toWrite) {
			return b.finish(q, c.head, c.in, machine.DiskIOError, nil)
		}
		bytes := make([]byte, toWrite)
		if !b.gather(c.out, blockHeader, bytes) {
			return false
		}
		b.emit(blockRequest{
			op: machine.DiskWrite, sector: sector, length: uint32(toWrite), bytes: bytes,
			head: c.head, in: append([]segment(nil), c.in...),
		})
	case blockFlush:
		if !b.has(blockFeatureFlush) {
			return b.finish(q, c.head, c.in, machine.DiskUnsupported, nil)
		}
		b.emit(blockRequest{op: machine.DiskFlush, head: c.head, in: append([]segment(nil), c.in...)})
	case blockGetID:
		var id [blockIDSize]byte
		if copy(id[:], b.cfg.Serial) == 0 {
			copy(id[:], fmt.Sprintf("lockstep-disk%d", b.index))
		}
		if toRead < blockIDSize {
			return b.finish(q, c.head, c.in, machine.DiskIOError, nil)
		}
		return b.finish(q, c.head, c.in, machine.DiskOK, id[:])
	case blockDiscard:
		return b.startRange(q, c, machine.DiskDiscard, blockFeatureDiscard, maxDiscardSectors)
	case blockZero:
		return b.startRange(q, c, machine.DiskZero, blockFeatureZero, maxZeroSectors)
	default:
		return b.finish(q, c.head, c.in, machine.DiskUnsupported, nil)
	}
	return true
}

// startRange takes a discard or zeroing: one range of at most limit sectors, as
// the configuration space says. A flag that does not exist, and unmap for a
// discard, is not supported (5.2.6.2); that comes first, as the driver that
// keeps to the limits may still ask for what is newer than this device.
func (b *Block) startRange(q *queue, c *chain, op machine.DiskOp, feature, limit uint64) bool {
	if !b.has(feature) {
		return b.finish(q, c.head, c.in, machine.DiskUnsupported, nil)
	}
	if c.outLen != blockHeader+blockRange {
		return b.finish(q, c.head, c.in, machine.DiskIOError, nil)
	}
	var p [blockRange]byte
	if !b.gather(c.out, blockHeader, p[:]) {
		return false
	}
	sector := binary.LittleEndian.Uint64(p[0:])
	sectors := uint64(binary.LittleEndian.Uint32(p[8:]))
	flags := binary.LittleEndian.Uint32(p[12:])
	if flags&^blockUnmap != 0 || op == machine.DiskDiscard && flags != 0 {
		return b.finish(q, c.head, c.in, machine.DiskUnsupported, nil)
	}
	if b.cfg.ReadOnly || sectors > limit || !b.holdsSectors(sector, sectors) {
		return b.finish(q, c.head, c.in, machine.DiskIOError, nil)
	}
	b.emit(blockRequest{
		op: op, sector: sector, sectors: sectors, unmap: flags != 0,
		head: c.head, in: append([]segment(nil), c.in...),
	})
	return true
}

// inRange says whether n bytes from sector on are a request that the disk takes.
func (b *Block) inRange(sector, n uint64) bool {
	return n%sectorSize == 0 && n <= MaxDiskRequest && b.holdsSectors(sector, n/sectorSize)
}

// holdsSectors says whether n sectors from sector on are whole blocks of the
// disk, at least one of them.
func (b *Block) holdsSectors(sector, n uint64) bool {
	return n != 0 && n%b.perBlock == 0 && sector%b.perBlock == 0 &&
		sector <= b.cfg.Sectors && n <= b.cfg.Sectors-sector
}

func (b *Block) emit(r blockRequest) {
	r.id = b.nextID
	b.nextID++
	b.pending = append(b.pending, r)
	b.out.Emit(b.output(&r))
}

func (b *Block) output(r *blockRequest) machine.Output {
	o := machine.Output{
		Port: machine.Port{Kind: machine.PortDisk, Index: b.index},
		Op:   r.op, ID: r.id, Local: b.cfg.Local,
		Sector: r.sector, Sectors: r.sectors, Unmap: r.unmap, Bytes: r.bytes,
	}
	if r.op == machine.DiskRead {
		o.Length = r.length
	}
	return o
}

// finish gives a request back to the driver: data at the start of the writable
// segments, the status in their last byte. The used length counts the bytes
// written without a gap from the start (2.7.8.2), so the status byte of a failed
// read is not among them.
func (b *Block) finish(q *queue, head uint16, in []segment, status machine.DiskStatus, data []byte) bool {
	total := uint64(0)
	for _, s := range in {
		total += uint64(s.len)
	}
	written := uint64(len(data))
	ok := b.scatter(in, 0, data) && b.scatter(in, total-1, []byte{byte(status)})
	if written == total-1 {
		written = total
	}
	b.use(q, head, uint32(written))
	return ok
}

// Pending appends the requests that wait for a completion, oldest first, as
// they were emitted. It includes those that the guest has forgotten: a new host
// half must do them too, for they stand in order before later ones.
func (b *Block) Pending(buf []machine.Output) []machine.Output {
	for i := range b.pending {
		buf = append(buf, b.output(&b.pending[i]))
	}
	return buf
}

// Complete takes the host's answer to a request. Requests may be completed in
// any order. It may emit: requests that found no place go on, and a driver that
// did not take BLK_F_FLUSH has each write and zeroing flushed before it is told
// (5.2.6.2).
// After an error nothing was changed.
func (b *Block) Complete(done machine.DiskDone) error {
	at := -1
	for i := range b.pending {
		if b.pending[i].id == done.ID {
			at = i
		}
	}
	if done.Disk != b.index || at < 0 {
		return fmt.Errorf("virtio: disk %d has no request %d that waits", done.Disk, done.ID)
	}
	r := b.pending[at]
	want := uint32(0)
	if r.op == machine.DiskRead && done.Status == machine.DiskOK {
		want = r.length
	}
	switch {
	case done.Status > machine.DiskUnsupported:
		return fmt.Errorf("virtio: disk %d request %d: status %d does not exist", done.Disk, done.ID, done.Status)
	case uint64(len(done.Bytes)) != uint64(want):
		return fmt.Errorf("virtio: disk %d request %d: completed with %d bytes instead of %d", done.Disk, done.ID, len(done.Bytes), want)
	}
	full := len(b.pending) == MaxDiskPending
	b.pending = append(b.pending[:at], b.pending[at+1:]...)
	if !r.forgotten {
		b.answer(&r, done)
	}
	if full && b.live() && b.queues[0].ready {
		b.notify(0)
	}
	return nil
}

func (b *Block) answer(r *blockRequest, done machine.DiskDone) {
	if (r.op == machine.DiskWrite || r.op == machine.DiskZero) && done.Status == machine.DiskOK && !b.has(blockFeatureFlush) {
		b.emit(blockRequest{op: machine.DiskFlush, head: r.head, in: r.in})
		return
	}
	q := &b.queues[0]
	was := q.used
	if !b.finish(q, r.head, r.in, done.Status, done.Bytes) {
		b.fail()
		return
	}
	b.signal(q, was)
}
