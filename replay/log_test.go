package replay

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
)

var testHeader = Header{
	VM: "web", ConfigHash: [32]byte{1, 2}, RunOrdinal: 3, RunID: [16]byte{4},
	Birth: machine.Birth{Seed: [64]byte{5}, RTC: 6, Clock: machine.Clock{T0: 7, I0: 8, Mul: 9}},
	Start: Point{Seq: 10, Pos: 11},
}

// fataler is what testing.TB and rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// written is a log of the entries, and where its frames end.
func written(t fataler, entries []Entry, end bool) (log []byte, frames []int) {
	var b bytes.Buffer
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Len(); len(frames) == 0 || frames[len(frames)-1] != n {
			frames = append(frames, n)
		}
	}
	r, err := NewRecorder(&b, testHeader)
	must(err)
	for i, e := range entries {
		must(r.Append(e))
		if i%3 == 2 {
			must(r.Flush())
		}
	}
	must(r.Flush())
	if end {
		must(r.End())
	}
	return b.Bytes(), frames
}

func readAll(b []byte) (Header, []Entry, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return Header{}, nil, err
	}
	var es []Entry
	for {
		e, err := r.Next()
		if err != nil {
			return r.Header(), es, err
		}
		if in, ok := e.Body.(Input); ok {
			if f, ok := in.In.(machine.Frame); ok {
				f.Bytes = bytes.Clone(f.Bytes)
				e.Body = Input{f}
			}
		}
		es = append(es, e)
	}
}

func someEntries(n int) []Entry {
	var es []Entry
	for i := range n {
		e := Entry{Seq: testHeader.Start.Seq + Seq(i+1), Pos: testHeader.Start.Pos + machine.Icount(i*10), Body: Horizon{}}
		if i%2 == 0 {
			e.Body = Input{machine.Frame{NIC: byte(i), Bytes: bytes.Repeat([]byte{byte(i)}, 50)}}
		}
		es = append(es, e)
	}
	return es
}

func TestLogRoundTrip(t *testing.T) {
	want := someEntries(20)
	log, _ := written(t, want, true)
	h, got, err := readAll(log)
	if h != testHeader || err != io.EOF || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %d entries, %v", h, len(got), err)
	}
}

func TestLargeEntriesAreSplitIntoFrames(t *testing.T) {
	var want []Entry
	for i := range 6 {
		want = append(want, Entry{Seq: Seq(11 + i), Pos: 20, Body: Input{machine.DiskDone{ID: uint64(i), Bytes: make([]byte, MaxDiskData)}}})
	}
	var b bytes.Buffer
	r, err := NewRecorder(&b, testHeader)
	for _, e := range want {
		if err == nil {
			err = r.Append(e)
		}
	}
	if err == nil {
		err = r.End()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := readAll(b.Bytes()); err != io.EOF || len(got) != len(want) {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// A log that was cut off is told from one that was ended, and from one that
// was altered; all before the cut is good.
func TestCutLogIsTruncated(t *testing.T) {
	want := someEntries(20)
	log, _ := written(t, want, true)
	for n := range len(log) {
		_, got, err := readAll(log[:n])
		if !Truncated(err) || errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if len(got) > 0 && !reflect.DeepEqual(got, want[:len(got)]) {
			t.Fatalf("cut at %d: other entries", n)
		}
	}
}

func TestFlippedBitIsRefused(t *testing.T) {
	want := someEntries(9)
	log, frames := written(t, want, true)
	for at := range len(log) * 8 {
		bad := bytes.Clone(log)
		bad[at/8] ^= 1 << (at % 8)
		_, got, err := readAll(bad)
		if err == io.EOF || err == nil {
			t.Fatalf("bit %d flipped: accepted", at)
		}
		// Entries before the frame with the flipped bit are still handed out, no other.
		good := 0
		for good < len(frames) && frames[good] <= at/8 {
			good++
		}
		if limit := max(0, good-1) * 3; len(got) > limit || len(got) > 0 && !reflect.DeepEqual(got, want[:len(got)]) {
			t.Fatalf("bit %d flipped: %d entries, at most %d are good", at, len(got), limit)
		}
	}
}

// Frames taken out, repeated or exchanged are refused, though each is whole.
func TestReorderedFramesAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := someEntries(12)
		var parts [][]byte
		log, ends := written(t, entries, true)
		for from := 0; len(ends) > 0; ends = ends[1:] {
			parts = append(parts, log[from:ends[0]])
			from = ends[0]
		}
		i := rapid.IntRange(0, len(parts)-1).Draw(t, "i")
		j := rapid.IntRange(0, len(parts)-1).Draw(t, "j")
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			parts[i], parts[j] = parts[j], parts[i]
		case 1:
			parts = append(parts[:i:i], parts[i+1:]...)
		case 2:
			parts = append(parts[:i:i], append([][]byte{parts[j]}, parts[i:]...)...)
		}
		bad := bytes.Join(parts, nil)
		if bytes.Equal(bad, log) {
			return
		}
		if _, _, err := readAll(bad); err == io.EOF {
			t.Fatal("accepted")
		}
	})
}

// A log that goes on after its end, or ends elsewhere, is refused.
func TestEndMustMatch(t *testing.T) {
	log, _ := written(t, someEntries(3), true)
	if _, _, err := readAll(append(bytes.Clone(log), 1)); !errors.Is(err, ErrMalformed) && !Truncated(err) || err == io.EOF {
		t.Errorf("a byte after the end: %v", err)
	}
	var c Chain
	bad := c.Append(nil, FrameLogHeader, appendHeader(nil, testHeader))
	bad = c.Append(bad, FrameLogEnd, AppendPoint(nil, Point{Seq: 99}))
	if _, _, err := readAll(bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("an end at another entry: %v", err)
	}
	var d Chain
	bad = d.Append(nil, FrameLogHeader, appendHeader(nil, testHeader))
	bad = d.Append(bad, FrameEntries, AppendPoint(nil, Point{Seq: 12, Pos: 11}))
	if _, _, err := readAll(bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("a batch that leaves a gap: %v", err)
	}
}

func TestNotALog(t *testing.T) {
	var c Chain
	other := testHeader
	body := appendHeader(nil, other)
	body[len(logMagic)] = 99
	for name, b := range map[string][]byte{
		"text":    []byte("this is not a log at all, but a text"),
		"entries": c.Append(nil, FrameEntries, []byte{0, 0}),
		"version": (&Chain{}).Append(nil, FrameLogHeader, body),
		"short":   (&Chain{}).Append(nil, FrameLogHeader, body[:20]),
	} {
		if _, err := NewReader(bytes.NewReader(b)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(nil)); !Truncated(err) {
		t.Errorf("empty: %v", err)
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestRecorderKeepsItsFirstError(t *testing.T) {
	r, err := NewRecorder(&failing{left: 400}, testHeader)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range someEntries(20) {
		_ = r.Append(e)
	}
	first := r.Flush()
	if first == nil || r.Append(someEntries(1)[0]) != first || r.End() != first {
		t.Errorf("first error %v, then others", first)
	}
}

func FuzzReader(f *testing.F) {
	log, _ := written(f, someEntries(5), true)
	f.Add(log)
	f.Add(log[:len(log)-3])
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) { _, _, _ = readAll(b) })
}
