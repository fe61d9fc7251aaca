package boot

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Where asm's ELF has its parts.
const (
	segmentAt = elfHeader
	codeAt    = segmentAt + elfSegment
)

// executable is a program of a few instructions, with all symbols that mean
// something and one that means nothing.
func executable() []byte {
	p := asm.New(0x8000_0000)
	p.Label("before")
	p.NOP()
	p.Label("_start")
	p.NOP()
	p.Align(8)
	for _, s := range []string{"tohost", "fromhost", "begin_signature"} {
		p.Label(s)
		p.Dword(uint64(len(s)))
	}
	p.Dword(1)
	p.Label("end_signature")
	return p.ELF("_start", 4096, "before", "tohost", "fromhost", "begin_signature", "end_signature")
}

// with is a copy of file with v at an offset, little-endian in so many bytes.
func with(file []byte, off, size int, v uint64) []byte {
	out := slices.Clone(file)
	copy(out[off:off+size], binary.LittleEndian.AppendUint64(nil, v))
	return out
}

// withSegment has one more entry in the program header table, which it moves
// to the end of the file.
func withSegment(file []byte, addr, filesz, memsz uint64) []byte {
	out := with(file, 32, 8, uint64(len(file)))
	table, n := int(binary.LittleEndian.Uint64(file[32:])), binary.LittleEndian.Uint16(file[56:])
	out = with(out, 56, 2, uint64(n+1))
	out = append(out, file[table:table+elfSegment*int(n)]...)
	entry := slices.Clone(file[segmentAt : segmentAt+elfSegment])
	entry = with(entry, 24, 8, addr)
	entry = with(entry, 32, 8, filesz)
	return append(out, with(entry, 40, 8, memsz)...)
}

