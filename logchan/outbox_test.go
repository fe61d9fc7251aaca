package logchan

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// What is acknowledged makes room for what comes next, in the same memory; what is
// not stays as it is, to be sent again after a reconnect.
func TestBatchesAreFilledAgain(t *testing.T) {
	o := outbox{limit: 1 << 20}
	if err := o.begin(replay.Point{}); err != nil {
		t.Fatal(err)
	}
	seq := replay.Seq(0)
	add := func() *batch {
		t.Helper()
		seq++
		data := bytes.Repeat([]byte{byte(seq)}, 1000)
		if _, err := o.append(replay.Entry{Seq: seq, Pos: machine.Icount(seq), Body: replay.Input{In: machine.Frame{Bytes: data}}}); err != nil {
			t.Fatal(err)
		}
		o.flush()
		return o.queue[len(o.queue)-1]
	}
	holds := func(b *batch, seq replay.Seq) {
		t.Helper()
		_, entries, err := replay.DecodeBatch(nil, append(replay.AppendPoint(nil, b.start), b.entries...))
		if err != nil || len(entries) != 1 || entries[0].Seq != seq || entries[0].Body.(replay.Input).In.(machine.Frame).Bytes[999] != byte(seq) {
			t.Errorf("a batch holds %v (%v), not entry %d", entries, err, seq)
		}
	}
	first, second := add(), add()
	memory := &first.entries[0]
	o.drop(1)
	third := add()
	if &third.entries[0] != memory {
		t.Error("a batch got new memory though one was acknowledged")
	}
	holds(second, 2)
	holds(third, 3)
	fourth := add()
	if &fourth.entries[0] == memory || &fourth.entries[0] == &second.entries[0] {
		t.Error("two batches have the same memory")
	}
	holds(second, 2)
	holds(third, 3)
}

// An outbox keeps little of what a guest has filled once.
func TestFewBatchesAreKept(t *testing.T) {
	var o outbox
	for range 10 * freeBatches {
		o.recycle(&batch{entries: make([]byte, 0, 10)})
	}
	if len(o.free) != freeBatches {
		t.Errorf("%d batches are kept, want %d", len(o.free), freeBatches)
	}
	o.free = nil
	if o.recycle(&batch{entries: make([]byte, 0, 2*batchSize+1)}); len(o.free) != 0 {
		t.Error("a large entry's batch is kept")
	}
}
