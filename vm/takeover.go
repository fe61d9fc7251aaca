package vm

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/network"
)

// takeOver makes the disks and the switch's ports this replica's, with its fence
// number. It waits, visibly, for a disk that another process holds (R19).
func (r *Replica) takeOver(number ft.Fence) error {
	for _, d := range r.disks {
		err := d.Lock(r.ctx, func() {
			r.box.do(func() { r.event(EventLockWait, "waiting until the other process lets go of a disk") })
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
