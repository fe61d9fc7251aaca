package network

import "time"

// retained keeps the frames sent to a logical port that its live process has
// not confirmed, within bounds of number, bytes and age; the oldest go first.
type retained struct {
	maxFrames, maxBytes int
	maxAge              time.Duration

	frames  []heldFrame // oldest first; from first on
	first   int
	bytes   int
	next    uint64 // number of the next frame
	dropped uint64 // never confirmed: too old or too many
}

type heldFrame struct {
	number uint64
	at     time.Time
	bytes  []byte
}

// Numbers start at the switch's time of start, so that those of a later switch
// are higher and a late confirmation for an earlier one confirms nothing.
func newRetained(cfg SwitchConfig) retained {
	return retained{maxFrames: cfg.RetainFrames, maxBytes: cfg.RetainBytes, maxAge: cfg.RetainFor, next: uint64(time.Now().UnixNano())}
}

// push numbers and keeps a frame, which it takes over.
func (r *retained) push(now time.Time, frame []byte) uint64 {
	r.expire(now)
	for r.len() > 0 && (r.len() >= r.maxFrames || r.bytes+len(frame) > r.maxBytes) {
		r.drop()
		r.dropped++
	}
	if r.first > 0 && len(r.frames) == cap(r.frames) {
		n := copy(r.frames, r.frames[r.first:])
		clear(r.frames[n:])
		r.frames, r.first = r.frames[:n], 0
	}
	n := r.next
	r.next++
	r.frames = append(r.frames, heldFrame{number: n, at: now, bytes: frame})
	r.bytes += len(frame)
	return n
}

// confirm forgets the frame of this number and those before it.
func (r *retained) confirm(number uint64) {
	for r.len() > 0 && r.frames[r.first].number <= number {
		r.drop()
	}
}

// expire drops what is too old to be of use.
func (r *retained) expire(now time.Time) {
	for r.len() > 0 && now.Sub(r.frames[r.first].at) > r.maxAge {
		r.drop()
		r.dropped++
	}
}

func (r *retained) drop() {
	f := &r.frames[r.first]
	r.bytes -= len(f.bytes)
	*f = heldFrame{}
	if r.first++; r.first == len(r.frames) {
		r.frames, r.first = r.frames[:0], 0
	}
}

func (r *retained) len() int { return len(r.frames) - r.first }

// held are the kept frames, oldest first; valid until the next change.
func (r *retained) held() []heldFrame { return r.frames[r.first:] }
