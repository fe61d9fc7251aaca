package format

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memory is a file in memory.
type memory []byte

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(*m) {
		*m = append(*m, make([]byte, n-len(*m))...)
	}
	return copy((*m)[off:], p), nil
}

// fixture is a qcow2 image of the disk.
func fixture(t testing.TB, disk []byte, how Compression) []byte {
	t.Helper()
	var m memory
	w, err := newWriter(&m, int64(len(disk)), how)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(disk); off += writeCluster {
		if err := w.cluster(disk[off:off+writeCluster], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	return append(m, make([]byte, n-int64(len(m)))...)
}

func put32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
}

func put64(at int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
}

// each header is refused with what to do.
func TestHostileHeaders(t *testing.T) {
	whole := fixture(t, disk(1, 2*writeCluster), None)
	for name, tt := range map[string]struct {
		change func([]byte)
		words  string
	}{
		"version 1":           {put32(4, 1), "has version 1"},
		"version 4":           {put32(4, 4), "has version 4"},
		"tiny clusters":       {put32(20, 8), "clusters of 2^8"},
		"huge clusters":       {put32(20, 63), "clusters of 2^63"},
		"encrypted":           {put32(32, 1), "is encrypted"},
		"no disk":             {put64(24, 0), "at least one block"},
		"an odd disk":         {put64(24, 700), "not a multiple of 512"},
		"a negative disk":     {put64(24, 1<<63), "a disk of"},
		"a disk beyond L1":    {put64(24, 1<<60), "an L1 table of 1 entries"},
		"a huge L1 table":     {put32(36, 1<<31), "an L1 table of 2147483648 entries"},
		"L1 beyond the end":   {put64(40, 1<<40), "an L1 table of 8 bytes at"},
		"L1 at an odd place":  {put64(40, 8), "an L1 table of 8 bytes at 8"},
		"refcounts too many":  {put32(56, 1<<20), "a refcount table of"},
		"refcounts nowhere":   {put64(48, 1<<62), "a refcount table of"},
		"snapshots too many":  {put32(60, 1<<30), "1073741824 snapshots"},
		"refcount order":      {put32(96, 7), "refcounts of 2^7 bits"},
		"header length":       {put32(100, 1<<31), "a header of 2147483648 bytes"},
		"dirty":               {put64(72, incompatDirty), "dirty bit is set"},
		"corrupt":             {put64(72, incompatCorrupt), "is marked as corrupt"},
		"external data":       {put64(72, incompatExtData), "keeps its data in another file"},
		"extended L2":         {put64(72, incompatExtL2), "extended L2 entries"},
		"unknown feature":     {put64(72, 1<<40), "needs features that are not known"},
		"compression unnamed": {put64(72, incompatCompr), "a compression type that"},
		"compression unknown": {func(b []byte) { put64(72, incompatCompr)(b); b[104] = 9 }, "compressed with type 9"},
		"long extension":      {func(b []byte) { put32(112, 7)(b); put32(116, 1<<31)(b) }, "a header extension of"},
		"long backing name":   {func(b []byte) { put64(8, 200)(b); put32(16, 4000)(b) }, "the name of a backing file"},
		"backing name beyond": {func(b []byte) { put64(8, 1<<40)(b); put32(16, 4)(b) }, "the name of a backing file"},
	} {
		b := bytes.Clone(whole)
		tt.change(b)
		_, err := newQCOW2(bytes.NewReader(b), int64(len(b)), "x.qcow2")
		if err == nil || !strings.Contains(err.Error(), tt.words) || !strings.Contains(err.Error(), ";") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBackingNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"base.raw": true, "sub/base.raw": true, "file:base.raw": true, "./a": true,
		"/etc/shadow": false, "../base.raw": false, "sub/../../x": false, "file:/etc/shadow": false,
		"nbd://host/x": false, `json:{"driver":"raw"}`: false, "http://host/x": false,
	} {
		_, _, err := backingOf(&header{backing: name}, "dir/top.qcow2", false)
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := backingOf(&header{backing: "nbd://host/x"}, "top.qcow2", true); err == nil {
		t.Error("another host's image is followed")
	}
	if p, k, err := backingOf(&header{backing: "/base", backingKind: "raw"}, "top.qcow2", true); p != "/base" || k != Raw || err != nil {
		t.Errorf("%s, %v, %v", p, k, err)
	}
}

// Damage to each kind of table is found, and such an image is not converted.
func TestDamageIsFound(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 2*writeCluster)
	whole := fixture(t, content, None)
	// The writer's order: header, two clusters, L2, L1, refcounts, their table.
	const l2, l1, refs = 3 * writeCluster, 4 * writeCluster, 5 * writeCluster
	for name, tt := range map[string]struct {
		change func([]byte)
		words  string
	}{
		"refcount too small":    {func(b []byte) { b[refs+2*1+1] = 0 }, "refcount 0"},
		"cluster beyond":        {put64(l2, 1<<40|copied), "beyond the end of the file"},
		"cluster used twice":    {put64(l2, 2*writeCluster|copied), "2 users"},
		"cluster at odd place":  {put64(l2, writeCluster+512|copied), "in the middle of a cluster"},
		"not marked copied":     {put64(l2, writeCluster), "says otherwise"},
		"reserved bits":         {put64(l2, writeCluster|copied|1<<56), "reserved bits"},
		"L2 over the header":    {put64(l1, copied), ""},
		"L2 beyond":             {put64(l1, 1<<50|copied), "beyond the end of the file"},
		"L1 reserved bits":      {put64(l1, l2|copied|1), "reserved bits"},
		"refcount block beyond": {put64(6*writeCluster, 1<<50), "refcount block 0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := bytes.Clone(whole)
			tt.change(b)
			path := mustWrite(t, filepath.Join(dir, "a.qcow2"), b)
			r, err := Check(t.Context(), path, CheckOptions{BlockSize: SectorSize})
			if err != nil {
				t.Fatal(err)
			}
			if tt.words == "" { // only space is lost
				if len(r.Problems) > 0 || r.Leaked != 3*writeCluster {
					t.Fatalf("%+v", r)
				}
				return
			}
			if !strings.Contains(strings.Join(r.Problems, "\n"), tt.words) {
				t.Fatalf("problems %q", r.Problems)
			}
			_, err = Convert(t.Context(), path, filepath.Join(dir, "b.raw"), ConvertOptions{})
			refusal(t, err, "is damaged")
			if _, err := os.Stat(filepath.Join(dir, "b.raw")); err == nil {
				t.Error("it was converted all the same")
			}
		})
	}
}

