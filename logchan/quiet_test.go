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
	const total = 2000
	calm := config('b')
	calm.Heartbeat = time.Hour
	x := connect(t, config('p'), calm, "")
	ignore(t, x.pe)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	var got []replay.Entry
	say := func(n int, body replay.Body) {
		t.Helper()
		if err := x.p.Append(replay.Entry{Seq: replay.Seq(n), Pos: machine.Icount(n * 100), Body: body}); err != nil {
			t.Fatal(err)
		}
		x.p.Flush()
		until(t, "the entry is received", func() bool { got = x.b.Take(got); return x.b.Received().Seq == replay.Seq(n) })
	}
	began := time.Now()
	for n := 1; n < total; n++ {
		switch n % 3 {
		case 0:
			say(n, replay.Horizon{})
		case 1:
			say(n, replay.Input{In: machine.ConsoleInput{Bytes: []byte{1}}})
		case 2:
			say(n, replay.Input{In: machine.SetClock{Clock: machine.Clock{I0: machine.Icount(n * 100), Mul: 1}}})
		}
	}
	// One for each quietAcks, and those of the primary's heartbeats.
	most := 2*int(time.Since(began)/quietAcks) + 4
	x.mu.Lock()
	acks := len(x.acks)
	x.mu.Unlock()
	if acks > most || most > total/2 {
		t.Errorf("%d acknowledgements of %d quiet entries; want at most %d", acks, total, most)
	}
	until(t, "a heartbeat's acknowledgement covers the last of them", func() bool { return x.lastAck().Seq == total-1 })

	if len(got) != total-1 {
		t.Errorf("took %d entries", len(got))
	}
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
