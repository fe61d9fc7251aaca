package storage

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/sim"
)

var disk0 = machine.Port{Kind: machine.PortDisk}

func write(id, sector uint64, fill byte) machine.Output {
	return machine.Output{Port: disk0, Op: machine.DiskWrite, ID: id, Sector: sector, Bytes: bytes.Repeat([]byte{fill}, 1024)}
}

func read(id, sector uint64) machine.Output {
	return machine.Output{Port: disk0, Op: machine.DiskRead, ID: id, Sector: sector, Length: 1024}
}

func flush(id uint64) machine.Output {
	return machine.Output{Port: disk0, Op: machine.DiskFlush, ID: id}
}

func discard(id, sector uint64) machine.Output {
	return machine.Output{Port: disk0, Op: machine.DiskDiscard, ID: id, Sector: sector, Sectors: 2}
}

func zero(id, sector uint64) machine.Output {
	return machine.Output{Port: disk0, Op: machine.DiskZero, ID: id, Sector: sector, Sectors: 2}
}

func local(o machine.Output) machine.Output {
	o.Local = true
	return o
}

// DESIGN section 5: "a read that overlaps a held or running write waits for it".
func TestQueueOrder(t *testing.T) {
	tests := []struct {
		name    string
		queue   []machine.Output
		release []uint64
		want    []uint64 // what may run at once
	}{
		{"a read runs unreleased", []machine.Output{read(1, 0)}, nil, []uint64{1}},
		{"a write waits for the gate", []machine.Output{write(1, 0, 'a')}, nil, nil},
		{"a released write runs", []machine.Output{write(1, 0, 'a')}, []uint64{1}, []uint64{1}},
		{"a read waits for a held write that it overlaps", []machine.Output{write(1, 0, 'a'), read(2, 1)}, nil, nil},
		{"a read elsewhere does not", []machine.Output{write(1, 0, 'a'), read(2, 2)}, nil, []uint64{2}},
		{"a read waits for a running write", []machine.Output{write(1, 0, 'a'), read(2, 1)}, []uint64{1}, []uint64{1}},
		{"writes to the same blocks keep their order", []machine.Output{write(1, 0, 'a'), write(2, 1, 'b')}, []uint64{1, 2}, []uint64{1}},
		{"a write waits for an earlier read", []machine.Output{read(1, 0), write(2, 0, 'b')}, []uint64{2}, []uint64{1}},
		{"reads run together", []machine.Output{read(1, 0), read(2, 0)}, nil, []uint64{1, 2}},
		{"a flush waits for writes", []machine.Output{write(1, 0, 'a'), flush(2)}, []uint64{1, 2}, []uint64{1}},
		{"a flush waits for a held write", []machine.Output{write(1, 0, 'a'), flush(2)}, []uint64{2}, nil},
		{"a write does not wait for a flush", []machine.Output{flush(1), write(2, 0, 'a')}, []uint64{1, 2}, []uint64{1, 2}},
		{"a discard waits for the gate", []machine.Output{discard(1, 0)}, nil, nil},
		{"a zeroing waits for the gate", []machine.Output{zero(1, 0)}, nil, nil},
		{"a read waits for a discard", []machine.Output{discard(1, 0), read(2, 1)}, []uint64{1}, []uint64{1}},
		{"a read waits for a zeroing", []machine.Output{zero(1, 0), read(2, 1)}, []uint64{1}, []uint64{1}},
		{"a read behind a zeroing does not", []machine.Output{zero(1, 0), read(2, 2)}, []uint64{1}, []uint64{1, 2}},
		{"a write waits for a discard", []machine.Output{discard(1, 0), write(2, 1, 'a')}, []uint64{1, 2}, []uint64{1}},
		{"a discard waits for a write", []machine.Output{write(1, 1, 'a'), discard(2, 0)}, []uint64{1, 2}, []uint64{1}},
		{"a discard waits for a read", []machine.Output{read(1, 1), discard(2, 0)}, []uint64{2}, []uint64{1}},
		{"a flush waits for a discard", []machine.Output{discard(1, 0), flush(2)}, []uint64{1, 2}, []uint64{1}},
		{"a flush waits for a zeroing", []machine.Output{zero(1, 0), flush(2)}, []uint64{1, 2}, []uint64{1}},
		{"what goes to a local disk is not held", []machine.Output{local(write(1, 0, 'a')), local(zero(2, 8))}, nil, []uint64{1, 2}},
		{"and keeps its order", []machine.Output{local(write(1, 0, 'a')), local(read(2, 0)), local(flush(3))}, nil, []uint64{1}},
		{"what was released late keeps the order of the guest", []machine.Output{write(1, 0, 'a'), write(2, 8, 'b')}, []uint64{2, 1}, []uint64{1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := newQueue()
			for _, o := range tt.queue {
				q.add(o)
			}
			for _, id := range tt.release {
				if !q.release(id) {
					t.Fatalf("release(%d) found nothing", id)
				}
			}
			if got := taken(q); !slices.Equal(got, tt.want) {
				t.Fatalf("runs %v, want %v", got, tt.want)
			}
		})
	}
}

