package format

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage/imagelock"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

func mustWrite(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// disk is n bytes of holes, noise and text.
func disk(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 5))
	b := make([]byte, n)
	for range 12 {
		off := rng.IntN(n)
		p := b[off : off+rng.IntN(min(n-off, 100_000)+1)]
		text := rng.IntN(2) == 0
		for i := range p {
			p[i] = byte(rng.Uint32())
			if text {
				p[i] = "a guest's text "[i%15]
			}
		}
	}
	return b
}

func convert(t *testing.T, src, dst string, o ConvertOptions) *Result {
	t.Helper()
	r, err := Convert(t.Context(), src, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
		t.Fatalf("%s: %v, %d bytes that differ from the %d wanted", path, err, len(have), len(want))
	}
}

func sane(t *testing.T, path string) {
	t.Helper()
	r, err := Check(t.Context(), path, CheckOptions{BlockSize: SectorSize})
	if err != nil || len(r.Problems) > 0 || r.Leaked > 0 {
		t.Fatalf("%s: %v, %+v", path, err, r)
	}
}

// refusal sees that an error has all the words.
func refusal(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("error %v, want one line with %q", err, w)
		}
	}
}

func TestThereAndBack(t *testing.T) {
	for _, how := range []Compression{None, Zlib, Zstd} {
		for seed, n := range []int{512, 4096, 65536, 65536 + 512, 3_000_320, 9 << 20} {
			dir := t.TempDir()
			want := disk(uint64(seed), n/512*512)
			raw := mustWrite(t, filepath.Join(dir, "a.raw"), want)
			q := filepath.Join(dir, "b.qcow2")
			convert(t, raw, q, ConvertOptions{Compression: how})
			sane(t, q)
			back := filepath.Join(dir, "c.img")
			convert(t, q, back, ConvertOptions{})
			same(t, back, want)
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("%v are left", left)
			}
		}
	}
}

func TestConversionKeepsAndMakesHoles(t *testing.T) {
	dir := t.TempDir()
	thick := make([]byte, 8<<20)
	copy(thick[5<<20:], "data")
	src := mustWrite(t, filepath.Join(dir, "a.raw"), thick)
	dst := filepath.Join(dir, "b.raw")
	r := convert(t, src, dst, ConvertOptions{})
	same(t, dst, thick)
	if r.Allocated > 1<<20 {
		t.Errorf("%d bytes take space", r.Allocated)
	}
	i, err := Stat(dst, Auto)
	if err != nil || !i.Sparse || i.Size != 8<<20 || i.Unusable != "" {
		t.Errorf("%+v, %v", i, err)
	}
}

// A hole that ends within a cluster of the copy.
func TestHolesSmallerThanClusters(t *testing.T) {
	dir := t.TempDir()
	src := mustWrite(t, filepath.Join(dir, "a.raw"), nil)
	want := make([]byte, 1<<20)
	f, err := os.OpenFile(src, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{5 * 4096, 40 * 4096} {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], "data")
	}
	q, back := filepath.Join(dir, "b.qcow2"), filepath.Join(dir, "c.raw")
	convert(t, src, q, ConvertOptions{})
	sane(t, q)
	convert(t, q, back, ConvertOptions{})
	same(t, back, want)
}

func TestCreateIsThinAndNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.img")
	r, err := Create(path, CreateOptions{Size: 4 << 40, BlockSize: 4096})
	if err != nil || r.Allocated > 1<<20 || len(r.Warnings) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = Create(path, CreateOptions{Size: 4096, BlockSize: 4096})
	refusal(t, err, "exists already")
	if info, _ := os.Stat(path); info.Size() != 4<<40 {
		t.Error("it was replaced all the same")
	}
	for _, size := range []int64{0, -4096, 512, 4097} {
		_, err := Create(path+"2", CreateOptions{Size: size, BlockSize: 4096})
		refusal(t, err, "the size is")
	}
}

