package local

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

var gen0 = ft.WinnerGeneration(testRun, 0)

// adopted is a copy on a forgetting file layer, entered.
func adopted(t *testing.T, size int64, shift uint8) (*forgetFS, *Copy, Options) {
	t.Helper()
	f := newForgetFS()
	file := must(f.Create("disk")).(File)
	must(nil, errors.Join(file.Truncate(size), file.Sync(), file.Close(), f.SyncDir(".")))
	o := Options{FS: f, VM: "vm/disk0", Rand: &seeded{rand.New(rand.NewPCG(1, 2))}, regionShift: shift, Adopt: true}
	c, err := Open(context.Background(), "disk", o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Enter(gen0); err != nil {
		t.Fatal(err)
	}
	o.Adopt = false
	return f, c, o
}

// An adoption that loses power anywhere can be done again.
func TestPowerLossWhileAdopting(t *testing.T) {
	for at := 1; at < 12; at++ {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, 1))
			f := newForgetFS()
			file := must(f.Create("disk")).(File)
			must(nil, errors.Join(file.Truncate(testSize), file.Sync(), file.Close(), f.SyncDir(".")))
			n := 0
			f.tick = func() { n++; f.off = f.off || n == at }
			o := Options{FS: f, VM: "v", Adopt: true, regionShift: testShift}
			_, _ = Open(context.Background(), "disk", o)
			f.crash(rng, 50)
			c, err := Open(context.Background(), "disk", o)
			if err != nil {
				t.Fatalf("seed %d, power lost at operation %d: %v", seed, at, err)
			}
			if s := c.Status(); s.State != Clean || s.Marked != 0 || !s.Common.None() {
				t.Fatalf("%+v", s)
			}
		}
	}
}

func TestOthersImagesAreRefused(t *testing.T) {
	_, c, o := adopted(t, testSize, testShift)
	if _, err := Open(context.Background(), "disk", o); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is open: %v", err)
	}
	id := c.Status().Copy
	must(nil, c.Close())
	for name, tt := range map[string]struct {
		change func(*Options)
		is     error
		says   string
	}{
		"another VM":      {func(o *Options) { o.VM = "other" }, ErrClaimed, "name another image"},
		"another copy":    {func(o *Options) { o.Copy = ft.CopyID{9} }, ErrClaimed, "not 09"},
		"an earlier run":  {func(o *Options) { o.Run = ft.Run{Ordinal: 6} }, ErrClaimed, "is later than"},
		"a run's double":  {func(o *Options) { o.Run = ft.Run{Ordinal: 7, ID: [16]byte{2}} }, ErrClaimed, "two arbiters"},
		"larger blocks":   {func(o *Options) { o.BlockSize = 4096 }, nil, "multiple of 4096"},
		"its own":         {func(o *Options) { o.Copy, o.Run = id, testRun }, nil, ""},
		"by a run later":  {func(o *Options) { o.Run = ft.Run{Ordinal: 8, ID: [16]byte{2}} }, nil, ""},
		"adopted already": {func(o *Options) { o.Adopt = true }, nil, ""},
	} {
		o := o
		tt.change(&o)
		c, err := Open(context.Background(), "disk", o)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			must(nil, c.Close())
		}
	}
	o.Adopt = false
	must(nil, o.FS.Remove("disk"+sidecarSuffix))
	if _, err := Open(context.Background(), "disk", o); !errors.Is(err, ErrNoSidecar) || !strings.Contains(err.Error(), "adopt") {
		t.Errorf("a raw image: %v", err)
	}
}

func TestClaimNeedsEnterAndTheGreatestNumber(t *testing.T) {
	_, c, _ := adopted(t, testSize, testShift)
	ctx := context.Background()
	if err := c.Claim(ctx, ft.Fence{Run: 8}, nil); !errors.Is(err, ErrClaimed) {
		t.Errorf("for another run: %v", err)
	}
	must(nil, c.Claim(ctx, ft.Fence{Run: 7, Number: 5}, nil))
	var fenced storage.ErrFenced
	if err := c.Claim(ctx, ft.Fence{Run: 7, Number: 4}, nil); !errors.As(err, &fenced) || fenced.By.Number != 5 {
		t.Errorf("a smaller number: %v", err)
	}
	if err := c.Enter(ft.Generation{Run: ft.Run{Ordinal: 6}}); !errors.Is(err, ErrClaimed) {
		t.Errorf("an older generation: %v", err)
	}
	if _, err := c.NewTarget(); err == nil {
		t.Error("the live VM's copy is a target")
	}
}

