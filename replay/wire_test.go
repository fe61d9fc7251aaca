package replay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
)

// drawEntry draws an entry that follows last.
func drawEntry(t *rapid.T, last Point) Entry {
	e := Entry{Seq: last.Seq + 1, Pos: last.Pos + machine.Icount(rapid.Uint64Range(0, 1<<40).Draw(t, "delta"))}
	blob := func() []byte {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		if len(b) == 0 {
			return nil
		}
		return b
	}
	u8, u64 := rapid.Byte(), rapid.Uint64()
	switch rapid.IntRange(kindSetClock, kindDiskPacked).Draw(t, "kind") {
	case kindSetClock:
		e.Body = Input{machine.SetClock{Clock: machine.Clock{T0: machine.VTime(u64.Draw(t, "t0")), I0: e.Pos, Mul: u64.Draw(t, "mul")}}}
	case kindFrame:
		e.Body = Input{machine.Frame{NIC: u8.Draw(t, "nic"), Bytes: blob()}}
	case kindConsoleInput:
		e.Body = Input{machine.ConsoleInput{Console: u8.Draw(t, "con"), Session: u64.Draw(t, "session"), Offset: u64.Draw(t, "offset"), Bytes: blob()}}
	case kindDiskDone:
		e.Body = Input{machine.DiskDone{Disk: u8.Draw(t, "disk"), ID: u64.Draw(t, "id"), Status: machine.DiskStatus(u8.Draw(t, "status")), Bytes: blob()}}
	case kindEntropy:
		e.Body = Input{machine.Entropy{Bytes: blob()}}
	case kindStop:
		e.Body = Input{machine.Stop{}}
	case kindMarker:
		e.Body = Marker{machine.Mark{Count: u64.Draw(t, "count"), Hash: u64.Draw(t, "hash")}}
	case kindHorizon:
		e.Body = Horizon{}
	case kindDigestCheck:
		e.Body = DigestCheck{machine.Digest(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "digest"))}
	case kindOwnDone:
		o := OwnDone{Disk: u8.Draw(t, "disk"), ID: u64.Draw(t, "id"), Length: rapid.Uint32Range(0, MaxDiskData).Draw(t, "length")}
		if o.Length > 0 {
			o.Sum = u64.Draw(t, "sum")
		}
		e.Body = o
	case kindDiskPacked:
		sectors := rapid.SliceOfN(rapid.Byte(), 1, 6).Draw(t, "sectors")
		var data []byte
		for _, s := range sectors {
			data = append(data, bytes.Repeat([]byte{s & 3}, 512)...)
		}
		e.Body = Input{machine.DiskDone{Disk: u8.Draw(t, "disk"), ID: u64.Draw(t, "id"), Bytes: data}}
	case kindArm:
		e.Body = Arm{Epoch: u64.Draw(t, "epoch")}
	}
	return e
}

func drawEntries(t *rapid.T, start Point, n int) []Entry {
	var es []Entry
	for last := start; len(es) < n; {
		e := drawEntry(t, last)
		last = Point{Seq: e.Seq, Pos: e.Pos}
		es = append(es, e)
	}
	return es
}

func TestEntriesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := Point{Seq: Seq(rapid.Uint64Range(0, 1<<50).Draw(t, "seq")), Pos: machine.Icount(rapid.Uint64Range(0, 1<<50).Draw(t, "pos"))}
		want := drawEntries(t, start, rapid.IntRange(0, 12).Draw(t, "n"))
		enc := NewEncoder(start)
		body := AppendPoint(nil, start)
		for _, e := range want {
			before := len(body)
			var err error
			if body, err = enc.Append(body, e); err != nil {
				t.Fatal(err)
			}
			if n := len(body) - before; n > SizeBound(e) {
				t.Fatalf("%+v takes %d bytes, over its bound of %d", e, n, SizeBound(e))
			}
		}
		from, got, err := DecodeBatch(nil, body)
		if err != nil || from != start || len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v after %+v, %v", got, from, err)
		}
	})
}

// The wire numbers are for ever: these bytes must decode in every later version.
func TestWireNumbersAreForEver(t *testing.T) {
	at := func(b Body) Entry { return Entry{Seq: 1, Pos: 300, Body: b} }
	for want, e := range map[string]Entry{
		"01ac020507":                             at(Input{machine.SetClock{Clock: machine.Clock{T0: 5, I0: 300, Mul: 7}}}),
		"02ac020103616263":                       at(Input{machine.Frame{NIC: 1, Bytes: []byte("abc")}}),
		"03ac02000904016c":                       at(Input{machine.ConsoleInput{Session: 9, Offset: 4, Bytes: []byte("l")}}),
		"04ac02020701026f6b":                     at(Input{machine.DiskDone{Disk: 2, ID: 7, Status: machine.DiskIOError, Bytes: []byte("ok")}}),
		"05ac02017a":                             at(Input{machine.Entropy{Bytes: []byte("z")}}),
		"06ac02":                                 at(Input{machine.Stop{}}),
		"07ac02030400000000000000":               at(Marker{machine.Mark{Count: 3, Hash: 4}}),
		"08ac02":                                 at(Horizon{}),
		"09ac0201000000000000000000000000000000": at(DigestCheck{machine.Digest{1}}),
		"0aac0206":                               at(Arm{Epoch: 6}),
		"0bac0202078004" + "0900000000000000":    at(OwnDone{Disk: 2, ID: 7, Length: 512, Sum: 9}),
		"0bac02020700":                           at(OwnDone{Disk: 2, ID: 7}),
		"0cac0202070101" + "0000":                at(Input{machine.DiskDone{Disk: 2, ID: 7, Bytes: make([]byte, 512)}}),
	} {
		b, err := NewEncoder(Point{}).Append(nil, e)
		if err != nil || hex.EncodeToString(b) != want {
			t.Errorf("%+v: %x, %v; want %s", e, b, err, want)
		}
	}
}