// A file that appears under the name while it is made is not replaced.
func TestPublishDoesNotReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.img")
	d, err := newDraft(path)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, []byte("another"))
	refusal(t, d.publish(), "exists already")
	same(t, path, []byte("another"))
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestInUse(t *testing.T) {
	for name, held := range map[string]unix.Flock_t{
		"a VM":   {Type: unix.F_WRLCK},
		"a QEMU": {Type: unix.F_RDLCK, Start: qemuWrites, Len: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := mustWrite(t, filepath.Join(dir, "a.raw"), make([]byte, 4096))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &held); err != nil {
				t.Fatal(err)
			}
			_, err = Convert(t.Context(), path, filepath.Join(dir, "b.raw"), ConvertOptions{})
			refusal(t, err, "is in use by another process")
			_, err = Check(t.Context(), path, CheckOptions{BlockSize: 512})
			refusal(t, err, "is in use by another process")
			_, err = Create(path, CreateOptions{Size: 4096, BlockSize: 4096})
			refusal(t, err, "is in use by another process")
			if i, err := Stat(path, Auto); err != nil || !i.InUse {
				t.Errorf("%+v, %v", i, err)
			}
		})
	}
}

func TestReadersShareAndKeepWritersOut(t *testing.T) {
	path := mustWrite(t, filepath.Join(t.TempDir(), "a.raw"), make([]byte, 4096))
	a, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lock(f, imagelock.Exclusive); !errors.Is(err, ErrInUse) {
		t.Errorf("a writer got in: %v", err)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	src := mustWrite(t, filepath.Join(dir, "a.raw"), disk(1, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Convert(ctx, src, filepath.Join(dir, "b.raw"), ConvertOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v are left", left)
	}
}

func TestChoose(t *testing.T) {
	qcow, plain, vmdk := []byte("QFI\xfb\x00\x00\x00\x03"), []byte("\xeb\x63"), []byte("KDMV")
	for _, tt := range []struct {
		path  string
		asked Kind
		first []byte
		want  Kind
		words string
	}{
		{"a.img", Auto, plain, Raw, ""},
		{"a.qcow2", Auto, qcow, QCOW2, ""},
		{"a.qcow2", Auto, plain, Auto, "is no qcow2 image"},
		{"a.img", Auto, qcow, Auto, "begins like a qcow2 image"},
		{"a.raw", Auto, qcow, Auto, "begins like a qcow2 image"},
		{"a.img", Raw, qcow, Raw, ""},
		{"a.img", QCOW2, qcow, QCOW2, ""},
		{"a.img", QCOW2, plain, Auto, "is no qcow2 image"},
		{"a.img", Auto, vmdk, Auto, "looks like a VMDK image"},
		{"a.img", Raw, vmdk, Raw, ""},
	} {
		got, err := choose(tt.path, tt.asked, tt.first)
		if got != tt.want || (err != nil) != (tt.words != "") {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
		if tt.words != "" {
			refusal(t, err, tt.words)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "512": 512, "4K": 4096, "4KiB": 4096, "3M": 3 << 20, "10G": 10 << 30, "16TiB": 16 << 40, "7E": 7 << 60} {
		if n, err := ParseSize(s); err != nil || n != want {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "G", "-1", "1.5G", "10GB", "10g", "1KK"} {
		_, err := ParseSize(s)
		refusal(t, err, "is no size")
	}
	for _, s := range []string{"8E", "99999999999999999999", "9000000000T"} {
		_, err := ParseSize(s)
		refusal(t, err, "more than a file can hold")
	}
}

func qemuImg(t *testing.T) func(args ...string) {
	t.Helper()
	path := citest.Program(t, "qemu-img", "qemu-utils")
	return func(args ...string) {
		t.Helper()
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v: %s", args, err, out)
		}
	}
}

// What QEMU writes in every shape is read as what it was made of.
func TestReadsQEMU(t *testing.T) {
	img := qemuImg(t)
	for seed, args := range []string{
		"", "-o compat=0.10", "-c", "-c -o compat=0.10", "-c -o compression_type=zstd", "-o cluster_size=512", "-c -o cluster_size=4096",
		"-o cluster_size=2097152", "-c -o cluster_size=2097152,compression_type=zstd",
		"-o refcount_bits=1", "-o refcount_bits=2", "-o refcount_bits=8", "-o refcount_bits=64", "-o preallocation=metadata", "-o lazy_refcounts=on",
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			want := disk(uint64(seed), 5<<20+512)
			raw, q, back := mustWrite(t, filepath.Join(dir, "a.raw"), want), filepath.Join(dir, "b.qcow2"), filepath.Join(dir, "c.raw")
			img(append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, strings.Fields(args)...), raw, q)...)
			sane(t, q)
			convert(t, q, back, ConvertOptions{})
			same(t, back, want)
		})
	}
}

// What is written here is sound to QEMU, and the same disk.
func TestQEMUReads(t *testing.T) {
	img := qemuImg(t)
	for _, how := range []Compression{None, Zlib, Zstd} {
		for seed := range uint64(4) {
			dir := t.TempDir()
			raw, q := mustWrite(t, filepath.Join(dir, "a.raw"), disk(seed, 5<<20+int(seed)*512)), filepath.Join(dir, "b.qcow2")
			convert(t, raw, q, ConvertOptions{Compression: how})
			img("check", "-f", "qcow2", q)
			img("compare", "-f", "raw", "-F", "qcow2", raw, q)
		}
	}
}

// QEMU unpacks deflate streams with a window of 4096 bytes.
func TestQEMUWindow(t *testing.T) {
	img := qemuImg(t)
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 9000)
	for i := range noise {
		noise[i] = byte(rng.Uint32()) & 0x3f
	}
	raw := mustWrite(t, filepath.Join(dir, "a.raw"), bytes.Repeat(noise, 60)[:8*writeCluster])
	q := filepath.Join(dir, "b.qcow2")
	convert(t, raw, q, ConvertOptions{Compression: Zlib})
	img("compare", "-f", "raw", "-F", "qcow2", raw, q)
}

