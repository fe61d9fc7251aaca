package logchan

import (
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// DESIGN R17: after a resume entries come again. Those that were received are
// passed over, and what does not continue the log is refused.
func TestEntriesThatComeAgain(t *testing.T) {
	b := &Backup{last: replay.Point{Seq: 10, Pos: 1000}}
	at := func(n int) replay.Point { return replay.Point{Seq: replay.Seq(n), Pos: horizon(n).Pos} }
	batch := func(from, to int) []replay.Entry {
		var es []replay.Entry
		for n := from; n <= to; n++ {
			es = append(es, horizon(n))
		}
		return es
	}
	for name, c := range map[string]struct {
		start replay.Point
		batch []replay.Entry
		first replay.Seq // of the fresh ones; 0 if there are none
		fails bool
	}{
		"next":              {at(10), batch(11, 12), 11, false},
		"all known":         {at(5), batch(6, 10), 0, false},
		"long known":        {at(2), batch(3, 4), 0, false},
		"partly known":      {at(8), batch(9, 13), 11, false},
		"gap":               {at(11), batch(12, 13), 0, true},
		"other position":    {replay.Point{Seq: 10, Pos: 999}, batch(11, 12), 0, true},
		"known but another": {replay.Point{Seq: 9, Pos: 1}, []replay.Entry{{Seq: 10, Pos: 2, Body: replay.Horizon{}}}, 0, true},
	} {
		fresh, err := b.fresh(c.start, c.batch)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
		first := replay.Seq(0)
		if len(fresh) > 0 {
			first = fresh[0].Seq
		}
		if first != c.first {
			t.Errorf("%s: goes on with entry %d, want %d", name, first, c.first)
		}
	}
}

// DESIGN R17: the old pairing is closed also while the next one is open.
func TestOldPairingIsClosedWhileTheNextIsOpen(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	await(t, x.pe, Connected)
	x.p.Seal()
	if _, err := x.pe.OpenPrimary(Pairing{Run: testRun, Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	h := dialHostile(t, x.pe)
	h.say(replay.FrameHello, appendHello(nil, Hello{
		Format: FormatVersion, VM: "web", ConfigHash: [32]byte{7}, Run: testRun, Epoch: 1,
		Process: ft.ProcessID{'b'}, Expect: ft.ProcessID{'p'}, Role: RoleBackup, DialBack: "127.0.0.1:1"}))
	typ, body, err := h.frames.Next()
	if err != nil || typ != replay.FrameRefuse || RefuseCode(body[0]) != RefuseClosed {
		t.Errorf("frame %d %q, %v", typ, body, err)
	}
}
