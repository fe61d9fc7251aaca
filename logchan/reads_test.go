package logchan

import (
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/replay"
)

// What waits for a read of the backup's has an entry behind that read that is not
// quiet. While the guest only reads there is none, and word of each read would
// wake a thread on the primary's host for nothing.
func TestReadsAreToldAtOnceIfSomethingMayWaitForThem(t *testing.T) {
	pc, bc := config('p'), config('b')
	pc.Heartbeat, bc.Heartbeat = time.Hour, time.Hour
	x := connect(t, pc, bc, "")
	ignore(t, x.pe)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	n := 0
	log := func(body replay.Body) {
		t.Helper()
		n++
		if err := x.p.Append(replay.Entry{Seq: replay.Seq(n), Pos: 7, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	acks := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.acks)
	}
	log(replay.OwnDone{ID: 1})
	log(replay.OwnDone{ID: 2})
	log(replay.Marker{})
	log(replay.OwnDone{ID: 3})
	log(replay.OwnDone{ID: 4})
	x.p.Flush()
	until(t, "the marker is acknowledged", func() bool { return x.lastAck().Seq == 5 })
	x.b.SetReads(1)
	until(t, "the first read is told of", func() bool { return x.lastAck().Reads == 1 })
	x.b.SetReads(3) // the last one that the marker is behind, and one more
	until(t, "the second is told of", func() bool { return x.lastAck().Reads == 3 })
	before := acks()
	x.b.SetReads(4)
	log(replay.Marker{})
	x.p.Flush()
	until(t, "the next marker is acknowledged", func() bool { return x.lastAck().Seq == 6 })
	if a := x.lastAck(); a.Reads != 4 {
		t.Errorf("the acknowledgement of a marker tells of %d reads, not of 4", a.Reads)
	}
	if got := acks() - before; got != 1 {
		t.Errorf("%d acknowledgements, not one: a read was told of for which nothing waits", got)
	}
}

// DESIGN section 7: the backup's "read done" is told "also after a resume". One
// that is not possible breaks the connection.
func TestReadsDoneAreToldAgainAfterAResume(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	ignore(t, x.pe)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	for n, body := range []replay.Body{replay.OwnDone{ID: 1}, replay.OwnDone{ID: 2}, replay.Marker{}} {
		if err := x.p.Append(replay.Entry{Seq: replay.Seq(n + 1), Pos: 7, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	x.p.Flush()
	until(t, "the entries are acknowledged", func() bool { return x.lastAck().Seq == 3 })
	x.b.SetReads(2)
	until(t, "two reads are done", func() bool { return x.lastAck().Reads == 2 })
	gen := x.lastAck().Gen
	x.p.Drop()
	until(t, "they are told again", func() bool { a := x.lastAck(); return a.Gen > gen && a.Reads == 2 })
	x.b.SetReads(3)
	until(t, "the connection breaks", func() bool { return x.p.Stats().Resumes > 1 })
	if a := x.lastAck(); a.Reads > 2 {
		t.Errorf("%d reads of 2 are done", a.Reads)
	}
}
