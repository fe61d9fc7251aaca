package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

// A snapshot file is
//
//	magic, format version (4 bytes), length of the header (4), header, sum (8)
//	pieces of the compressed State: length (4, not 0), bytes, sum (8)
//	end: 0 (4), length of the State before compression (8), sum (8)
//
// little-endian, and nothing after it. A sum is the xxh3 of the whole file up
// to there, so what is damaged, cut off or put together from two files is found
// before its bytes are decompressed. Magic, version, header and their sum have
// this shape in every version: a damaged version is told from a newer one.
// Compression is zstd. Equal headers and States make equal files.
const (
	fileMagic = "LOCKSTEP SNAPSHOT"

	// FileVersion is the version of the file, apart from the product's and from
	// that of the State in it.
	FileVersion = 2

	maxFileHeader = 64 << 10
	maxPiece      = 1 << 20
	fileWindow    = 8 << 20 // memory that decompressing takes, in bytes
)

// MaxState bounds what a State has beside RAM, in bytes: mostly writes that
// wait for a disk.
const MaxState = 2 << 30

// Why a file is refused; the errors that wrap these say what to do.
var (
	// ErrNotFile: this is something else.
	ErrNotFile = errors.New("snapshot: this is not a snapshot of lockstep; give a file that lockstep run --save wrote")
	// ErrNewer: written by a later lockstep.
	ErrNewer = errors.New("snapshot: the file was written by a newer lockstep; use that one, or a later one")
	// ErrTruncated: the end is missing.
	ErrTruncated = errors.New("snapshot: the file ends too early: it was not copied or written whole; copy it again or use another snapshot")
	// ErrDamaged: some bytes are not those that were written.
	ErrDamaged = errors.New("snapshot: the file is damaged; use another copy of it, or another snapshot")
	// ErrMisfit: the State is whole but belongs to another machine.
	ErrMisfit = errors.New("snapshot: it is of another machine")
)

// FileHeader says what a snapshot file holds.
type FileHeader struct {
	VM         string // at most 255 bytes
	RunOrdinal uint64 // the run that it was taken of
	RunID      [16]byte
	Taken      int64 // seconds since 1970; for people only

	// Pos is the position of the State, and Digest the machine's at it.
	Pos    machine.Icount
	Digest machine.Digest
	// LogSeq is the number of the run's last log entry before the State.
	LogSeq uint64

	Machine Guest
	// Size is the length of the State before compression, in bytes.
	Size uint64
}

// Guest is the configuration of a snapshot's machine as far as it is told: big
// parts by a hash.
type Guest struct {
	Hash                     [32]byte // Config.Hash
	Memory                   uint64   // bytes
	MMU                      machine.MMU
	Firmware, Kernel, Initrd [16]byte // xxh3; of nothing: zeros
	Cmdline                  string
	Disks                    []machine.DiskConfig
	NICs                     []machine.NICConfig
}

// GuestOf tells a configuration.
func GuestOf(c *machine.Config) Guest {
	return Guest{
		Hash: c.Hash(), Memory: c.Memory, MMU: c.MMU,
		Firmware: blobSum(c.Firmware), Kernel: blobSum(c.Kernel), Initrd: blobSum(c.Initrd),
		Cmdline: c.Cmdline, Disks: c.Disks, NICs: c.NICs,
	}
}

func blobSum(b []byte) [16]byte {
	if len(b) == 0 {
		return [16]byte{}
	}
	return xxh3.Hash128(b).Bytes()
}

