package board

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// A snapshot is a stream of
//
//	magic "LSSN", format version (4 bytes), hash of the configuration (32)
//	length of the state section (8), state section
//	for each page of RAM that is not all zeros, in order: number (4), bytes (4096)
//	terminator (4), xxh3 of everything before (8)
//
// little-endian. It is not compressed.
const (
	snapshotMagic   = "LSSN"
	snapshotVersion = 3
	snapshotHeader  = 4 + 4 + 32 + 8
	snapshotEnd     = 0xffff_ffff

	// maxState bounds the state section: mostly writes that wait for a disk.
	maxState = 2 << 30
)

// encodeState appends all State but RAM.
func (b *Board) encodeState(buf []byte) []byte {
	e := snapshot.NewEncoder(buf)
	b.saveBoard(e)
	b.hart.Save(e)
	for _, d := range b.devices {
		d.SaveState(e)
	}
	return e.Bytes()
}

// saveBoard writes the State beside that of hart, RAM and devices.
func (b *Board) saveBoard(e *snapshot.Encoder) {
	e.Section("board")
	e.Blob(b.birth.Seed[:])
	e.U64(b.birth.RTC)
	e.U64(uint64(b.birth.Clock.T0))
	e.U64(uint64(b.birth.Clock.I0))
	e.U64(b.birth.Clock.Mul)
	e.U64(b.mark.Count)
	e.U64(b.mark.Hash)
	e.U64(b.resets)
	e.Bool(b.off)
}

func (b *Board) decodeState(buf []byte) error {
	d := snapshot.NewDecoder(buf)
	d.Section("board")
	copy(b.birth.Seed[:], d.Blob(len(b.birth.Seed)))
	b.birth.RTC = d.U64()
	b.birth.Clock.T0 = machine.VTime(d.U64())
	b.birth.Clock.I0 = machine.Icount(d.U64())
	b.birth.Clock.Mul = d.U64()
	b.mark.Count = d.U64()
	b.mark.Hash = d.U64()
	b.resets = d.U64()
	b.off = d.Bool()
	if d.Err() != nil {
		return d.Err()
	}
	if err := b.hart.Load(d); err != nil {
		return err
	}
	for _, dev := range b.devices {
		if err := dev.LoadState(d); err != nil {
			return err
		}
	}
	switch {
	case d.Err() != nil:
		return d.Err()
	case d.Rest() != 0:
		return fmt.Errorf("%d bytes are left over", d.Rest())
	case b.hart.Clock.I0 > b.hart.Icount:
		return fmt.Errorf("the clock begins at %d, after position %d", b.hart.Clock.I0, b.hart.Icount)
	}
	return nil
}

// Digest implements machine.Machine. Its cost is that of the pages written
// since the last one.
func (b *Board) Digest() machine.Digest {
	b.enc = b.encodeState(b.enc[:0])
	ram := b.ram.Digest()
	b.enc = append(b.enc, ram[:]...)
	return machine.Digest(xxh3.Hash128(b.enc).Bytes())
}

// Save implements machine.Machine. Outputs that were not taken are not saved.
func (b *Board) Save(w io.Writer) error {
	sum := xxh3.New()
	put := func(p []byte) error {
		_, _ = sum.Write(p) // a hash takes everything
		_, err := w.Write(p)
		return err
	}
	state := b.encodeState(nil)
	head := append([]byte(snapshotMagic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(head[4:], snapshotVersion)
	head = append(head, b.hash[:]...)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(state)))
	err := errors.Join(put(head), put(state))
	if err == nil {
		buf := make([]byte, 0, 4+mem.PageSize)
		err = b.ram.EachNonZero(func(page uint64, p []byte) error {
			// Number and bytes leave together: writers may be slow to call.
			buf = binary.LittleEndian.AppendUint32(buf[:0], uint32(page))
			return put(append(buf, p...))
		})
	}
	if err == nil {
		err = put(binary.LittleEndian.AppendUint32(nil, snapshotEnd))
	}
	if err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint64(nil, sum.Sum64()))
	}
	if err != nil {
		return fmt.Errorf("board: cannot save the snapshot: %w", err)
	}
	return nil
}

// Load implements machine.Machine. It reads no more than the snapshot, in
// small pieces: give it a buffered reader.
func (b *Board) Load(r io.Reader) error {
	if err := b.load(r); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return fmt.Errorf("board: cannot load the snapshot: %w", err)
	}
	return nil
}

func (b *Board) load(r io.Reader) error {
	sum := xxh3.New()
	in := io.TeeReader(r, sum)
	var head [snapshotHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	version := binary.LittleEndian.Uint32(head[4:])
	size := binary.LittleEndian.Uint64(head[40:])
	switch {
	case string(head[:4]) != snapshotMagic:
		return errors.New("this is no snapshot")
	case version > snapshotVersion:
		return fmt.Errorf("its format %d is newer than %d; use a newer lockstep", version, snapshotVersion)
	case version != snapshotVersion:
		return fmt.Errorf("its format %d is not known", version)
	case !bytes.Equal(head[8:40], b.hash[:]):
		return fmt.Errorf("it is of a machine with configuration %x, this one has %x", head[8:16], b.hash[:8])
	case size > maxState:
		return fmt.Errorf("a state section of %d bytes is impossible", size)
	}
	// ReadAll grows with what is really there.
	state, err := io.ReadAll(io.LimitReader(in, int64(size)))
	if err != nil {
		return err
	}
	if uint64(len(state)) != size {
		return io.ErrUnexpectedEOF
	}
	if err := b.decodeState(state); err != nil {
		return err
	}
	if err := b.loadRAM(in); err != nil {
		return err
	}
	want := sum.Sum64()
	var trailer [8]byte
	if _, err := io.ReadFull(r, trailer[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(trailer[:]) != want {
		return errors.New("its checksum is wrong: it is damaged")
	}
	b.out = b.out[:0]
	b.restart = false
	b.ram.Changes(nil) // an Account counts from here
	b.hart.DropCaches()
	b.carryLines()
	return nil
}

func (b *Board) loadRAM(in io.Reader) error {
	b.ram.Zero()
	var num [4]byte
	page := make([]byte, mem.PageSize)
	for next := uint64(0); ; {
		if _, err := io.ReadFull(in, num[:]); err != nil {
			return err
		}
		n := uint64(binary.LittleEndian.Uint32(num[:]))
		if n == snapshotEnd {
			return nil
		}
		if n < next {
			return fmt.Errorf("page %d is out of order", n)
		}
		next = n + 1
		if _, err := io.ReadFull(in, page); err != nil {
			return err
		}
		if err := b.ram.SetPage(n, page); err != nil {
			return err
		}
	}
}