// DESIGN section 7: "A write error on one copy drops that copy from the record,
// never the guest": whoever uses the copy is told what it can still do.
func TestWriteErrorsAreToldApart(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 512)
	for _, tt := range []struct {
		name, file, op string
		errno          error
		final          bool
	}{
		{"a full disk", "disk", "write", syscall.ENOSPC, false},
		{"a bad block", "disk", "write", syscall.EIO, false},
		{"a sync that failed", "disk", "sync", syscall.EIO, true},
		{"a sidecar that cannot be written", "disk" + sidecarSuffix, "write", syscall.EIO, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, c, o := adopted(t, testSize, testShift)
			f.fail = func(n *inode, op string) error {
				if f.names[tt.file] == n && op == tt.op {
					return tt.errno
				}
				return nil
			}
			err := c.WriteAt(data, 4096)
			if err == nil {
				err = c.Sync()
			}
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, tt.errno) || e.Copy != c.Status().Copy || e.Final != tt.final || e.Full() != errors.Is(tt.errno, syscall.ENOSPC) {
				t.Fatalf("%#v", err)
			}
			f.fail = nil
			again := c.WriteAt(data, 4096)
			if (again == nil) == tt.final {
				t.Fatalf("after it: %v", again)
			}
			f.crash(rand.New(rand.NewPCG(1, 1)), 0)
			r, err := Open(context.Background(), "disk", o)
			if err != nil {
				t.Fatal(err)
			}
			// Whether there is another copy, and this one is stale, is for others to say.
			if s := r.Status(); s.State != InUse {
				t.Errorf("it is %s, want %s", s.State, InUse)
			}
		})
	}
}

// A write that would have to wait is refused, and changes nothing.
func TestPromptWrites(t *testing.T) {
	f, c, _ := adopted(t, testSize, testShift)
	data := bytes.Repeat([]byte{7}, 512)
	holds := func(off int64) bool {
		have := make([]byte, 512)
		must(nil, c.ReadAt(have, off))
		return bytes.Equal(have, data)
	}
	refused := func(why string, off int64) {
		t.Helper()
		if c.WritePromptly(data, off) || holds(off) {
			t.Errorf("written: %s", why)
		}
	}
	refused("the intent is not durable", 0)
	must(nil, c.WriteAt(make([]byte, 512), 0))
	if !c.WritePromptly(data, 512) || !holds(512) {
		t.Error("not written into a region that is noted")
	}
	refused("half of it in a region that is not noted", 1<<testShift-256)
	c.gate.Lock()
	refused("a re-synchronisation holds the writes", 1024)
	c.gate.Unlock()
	if !c.Cut(Point{Gen: gen0, ID: [16]byte{1}}, nil) {
		t.Fatal("not cut")
	}
	refused("the map was cut", 1024)
	must(nil, c.WriteAt(make([]byte, 512), 0))
	f.fail = func(*inode, string) error { return syscall.EIO }
	if c.Sync() == nil {
		t.Fatal("synced")
	}
	f.fail = nil
	if c.WritePromptly(data, 1024) {
		t.Error("written: the copy has failed")
	}
}

// On a file of the host it is whole pages, so that nothing has to be read.
func TestPromptWritesOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	must(nil, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	c := must(Open(t.Context(), path, Options{VM: "v", Adopt: true})).(*Copy)
	data := bytes.Repeat([]byte{7}, pageSize)
	must(nil, c.Enter(gen0))
	must(nil, c.WriteAt(data, 0))
	for _, tt := range []struct {
		off, n int64
		want   bool
	}{{pageSize, pageSize, true}, {pageSize, 512, false}, {512, pageSize, false}, {4 * pageSize, 0, false}} {
		if got := c.WritePromptly(data[:tt.n], tt.off); got != tt.want {
			t.Errorf("%d bytes at %d: %v", tt.n, tt.off, got)
		}
	}
	if b := must(os.ReadFile(path)).([]byte); !bytes.Equal(b[:2*pageSize], bytes.Repeat([]byte{7}, 2*pageSize)) || b[2*pageSize] != 0 {
		t.Error("the file has something else")
	}
	must(nil, c.Close())
	c = must(Open(t.Context(), path, Options{VM: "v"})).(*Copy)
	defer c.Close()
	if c.WritePromptly(data, 0) {
		t.Error("written to a copy that was not entered")
	}
}