// Fits is nil if a machine of configuration c can take the State, and else an
// error that wraps ErrMisfit and names what differs.
func (g *Guest) Fits(c *machine.Config) error {
	have := GuestOf(c)
	if g.Hash == have.Hash {
		return nil
	}
	what := "the configuration differs"
	switch {
	case g.Memory != have.Memory:
		what = fmt.Sprintf("its memory is %d MB, not %d MB", g.Memory>>20, have.Memory>>20)
	case g.MMU != have.MMU:
		what = fmt.Sprintf("its widest address translation is %v, not %v", g.MMU, have.MMU)
	case g.Firmware != have.Firmware:
		what = "its firmware is another one"
	case g.Kernel != have.Kernel:
		what = "its kernel is another one"
	case g.Initrd != have.Initrd:
		what = "its initrd is another one"
	case g.Cmdline != have.Cmdline:
		what = fmt.Sprintf("its kernel's command line is %q, not %q", g.Cmdline, have.Cmdline)
	case len(g.Disks) != len(have.Disks):
		what = fmt.Sprintf("it has %d disks, not %d", len(g.Disks), len(have.Disks))
	case len(g.NICs) != len(have.NICs):
		what = fmt.Sprintf("it has %d NICs, not %d", len(g.NICs), len(have.NICs))
	default:
		for i, d := range g.Disks {
			if h := have.Disks[i]; d.Sectors == h.Sectors && d.ReadOnly == h.ReadOnly && d != h {
				what = fmt.Sprintf("its disk %d has blocks of %d bytes and the serial number %q (local: %v), not %d and %q (%v)", i, d.Block(), d.Serial, d.Local, h.Block(), h.Serial, h.Local)
			} else if d != h {
				what = fmt.Sprintf("its disk %d has %d sectors (read-only: %v), not %d (%v)", i, d.Sectors, d.ReadOnly, have.Disks[i].Sectors, have.Disks[i].ReadOnly)
			}
		}
		for i, n := range g.NICs {
			if n != have.NICs[i] {
				what = fmt.Sprintf("its NIC %d has the address %x, not %x", i, n.MAC, have.NICs[i].MAC)
			}
		}
	}
	return fmt.Errorf("%w: %s; make the spec say the same", ErrMisfit, what)
}

func (h *FileHeader) encode() []byte {
	e := NewEncoder(nil)
	e.Blob([]byte(h.VM))
	e.U64(h.RunOrdinal)
	e.Blob(h.RunID[:])
	e.U64(uint64(h.Taken))
	e.U64(uint64(h.Pos))
	e.Blob(h.Digest[:])
	e.U64(h.LogSeq)
	g := &h.Machine
	e.Blob(g.Hash[:])
	e.U64(g.Memory)
	e.U8(uint8(g.MMU))
	e.Blob(g.Firmware[:])
	e.Blob(g.Kernel[:])
	e.Blob(g.Initrd[:])
	e.Blob([]byte(g.Cmdline))
	e.U8(uint8(len(g.Disks)))
	for _, d := range g.Disks {
		e.U64(d.Sectors)
		e.Bool(d.ReadOnly)
		e.U32(d.BlockSize)
		e.Blob([]byte(d.Serial))
		e.Bool(d.Local)
	}
	e.U8(uint8(len(g.NICs)))
	for _, n := range g.NICs {
		e.Blob(n.MAC[:])
	}
	e.U64(h.Size)
	return e.Bytes()
}