func TestHorizonAndClockAreSmall(t *testing.T) {
	enc := NewEncoder(Point{Pos: 1 << 40})
	b, _ := enc.Append(nil, Entry{Seq: 1, Pos: 1<<40 + 300_000, Body: Horizon{}})
	if len(b) > 4 {
		t.Errorf("a horizon takes %d bytes", len(b))
	}
	day := machine.VTime(86400 * machine.TimeBase)
	pos := machine.Icount(1<<40 + 600_000)
	b, _ = enc.Append(nil, Entry{Seq: 2, Pos: pos, Body: Input{machine.SetClock{Clock: machine.Clock{T0: day, I0: pos, Mul: 1 << 28}}}})
	if len(b) > 16 {
		t.Errorf("a clock takes %d bytes", len(b))
	}
}

func TestEncoderRefuses(t *testing.T) {
	start := Point{Seq: 5, Pos: 100}
	for name, e := range map[string]Entry{
		"gap":         {Seq: 7, Pos: 100, Body: Horizon{}},
		"repeat":      {Seq: 5, Pos: 100, Body: Horizon{}},
		"backward":    {Seq: 6, Pos: 99, Body: Horizon{}},
		"no body":     {Seq: 6, Pos: 100},
		"no input":    {Seq: 6, Pos: 100, Body: Input{}},
		"other clock": {Seq: 6, Pos: 100, Body: Input{machine.SetClock{Clock: machine.Clock{I0: 99}}}},
		"long frame":  {Seq: 6, Pos: 100, Body: Input{machine.Frame{Bytes: make([]byte, MaxFrame+1)}}},
		"long read":   {Seq: 6, Pos: 100, Body: Input{machine.DiskDone{Bytes: make([]byte, MaxDiskData+1)}}},
	} {
		enc := NewEncoder(start)
		if b, err := enc.Append([]byte("x"), e); err == nil || string(b) != "x" || enc.Last() != start {
			t.Errorf("%s: %q, %v, at %+v", name, b, err, enc.Last())
		}
	}
	full := Entry{Seq: 6, Pos: 100, Body: Input{machine.DiskDone{Bytes: make([]byte, MaxDiskData)}}}
	b, err := NewEncoder(start).Append(AppendPoint(nil, start), full)
	if err != nil || len(b) > MaxFrameBody {
		t.Errorf("the largest entry: %d bytes, %v", len(b), err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":         {},
		"kind 0":          {0, 0},
		"unknown kind":    {13, 0},
		"no sum":          {11, 0, 1, 1, 1},
		"own too long":    {11, 0, 1, 1, 0x81, 0x80, 0x40, 1, 2, 3, 4, 5, 6, 7, 8},
		"no delta":        {8},
		"overflow":        {8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"long varint":     {8, 0x80, 0x00},
		"endless varint":  bytes.Repeat([]byte{0xff}, 20),
		"short hash":      {7, 0, 1, 2, 3},
		"short digest":    {9, 0, 1},
		"frame too long":  {2, 0, 0, 0x81, 0x80, 0x04},
		"frame cut":       {2, 0, 0, 5, 1, 2},
		"huge length":     {5, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"no disk status":  {4, 0, 1, 2},
		"clock, no slope": {1, 0, 5},
	} {
		start := Point{Seq: 1, Pos: 10}
		d := NewDecoder(start)
		if _, rest, err := d.Next(b); !errors.Is(err, ErrMalformed) || !bytes.Equal(rest, b) || d.Last() != start {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever comes in, decoding does not panic, and what is accepted has one form,
// but for packed reads, whose entries come back from another one.
func FuzzDecodeBatch(f *testing.F) {
	for _, seed := range []string{"0000", "0164" + "0803" + "0701020000000000000000" + "0200000161", "0000" + "0101020304", "ffff", "00000a0001"} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		start, entries, err := DecodeBatch(nil, b)
		if err != nil {
			return
		}
		out, enc := AppendPoint(nil, start), NewEncoder(start)
		for _, e := range entries {
			if out, err = enc.Append(out, e); err != nil {
				t.Fatalf("%+v was decoded but cannot be encoded: %v", e, err)
			}
		}
		if bytes.Equal(out, b) {
			return
		}
		packed := bytes.IndexByte(b, kindDiskPacked) >= 0
		if _, again, err := DecodeBatch(nil, out); !packed || err != nil || !reflect.DeepEqual(again, entries) {
			t.Errorf("%x has another form, %x", b, out)
		}
	})
}
