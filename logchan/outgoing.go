package logchan

import "github.com/lockstep-vm/lockstep/replay"

const (
	// lendFrom is how long the entries of a batch must be for a frame to leave them
	// where they are: to copy less than that costs nothing beside the write.
	lendFrom = 8 << 10
	// maxPieces bounds what is written at once.
	maxPieces = 64
)

// outgoing is what a connection has still to write. Frames are copied into it,
// but for long entries, which stay in their batch: those must not change before
// the peer has them.
//
//	bytes: [ frame | head of a frame ]             [ frame | ... ]
//	lent:                             [ entries ]
type outgoing struct {
	bytes []byte
	lent  []lent
	size  int // in all

	// What was written of it.
	done, at, lentAt int
}

// lent is bytes that lie elsewhere, between bytes[:at] and bytes[at:].
type lent struct {
	at    int
	bytes []byte
}

// left is how many bytes have not been written.
func (o *outgoing) left() int { return o.size - o.done }

// frame adds a frame.
func (o *outgoing) frame(c *replay.Chain, t replay.FrameType, body []byte) {
	o.bytes = c.Append(o.bytes, t, body)
	o.size += replay.FrameHeaderSize + len(body)
}

// entries adds a frame of a batch.
func (o *outgoing) entries(c *replay.Chain, p pulse, b *batch) {
	at := len(o.bytes)
	o.bytes = replay.AppendPoint(p.append(replay.BeginFrame(o.bytes)), b.start)
	if len(b.entries) < lendFrom {
		o.bytes = append(o.bytes, b.entries...)
		c.Finish(o.bytes[at:], replay.FrameEntries, nil)
		o.size += len(o.bytes) - at
		return
	}
	c.Finish(o.bytes[at:], replay.FrameEntries, b.entries)
	o.lent = append(o.lent, lent{len(o.bytes), b.entries})
	o.size += len(o.bytes) - at + len(b.entries)
}

// pieces is what to write next, in order, at most maxPieces.
func (o *outgoing) pieces(buf [][]byte) [][]byte {
	at, skip := o.at, o.lentAt
	for _, l := range o.lent {
		if at < l.at {
			buf = append(buf, o.bytes[at:l.at])
			at = l.at
		}
		if len(buf) >= maxPieces {
			return buf
		}
		buf, skip = append(buf, l.bytes[skip:]), 0
	}
	if at < len(o.bytes) {
		buf = append(buf, o.bytes[at:])
	}
	return buf
}

// wrote takes away the first n bytes.
func (o *outgoing) wrote(n int) {
	o.done += n
	for n > 0 {
		end := len(o.bytes)
		if len(o.lent) > 0 {
			end = o.lent[0].at
		}
		k := min(n, end-o.at)
		o.at, n = o.at+k, n-k
		if n == 0 {
			break
		}
		k = min(n, len(o.lent[0].bytes)-o.lentAt)
		o.lentAt, n = o.lentAt+k, n-k
		if o.lentAt == len(o.lent[0].bytes) {
			o.lent, o.lentAt = o.lent[1:], 0
		}
	}
}

// reset makes room when everything is written.
func (o *outgoing) reset() {
	bytes, lent := o.bytes[:0], o.lent[:0]
	if cap(bytes) > 4*writeSize {
		bytes = nil
	}
	*o = outgoing{bytes: bytes, lent: lent}
}
