package mem

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

// The digest of RAM is the sum over all pages of their hashes, each half modulo
// 2^64, so that a page that was written costs one hash and two additions: its
// old hash is taken out and its new one put in.
//
// The hash is xxh3 of 128 bits over the 4096 bytes, seeded with the number of
// the page, so that equal pages at two places, or two pages that change places,
// do not cancel out; a page of zeros counts as zero and is never hashed, as most
// of RAM is. xxh3 because it reads a page about as fast as memory gives it, on
// every host, with the same result, and because it mixes well enough that faults
// which know nothing of it (a flipped bit, a lost or misplaced store, a stale
// translation) pass unseen with a chance of about 2^-128 a page.
// It is no cryptographic hash and the sum is no cryptographic sum: who chooses
// the content of pages can make two States with one digest. Nobody stands to
// gain by it. Both replicas execute the same code on the same inputs, so a guest
// that crafts a collision has the same pages on both; it could hide from us a
// fault of our own that it foresees, which harms only itself. What comes from
// other people (logs, snapshots, the channel) is not guarded by this hash, and
// whoever can write to those owns the guest anyway.
type sum struct{ hi, lo uint64 }

func (s sum) plus(t sum) sum  { return sum{s.hi + t.hi, s.lo + t.lo} }
func (s sum) minus(t sum) sum { return sum{s.hi - t.hi, s.lo - t.lo} }

func (s sum) bytes() (out [16]byte) {
	binary.BigEndian.PutUint64(out[:8], s.hi)
	binary.BigEndian.PutUint64(out[8:], s.lo)
	return out
}

// hashPage is zero for a page of zeros, and otherwise the page's hash keyed by
// its place.
func hashPage(page uint64, b []byte) sum {
	if isZero(b) {
		return sum{}
	}
	h := xxh3.Hash128Seed(b, page+1)
	return sum{h.Hi, h.Lo}
}

// A change is a page that has been found to differ from what it was when the
// list of changes began, and its hash at that time.
type change struct {
	page uint32
	was  sum
}

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	return true
}

// refresh hashes what was written since the last time.
func (r *RAM) refresh() {
	if len(r.dirty) == 0 {
		return
	}
	slices.Sort(r.dirty) // RAM gives its pages faster in order
	for _, p := range r.dirty {
		page := uint64(p)
		s := hashPage(page, r.page(page))
		was := r.sums[page]
		if s != was && r.flags[page]&Listed == 0 {
			r.flags[page] |= Listed
			r.changed = append(r.changed, change{p, was})
		}
		r.total = r.total.minus(was).plus(s)
		r.sums[page] = s
		r.flags[page] |= Clean
	}
	r.dirty = r.dirty[:0]
	if r.watcher != nil {
		r.watcher.AllWatched()
	}
}

// Digest is a hash over all of RAM. It costs as much as the pages written
// since the last call (R8).
func (r *RAM) Digest() [16]byte {
	r.refresh()
	return r.total.bytes()
}

// PageDigest is the part of Digest that one page contributes: all zeros for a
// page of zeros.
func (r *RAM) PageDigest(page uint64) [16]byte {
	r.refresh()
	return r.sums[page].bytes()
}

// Changes appends the pages whose content is not what it was at the call
// before, in ascending order, and begins a new list. Without a call before it
// is RAM of zeros that they are compared with.
func (r *RAM) Changes(buf []machine.PageSum) []machine.PageSum {
	r.refresh()
	slices.SortFunc(r.changed, func(a, b change) int { return cmp.Compare(a.page, b.page) })
	for _, c := range r.changed {
		r.flags[c.page] &^= Listed
		if s := r.sums[c.page]; s != c.was {
			buf = append(buf, machine.PageSum{Page: c.page, Sum: s.bytes()})
		}
	}
	r.changed = r.changed[:0]
	return buf
}

// Page is a copy of a page; nil if there is none.
func (r *RAM) Page(page uint64) []byte {
	if page >= r.Pages() {
		return nil
	}
	return bytes.Clone(r.page(page))
}

// Pages is how many pages there are.
func (r *RAM) Pages() uint64 { return uint64(len(r.flags)) }

func (r *RAM) page(page uint64) []byte {
	return r.bytes[page<<PageShift:][:PageSize:PageSize]
}

// EachNonZero calls f for every page that is not all zeros, in ascending
// order, until it returns an error. The bytes are RAM itself and must not be
// changed or kept.
func (r *RAM) EachNonZero(f func(page uint64, b []byte) error) error {
	r.refresh()
	for page := range r.Pages() {
		if r.sums[page] == (sum{}) {
			continue
		}
		if err := f(page, r.page(page)); err != nil {
			return err
		}
	}
	return nil
}

// SetPage replaces a page, as loading a snapshot does.
func (r *RAM) SetPage(page uint64, b []byte) error {
	if page >= r.Pages() || len(b) != PageSize {
		return fmt.Errorf("mem: %d bytes for page %d do not fit a RAM of %d pages; is the snapshot of another machine?", len(b), page, r.Pages())
	}
	r.Touch(page<<PageShift, PageSize)
	copy(r.page(page), b)
	return nil
}

// Zero makes all of RAM zero, as at power-on.
func (r *RAM) Zero() {
	r.refresh()
	for page := range r.Pages() {
		if r.sums[page] != (sum{}) {
			r.Touch(page<<PageShift, PageSize)
			clear(r.page(page))
		}
	}
}
