package vm

import (
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Each write to the channel costs about as much as a small request to a disk
// does. So entries for which nothing waits, such as the completion of a read, are
// kept for a moment, to be sent with those that come after them. And a guest that
// makes one disk write after the other gets one marker for several: they are
// covered when it waits, when anything else leaves it, or after coverAfter.

// toCover notes that outputs have left the machine that no marker covers.
func (r *Replica) toCover(at int64) {
	l := &r.live
	if !l.uncovered && r.logging() {
		l.uncovered, l.leftAt = true, at
	}
}

// cover appends the marker of what has left the machine (R9).
func (r *Replica) cover() {
	if r.live.uncovered && r.logging() {
		r.mark()
	}
}

// mark appends a marker, which covers everything held so far.
func (r *Replica) mark() {
	r.live.uncovered = false
	r.out.cover(r.append(replay.Marker{Mark: r.m.Mark()}))
}

// toSend notes that an entry was appended to the channel.
func (r *Replica) toSend(e replay.Entry) {
	l := &r.live
	if l.unsent == 0 {
		l.since = l.lastEntry
	}
	l.unsent += replay.SizeBound(e)
	l.urgent = l.urgent || l.unsent >= gatherBytes || !replay.Quiet(e.Body)
}

// flush sends what must not wait any longer.
func (r *Replica) flush() {
	l := &r.live
	now := r.now()
	if r.recorder != nil && now-l.lastFlush >= recordEvery {
		l.lastFlush = now
		_ = r.recorder.Flush() // its error sticks and is met by the next Append
	}
	if l.uncovered && now-l.leftAt >= coverAfter {
		r.cover()
	}
	if l.urgent || l.unsent > 0 && now-l.since >= gatherFor {
		r.send()
	}
}

// send sends all entries.
func (r *Replica) send() {
	r.cover()
	l := &r.live
	if l.unsent > 0 && l.seeded(r.primary) {
		r.primary.Flush()
	}
	l.unsent, l.urgent = 0, false
}

// sendDue is the time, in ns, after which flush has something to send if nothing
// is appended; false if it has nothing.
func (r *Replica) sendDue(now int64) (int64, bool) {
	l := &r.live
	return max(l.since+gatherFor-now, 0), l.unsent > 0
}

// disksBusy says whether a disk will soon be done with a request.
func (r *Replica) disksBusy() bool {
	for _, d := range r.disks {
		if !d.Idle() {
			return true
		}
	}
	return false
}

// awaitsAcks says whether there is something to do for the owner when an
// acknowledgement or a note about the backup's copy comes. Releasing outputs is
// their reader's (R14).
func (r *Replica) awaitsAcks() bool {
	return r.proto.State() != ft.Protected || r.local.flushing() || r.saving != nil || r.live.exit == machine.PoweredOff || r.out.full() || r.primary.Full()
}
