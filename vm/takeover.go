package vm

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/network"
	"github.com/lockstep-vm/lockstep/storage"
)

// openDisk opens the host half of disk number index.
func (r *Replica) openDisk(index uint8, d Disk) error {
	backend, err := r.openBackend(index, d)
	if err != nil {
		return err
	}
	if err := d.followable(backend); err != nil {
		return err
	}
	disk := storage.NewDisk(backend, storage.DiskOptions{
		Index: index, Done: r.box.putDisk, ZeroDiscards: d.BackupReads,
		Stopped: func(s storage.Stop) { r.box.do(func() { r.diskStopped(s) }) },
	})
	r.disks = append(r.disks, disk)
	guest := &r.cfg.Machine.Disks[index]
	switch {
	case disk.Sectors() != guest.Sectors:
		return fmt.Errorf("vm: %s has %d sectors and the machine's disk %d: it changed since it was looked at", d.Path, disk.Sectors(), guest.Sectors)
	case disk.BlockSize() > guest.Block():
		return fmt.Errorf("vm: %s can only be read and written in blocks of %d bytes; write block_size: %d for it in the spec", d.Path, disk.BlockSize(), disk.BlockSize())
	}
	return nil
}

// openBackend is what holds the disk's blocks.
func (r *Replica) openBackend(index uint8, d Disk) (storage.Backend, error) {
	if r.local.is(index) {
		return r.local.backend(index, r.cfg.wrapCopy), nil
	}
	return storage.Open(d.Path, d.ReadOnly, r.openers())
}

// takeOver makes the disks and the switch's ports this replica's, with its fence
// number. It waits, visibly, for a disk that another process holds (R19).
func (r *Replica) takeOver(number ft.Fence) error {
	for _, d := range r.disks {
		err := d.Claim(r.ctx, number, func(why string) {
			r.box.do(func() { r.event(EventLockWait, "waiting until the other process lets go of a disk: %s", why) })
		})
		if err != nil {
			return err
		}
	}
	for _, n := range r.nics {
		n.GoLive(number)
	}
	return nil
}

// pumpNIC brings a NIC's frames to the mailbox and waits while that is full.
func (r *Replica) pumpNIC(index uint8, n *network.NIC) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case f := <-n.Frames():
			if !r.box.putFrame(arrived{nic: index, frame: f}) {
				return
			}
		}
	}
}

// watchNIC halts the replica when the switch says that another one is live, and
// keeps count of the links.
func (r *Replica) watchNIC(n *network.NIC) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case e := <-n.Events():
			r.box.do(func() { r.nicEvent(e) })
		}
	}
}

func (r *Replica) nicEvent(e network.NICEvent) {
	switch e.Kind {
	case network.NICRefused:
		r.event(EventNote, "%v", e.Err)
		if r.proto != nil {
			r.proto.FencedOff()
		}
	case network.NICLost:
		r.linkChanged(-1, "the switch is gone: %v", e.Err)
	case network.NICRestored:
		r.linkChanged(+1, "the switch is there again")
	}
}

// linkChanged notes that a NIC's connection to its switch was lost or came
// back. A side whose own links are all down waits longer before it claims (R17).
func (r *Replica) linkChanged(by int, format string, args ...any) {
	r.links += by
	r.event(EventNote, format, args...)
	if r.proto != nil {
		r.proto.OwnLink(r.links > 0)
	}
}
