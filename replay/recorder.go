package replay

import (
	"fmt"
	"io"
)

// batchSize is how many bytes of entries a Recorder gathers before it writes
// without being asked. An entry with more data goes into a frame of its own.
const batchSize = 256 << 10

// Recorder writes a log. The first error sticks: every later call returns it.
type Recorder struct {
	w     io.Writer
	chain Chain
	enc   *Encoder
	batch []byte // head and entries that are not written yet; empty if none are
	frame []byte
	err   error
}

// NewRecorder writes the header to w.
func NewRecorder(w io.Writer, h Header) (*Recorder, error) {
	if len(h.VM) > maxName {
		return nil, fmt.Errorf("replay: the name of the VM has %d bytes; at most %d are possible", len(h.VM), maxName)
	}
	r := &Recorder{w: w, enc: NewEncoder(h.Start)}
	r.write(FrameLogHeader, appendHeader(nil, h))
	return r, r.err
}

func (r *Recorder) write(t FrameType, body []byte) {
	if r.err != nil {
		return
	}
	r.frame = r.chain.Append(r.frame[:0], t, body)
	if _, err := r.w.Write(r.frame); err != nil {
		r.err = fmt.Errorf("replay: write the log: %w", err)
	}
}

// Append records e, which must be the entry after the last one.
func (r *Recorder) Append(e Entry) error {
	if len(r.batch) > 0 && len(r.batch)+SizeBound(e) > batchSize {
		_ = r.Flush() // the error sticks
	}
	if r.err != nil {
		return r.err
	}
	if len(r.batch) == 0 {
		r.batch = AppendPoint(r.batch, r.enc.Last())
	}
	r.batch, r.err = r.enc.Append(r.batch, e)
	return r.err
}

// Last is the point after the last entry recorded.
func (r *Recorder) Last() Point { return r.enc.Last() }

// Flush writes what was appended since the last Flush, as one frame.
func (r *Recorder) Flush() error {
	if len(r.batch) > 0 {
		r.write(FrameEntries, r.batch)
		r.batch = r.batch[:0]
	}
	return r.err
}

// End flushes and writes the final frame, which tells a log that is complete
// from one that was cut off. Nothing can be appended after it.
func (r *Recorder) End() error {
	_ = r.Flush() // the error sticks
	r.write(FrameLogEnd, AppendPoint(nil, r.enc.Last()))
	if r.err != nil {
		return r.err
	}
	r.err = fmt.Errorf("replay: the log has been ended")
	return nil
}
