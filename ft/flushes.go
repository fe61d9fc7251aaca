package ft

import "slices"

// FlushMode is the VM's choice of when a guest's flush of a local disk is done.
type FlushMode uint8

const (
	// FlushOwn: when the live replica's copy is flushed. After both hosts lost
	// power the backup's copy may lack what was released.
	FlushOwn FlushMode = iota
	// FlushBoth: when both copies are flushed, so that either may power the VM
	// on unattended.
	FlushBoth
)

func (m FlushMode) String() string {
	if m == FlushBoth {
		return "both"
	}
	return "own"
}

// Flushes holds the completions of the guest's flushes at a live replica until
// they are true (DESIGN section 7).
type Flushes struct{ waiting []flush }

// FlushID names a flush: a disk and the request's id.
type FlushID struct {
	Disk uint8
	ID   uint64
}

type flush struct {
	FlushID
	own, peer bool
}

// Ask notes that the guest has asked for a flush; again is harmless.
func (f *Flushes) Ask(id FlushID) {
	if f.find(id) == nil {
		f.waiting = append(f.waiting, flush{FlushID: id})
	}
}

// Own reports that this replica's copy is flushed, with all that was written
// before the flush was asked for.
func (f *Flushes) Own(id FlushID) {
	if w := f.find(id); w != nil {
		w.own = true
	}
}

// Peer reports that the backup has executed the flush on its own copy. A backup
// says it again on every new connection, for all whose completion it has not
// seen in the log.
func (f *Flushes) Peer(id FlushID) {
	if w := f.find(id); w != nil {
		w.peer = true
	}
}

// Take takes out the flushes whose completion may be delivered and appends them
// to buf. needPeer is Replica.FlushNeedsPeer.
func (f *Flushes) Take(needPeer bool, buf []FlushID) []FlushID {
	f.waiting = slices.DeleteFunc(f.waiting, func(w flush) bool {
		if !w.own || needPeer && !w.peer {
			return false
		}
		buf = append(buf, w.FlushID)
		return true
	})
	return buf
}

func (f *Flushes) find(id FlushID) *flush {
	for i := range f.waiting {
		if f.waiting[i].FlushID == id {
			return &f.waiting[i]
		}
	}
	return nil
}
