package board

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// saved is a snapshot of a busy board, and that board.
func saved(t *testing.T) (*machine.Config, *Board, []byte) {
	t.Helper()
	cfg := busyConfig()
	b := newBoard(t, cfg)
	record(t, b, newWorld(5, cfg.Disks), 30_000, 1000)
	var buf bytes.Buffer
	if err := b.Save(&buf); err != nil {
		t.Fatal(err)
	}
	return cfg, b, buf.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	cfg, b, snap := saved(t)
	c := reborn(t, cfg, b)
	if c.Digest() != b.Digest() || c.Mark() != b.Mark() || c.Icount() != b.Icount() || c.Clock() != b.Clock() {
		t.Error("what was loaded differs")
	}
	again := &bytes.Buffer{}
	if err := c.Save(again); err != nil || !bytes.Equal(again.Bytes(), snap) {
		t.Errorf("what was loaded saves differently: %v", err)
	}
	ours, theirs := b.Pending(nil), c.Pending(nil)
	if len(ours) != len(theirs) {
		t.Errorf("%d requests pending, want %d", len(theirs), len(ours))
	}
}

// A snapshot that is cut, damaged, of another machine or of a later version is
// refused with the reason, and never crashes.
func TestSnapshotRefuses(t *testing.T) {
	cfg, _, snap := saved(t)
	stateAt := snapshotHeader
	ramAt := stateAt + int(binary.LittleEndian.Uint64(snap[40:]))
	// spoil changes a copy and mends the checksum.
	spoil := func(f func(s []byte) []byte) []byte {
		s := f(bytes.Clone(snap[:len(snap)-8]))
		return binary.LittleEndian.AppendUint64(s, xxh3.Hash(s))
	}
	flip := func(at int) []byte {
		s := bytes.Clone(snap)
		s[at] ^= 0x10
		return s
	}
	put32 := func(at int, v uint32) []byte {
		return spoil(func(s []byte) []byte { binary.LittleEndian.PutUint32(s[at:], v); return s })
	}
	for name, c := range map[string]struct {
		snap []byte
		want string
	}{
		"empty":             {nil, "too early"},
		"magic":             {flip(0), "no snapshot"},
		"newer":             {put32(4, snapshotVersion+1), "newer"},
		"older":             {put32(4, snapshotVersion-1), "not known"},
		"other machine":     {flip(8), "configuration"},
		"huge state":        {spoil(func(s []byte) []byte { s[47] = 0x80; return s }), "impossible"},
		"state too long":    {spoil(func(s []byte) []byte { s[43] = 0x7f; return s }), "too early"},
		"cut in state":      {snap[:stateAt+100], "too early"},
		"cut in a page":     {snap[:ramAt+100], "too early"},
		"cut before end":    {snap[:len(snap)-12], "too early"},
		"cut in trailer":    {snap[:len(snap)-3], "too early"},
		"bit in a page":     {flip(ramAt + 1000), "checksum"},
		"bit in trailer":    {flip(len(snap) - 1), "checksum"},
		"page of elsewhere": {put32(ramAt, 0xffff_fffe), "do not fit"},
		"page out of order": {put32(ramAt+4100, 0), "out of order"},
		"state left over": {spoil(func(s []byte) []byte {
			binary.LittleEndian.PutUint64(s[40:], uint64(ramAt-stateAt+1))
			return append(append(bytes.Clone(s[:ramAt]), 0), s[ramAt:]...)
		}), "left over"},
	} {
		b := newBoard(t, cfg)
		err := b.Load(bytes.NewReader(c.snap))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every byte of the state section may be wrong: Load refuses it or takes it,
// and a machine that took it runs.
func TestSnapshotOfNonsense(t *testing.T) {
	cfg, _, snap := saved(t)
	size := int(binary.LittleEndian.Uint64(snap[40:]))
	b := newBoard(t, cfg)
	taken := 0
	for at := 0; at < size; at += 1 + at/64 {
		s := bytes.Clone(snap[:len(snap)-8])
		s[snapshotHeader+at] ^= byte(at)*37 | 1
		s = binary.LittleEndian.AppendUint64(s, xxh3.Hash(s))
		if b.Load(bytes.NewReader(s)) == nil {
			taken++
			b.Run(b.Icount() + 2000)
			b.Outputs(nil)
			b.Digest()
		}
	}
	if taken == 0 {
		t.Error("nothing was taken: does the test change anything?")
	}
}

type fullDisk struct{ room int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("full")

func TestSaveReportsItsWriter(t *testing.T) {
	b := newBoard(t, testConfig(func(p *asm.Program) { p.NOP() }))
	for _, room := range []int{0, 100, 5000, 80_000} {
		if err := b.Save(&fullDisk{room}); !errors.Is(err, errFull) && room < 5000 {
			t.Errorf("room %d: %v", room, err)
		}
	}
	if err := b.Load(io.LimitReader(strings.NewReader(""), 0)); err == nil {
		t.Error("loaded nothing")
	}
}