func TestWritesCostFewSyncsOfTheSidecar(t *testing.T) {
	const size = 64 << 20
	f, c, _ := adopted(t, size, minRegionShift)
	b := make([]byte, 64<<10)
	before := f.syncs
	for off := int64(0); off < size; off += int64(len(b)) {
		must(nil, c.WriteAt(b, off))
	}
	if n := f.syncs - before; n > 8 {
		t.Errorf("64 MiB in sequence took %d syncs", n)
	}
	before = f.syncs
	for off := int64(0); off < size; off += int64(len(b)) {
		must(nil, c.WriteAt(b, off))
	}
	if f.syncs != before {
		t.Errorf("regions that are noted took %d syncs", f.syncs-before)
	}
}

// One sync serves all who wait: while the first is under way, the others gather.
func TestGroupCommit(t *testing.T) {
	const writers = 16
	f, c, _ := adopted(t, testSize, testShift)
	var wg sync.WaitGroup
	c.intent.mu.Lock() // so that all are waiting when the first flush begins
	before := f.syncs
	for i := range writers {
		wg.Go(func() { must(nil, c.WriteAt(make([]byte, 512), int64(i)<<testShift)) })
	}
	// All writers hold the gate before they wait for mu; the last of them may
	// come while the first flush runs, and waits for the second.
	c.intent.mu.Unlock()
	wg.Wait()
	if n := f.syncs - before; n > writers/2 {
		t.Logf("%d writers took %d syncs", writers, n)
	}
	if c.Status().Marked < writers {
		t.Errorf("%d regions are noted", c.Status().Marked)
	}
}

func TestDamagedMapIsAllSet(t *testing.T) {
	f, c, o := adopted(t, testSize, testShift)
	must(nil, c.WriteAt(make([]byte, 512), 0))
	must(nil, c.Close())
	side := f.names["disk"+sidecarSuffix]
	at := c.intent.h.sectorAt(1, 0)
	for _, b := range [][]byte{side.current, side.durable} {
		b[at+20] ^= 1
	}
	r, err := Open(context.Background(), "disk", o)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.Marked != testRegions {
		t.Errorf("%d regions are noted", s.Marked)
	}
}

func TestLostHeaderIsNoticed(t *testing.T) {
	f, c, o := adopted(t, testSize, testShift)
	side := f.names["disk"+sidecarSuffix]
	for range 3 {
		p := Point{Gen: gen0, ID: [16]byte{1}}
		c.Cut(p, nil)
		must(nil, c.WriteAt(make([]byte, 512), 0))
		must(nil, c.Commit(p))
	}
	newest := int64(c.h.Seq%2) * slotSize
	clear(side.current[newest : newest+slotSize])
	must(nil, c.closeFiles())
	// The older header alone is as after a torn write: the map says so if it is not.
	if _, err := Open(context.Background(), "disk", o); err != nil {
		t.Fatalf("one header back: %v", err)
	}
	h := c.h
	h.Generation -= 2
	copy(side.current[newest:], h.encode())
	f.names["disk"].locked = false
	if _, err := Open(context.Background(), "disk", o); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("two generations back: %v", err)
	}
}

// What is pending at a cut is in the map when the common point is: the copy may
// lack it for ever.
func TestPendingWritesOutliveTheCommonPoint(t *testing.T) {
	f, c, o := adopted(t, testSize, testShift)
	must(nil, c.WriteAt(make([]byte, 512), 0))
	must(nil, c.WriteAt(make([]byte, 512), 9<<testShift))
	p, q := Point{Gen: gen0, ID: [16]byte{1}}, Point{Gen: gen0, ID: [16]byte{2}}
	if !c.Cut(p, []Range{{3<<testShift - 512, 1024}}) || c.Cut(q, nil) {
		t.Fatal("there is one cut at a time")
	}
	if n := c.Status().Marked; n != 4 {
		t.Errorf("%d regions are noted before the point is common", n)
	}
	must(nil, c.Commit(q)) // that is another one
	must(nil, c.Prepare(p))
	must(nil, c.Commit(p))
	f.crash(rand.New(rand.NewPCG(1, 1)), 0)
	r := must(Open(context.Background(), "disk", o)).(*Copy)
	if s := r.Status(); s.Marked != 2 || s.Common != p || !s.Prepared.None() {
		t.Errorf("%+v", s)
	}
	// A write after a cut is noted anew, and one that comes to nothing leaves all
	// of it in the map.
	must(nil, r.Enter(gen0))
	must(nil, r.WriteAt(make([]byte, 512), 9<<testShift))
	r.Cut(q, nil)
	before := f.syncs
	must(nil, r.WriteAt(make([]byte, 512), 9<<testShift))
	if f.syncs == before {
		t.Error("a write began whose region is noted in the half that is forgotten")
	}
	must(nil, r.Fold())
	must(nil, r.Commit(q))
	f.crash(rand.New(rand.NewPCG(1, 1)), 0)
	r = must(Open(context.Background(), "disk", o)).(*Copy)
	if s := r.Status(); s.Marked != 3 || s.Common != p || !r.Cut(q, nil) {
		t.Errorf("after a cut that was given up: %+v", s)
	}
}