// decodeFileHeader reads what encode wrote. A header whose sum was right and
// that fails here was not written by us.
func decodeFileHeader(b []byte) (FileHeader, error) {
	var h FileHeader
	d := NewDecoder(b)
	exact := func(to []byte) {
		if got := d.Blob(len(to)); d.Err() == nil && len(got) != len(to) {
			d.Fail(fmt.Errorf("%d bytes where %d belong", len(got), len(to)))
		} else {
			copy(to, got)
		}
	}
	h.VM = string(d.Blob(255))
	h.RunOrdinal = d.U64()
	exact(h.RunID[:])
	h.Taken = int64(d.U64())
	h.Pos = machine.Icount(d.U64())
	exact(h.Digest[:])
	h.LogSeq = d.U64()
	g := &h.Machine
	exact(g.Hash[:])
	g.Memory = d.U64()
	g.MMU = machine.MMU(d.U8())
	exact(g.Firmware[:])
	exact(g.Kernel[:])
	exact(g.Initrd[:])
	g.Cmdline = string(d.Blob(machine.MaxCmdline))
	for range d.U8() {
		g.Disks = append(g.Disks, machine.DiskConfig{
			Sectors: d.U64(), ReadOnly: d.Bool(),
			BlockSize: d.U32(), Serial: string(d.Blob(machine.MaxSerial)), Local: d.Bool(),
		})
	}
	for range d.U8() {
		var n machine.NICConfig
		exact(n.MAC[:])
		g.NICs = append(g.NICs, n)
	}
	h.Size = d.U64()
	switch {
	case d.Err() != nil:
		return h, d.Err()
	case d.Rest() != 0:
		return h, fmt.Errorf("%d bytes are left over", d.Rest())
	case g.Memory > machine.MaxMemory:
		return h, fmt.Errorf("a memory of %d bytes is impossible", g.Memory)
	case len(g.Disks) > machine.MaxDisks || len(g.NICs) > machine.MaxNICs:
		return h, fmt.Errorf("%d disks and %d NICs are impossible", len(g.Disks), len(g.NICs))
	case h.Size > maxSize(g.Memory):
		return h, fmt.Errorf("a State of %d bytes is impossible for a memory of %d", h.Size, g.Memory)
	}
	return h, nil
}

// maxSize bounds the State of a machine: each page has a number of 4 bytes.
func maxSize(memory uint64) uint64 { return memory + memory/4096*4 + MaxState }

// fileWriter writes the file's parts and keeps the running sum.
type fileWriter struct {
	w     io.Writer
	sum   *xxh3.Hasher
	piece []byte // begins with room for its length
}

// put writes bytes and then the sum up to there.
func (f *fileWriter) put(b []byte) error {
	_, _ = f.sum.Write(b) // a hash takes everything
	tail := binary.LittleEndian.AppendUint64(nil, f.sum.Sum64())
	_, _ = f.sum.Write(tail)
	if _, err := f.w.Write(append(b, tail...)); err != nil {
		return fmt.Errorf("snapshot: write the file: %w", err)
	}
	return nil
}

// Write takes compressed bytes, for the encoder.
func (f *fileWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), 4+maxPiece-len(f.piece))
		f.piece, p = append(f.piece, p[:take]...), p[take:]
		if len(f.piece) == 4+maxPiece {
			if err := f.cut(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (f *fileWriter) cut() error {
	if len(f.piece) == 4 {
		return nil
	}
	binary.LittleEndian.PutUint32(f.piece, uint32(len(f.piece)-4))
	err := f.put(f.piece)
	f.piece = f.piece[:4]
	return err
}

// WriteFile writes a snapshot file to w: the State that Machine.Save wrote, of
// h.Size bytes.
func WriteFile(w io.Writer, h FileHeader, state io.Reader) error {
	switch {
	case len(h.VM) > 255:
		return fmt.Errorf("snapshot: the name of the VM has %d bytes; at most 255 are possible", len(h.VM))
	case h.Size > maxSize(h.Machine.Memory):
		return fmt.Errorf("snapshot: a State of %d bytes is too large to be saved", h.Size)
	}
	f := &fileWriter{w: w, sum: xxh3.New(), piece: make([]byte, 4, 4+maxPiece+8)}
	head := h.encode()
	b := binary.LittleEndian.AppendUint32([]byte(fileMagic), FileVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	if err := f.put(append(b, head...)); err != nil {
		return err
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(fileWindow/2))
	if err != nil {
		panic("snapshot: BUG: " + err.Error())
	}
	n, err := io.Copy(z, state)
	if err = errors.Join(err, z.Close()); err != nil {
		return err
	}
	if uint64(n) != h.Size {
		panic(fmt.Sprintf("snapshot: BUG: a State of %d bytes was announced as %d", n, h.Size))
	}
	if err := f.cut(); err != nil {
		return err
	}
	return f.put(binary.LittleEndian.AppendUint64(make([]byte, 4, 20), h.Size))
}
