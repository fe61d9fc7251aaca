package replay

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestReadsArePacked(t *testing.T) {
	text := bytes.Repeat([]byte("GET /index.html HTTP/1.1\r\n"), 512*16)[:512*64]
	// A third of it compresses, and is wide enough for a window to lie in it.
	partly := slices.Concat(noise(128<<10), bytes.Repeat(text, 6), noise(192<<10))
	holes := make([]byte, 512*64)
	copy(holes[512*7:], noise(512*3))
	copy(holes[512*63:], noise(512))
	for name, c := range map[string]struct {
		data []byte
		most int
	}{
		"zeros":       {make([]byte, MaxDiskData), 12},
		"text":        {text, len(text) / 8},
		"long text":   {bytes.Repeat(text, 8), len(text)},
		"partly":      {partly, len(partly) - 160<<10},
		"holes":       {holes, 512*4 + 40},
		"noise":       {noise(MaxDiskData), MaxDiskData + 16},
		"one sector":  {noise(512), 512 + 16},
		"zeros last":  {append(noise(512), make([]byte, 4096)...), 512 + 24},
		"no sectors":  {noise(700), 700 + 16},
		"zeros, then": {append(make([]byte, 4096), noise(512)...), 512 + 24},
	} {
		e := Entry{Seq: 1, Pos: 9, Body: Input{machine.DiskDone{Disk: 1, ID: 5, Bytes: c.data}}}
		b, err := NewEncoder(Point{}).Append(nil, e)
		if err != nil || len(b) > c.most {
			t.Errorf("%s: %d bytes, at most %d are wanted; %v", name, len(b), c.most, err)
		}
		got, rest, err := NewDecoder(Point{}).Next(b)
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: does not come back: %v", name, err)
		}
	}
}

// However many reads a batch completes, it takes bounded memory, and the Encoder
// keeps to the bound by itself.
func TestABatchUnpacksToABound(t *testing.T) {
	enc, batch := NewEncoder(Point{}), AppendPoint(nil, Point{})
	var err error
	for i := range 40 {
		e := Entry{Seq: Seq(i + 1), Body: Input{machine.DiskDone{ID: 1, Bytes: make([]byte, MaxDiskData)}}}
		if batch, err = enc.Append(batch, e); err != nil {
			t.Fatal(err)
		}
	}
	if plain := len(batch) - 24*MaxDiskData; plain < 0 || plain > 4096 {
		t.Errorf("a batch of %d bytes; 16 of 40 reads should be packed", len(batch))
	}
	if _, entries, err := DecodeBatch(nil, batch); err != nil || len(entries) != 40 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	// The next batch has all its room.
	one, err := enc.Append(nil, Entry{Seq: 41, Body: Input{machine.DiskDone{ID: 1, Bytes: make([]byte, 4096)}}})
	if err != nil || len(one) > 16 {
		t.Errorf("the next batch: %d bytes, %v", len(one), err)
	}
	bomb := AppendPoint(nil, Point{})
	for range 17 {
		bomb = append(bomb, kindDiskPacked, 0, 0, 1)
		bomb, _ = new(packer).append(bomb, make([]byte, MaxDiskData))
	}
	if _, _, err := DecodeBatch(nil, bomb); err == nil {
		t.Error("a batch that unpacks to 17 MiB was taken")
	}
}

func TestPackedIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":             {},
		"no sectors":          {0, 0, 0, 0},
		"too many sectors":    {0x81, 0x10, 0x81, 0x10, 0, 0},
		"zeros over the end":  {2, 3, 0, 0},
		"literals over":       {2, 1, 2, 0, 0},
		"no literals":         {2, 1, 0, 1, 0, 0},
		"no zeros between":    {3, 1, 1, 0, 1, 0, 0},
		"unknown method":      {1, 1, 2, 0},
		"missing literals":    {1, 0, 1, 0, 0},
		"a block of nothing":  {1, 1, 1, 1, 0},
		"not a block":         {1, 0, 1, 1, 3, 0xff, 0xff, 0xff},
		"block of wrong size": {1, 0, 1, 1, 3, 1, 0, 'x'},
		"cut":                 {1, 0, 1, 0, 0x80, 4, 1, 2},
	} {
		f := fields{b: b}
		if data := f.packed(MaxDiskData); !f.short || data != nil {
			t.Errorf("%s: %d bytes", name, len(data))
		}
	}
}

// Whatever comes in is refused or is data that can be packed again.
func FuzzPacked(f *testing.F) {
	for _, data := range [][]byte{make([]byte, 4096), noise(1024), append(make([]byte, 512), bytes.Repeat([]byte("ab"), 512)...)} {
		b, _ := new(packer).append(nil, data)
		f.Add(b)
	}
	f.Add([]byte{1, 0, 1, 1, 3, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := fields{b: b}
		data := in.packed(64 << 10)
		if in.short {
			return
		}
		if !packable(data) || len(data) > 64<<10 {
			t.Fatalf("%d bytes came out", len(data))
		}
		again, ok := new(packer).append(nil, data)
		if !ok {
			return
		}
		out := fields{b: again}
		if got := out.packed(len(data)); out.short || !bytes.Equal(got, data) {
			t.Fatal("what came out does not come back")
		}
	})
}

// Data that does not shrink is tried less and less often, and data that does is
// packed again before long.
func TestPackerTriesWhatDoesNotShrinkSeldom(t *testing.T) {
	text := bytes.Repeat([]byte("a line of a log\n"), 256)
	var p packer
	tried := func(data []byte) bool {
		p.small = nil
		p.append(nil, data)
		return p.small != nil
	}
	const reads = 160
	tries := 0
	for range reads {
		if tried(noise(4096)) {
			tries++
		}
	}
	if tries == 0 || tries > reads/10 {
		t.Errorf("%d of %d reads of noise were tried", tries, reads)
	}
	late := 0
	for !tried(text) {
		if late++; late > reads {
			t.Fatal("text is not tried any more")
		}
	}
	if late > 1<<mostMisses {
		t.Errorf("%d reads of text were not tried", late)
	}
	for range reads {
		if b, ok := p.append(nil, text); !ok || len(b) > len(text)/2 {
			t.Fatalf("text is packed into %d of %d bytes", len(b), len(text))
		}
	}
	if !tried(noise(4096)) || tried(text) || !tried(text) {
		t.Error("after one read of noise among text it is not every second one that is tried")
	}
}
