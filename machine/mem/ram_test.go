package mem_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

const size = 64 * mem.PageSize

func TestRangesAreChecked(t *testing.T) {
	r := mem.New(size)
	end := mem.Base + size
	for _, c := range []struct {
		gpa machine.GPA
		n   uint64
		in  bool
	}{
		{mem.Base, 0, true}, {mem.Base, size, true}, {mem.Base, size + 1, false},
		{end, 0, true}, {end, 1, false}, {end - 1, 1, true}, {end - 1, 2, false},
		{mem.Base - 1, 1, false}, {0, 1, false}, {^machine.GPA(0), 2, false}, {mem.Base + 8, ^uint64(0), false},
	} {
		if r.Contains(c.gpa, c.n) != c.in {
			t.Errorf("Contains(%#x, %d) = %v", c.gpa, c.n, !c.in)
		}
	}
	if r.Write(end-2, []byte{1, 2, 3}) {
		t.Error("a write past the end succeeded")
	}
	if v, _ := r.Load16(end - 2); v != 0 {
		t.Error("a write that failed has written")
	}
	if _, ok := r.Load64(end - 7); ok {
		t.Error("a load past the end succeeded")
	}
}

// watcher notes what it is told.
type watcher struct {
	written [][2]uint64
	dma     int
	all     int
}

func (w *watcher) Written(off, n uint64) { w.written = append(w.written, [2]uint64{off, n}) }
func (w *watcher) DMA(off, n uint64)     { w.dma++ }
func (w *watcher) AllWatched()           { w.all++ }

// A write over several pages tells of the flagged ones, page by page.
func TestTouchTellsTheWatcher(t *testing.T) {
	r, w := mem.New(size), &watcher{}
	r.Watch(w)
	r.SetFlags(1, mem.HasCode)
	r.SetFlags(3, mem.IsPageTable)
	r.Write(mem.Base+mem.PageSize-4, make([]byte, 3*mem.PageSize))
	want := [][2]uint64{{mem.PageSize, mem.PageSize}, {3 * mem.PageSize, mem.PageSize - 4}}
	if len(w.written) != 2 || w.written[0] != want[0] || w.written[1] != want[1] {
		t.Errorf("told of %v, want %v", w.written, want)
	}
	if w.dma != 1 {
		t.Errorf("told %d times of DMA", w.dma)
	}
	for p := range uint64(4) {
		if r.PageFlags(p)&mem.Clean != 0 {
			t.Errorf("page %d is clean after a write", p)
		}
	}
	if r.PageFlags(4)&mem.Clean == 0 {
		t.Error("page 4 is not clean without a write")
	}
	r.Digest()
	if w.all != 1 || r.PageFlags(1)&mem.Clean == 0 {
		t.Error("the digest did not make the pages clean again, or did not say so")
	}
	r.Digest()
	if w.all != 1 {
		t.Error("a digest without a change flagged pages")
	}
}

// The digest is a function of the content alone, not of how it came about.
func TestDigestIsOfContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, model := mem.New(size), make([]byte, size)
		for range rapid.IntRange(0, 30).Draw(t, "writes") {
			off := rapid.IntRange(0, size-1).Draw(t, "off")
			n := rapid.IntRange(1, min(size-off, 3*mem.PageSize)).Draw(t, "n")
			b := bytes.Repeat([]byte{rapid.Byte().Draw(t, "b") & 1}, n) // often back to zero
			a.Write(mem.Base+machine.GPA(off), b)
			copy(model[off:], b)
			if rapid.Bool().Draw(t, "digest") {
				a.Digest()
			}
		}
		b := mem.New(size)
		b.Write(mem.Base, model)
		if a.Digest() != b.Digest() {
			t.Fatal("the digests of equal contents differ")
		}
		a.Zero()
		if a.Digest() != mem.New(size).Digest() {
			t.Fatal("zeroed RAM has not the digest of fresh RAM")
		}
	})
}

// A digest tells content and place apart, and PageDigest names the page.
func TestDigestTellsPlaces(t *testing.T) {
	a, b := mem.New(size), mem.New(size)
	a.Write(mem.Base, []byte{1})
	b.Write(mem.Base+mem.PageSize, []byte{1})
	if a.Digest() == b.Digest() {
		t.Error("the same page at two places has one digest")
	}
	if a.PageDigest(0) == ([16]byte{}) || a.PageDigest(1) != ([16]byte{}) {
		t.Error("the page digests do not show which page is not zero")
	}
}

func TestPagesMoveWithoutZeros(t *testing.T) {
	a, b := mem.New(size), mem.New(size)
	a.Write(mem.Base+5*mem.PageSize-1, []byte{1, 2})
	a.Write(mem.Base+9*mem.PageSize, []byte{3})
	a.Write(mem.Base+9*mem.PageSize, []byte{0})
	var pages []uint64
	err := a.EachNonZero(func(page uint64, bytes []byte) error {
		pages = append(pages, page)
		return b.SetPage(page, bytes)
	})
	if err != nil || len(pages) != 2 || pages[0] != 4 || pages[1] != 5 {
		t.Fatalf("pages %v, error %v", pages, err)
	}
	if a.Digest() != b.Digest() {
		t.Error("the copy differs")
	}
	stop := errors.New("stop")
	if err := a.EachNonZero(func(uint64, []byte) error { return stop }); err != stop {
		t.Errorf("error %v", err)
	}
	if b.SetPage(size/mem.PageSize, make([]byte, mem.PageSize)) == nil || b.SetPage(0, nil) == nil {
		t.Error("a page that does not fit was taken")
	}
}

// Changes lists the pages whose content is another one than at the call before,
// and only those, in order, whatever was hashed in between.
func TestChangesAreOfContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := mem.New(size)
		var was [size / mem.PageSize][16]byte
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			default:
				off := rapid.IntRange(0, 3).Draw(t, "page") * mem.PageSize
				r.Write(mem.Base+machine.GPA(off), []byte{rapid.Byte().Draw(t, "b") & 1}) // often as it was
			case 0:
				r.Digest()
			case 1:
				last := -1
				now := was
				for _, c := range r.Changes(nil) {
					if int(c.Page) <= last {
						t.Fatalf("page %d after %d", c.Page, last)
					}
					last = int(c.Page)
					if c.Sum == was[c.Page] || c.Sum != r.PageDigest(uint64(c.Page)) {
						t.Fatalf("page %d is listed with %x, was %x", c.Page, c.Sum, was[c.Page])
					}
					now[c.Page] = c.Sum
				}
				was = now
				for p := range was {
					if r.PageDigest(uint64(p)) != was[p] {
						t.Fatalf("page %d has changed and is not listed", p)
					}
				}
			}
		}
	})
}
