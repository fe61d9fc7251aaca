package replay_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
)

// ownDisk is what a replica has done for itself.
type ownDisk map[uint64]machine.DiskDone

func (o ownDisk) Done(_ uint8, id uint64) (machine.DiskDone, bool) {
	d, ok := o[id]
	return d, ok
}

// DESIGN section 7: "The backup holds its replay until its own copy has done the
// request whose completion is logged."
func TestReplayWaitsForItsOwnCopy(t *testing.T) {
	s := record(t, 3, 400)
	own := ownDisk{}
	entries := append([]replay.Entry(nil), s.entries...)
	reads := 0
	for i, e := range entries {
		if in, ok := e.Body.(replay.Input); ok {
			if d, ok := in.In.(machine.DiskDone); ok {
				entries[i].Body = replay.NewOwnDone(d)
				own[d.ID] = d
				if len(d.Bytes) > 0 {
					reads++
				}
			}
		}
	}
	if reads == 0 {
		t.Fatal("the recording has no reads")
	}
	// They travel as they are.
	enc, body := replay.NewEncoder(replay.Point{}), replay.AppendPoint(nil, replay.Point{})
	for _, e := range entries {
		var err error
		if body, err = enc.Append(body, e); err != nil {
			t.Fatal(err)
		}
	}
	_, entries, err := replay.DecodeBatch(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	m := sim.NewToy(toyConfig)
	r, slow := replay.NewReplayer(m, replay.Point{}), ownDisk{}
	r.OwnFrom(slow)
	for _, e := range entries {
		if o, ok := e.Body.(replay.OwnDone); ok {
			if done, err := r.ApplyUntil(e, machine.Never); done || err != nil || !r.WaitsForOwn() || m.Icount() != e.Pos {
				t.Fatalf("entry %d: applied %v at %d before the copy has done it, %v", e.Seq, done, m.Icount(), err)
			}
			slow[o.ID] = own[o.ID]
		}
		if done, err := r.ApplyUntil(e, machine.Never); !done || err != nil || r.WaitsForOwn() {
			t.Fatalf("entry %d: applied %v, %v", e.Seq, done, err)
		}
	}
	if m.Digest() != s.m.Digest() {
		t.Error("another State")
	}

	for name, change := range map[string]func(d *machine.DiskDone){
		"other bytes": func(d *machine.DiskDone) { d.Bytes = bytes.Clone(d.Bytes); d.Bytes[0]++ },
		"fewer bytes": func(d *machine.DiskDone) { d.Bytes = d.Bytes[1:] },
		"an error":    func(d *machine.DiskDone) { d.Status, d.Bytes = machine.DiskIOError, nil },
	} {
		r := replay.NewReplayer(sim.NewToy(toyConfig), replay.Point{})
		other := ownDisk{}
		for id, d := range own {
			if len(d.Bytes) > 0 {
				change(&d)
			}
			other[id] = d
		}
		r.OwnFrom(other)
		var err error
		for i := 0; i < len(entries) && err == nil; i++ {
			err = r.Apply(entries[i])
		}
		var d *replay.Divergence
		if !errors.As(err, &d) || !strings.Contains(d.What, "has read") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A log that cannot be replayed here is no divergence.
	alone := replay.NewReplayer(sim.NewToy(toyConfig), replay.Point{})
	err = nil
	for i := 0; i < len(entries) && err == nil; i++ {
		err = alone.Apply(entries[i])
	}
	var d *replay.Divergence
	if err == nil || errors.As(err, &d) {
		t.Errorf("without a disk: %v", err)
	}
}
