package logchan

import (
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// While a guest computes its log is horizons and steps of the clock. An
// acknowledgement of each would wake a thread on the primary's host for nothing.
func TestEntriesThatNothingWaitsForAreNotAcknowledgedOneByOne(t *testing.T) {
	pc, bc := config('p'), config('b')
	pc.Heartbeat, bc.Heartbeat = time.Hour, time.Hour
	x := connect(t, pc, bc, "")
	ignore(t, x.pe)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	acks := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.acks)
	}
	n := 0
	say := func() {
		t.Helper()
		n++
		var body replay.Body = replay.Horizon{}
		switch n % 3 {
		case 1:
			body = replay.Input{In: machine.ConsoleInput{Bytes: []byte{1}}}
		case 2:
			body = replay.Input{In: machine.SetClock{Clock: machine.Clock{I0: machine.Icount(n * 100), Mul: 1}}}
		}
		if err := x.p.Append(replay.Entry{Seq: replay.Seq(n), Pos: machine.Icount(n * 100), Body: body}); err != nil {
			t.Fatal(err)
		}
		x.p.Flush()
	}
	began, before := time.Now(), acks()
	for range 2000 {
		say()
	}
	until(t, "all are received", func() bool { return x.b.Received().Seq == replay.Seq(n) })
	most := 2*int(time.Since(began)/quietAcks) + 2
	if got := acks() - before; got > most {
		t.Errorf("%d acknowledgements of %d quiet entries; want at most %d", got, n, most)
	}
	// They are acknowledged all the same, without a heartbeat.
	until(t, "some are acknowledged", func() bool { say(); return x.lastAck().Seq > 0 })
	if err := x.p.Append(frame(n+1, 10)); err != nil {
		t.Fatal(err)
	}
	x.p.Flush()
	until(t, "a frame is acknowledged, and all before it", func() bool { return x.lastAck().Seq == replay.Seq(n+1) })
}

// What an output or a sender waits for is acknowledged at once, whatever comes
// with it and however short ago the last acknowledgement was.
func TestWhatSomethingWaitsForIsAcknowledgedAtOnce(t *testing.T) {
	for name, body := range map[string]replay.Body{
		"a marker": replay.Marker{},
		"a frame":  replay.Input{In: machine.Frame{Bytes: []byte{1}}},
		"a stop":   replay.Input{In: machine.Stop{}},
		"an Arm":   replay.Arm{Epoch: 1},
	} {
		if quiet([]replay.Entry{horizon(1), {Seq: 2, Pos: 100, Body: body}, horizon(3)}) {
			t.Errorf("%s is quiet", name)
		}
	}
	if !quiet([]replay.Entry{horizon(1), horizon(2)}) {
		t.Error("horizons are not quiet")
	}
	if quiet(nil) {
		t.Error("entries that were received before a reconnect are not acknowledged again")
	}
}

func TestQuietEntriesAreAcknowledgedNowAndThen(t *testing.T) {
	for _, c := range []struct {
		bytes int
		after time.Duration
		due   bool
	}{{0, 0, false}, {quietBytes - 1, quietAcks - 1, false}, {quietBytes, 0, true}, {0, quietAcks, true}} {
		if got := ackDue([]replay.Entry{horizon(1)}, c.bytes, c.after); got != c.due {
			t.Errorf("%d bytes and %v after an acknowledgement another one is due: %v", c.bytes, c.after, got)
		}
	}
	if !ackDue([]replay.Entry{frame(1, 10)}, 0, 0) {
		t.Error("a frame is not acknowledged at once")
	}
}