func TestParseELF(t *testing.T) {
	file := executable()
	p, err := ParseELF(file)
	if err != nil {
		t.Fatal(err)
	}
	want := Program{
		Entry: 0x8000_0004, ToHost: 0x8000_0008, FromHost: 0x8000_0010,
		SignatureBegin: 0x8000_0018, SignatureEnd: 0x8000_0028,
	}
	if p.Entry != want.Entry || p.ToHost != want.ToHost || p.FromHost != want.FromHost ||
		p.SignatureBegin != want.SignatureBegin || p.SignatureEnd != want.SignatureEnd {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if len(p.Segments) != 1 || p.Segments[0].Addr != RAMBase || p.Segments[0].Size != 40+4096 ||
		!bytes.Equal(p.Segments[0].Data, file[codeAt:codeAt+40]) {
		t.Errorf("segments %+v", p.Segments)
	}
}

// Segments go to physical addresses, in order, whatever the virtual ones are.
func TestSegmentsGoToPhysicalAddresses(t *testing.T) {
	file := with(executable(), segmentAt+16, 8, 0xffff_ffff_8000_0000)
	file = withSegment(file, 0x8010_0000, 4, 8)
	file = withSegment(file, 0x8008_0000, 0, 16)
	file = withSegment(file, 0x1000, 0, 0) // empty: it lies nowhere
	p, err := ParseELF(file)
	if err != nil {
		t.Fatal(err)
	}
	var at []machine.GPA
	for _, s := range p.Segments {
		at = append(at, s.Addr)
	}
	if !slices.Equal(at, []machine.GPA{0x8000_0000, 0x8008_0000, 0x8010_0000}) {
		t.Fatalf("segments at %#x", at)
	}
	ram := mem.New(16 << 20)
	if tree := p.Load(ram, []byte("tree")); tree != RAMBase+16<<20-treeRoom {
		t.Errorf("the device tree is at %#x", tree)
	}
	got := make([]byte, 8)
	ram.Read(0x8010_0000, got)
	if want := append(slices.Clone(file[codeAt:codeAt+4]), 0, 0, 0, 0); !bytes.Equal(got, want) {
		t.Errorf("the last segment is %x in memory, want %x", got, want)
	}
}

// A global symbol counts more than a local one that comes first; one that is
// not defined counts nothing.
func TestSymbolsOfOneName(t *testing.T) {
	p := asm.New(0x8000_0000)
	for _, l := range []string{"_start", "tohost", "fromhost"} {
		p.Label(l)
		p.Dword(0)
	}
	file := p.ELF("_start", 0, "_start", "tohost", "fromhost")
	symbols := (codeAt+24+7)&^7 + 3*elfSection
	entry := func(n int) int { return symbols + n*elfSymbol }
	name := binary.LittleEndian.Uint32(file[entry(2):])

	global := with(with(file, entry(1), 4, uint64(name)), entry(1)+4, 1, 0)
	if p, err := ParseELF(global); err != nil || p.ToHost != 0x8000_0008 {
		t.Errorf("tohost at %#x, %v; want the global one", p.ToHost, err)
	}
	if p, err := ParseELF(with(file, entry(2)+6, 2, 0)); err != nil || p.ToHost != 0 {
		t.Errorf("tohost at %#x, %v; want none", p.ToHost, err)
	}
	if p, err := ParseELF(with(file, entry(2)+4, 1, 0)); err != nil || p.ToHost != 0x8000_0008 {
		t.Errorf("tohost at %#x, %v; want the local one", p.ToHost, err)
	}
}

func TestStrippedProgram(t *testing.T) {
	p, err := ParseELF(with(executable(), 60, 2, 0))
	if err != nil {
		t.Fatal(err)
	}
	if p.ToHost != 0 || p.SignatureEnd != 0 {
		t.Errorf("symbols without a symbol table: %+v", p)
	}
}

func TestELFErrors(t *testing.T) {
	ok := executable()
	sections := int(binary.LittleEndian.Uint64(ok[40:]))
	symbols := sections + elfSection
	toHost := sections + 3*elfSection + 2*elfSymbol // its entry in the symbol table
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "it is no ELF file"},
		{"text", []byte("#!/bin/sh\n"), "it is no ELF file"},
		{"cut in the header", ok[:63], "its header is cut off: it has 63 bytes of 64"},
		{"32 bits", with(ok, 4, 1, 1), "it is not a 64-bit file; build it for RV64"},
		{"big-endian", with(ok, 5, 1, 2), "it is big-endian"},
		{"amd64", with(ok, 18, 2, 62), "it is for machine 62, not for RISC-V (243)"},
		{"object", with(ok, 16, 2, 1), "it is an object file (ET_REL); link it first"},
		{"static PIE", with(ok, 16, 2, 3), "link it with -static -no-pie at 0x80000000"},
		{"core", with(ok, 16, 2, 4), "it is a core dump"},
		{"type", with(ok, 16, 2, 9), "its type is 9"},
		{"RV64E", with(ok, 48, 4, 8), "RV64E"},
		{"no segment", with(ok, 56, 2, 0), "it has no segment to load"},
		{"nothing to load", with(ok, segmentAt, 4, 4), "it has no segment to load"},
		{"interpreter", with(ok, segmentAt, 4, 3), "it is dynamically linked; link it with -static"},
		{"many segments", with(ok, 56, 2, 0xffff), "it has 65535 segments; at most 512"},
		{"entry size", with(ok, 54, 2, 32), "an entry of its program header table has 32 bytes; it must have 56"},
		{"table outside", with(ok, 32, 8, uint64(len(ok)-8)), "its program header table (1 entries at offset"},
		{"table far outside", with(ok, 32, 8, 1<<64-8), "its program header table (1 entries at offset 0xfffffffffffffff8) does not lie in the file"},
		{"below RAM", with(ok, segmentAt+24, 8, 0x1000), "its segment at 0x1000 (4136 bytes) lies outside RAM, which begins at 0x80000000"},
		{"beyond any RAM", with(ok, segmentAt+24, 8, 1<<63), "lies outside RAM"},
		{"huge", with(ok, segmentAt+40, 8, 1<<63), "lies outside RAM"},
		{"wraps round", with(with(ok, segmentAt+24, 8, 1<<64-8), segmentAt+40, 8, 16), "lies outside RAM"},
		{"more in the file", with(ok, segmentAt+40, 8, 39), "says that it has 40 bytes in the file and 39 in memory"},
		{"data outside", with(ok, segmentAt+8, 8, uint64(len(ok))), "which cannot be"},
		{"data far outside", with(ok, segmentAt+8, 8, 1<<64-1), "which cannot be"},
		{"overlap", withSegment(ok, 0x8000_1000, 0, 1<<20), "its segments at 0x80000000 (4136 bytes) and 0x80001000 overlap"},
		{"twice", withSegment(ok, 0x8000_0000, 0, 1), "overlap"},
		{"odd entry", with(ok, 24, 8, 0x8000_0001), "its entry point 0x80000001 is odd"},
		{"entry nowhere", with(ok, 24, 8, 0x8010_0000), "its entry point 0x80100000 lies in no segment"},
		{"virtual entry", with(ok, 24, 8, 0xffff_ffff_8000_0000), "lies in no segment"},
		{"many sections", with(ok, 60, 2, 0xffff), "it has 65535 sections"},
		{"section size", with(ok, 58, 2, 40), "an entry of its section header table has 40 bytes"},
		{"sections outside", with(ok, 40, 8, 1<<64-64), "its section header table (3 entries"},
		{"names of symbols", with(ok, symbols+40, 4, 3), "the names of its symbols are in section 3 of 3"},
		{"compressed", with(ok, symbols+8, 8, sectionCompressed), "its symbol table is compressed"},
		{"symbols outside", with(ok, symbols+24, 8, 1<<64-1), "cut off or damaged"},
		{"strings outside", with(ok, symbols+elfSection+32, 8, 1<<32), "cut off or damaged"},
		{"symbol size", with(ok, symbols+56, 8, 16), "damaged"},
		{"odd tohost", with(ok, toHost+8, 8, 0x8000_0009), "its symbol tohost or fromhost at 0x80000009 is not aligned"},
		{"tohost is fromhost", with(ok, toHost+8, 8, 0x8000_0010), "at one place"},
		{"half a signature", with(ok, toHost+2*elfSymbol+6, 2, 0), "only one of the symbols begin_signature and end_signature"},
		{"signature backwards", with(ok, toHost+2*elfSymbol+8, 8, 0x8000_1000), "its symbol begin_signature (0x80001000) lies behind end_signature (0x80000028)"},
	} {
		_, err := ParseELF(c.file)
		if err == nil {
			t.Errorf("%s: no error, want %q", c.name, c.want)
		} else if !strings.HasPrefix(err.Error(), "boot: the ELF file cannot be run: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\n\twant %q", c.name, err, c.want)
		}
	}
}

