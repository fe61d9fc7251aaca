package logchan

import (
	"testing"

	"github.com/lockstep-vm/lockstep/replay"
)

// DESIGN section 7: the backup's "read done" is told at once, and "also after a
// resume". One that is not possible breaks the connection.
func TestReadsDoneAreToldAgainAfterAResume(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	ignore(t, x.pe)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	for n := 1; n <= 2; n++ {
		if err := x.p.Append(replay.Entry{Seq: replay.Seq(n), Pos: 7, Body: replay.OwnDone{ID: uint64(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	x.p.Flush()
	until(t, "the entries are acknowledged", func() bool { return x.lastAck().Seq == 2 })
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
