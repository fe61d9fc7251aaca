package replay

import (
	"errors"
	"fmt"
	"io"
)

// Reader reads a log on disk.
type Reader struct {
	frames *FrameReader
	header Header
	last   Point // after the last entry handed out
	queue  []Entry
	next   int
	err    error
}

// NewReader reads the header from r, which should be buffered. Errors are
// those of FrameReader.Next, and one that wraps ErrMalformed if this is not a
// log of this version.
func NewReader(r io.Reader) (*Reader, error) {
	l := &Reader{frames: NewFrameReader(r)}
	t, body, err := l.frames.Next()
	if err == io.EOF {
		err = ErrTruncated
	}
	if err != nil {
		return nil, fmt.Errorf("replay: read the log's header: %w", err)
	}
	if t != FrameLogHeader {
		return nil, malformed("the log begins with a frame of type %d", t)
	}
	if l.header, err = decodeHeader(body); err != nil {
		return nil, err
	}
	l.last = l.header.Start
	return l, nil
}

// Header is the beginning of the log.
func (l *Reader) Header() Header { return l.header }

// Next is the next entry; its bytes are valid until the next call. The error
// is io.EOF after the last entry of a log that was ended, ErrTruncated after
// the last good entry of one that was cut off, and wraps ErrMalformed if the
// log was altered.
func (l *Reader) Next() (Entry, error) {
	for l.next == len(l.queue) {
		if l.err == nil {
			l.err = l.fill()
		}
		if l.err != nil {
			return Entry{}, l.err
		}
	}
	e := l.queue[l.next]
	l.next++
	l.last = Point{Seq: e.Seq, Pos: e.Pos}
	return e, nil
}

func (l *Reader) fill() error {
	t, body, err := l.frames.Next()
	if err == io.EOF {
		return ErrTruncated
	}
	if err != nil {
		return err
	}
	switch t {
	case FrameEntries:
		start, entries, err := DecodeBatch(l.queue[:0], body)
		if err != nil {
			return err
		}
		if start != l.last {
			return malformed("a batch follows entry %d at %d; it should follow entry %d at %d", start.Seq, start.Pos, l.last.Seq, l.last.Pos)
		}
		l.queue, l.next = entries, 0
		return nil
	case FrameLogEnd:
		f := fields{b: body}
		if p := f.point(); f.short || len(f.b) > 0 || p != l.last {
			return malformed("the log's end does not match its last entry")
		}
		if _, _, err := l.frames.Next(); err != io.EOF {
			return malformed("something follows the log's end")
		}
		return io.EOF
	}
	return malformed("a log has no frame of type %d", t)
}

// Truncated says whether err means that the log was cut off rather than
// altered: everything before the cut is good.
func Truncated(err error) bool { return errors.Is(err, ErrTruncated) }
