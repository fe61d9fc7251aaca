package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

var testConfig = machine.Config{
	Memory: 16 << 20, MMU: machine.Sv48, Kernel: []byte("kernel"), Initrd: []byte("initrd"), Cmdline: "quiet",
	Disks: []machine.DiskConfig{{Sectors: 8}, {Sectors: 16, ReadOnly: true}},
	NICs:  []machine.NICConfig{{MAC: [6]byte{2, 0, 0, 0, 0, 1}}},
}

// testHeader is of a State of size bytes.
func testHeader(size int) FileHeader {
	return FileHeader{
		VM: "web", RunOrdinal: 3, RunID: [16]byte{4}, Taken: 1_700_000_000, Pos: 12345, Digest: machine.Digest{6, 7},
		LogSeq: 99, Machine: GuestOf(&testConfig), Size: uint64(size),
	}
}

// testState is n bytes that compress badly.
func testState(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32() & rng.Uint32())
	}
	return b
}

func fileOf(t testing.TB, h FileHeader, state []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteFile(&b, h, bytes.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read is everything that a file has.
func read(r io.Reader) (FileHeader, []byte, error) {
	f, err := OpenFile(r)
	if err != nil {
		return FileHeader{}, nil, err
	}
	defer f.Close()
	state, err := io.ReadAll(f)
	return f.Header(), state, err
}

// forged is a file with right sums around bytes that WriteFile would not write.
func forged(version uint32, head, packed []byte, size uint64) []byte {
	var b bytes.Buffer
	f := &fileWriter{w: &b, sum: xxh3.New(), piece: make([]byte, 4, 4+maxPiece+8)}
	h := binary.LittleEndian.AppendUint32([]byte(fileMagic), version)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(head)))
	_ = f.put(append(h, head...))
	_, _ = f.Write(packed)
	_ = f.cut()
	_ = f.put(binary.LittleEndian.AppendUint64(make([]byte, 4, 20), size))
	return b.Bytes()
}

func packed(t testing.TB, state []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(state, nil)
}

func TestFileHoldsHeaderAndState(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 5 << 20} { // the last takes several pieces
		h, state := testHeader(n), testState(n)
		b := fileOf(t, h, state)
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader(b), "in halves": iotest.HalfReader(bytes.NewReader(b))} {
			got, back, err := read(r)
			if err != nil || !reflect.DeepEqual(got, h) || !bytes.Equal(back, state) {
				t.Errorf("%d bytes, read %s: header %+v, %d bytes of State, error %v", n, name, got, len(back), err)
			}
		}
	}
}

// However the State comes, the file is the same, but for the date.
func TestFilesOfOneStateAreEqual(t *testing.T) {
	h, state := testHeader(3<<20), testState(3<<20)
	first := fileOf(t, h, state)
	var b bytes.Buffer
	if err := WriteFile(&b, h, iotest.HalfReader(bytes.NewReader(state))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), first) {
		t.Error("two files of one State differ")
	}
	later := h
	later.Taken++
	second := fileOf(t, later, state)
	if len(second) != len(first) || bytes.Equal(second, first) {
		t.Errorf("files of %d and %d bytes of one State at two times", len(first), len(second))
	}
}

