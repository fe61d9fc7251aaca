package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// PortKind is a kind of connection between the machine and its host.
type PortKind uint8

const (
	PortConsole PortKind = 1
	PortNIC     PortKind = 2
	PortDisk    PortKind = 3
	PortEntropy PortKind = 4
	PortPower   PortKind = 5
)

// Port names one connection between the machine and its host.
type Port struct {
	Kind  PortKind
	Index uint8
}

func (p Port) String() string {
	switch p.Kind {
	case PortConsole:
		return fmt.Sprintf("console%d", p.Index)
	case PortNIC:
		return fmt.Sprintf("nic%d", p.Index)
	case PortDisk:
		return fmt.Sprintf("disk%d", p.Index)
	case PortEntropy:
		return "entropy"
	case PortPower:
		return "power"
	}
	return fmt.Sprintf("port(%d,%d)", uint8(p.Kind), p.Index)
}

// DiskOp is what a disk request asks for.
type DiskOp uint8

const (
	DiskRead  DiskOp = 1
	DiskWrite DiskOp = 2
	DiskFlush DiskOp = 3
	// DiskDiscard gives up a range, DiskZero makes it zeros (virtio 5.2.6).
	DiskDiscard DiskOp = 4
	DiskZero    DiskOp = 5
)

func (op DiskOp) String() string {
	switch op {
	case DiskRead:
		return "read"
	case DiskWrite:
		return "write"
	case DiskFlush:
		return "flush"
	case DiskDiscard:
		return "discard"
	case DiskZero:
		return "zero"
	}
	return fmt.Sprintf("DiskOp(%d)", uint8(op))
}

// Output is one thing that leaves the machine: the one door out (R3).
//
// Held outputs (frames, console bytes, the power-off, and what changes a shared
// disk or flushes it) are subject to the Output Rule and counted in Mark. Disk
// reads, everything that goes to a local disk, and entropy requests are requests
// to the host: they are not held and carry Count 0.
type Output struct {
	Pos    Icount
	Port   Port
	Count  uint64 // Mark.Count after this output; 0 for requests that are not held
	Op     DiskOp // disks only
	ID     uint64 // disks: names the request in DiskDone
	Local  bool   // disks: DiskConfig.Local
	Sector uint64 // disks: first 512-byte sector
	// Sectors is how many a discard or zeroing is about.
	Sectors uint64
	Unmap   bool   // of a zeroing: the range may be given up
	Length  uint32 // disk reads and entropy: bytes wanted
	Offset  uint64 // consoles: offset of Bytes[0] since power-on
	Bytes   []byte // frame, console bytes or data to write; of a power-off: none, or GuestFailed
}

// GuestFailed is the one byte that a power-off carries when the guest called it
// a failure.
const GuestFailed = 1

// Held says whether the Output Rule applies.
func (o Output) Held() bool {
	return o.Port.Kind != PortEntropy && (o.Port.Kind != PortDisk || o.Op != DiskRead && !o.Local)
}

// Mark is the running pair over every held output since power-on: how many,
// and a hash chained over position, port and content (R9). Two replicas whose
// marks agree at a position have produced the same outputs up to it.
type Mark struct {
	Count uint64
	Hash  uint64
}

// Add is the mark after one more held output. A console adds once per byte, so
// that the pair does not depend on how bytes are grouped for delivery.
func (m Mark) Add(o Output) Mark {
	var head [40]byte
	binary.LittleEndian.PutUint64(head[0:], m.Hash)
	binary.LittleEndian.PutUint64(head[8:], uint64(o.Pos))
	head[16], head[17], head[18] = byte(o.Port.Kind), o.Port.Index, byte(o.Op)
	if o.Unmap {
		head[19] = 1
	}
	binary.LittleEndian.PutUint64(head[24:], o.Sector)
	binary.LittleEndian.PutUint64(head[32:], o.Sectors)
	return Mark{Count: m.Count + 1, Hash: xxh3.HashSeed(o.Bytes, xxh3.Hash(head[:]))}
}
