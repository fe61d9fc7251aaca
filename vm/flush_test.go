package vm

import (
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// What nothing waits for is sent with the first entry that something waits for,
// or after gatherFor from the oldest of them.
func TestQuietEntriesAreGathered(t *testing.T) {
	r := &Replica{start: time.Now().Add(-time.Hour)}
	if _, some := r.sendDue(r.now()); some {
		t.Error("there is something to send before there is an entry")
	}
	quiet := replay.Entry{Body: replay.Input{In: machine.DiskDone{}}}
	now := r.now()
	r.live.lastEntry = now
	r.toSend(quiet)
	r.live.lastEntry = now + gatherFor/2
	r.toSend(quiet)
	if due, some := r.sendDue(now + gatherFor/2); !some || due != gatherFor/2 {
		t.Errorf("due in %d ns (%v), want %d", due, some, gatherFor/2)
	}
	if due, some := r.sendDue(now + 2*gatherFor); !some || due != 0 {
		t.Errorf("due in %d ns (%v) though it is late", due, some)
	}

	r.live.since = r.now() + int64(time.Hour)
	if r.flush(); r.live.unsent == 0 {
		t.Error("quiet entries were sent at once")
	}
	r.toSend(replay.Entry{Body: replay.Marker{}})
	if r.flush(); r.live.unsent > 0 || r.live.urgent {
		t.Error("a marker waits")
	}
	r.toSend(quiet)
	r.live.since = r.now() - gatherFor
	if r.flush(); r.live.unsent > 0 {
		t.Error("what is due was not sent")
	}
	r.live.since = r.now() + int64(time.Hour)
	r.toSend(replay.Entry{Body: replay.Input{In: machine.DiskDone{Bytes: make([]byte, gatherBytes)}}})
	if r.flush(); r.live.unsent > 0 {
		t.Error("what is enough for a write was not sent")
	}
}