// Work is bounded by the file, so no table is walked twice for one disk.
func TestSharedL2(t *testing.T) {
	var m memory
	w, err := newWriter(&m, 1<<30, None)
	if err == nil {
		err = w.cluster(bytes.Repeat([]byte("x"), writeCluster), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	m = append(m, make([]byte, n-int64(len(m)))...)
	const l1 = 3 * writeCluster
	copy(m[l1+8:l1+16], m[l1:])
	r, err := Check(t.Context(), mustWrite(t, filepath.Join(t.TempDir(), "a.qcow2"), m), CheckOptions{BlockSize: SectorSize})
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "used twice by one disk") {
		t.Fatalf("%+v, %v", r, err)
	}
}

// A hostile image takes no more than a bounded time and memory, and ends in an
// error at worst.
func FuzzQCOW2(f *testing.F) {
	text := bytes.Repeat([]byte("some text that is compressed well. "), 2*writeCluster/35+1)[:2*writeCluster]
	for _, how := range []Compression{None, Zlib, Zstd} {
		b := fixture(f, text, how)
		// The tables without the clusters of zeros between: the rest is the fuzzer's.
		f.Add(b[:120], uint32(4*writeCluster), b[3*writeCluster:3*writeCluster+64])
		f.Add(b[:120], uint32(3*writeCluster), b[len(b)-3*writeCluster:][:64])
		f.Add(b[:120], uint32(writeCluster), b[writeCluster:writeCluster+400])
	}
	f.Add(make([]byte, 120), uint32(0), []byte("QFI\xfb\x00\x00\x00\x03"))
	base := map[Compression][]byte{None: fixture(f, text, None), Zlib: fixture(f, text, Zlib), Zstd: fixture(f, text, Zstd)}
	f.Fuzz(func(t *testing.T, head []byte, at uint32, patch []byte) {
		how := Compression(at % 3)
		b := bytes.Clone(base[how])
		copy(b, head)
		copy(b[int(at)%len(b):], patch)
		exercise(t, b)
	})
}

// exercise checks and reads an image.
func exercise(t *testing.T, b []byte) {
	q, err := newQCOW2(bytes.NewReader(b), int64(len(b)), "x.qcow2")
	if err != nil {
		return
	}
	c := &checker{qcow2: q, ctx: context.Background(), report: &Report{}}
	_ = c.check()
	p := make([]byte, 4096)
	var off int64
	for range 200 {
		if off >= q.size {
			break
		}
		e, err := q.Extent(off)
		if err != nil {
			return
		}
		if e.Start != off || e.Length <= 0 || e.Length > q.size-off {
			t.Fatalf("extent %+v at %d of %d", e, off, q.size)
		}
		n := min(int64(len(p)), q.size-off)
		if err := q.ReadAt(p[:n], off); err == nil && e.Zero && !bytes.Equal(p[:min(n, e.Length)], zeroUnit[:min(n, e.Length)]) {
			t.Fatalf("extent %+v has data", e)
		}
		off += e.Length
	}
}