// On the operating system's files: adopt, create, synchronise, compare.
func TestOnRealFiles(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.img"), filepath.Join(dir, "b.img")
	raw := make([]byte, 9<<20)
	_, _ = (&seeded{rand.New(rand.NewPCG(3, 3))}).Read(raw[5<<20 : 6<<20])
	must(nil, os.WriteFile(from, raw, 0o600))
	a, err := Open(ctx, from, Options{VM: "v", Adopt: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	must(nil, a.Enter(gen0))
	must(nil, a.Claim(ctx, ft.Fence{Run: 7}, nil))
	b, err := Create(ctx, to, a.Sectors(), Options{VM: "v"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Enter(gen0); !errors.Is(err, ErrInvalid) {
		t.Errorf("an empty copy may be entered: %v", err)
	}
	for round := range 2 {
		must(nil, a.WriteAt(bytes.Repeat([]byte{5}, 4096), int64(round)<<20))
		must(nil, a.Discard(5<<20+8192, 8192))
		p := synchronised(t, a, b)
		if p.Full != (round == 0) || p.Left != 0 || p.Total == 0 {
			t.Errorf("round %d: %+v", round, p)
		}
		if x, y := must(os.ReadFile(from)).([]byte), must(os.ReadFile(to)).([]byte); !bytes.Equal(x, y) {
			t.Fatal("the copies differ")
		}
	}
	if _, err := Open(ctx, from, Options{VM: "v"}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
}

// A primary may claim its copies while they are compared with its first backup's:
// for -race.
func TestClaimBesideASource(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	raw := filepath.Join(dir, "a.img")
	must(nil, os.WriteFile(raw, make([]byte, 9<<20), 0o600))
	a := must(Open(ctx, raw, Options{VM: "v", Adopt: true})).(*Copy)
	defer a.Close()
	must(nil, a.Enter(gen0))
	b := must(Create(ctx, filepath.Join(dir, "b.img"), a.Sectors(), Options{VM: "v"})).(*Copy)
	defer b.Close()
	var claims sync.WaitGroup
	claims.Go(func() {
		for number := range uint64(20) {
			must(nil, a.Claim(ctx, ft.Fence{Run: 7, Number: number}, nil))
		}
	})
	synchronised(t, a, b)
	claims.Wait()
	var fenced storage.ErrFenced
	if err := a.Claim(ctx, ft.Fence{Run: 7, Number: 18}, nil); !errors.As(err, &fenced) || fenced.By.Number != 19 {
		t.Errorf("a number before the last: %v", err)
	}
}

func synchronised(t *testing.T, a, b *Copy) Progress {
	t.Helper()
	ctx := context.Background()
	src := must(a.NewSource(SourceOptions{Pace: Limit(1 << 40)})).(*Source)
	defer src.Close()
	target := must(b.NewTarget()).(*Target)
	defer target.Close()
	w := &world{rng: rand.New(rand.NewPCG(1, 1)), quiet: true}
	conn := &testConn{w: w, t: target, queue: target.Hello()}
	must(nil, src.Run(ctx, conn))
	must(nil, src.Hold(ctx, ft.PairGeneration(testRun, 1)))
	src.Release()
	must(nil, src.Commit(ctx))
	for len(conn.inbox) > 0 {
		must(nil, conn.pump())
	}
	if !target.Done() || b.Status().Common != a.Status().Common {
		t.Fatalf("%+v %+v", a.Status(), b.Status())
	}
	return src.Progress()
}
