package guests

import (
	"bytes"
	_ "embed"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/internal/builttest"
	"github.com/lockstep-vm/lockstep/machine"
)

//go:embed programs/exercise.riscv64
var exerciseProgram []byte

// An exercise is one run of programs/exercise.c.
type exercise struct {
	name  string
	disk  int    // that it works on
	path  string // in the guest
	size  uint64
	align uint64
	words string
}

func (e exercise) file() bool { return strings.Contains(e.words, "file") }

// exercises work on the three disks of exerciseGuest.
var exercises = []exercise{
	{"ext4", 0, "/mnt/f", 1 << 20, 1, "file"},
	{"ext4-direct", 0, "/mnt/f", 1 << 20, 4096, "file direct"},
	{"raw", 1, "/dev/vdb", 4 << 20, 512, ""},
	{"raw-direct", 1, "/dev/vdb", 4 << 20, 512, "direct"},
	{"raw-4096", 2, "/dev/vdc", 4 << 20, 4096, ""},
	{"raw-4096-direct", 2, "/dev/vdc", 4 << 20, 4096, "direct"},
}

const exerciseCount = 1200

func (e exercise) line(seed uint64) string {
	run := fmt.Sprintf("exercise %s %d %d %d %d %s", e.path, e.size, seed, exerciseCount, e.align, e.words)
	if e.file() {
		return "mkdir -p /mnt && mount -t ext4 -o discard /dev/vda /mnt && " + run + " && umount /mnt"
	}
	return run
}

// An operation is one step of an exercise.
type operation struct {
	kind  opKind
	at, n uint64
}

type opKind uint8

const (
	opSync opKind = iota
	opWrite
	opPunch
	opTruncate
	opRead
)

func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// operations are what programs/exercise.c does; index 0 is the first.
func (e exercise) operations(seed uint64) []operation {
	state := seed
	next := func() uint64 {
		state += 0x9e3779b97f4a7c15
		return mix64(state)
	}
	all := make([]operation, exerciseCount)
	for i := range all {
		kind, at := next()%100, next()%(e.size/e.align)*e.align
		n := min((next()%(64<<10/e.align)+1)*e.align, e.size-at)
		o := operation{opRead, at, n}
		switch {
		case i == exerciseCount-1 || kind < 10:
			o.kind = opSync
		case kind < 55:
			o.kind = opWrite
		case kind < 65:
			o.kind = opPunch
		case kind < 72 && e.file():
			o.kind = opTruncate
		}
		all[i] = o
	}
	return all
}

// content is what an exercise has made after some of its operations.
type content struct {
	bytes []byte // beyond end zeros
	end   uint64 // length of the file
}

func (e exercise) begin() content {
	c := content{bytes: make([]byte, e.size), end: e.size}
	if e.file() {
		c.end = 0
	}
	return c
}

// apply does operation number op, counted from 1, and returns the range that it
// may have changed.
func (c *content) apply(e exercise, seed, op uint64, o operation) (from, to uint64) {
	from, to = o.at, o.at+o.n
	switch o.kind {
	case opWrite:
		for p := from; p < to; p++ {
			word := mix64(seed + op*0xd1342543de82ef95 + p/8*0x9e3779b97f4a7c15)
			c.bytes[p] = byte(word >> (8 * (p % 8)))
		}
		if e.file() {
			c.end = max(c.end, to)
		}
	case opPunch:
		clear(c.bytes[from:to])
	case opTruncate:
		to = max(from, c.end)
		clear(c.bytes[from:to])
		c.end = from
	default:
		return 0, 0
	}
	return from, to
}