func TestProgramFits(t *testing.T) {
	p, err := ParseELF(withSegment(executable(), 0x8010_0000, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Fit(2 << 20); err != nil {
		t.Errorf("in just as much RAM as it needs: %v", err)
	}
	if err := p.Fit(2<<20 - 1); err == nil || !strings.Contains(err.Error(), "needs RAM up to 0x80200000, 2097152 bytes; there are 2097151: give the machine more memory") {
		t.Errorf("in one byte less: %v", err)
	}
	for _, at := range []machine.GPA{0x8020_0000 - 7, 0x7fff_fff9, 0x10} {
		q := *p
		q.ToHost = at
		if err := q.Fit(2 << 20); err == nil || !strings.Contains(err.Error(), "tohost at") {
			t.Errorf("tohost at %#x: %v", at, err)
		}
		q = *p
		q.SignatureBegin, q.SignatureEnd = at, at+8
		if err := q.Fit(2 << 20); err == nil || !strings.Contains(err.Error(), "begin_signature") {
			t.Errorf("signature at %#x: %v", at, err)
		}
	}
}

// A program that fills RAM leaves no room for the device tree.
func TestProgramWithoutRoomForTheTree(t *testing.T) {
	for _, c := range []struct {
		end  uint64
		tree machine.GPA
	}{
		{1<<20 - treeRoom, RAMBase + 1<<20 - treeRoom},
		{1<<20 - treeRoom + 1, 0},
		{1 << 20, 0},
	} {
		p, err := ParseELF(withSegment(executable(), 0x8008_0000, 0, c.end-0x8_0000))
		if err != nil {
			t.Fatal(err)
		}
		if tree := p.Load(mem.New(1<<20), []byte("tree")); tree != c.tree {
			t.Errorf("a program up to %#x: the tree is at %#x, want %#x", c.end, tree, c.tree)
		}
	}
}

// Whatever the file holds, it is refused or it can be loaded.
func FuzzParseELF(f *testing.F) {
	ok := executable()
	f.Add(ok)
	f.Add(ok[:codeAt])
	f.Add(withSegment(ok, 0x8010_0000, 4, 1<<20))
	f.Add(with(ok, 32, 8, 1<<63))
	f.Add(with(ok, segmentAt+40, 8, 1<<63))
	f.Add(with(ok, int(binary.LittleEndian.Uint64(ok[40:]))+elfSection+24, 8, 1<<64-1))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := ParseELF(file)
		if err != nil {
			return
		}
		const memory = 1 << 20
		if p.Fit(memory) == nil {
			p.Load(mem.New(memory), make([]byte, 1000))
		}
	})
}