func TestTruncatedFileIsRefused(t *testing.T) {
	b := fileOf(t, testHeader(300), testState(300))
	for n := range len(b) {
		want := ErrTruncated
		if n == 0 {
			want = ErrNotFile
		}
		if _, _, err := read(bytes.NewReader(b[:n])); !errors.Is(err, want) {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

// A bit that was flipped anywhere is noticed, and is never taken for a newer
// version.
func TestDamagedFileIsRefused(t *testing.T) {
	b := fileOf(t, testHeader(300), testState(300))
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		_, _, err := read(bytes.NewReader(bad))
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTruncated) && !(i < len(fileMagic) && errors.Is(err, ErrNotFile)) {
			t.Fatalf("byte %d of %d: %v", i, len(b), err)
		}
	}
	if _, _, err := read(bytes.NewReader(append(bytes.Clone(b), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte after the end: %v", err)
	}
}

// Two files with the same header, one continued with the other's pieces.
func TestFilesPutTogetherAreRefused(t *testing.T) {
	h := testHeader(4 << 20)
	one, two := testState(4<<20), testState(4<<20)
	for i := range two {
		two[i] ^= 0x55
	}
	a, b := fileOf(t, h, one), fileOf(t, h, two)
	if len(a) != len(b) {
		t.Logf("files of %d and %d bytes", len(a), len(b))
	}
	const head = len(fileMagic) + 8
	firstPiece := head + len(h.encode()) + 8
	cut := firstPiece + 4 + maxPiece + 8
	if _, _, err := read(bytes.NewReader(append(bytes.Clone(a[:cut]), b[cut:]...))); !errors.Is(err, ErrDamaged) {
		t.Errorf("the first piece of one and the rest of another: %v", err)
	}
}

func TestVersionsAreTold(t *testing.T) {
	state := testState(100)
	h := testHeader(100)
	head := h.encode()
	for version, want := range map[uint32]error{FileVersion: nil, FileVersion + 1: ErrNewer, 1 << 31: ErrNewer, 0: ErrDamaged} {
		// A later version may have more in its header than we know.
		for _, more := range [][]byte{nil, []byte("more")} {
			_, _, err := read(bytes.NewReader(forged(version, append(bytes.Clone(head), more...), packed(t, state), 100)))
			switch {
			case want == nil && more != nil:
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("a header with left-overs: %v", err)
				}
			case !errors.Is(err, want):
				t.Errorf("version %d: %v, want %v", version, err, want)
			}
		}
	}
}

// What a file decompresses to, and what that takes, is bounded before it is done.
func TestBombsAreRefused(t *testing.T) {
	const announced = 1000
	h := testHeader(announced)
	bomb := packed(t, make([]byte, 64<<20))
	f, err := OpenFile(bytes.NewReader(forged(FileVersion, h.encode(), bomb, announced)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, f)
	if !errors.Is(err, ErrDamaged) || n > announced {
		t.Errorf("%d bytes came out of a bomb, error %v", n, err)
	}
	f.Close()

	wide := packed(t, make([]byte, 9<<20), zstd.WithWindowSize(32<<20), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithSingleSegment(false))
	h.Size = 9 << 20
	if _, _, err := read(bytes.NewReader(forged(FileVersion, h.encode(), wide, 9<<20))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a window beyond ours: %v", err)
	}
	h.Size = maxSize(h.Machine.Memory) + 1
	if _, err := OpenFile(bytes.NewReader(forged(FileVersion, h.encode(), nil, h.Size))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a State of %d bytes is announced: %v", h.Size, err)
	}
	if err := WriteFile(io.Discard, h, nil); err == nil {
		t.Error("WriteFile writes what OpenFile refuses")
	}
	h = testHeader(announced)
	for name, lying := range map[string][]byte{
		"less than announced": forged(FileVersion, h.encode(), packed(t, make([]byte, announced-1)), announced),
		"another size at end": forged(FileVersion, h.encode(), packed(t, make([]byte, announced)), announced+1),
		"cut inside":          forged(FileVersion, h.encode(), packed(t, testState(announced))[:200], announced),
		"header of 70 KB":     forged(FileVersion, make([]byte, 70<<10), nil, 0)[:100],
	} {
		if _, _, err := read(bytes.NewReader(lying)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A failure of the storage is told as such, not as damage.
func TestReadErrorIsPassedOn(t *testing.T) {
	b := fileOf(t, testHeader(3000), testState(3000))
	broken := errors.New("the cable is loose")
	for _, n := range []int{0, 10, 100, 300, 1000, len(b)} {
		_, _, err := read(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// still is a machine that a State can be loaded into, and nothing else.
type still struct {
	machine.Machine
	pos    machine.Icount
	digest machine.Digest
	take   int64 // bytes that Load reads
	err    error
}

func (s *still) Icount() machine.Icount { return s.pos }
func (s *still) Digest() machine.Digest { return s.digest }
func (s *still) Load(r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, s.take); err != nil {
		return errors.New("still: no State")
	}
	return s.err
}

// "After loading, the machine's Digest must equal the header's": the check from
// end to end.
func TestLoadIntoProvesTheState(t *testing.T) {
	h := testHeader(3000)
	good := still{pos: h.Pos, digest: h.Digest, take: 3000}
	whole := fileOf(t, h, testState(3000))
	tests := []struct {
		name   string
		change func(*still)
		file   []byte
		want   error
		text   string
	}{
		{"as saved", func(*still) {}, whole, nil, ""},
		{"another digest", func(s *still) { s.digest[0]++ }, whole, ErrDamaged, "digest"},
		{"another position", func(s *still) { s.pos++ }, whole, ErrDamaged, "position"},
		{"bytes left over", func(s *still) { s.take-- }, whole, ErrDamaged, "1 bytes after"},
		{"a machine that refuses", func(s *still) { s.err = ErrShort }, whole, ErrShort, "cannot be loaded"},
		{"a machine that wants more", func(s *still) { s.take++ }, whole, nil, "cannot be loaded"},
		{"cut", func(*still) {}, whole[:len(whole)-1], ErrTruncated, ""},
		// The reason is the file's, not what the machine made of it.
		{"cut before the State's end", func(*still) {}, whole[:500], ErrTruncated, ""},
	}
	for _, tt := range tests {
		m := good
		tt.change(&m)
		f, err := OpenFile(bytes.NewReader(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		err = f.LoadInto(&m)
		f.Close()
		if tt.want == nil && tt.text == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestMisfitNamesWhatDiffers(t *testing.T) {
	g := GuestOf(&testConfig)
	if err := g.Fits(&testConfig); err != nil {
		t.Errorf("its own configuration: %v", err)
	}
	for want, change := range map[string]func(*machine.Config){
		"memory is 16 MB, not 32 MB":          func(c *machine.Config) { c.Memory *= 2 },
		"translation is sv48, not sv39":       func(c *machine.Config) { c.MMU = machine.Sv39 },
		"firmware is another":                 func(c *machine.Config) { c.Firmware = []byte("x") },
		"kernel is another":                   func(c *machine.Config) { c.Kernel = []byte("x") },
		"initrd is another":                   func(c *machine.Config) { c.Initrd = nil },
		`command line is "quiet", not "loud"`: func(c *machine.Config) { c.Cmdline = "loud" },
		"2 disks, not 1":                      func(c *machine.Config) { c.Disks = c.Disks[:1] },
		"1 NICs, not 0":                       func(c *machine.Config) { c.NICs = nil },
		"disk 1 has 16 sectors (read-only: true), not 16 (false)": func(c *machine.Config) {
			c.Disks = []machine.DiskConfig{{Sectors: 8}, {Sectors: 16}}
		},
		"NIC 0 has the address 020000000001, not 020000000002": func(c *machine.Config) {
			c.NICs = []machine.NICConfig{{MAC: [6]byte{2, 0, 0, 0, 0, 2}}}
		},
	} {
		c := testConfig
		change(&c)
		if err := g.Fits(&c); !errors.Is(err, ErrMisfit) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// seeds are files of each kind.
func seeds(t testing.TB) [][]byte {
	h := testHeader(300)
	head, state := h.encode(), testState(300)
	whole := fileOf(t, h, state)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 8
	return [][]byte{
		whole,
		whole[:len(whole)-40],
		flipped,
		forged(FileVersion+1, head, packed(t, state), 300),
		forged(FileVersion, head, packed(t, make([]byte, 16<<20)), 300), // a bomb
		packed(t, state), // alone, see FuzzFile
		head,
	}
}

// Whatever the bytes are, and also where the sums around them are right, no
// more than what is announced comes out, and a header has one encoding.
func FuzzFile(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := testHeader(300)
		for _, file := range [][]byte{b, forged(FileVersion, h.encode(), b, 300), forged(FileVersion, b, nil, 0)} {
			f, err := OpenFile(bytes.NewReader(file))
			if err != nil {
				continue
			}
			n, err := io.Copy(io.Discard, f)
			if uint64(n) > f.Header().Size || err == nil && uint64(n) != f.Header().Size {
				t.Errorf("%d bytes of State where %d were announced, error %v", n, f.Header().Size, err)
			}
			f.Close()
		}
		if h, err := decodeFileHeader(b); err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("%x is a header with another encoding, %x", b, h.encode())
		}
	})
}