// check compares what an image holds with what the exercise has made after the
// first durable operations. If the plug was pulled, each later one may have
// happened or not: sector by sector on a raw disk. A file system promises less:
// each byte is one of its later values or zero, the length between those of
// later moments.
func (e exercise) check(seed, durable uint64, got []byte, pulled bool) error {
	c, ops := e.begin(), e.operations(seed)
	for i, o := range ops[:durable] {
		c.apply(e, seed, uint64(i+1), o)
	}
	if !pulled {
		ops = ops[:durable]
	}
	least, most := c.end, c.end
	key := maphash.MakeSeed()
	sectors := make([]map[uint64]bool, len(c.bytes)/512)
	note := func(from, to uint64) {
		for s := from / 512; s*512 < to; s++ {
			if sectors[s] == nil {
				sectors[s] = map[uint64]bool{}
			}
			sectors[s][maphash.Bytes(key, c.bytes[s*512:(s+1)*512])] = true
		}
	}
	var values [][4]uint64 // of each byte of a file, which may be there
	if e.file() {
		values = make([][4]uint64, len(c.bytes))
		note = func(from, to uint64) {
			for p := from; p < to; p++ {
				values[p][c.bytes[p]/64] |= 1 << (c.bytes[p] % 64)
			}
		}
	}
	note(0, uint64(len(c.bytes)))
	for i, o := range ops[durable:] {
		from, to := c.apply(e, seed, durable+uint64(i+1), o)
		least, most = min(least, c.end), max(most, c.end)
		note(from, to)
	}
	if n := uint64(len(got)); n < least || n > most {
		return fmt.Errorf("%d bytes long; after operation %d it was %d to %d", n, durable, least, most)
	}
	if e.file() {
		for p, b := range got {
			if values[p][b/64]&(1<<(b%64)) == 0 && !(pulled && b == 0) {
				return fmt.Errorf("byte %d is %#x, which it never was after operation %d", p, b, durable)
			}
		}
		return nil
	}
	for s := range sectors {
		if !sectors[s][maphash.Bytes(key, got[s*512:(s+1)*512])] {
			return fmt.Errorf("sector %d holds what it never held after operation %d", s, durable)
		}
	}
	return nil
}

// exerciseGuest has an ext4 file system on its first disk.
func exerciseGuest() guest {
	return guest{
		image: image.Demo, memory: 256 << 20,
		disks: []machine.DiskConfig{{Sectors: 32 << 11}, {Sectors: 4 << 11}, {Sectors: 4 << 11, BlockSize: 4096}},
		files: func(a *image.Archive) { a.File("usr/bin/exercise", 0o755, exerciseProgram) },
		script: `modprobe -a crc32c_generic libcrc32c crc16 mbcache jbd2 ext4
` + waitingScript,
	}
}

// What a guest was told to be durable is on its disks, whenever a replica is
// killed, and whenever both are; and what it reads is what it wrote.
func TestFailoverOfRandomDiskWork(t *testing.T) {
	multiplier(t)
	rng := rand.New(rand.NewPCG(seed(t), 11))
	for _, mode := range diskModes {
		t.Run(mode.name, func(t *testing.T) {
			w := mode.wait(t, exerciseGuest(), []string{newExt4(t, 32<<20), newImage(t, 4<<20), newImage(t, 4<<20)})
			for i := range failovers(t) {
				e, s, plug := exercises[rng.IntN(len(exercises))], rng.Uint64(), rng.IntN(3) == 0
				t.Run(fmt.Sprintf("%d-%s-plug-%v", i, e.name, plug), func(t *testing.T) {
					r := w.run(t, round{rng: rng, line: e.line(s), word: "@durable", within: 60, plug: plug})
					durable := uint64(0)
					for _, n := range r.durable("@durable") {
						durable = max(durable, n)
					}
					t.Logf("seed %d: durable to operation %d of %d", s, durable, exerciseCount)
					whole := durable == exerciseCount
					if !plug && !whole {
						t.Fatal("it did not say that all is durable")
					}
					path := r.images[e.disk]
					if e.file() {
						path = filepath.Join(checkExt4(t, path, plug), "f")
						if _, err := os.Stat(path); err != nil && durable == 0 {
							return
						}
					}
					if err := e.check(s, durable, read(t, path), plug && !whole); err != nil {
						t.Error(err)
					}
				})
			}
			w.failedOver(t, failovers(t))
		})
	}
}

// The checker sees one sector that went back to what it was, or away.
func TestExerciseCheckSees(t *testing.T) {
	for _, e := range exercises {
		c := e.begin()
		var before []byte
		for i, o := range e.operations(3) {
			if i == exerciseCount/2 {
				before = bytes.Clone(c.bytes)
			}
			c.apply(e, 3, uint64(i+1), o)
		}
		got := c.bytes[:c.end]
		if err := e.check(3, exerciseCount, got, false); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		for p := 0; p+512 <= len(got); p += 512 {
			if bytes.Equal(got[p:p+512], before[p:p+512]) {
				continue
			}
			bad := bytes.Clone(got)
			copy(bad[p:p+512], before[p:])
			if e.check(3, exerciseCount, bad, false) == nil {
				t.Errorf("%s: an old sector at %d is not seen", e.name, p)
			}
			if e.check(3, exerciseCount/2, bad, true) != nil {
				t.Errorf("%s: a sector at %d that was not written again is taken for a loss", e.name, p)
			}
			break
		}
	}
}

// The guest's program is what its sources make.
func TestExerciseIsBuiltOfItsSources(t *testing.T) {
	builttest.Check(t, "programs", "exercise.riscv64", exerciseProgram, "exercise.c", "build.sh")
}
