package ft

import "github.com/lockstep-vm/lockstep/machine"

// Request names a disk request of the guest.
type Request struct {
	Disk uint8
	ID   uint64
}

// RequestOf names the disk request that o is.
func RequestOf(o machine.Output) Request { return Request{Disk: o.Port.Index, ID: o.ID} }

// blocks are what a disk request reads or changes, in 512-byte sectors.
type blocks struct {
	disk          uint8
	first, behind uint64
}

func blocksOf(o machine.Output) blocks {
	n := o.Sectors
	switch o.Op {
	case machine.DiskRead:
		n = uint64(o.Length) / 512
	case machine.DiskWrite:
		n = uint64(len(o.Bytes)) / 512
	}
	return blocks{disk: o.Port.Index, first: o.Sector, behind: o.Sector + n}
}

func (b blocks) overlap(c blocks) bool {
	return b.disk == c.disk && b.first < c.behind && c.first < b.behind
}

// changes says whether a disk request changes blocks.
func changes(o machine.Output) bool {
	return o.Op == machine.DiskWrite || o.Op == machine.DiskDiscard || o.Op == machine.DiskZero
}
