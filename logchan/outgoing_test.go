package logchan

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/replay"
)

// Frames that leave long entries where they are come out as the bytes of frames
// that have them copied, wherever the socket stops.
func TestLentEntriesAreTheSameBytes(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var o outgoing
		var chain, plain replay.Chain
		var want, got []byte
		p := pulse{released: 7, time: 1 << 40}
		for range rnd.IntN(3 * maxPieces) {
			switch rnd.IntN(3) {
			case 0:
				body := make([]byte, rnd.IntN(50))
				o.frame(&chain, replay.FrameHeartbeat, body)
				want = plain.Append(want, replay.FrameHeartbeat, body)
			default:
				b := &batch{start: replay.Point{Seq: replay.Seq(rnd.IntN(1000))}, entries: make([]byte, lendFrom-20+rnd.IntN(40))}
				for i := 0; i < len(b.entries); i += 100 {
					b.entries[i] = byte(rnd.Uint32())
				}
				o.entries(&chain, p, b)
				want = plain.Append(want, replay.FrameEntries, append(replay.AppendPoint(p.append(nil), b.start), b.entries...))
			}
			if rnd.IntN(4) == 0 {
				got = write(t, &o, rnd, got, 1)
			}
		}
		for o.left() > 0 {
			got = write(t, &o, rnd, got, 1+rnd.IntN(3))
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes written, %d wanted, or others", seed, len(got), len(want))
		}
		if o.reset(); o.left() != 0 || len(o.pieces(nil)) != 0 {
			t.Fatalf("seed %d: something is left", seed)
		}
	}
}

// write is a socket that takes some of what it is given.
func write(t *testing.T, o *outgoing, rnd *rand.Rand, got []byte, times int) []byte {
	t.Helper()
	for range times {
		pieces := o.pieces(nil)
		if len(pieces) > maxPieces+1 {
			t.Fatalf("%d pieces", len(pieces))
		}
		all := bytes.Join(pieces, nil)
		if len(all) == 0 {
			return got
		}
		n := rnd.IntN(len(all) + 1)
		if rnd.IntN(3) == 0 {
			n = len(all)
		}
		got = append(got, all[:n]...)
		o.wrote(n)
	}
	return got
}

// A batch that an older connection may still be writing keeps its bytes.
func TestBatchesOfAnOldConnectionAreNotFilledAgain(t *testing.T) {
	o := outbox{limit: 1 << 20}
	if err := o.begin(replay.Point{}); err != nil {
		t.Fatal(err)
	}
	old, newer := &conn{}, &conn{}
	o.attach(old, 0)
	add := func(seq replay.Seq) {
		if _, err := o.append(replay.Entry{Seq: seq, Body: replay.Horizon{}}); err != nil {
			t.Fatal(err)
		}
		o.flush()
	}
	add(1)
	o.fill(old, pulse{})
	add(2)
	o.attach(newer, 0)
	o.fill(newer, pulse{})
	o.trim(newer, 2)
	if len(o.queue) != 0 || len(o.free) != 1 {
		t.Errorf("%d batches are left and %d are kept to be filled; only the second may be", len(o.queue), len(o.free))
	}
}