func taken(q *queue) (ids []uint64) {
	for r := q.next(); r != nil; r = q.next() {
		ids = append(ids, r.ID)
	}
	return ids
}

// A request that has been taken counts until it is done.
func TestOldestRequest(t *testing.T) {
	q := newQueue()
	want := func(order uint64) {
		t.Helper()
		got := uint64(0)
		if r := q.oldest(); r != nil {
			got = r.order
		}
		if got != order {
			t.Errorf("the oldest is request %d, want %d", got, order)
		}
	}
	want(0)
	q.add(read(9, 0))
	q.add(read(3, 2))
	q.add(write(4, 4, 'a'))
	first, second := q.next(), q.next()
	want(1)
	q.done(second)
	want(1)
	q.done(first)
	want(3)
	q.release(4)
	q.done(q.next())
	want(0)
}

func TestReleaseOfWhatIsNotHeld(t *testing.T) {
	q := newQueue()
	q.add(read(1, 0))
	q.add(write(2, 8, 'a'))
	if q.release(1) || q.release(3) {
		t.Error("released a read, or nothing")
	}
	for range 2 { // a second time changes nothing
		if !q.release(2) || q.released != 2 {
			t.Errorf("%d are released, want the read and the write", q.released)
		}
	}
	if got := taken(q); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("runs %v", got)
	}
}

// Whatever is asked, released and done in whatever order: exactly that may run
// which the rules let run. They are those of the simulator's disk.
func TestQueueAgainstTheRules(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		type entry struct {
			machine.Output
			released, running bool
		}
		var model []*entry
		q, taken, id := newQueue(), map[uint64]*request{}, uint64(0)
		for range 300 {
			switch op := rnd.IntN(4); {
			case op == 0 && len(model) < 128:
				id++
				at := rnd.Uint64N(24)
				o := []machine.Output{read(id, at), write(id, at, 1), flush(id), discard(id, at), zero(id, at)}[rnd.IntN(5)]
				q.add(o)
				model = append(model, &entry{Output: o, released: !o.Held()})
			case op == 1 && len(model) > 0:
				if e := model[rnd.IntN(len(model))]; e.Held() {
					e.released = true
					q.release(e.ID)
				}
			case op == 2:
				for i, e := range model {
					if e.running && rnd.IntN(2) == 0 {
						q.done(taken[e.ID])
						model = slices.Delete(model, i, i+1)
						break
					}
				}
			case op == 3: // failed, and tried again
				for _, e := range model {
					if e.running && rnd.IntN(4) == 0 {
						e.running = false
						q.again(taken[e.ID])
						break
					}
				}
			}
			var want []uint64
			for i, e := range model {
				blocked := slices.ContainsFunc(model[:i], func(earlier *entry) bool { return sim.After(earlier.Output, e.Output) })
				if e.released && !e.running && !blocked {
					want = append(want, e.ID)
					e.running = true
				}
			}
			var got []uint64
			for r := q.next(); r != nil; r = q.next() {
				taken[r.ID] = r
				got = append(got, r.ID)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: runs %v, want %v", seed, got, want)
			}
		}
	}
}

func BenchmarkQueueAtDepth128(b *testing.B) {
	q, id := newQueue(), uint64(0)
	var running []*request
	for b.Loop() {
		id++
		q.add(local(write(id, id*2%4096, 1)))
		running = append(running, q.next())
		if len(running) == 128 {
			q.done(running[0])
			running = append(running[:0], running[1:]...)
		}
	}
}