func TestQEMUChainAndSnapshots(t *testing.T) {
	img := qemuImg(t)
	dir := t.TempDir()
	want := disk(3, 2<<20+512)
	mustWrite(t, filepath.Join(dir, "base.raw"), want)
	mid, top := filepath.Join(dir, "mid.qcow2"), filepath.Join(dir, "top.qcow2")
	img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", mid, "3M")
	img("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "-o", "cluster_size=4096", top, "4M")
	img("snapshot", "-c", "before", top)
	img("snapshot", "-c", "again", top)
	sane(t, top)
	out := filepath.Join(dir, "out.raw")
	r := convert(t, top, out, ConvertOptions{})
	same(t, out, append(bytes.Clone(want), make([]byte, 2<<20-512)...))
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "2 internal snapshots") {
		t.Errorf("warnings %q", r.Warnings)
	}
	if i, err := Stat(top, Auto); err != nil || i.QCOW2.Backing != "mid.qcow2" || i.QCOW2.Snapshots != 2 {
		t.Errorf("%+v, %v", i, err)
	}
	img("rebase", "-u", "-b", "top.qcow2", "-F", "qcow2", mid)
	_, err := Open(top, Options{})
	refusal(t, err, "is its own backing file, by way of 2 images")
	img("rebase", "-u", "-b", "/etc/passwd", "-F", "raw", mid)
	_, err = Open(top, Options{})
	refusal(t, err, `"/etc/passwd", which is outside its own directory`)
	img("rebase", "-u", "-b", filepath.Join(dir, "base.raw"), "-F", "raw", mid)
	if i, err := Open(top, Options{BackingAnywhere: true}); err != nil {
		t.Error(err)
	} else {
		i.Close()
	}
}

func TestQEMUUnreadable(t *testing.T) {
	img := qemuImg(t)
	for args, words := range map[string]string{
		"extended_l2=on":     "has extended L2 entries",
		"data_file=data.raw": "keeps its data in another file",
	} {
		path := filepath.Join(t.TempDir(), "a.qcow2")
		img("create", "-q", "-f", "qcow2", "-o", strings.Replace(args, "data.raw", path+".data", 1), path, "1M")
		_, err := Open(path, Options{})
		refusal(t, err, words)
	}
}
