package local

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/zeebo/xxh3"

	"encoding/binary"
)

func FuzzHeader(f *testing.F) {
	h := header{Seq: 3, VM: "v", State: InUse, Sectors: 99, RegionShift: 20, Generation: 2, Reason: "r"}
	f.Add(h.encode()[:400])
	f.Fuzz(func(t *testing.T, front []byte) {
		b := make([]byte, slotSize)
		copy(b, front)
		binary.LittleEndian.PutUint64(b[slotSize-8:], xxh3.Hash(b[:slotSize-8]))
		h, err := decodeHeader(b)
		if err != nil {
			return
		}
		if again, err := decodeHeader(h.encode()); err != nil || again != h {
			t.Fatalf("%+v: %+v, %v", h, again, err)
		}
		if h.regions() > maxRegions || h.areaSize() <= 0 {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzMapSector(f *testing.F) {
	m := newBitmap(5000)
	m.set(4000)
	f.Add(encodeMapSector(7, m.snapshot(), 1), uint64(5000))
	f.Fuzz(func(t *testing.T, b []byte, regions uint64) {
		if len(b) != sectorSize || regions == 0 || regions > 1<<16 {
			return
		}
		m := newBitmap(regions)
		g, damaged := decodeMapSector(b)
		for n := range (regions + sectorBits - 1) / sectorBits {
			addMapSector(m, n, b, damaged)
		}
		if damaged && (g != 0 || m.count() != regions) {
			t.Fatal("a damaged sector does not have all bits set")
		}
	})
}

var messages = []any{
	Hello{Status: Status{VM: "v", State: Clean, Sectors: 9, RegionSize: 1 << 20, Regions: 1}, Map: true},
	MapPart{First: 3, Words: []uint64{1, 2}, Last: true},
	Begin{Session: [16]byte{1}}, Ask{5, 7}, Hashes{5, 3, []Hash{{1}, {2}}},
	Data{512, bytes.Repeat([]byte{1}, 512)}, Zero{0, 1 << 40},
	End{Point{ID: [16]byte{4}}}, Prepared{Point{ID: [16]byte{4}}}, Commit{Point{ID: [16]byte{4}}},
}

func TestMessages(t *testing.T) {
	for _, m := range messages {
		got, err := Decode(Encode(m))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%#v: %#v, %v", m, got, err)
		}
		if _, err := Decode(append(Encode(m), 0xff)); err == nil {
			t.Errorf("%T with a byte too many", m)
		}
	}
}

// A target takes any bytes from a source, and a message means one thing.
func FuzzTarget(f *testing.F) {
	for _, m := range messages {
		f.Add(Encode(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err == nil {
			if again, err := Decode(Encode(m)); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%#v: %#v, %v", m, again, err)
			}
		}
		_, c, _ := adopted(t, testSize, testShift)
		target := must(c.NewTarget()).(*Target)
		must(target.Handle(Encode(Begin{Source: [16]byte{9}, Session: [16]byte{1}})))
		_, _ = target.Handle(b)
	})
}
