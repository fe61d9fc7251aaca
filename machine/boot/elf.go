package boot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/lockstep-vm/lockstep/machine"
)

// The parts of ELF-64 that a program of its own needs (System V gABI, chapters
// 4 and 5; RISC-V ELF psABI).
const (
	elfHeader     = 64
	elfSegment    = 56 // an entry of the program header table
	elfSection    = 64 // an entry of the section header table
	elfSymbol     = 24
	maxELFSegment = 512
	maxELFSection = 0xff00 // numbers from there on are reserved

	elfClass64      = 2
	elfLittleEndian = 1
	elfRISCV        = 243
	elfEmbedded     = 8 // e_flags: the base ISA with 16 registers

	elfRelocatable = 1
	elfExecutable  = 2
	elfShared      = 3
	elfCore        = 4

	segmentLoad        = 1
	segmentInterpreter = 3

	sectionSymbols    = 2
	sectionCompressed = 1 << 11
	symbolGlobal      = 1
)

// ParseELF reads an executable for the bare machine. Its segments go to their
// physical addresses. The program shares the memory of file.
//
// The file may hold anything: what is not an RV64 executable, or contradicts
// itself, is an error that says so.
func ParseELF(file []byte) (*Program, error) {
	p := &Program{}
	if err := p.parse(elf(file)); err != nil {
		return nil, fmt.Errorf("boot: the ELF file cannot be run: %w", err)
	}
	return p, nil
}

func (p *Program) parse(f elf) error {
	if err := f.checkHeader(); err != nil {
		return err
	}
	if err := p.readSegments(f); err != nil {
		return err
	}
	p.Entry = machine.GPA(f.u64(24))
	if p.Entry&1 != 0 {
		return fmt.Errorf("its entry point %#x is odd; an instruction has an even address", uint64(p.Entry))
	}
	if !slices.ContainsFunc(p.Segments, func(s Segment) bool { return p.Entry >= s.Addr && uint64(p.Entry-s.Addr) < s.Size }) {
		return fmt.Errorf("its entry point %#x lies in no segment; the machine starts without address translation, so link it to run where it is loaded", uint64(p.Entry))
	}
	return p.readSymbols(f)
}

// elf is the file. Its methods that read an offset need it to lie within.
type elf []byte

func (f elf) u16(off uint64) uint16 { return binary.LittleEndian.Uint16(f[off:]) }
func (f elf) u32(off uint64) uint32 { return binary.LittleEndian.Uint32(f[off:]) }
func (f elf) u64(off uint64) uint64 { return binary.LittleEndian.Uint64(f[off:]) }

// part is n bytes at off, if the file has them.
func (f elf) part(off, n uint64) (elf, bool) {
	if size := uint64(len(f)); off > size || n > size-off {
		return nil, false
	}
	return f[off : off+n : off+n], true
}

func (f elf) checkHeader() error {
	if len(f) < 4 || string(f[:4]) != "\x7fELF" {
		return errors.New("it is no ELF file; give the linked program, not an object copied to a raw binary")
	}
	if len(f) < elfHeader {
		return fmt.Errorf("its header is cut off: it has %d bytes of %d", len(f), elfHeader)
	}
	switch class, order := f[4], f[5]; {
	case class != elfClass64:
		return errors.New("it is not a 64-bit file; build it for RV64 (-march=rv64gc -mabi=lp64d)")
	case order != elfLittleEndian:
		return errors.New("it is big-endian; this machine is little-endian")
	}
	if m := f.u16(18); m != elfRISCV {
		return fmt.Errorf("it is for machine %d, not for RISC-V (%d); build it with a riscv64 compiler", m, elfRISCV)
	}
	switch kind := f.u16(16); kind {
	case elfExecutable:
	case elfShared:
		return errors.New("it is position-independent (ET_DYN), so nothing says where it goes and who relocates it; link it with -static -no-pie at 0x80000000")
	case elfRelocatable:
		return errors.New("it is an object file (ET_REL); link it first")
	case elfCore:
		return errors.New("it is a core dump, not a program")
	default:
		return fmt.Errorf("its type is %d; it must be an executable (ET_EXEC)", kind)
	}
	if f.u32(48)&elfEmbedded != 0 {
		return errors.New("it is built for RV64E with 16 registers; build it for RV64GC (-mabi=lp64d)")
	}
	return nil
}

// table is a header table of n entries of the given size, each read by visit.
func (f elf) table(what string, off, n, entry, size uint64, visit func(elf) error) error {
	if n == 0 {
		return nil
	}
	if entry != size {
		return fmt.Errorf("an entry of its %s table has %d bytes; it must have %d", what, entry, size)
	}
	t, ok := f.part(off, n*size)
	if !ok {
		return fmt.Errorf("its %s table (%d entries at offset %#x) does not lie in the file: it is cut off or damaged", what, n, off)
	}
	for i := range n {
		if err := visit(t[i*size:]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Program) readSegments(f elf) error {
	n := uint64(f.u16(56))
	if n > maxELFSegment {
		return fmt.Errorf("it has %d segments; at most %d are possible", n, maxELFSegment)
	}
	err := f.table("program header", f.u64(32), n, uint64(f.u16(54)), elfSegment, func(h elf) error {
		switch h.u32(0) {
		case segmentInterpreter:
			return errors.New("it is dynamically linked; link it with -static")
		case segmentLoad:
			return p.addSegment(f, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(p.Segments) == 0 {
		return errors.New("it has no segment to load")
	}
	slices.SortFunc(p.Segments, func(a, b Segment) int { return cmp.Compare(a.Addr, b.Addr) })
	for i := 1; i < len(p.Segments); i++ {
		if a, b := p.Segments[i-1], p.Segments[i]; uint64(b.Addr-a.Addr) < a.Size {
			return fmt.Errorf("its segments at %#x (%d bytes) and %#x overlap; mend the linker script", uint64(a.Addr), a.Size, uint64(b.Addr))
		}
	}
	return nil
}

func (p *Program) addSegment(f, h elf) error {
	s := Segment{Addr: machine.GPA(h.u64(24)), Size: h.u64(40)}
	if s.Size == 0 {
		return nil
	}
	// As an offset in RAM an address below it is larger than any RAM.
	if uint64(s.Addr-RAMBase) > machine.MaxMemory || s.Size > machine.MaxMemory {
		return fmt.Errorf("its segment at %#x (%d bytes) lies outside RAM, which begins at %#x and has at most %d bytes; link the program at %#x",
			uint64(s.Addr), s.Size, uint64(RAMBase), uint64(machine.MaxMemory), uint64(RAMBase))
	}
	size := h.u64(32)
	data, ok := f.part(h.u64(8), size)
	if !ok || size > s.Size {
		return fmt.Errorf("its segment at %#x says that it has %d bytes in the file and %d in memory, which cannot be: it is cut off or damaged", uint64(s.Addr), size, s.Size)
	}
	s.Data = data
	p.Segments = append(p.Segments, s)
	return nil
}

// readSymbols looks for the symbols that Program has room for in the first
// symbol table. A stripped file has none.
func (p *Program) readSymbols(f elf) error {
	n := uint64(f.u16(60))
	if n > maxELFSection {
		return fmt.Errorf("it has %d sections; at most %d are possible", n, maxELFSection)
	}
	sections, entry := f.u64(40), uint64(f.u16(58))
	var symbols elf
	err := f.table("section header", sections, n, entry, elfSection, func(h elf) error {
		if symbols == nil && h.u32(4) == sectionSymbols {
			symbols = h
		}
		return nil
	})
	if err != nil || symbols == nil {
		return err
	}
	link := uint64(symbols.u32(40))
	if link >= n {
		return fmt.Errorf("the names of its symbols are in section %d of %d: it is damaged", link, n)
	}
	names, ok := f.section(f[sections+link*elfSection:])
	table, okay := f.section(symbols)
	if !ok || !okay || symbols.u64(56) != elfSymbol {
		return errors.New("its symbol table is compressed, cut off or damaged; link the program anew or strip it")
	}
	return p.takeSymbols(table, names)
}

// section is the content of the section with that header.
func (f elf) section(h elf) (elf, bool) {
	if h.u64(8)&sectionCompressed != 0 {
		return nil, false
	}
	return f.part(h.u64(24), h.u64(32))
}

func (p *Program) takeSymbols(table, names elf) error {
	wanted := []struct {
		name   string
		at     *machine.GPA
		global bool
	}{
		{name: "tohost", at: &p.ToHost},
		{name: "fromhost", at: &p.FromHost},
		{name: "begin_signature", at: &p.SignatureBegin},
		{name: "end_signature", at: &p.SignatureEnd},
	}
	for ; len(table) >= elfSymbol; table = table[elfSymbol:] {
		at := uint64(table.u32(0))
		if at >= uint64(len(names)) || table.u16(6) == 0 { // no name, or not defined here
			continue
		}
		for i := range wanted {
			w := &wanted[i]
			if rest := names[at:]; len(rest) <= len(w.name) || rest[len(w.name)] != 0 || !bytes.HasPrefix(rest, []byte(w.name)) {
				continue
			}
			// Of several that have the name, the first global one counts.
			if global := table[4]>>4 == symbolGlobal; *w.at == 0 || global && !w.global {
				*w.at, w.global = machine.GPA(table.u64(8)), global
			}
		}
	}
	return p.checkSymbols()
}

func (p *Program) checkSymbols() error {
	for _, a := range []machine.GPA{p.ToHost, p.FromHost} {
		if a%8 != 0 {
			return fmt.Errorf("its symbol tohost or fromhost at %#x is not aligned; put .balign 8 before it", uint64(a))
		}
	}
	switch {
	case p.FromHost != 0 && p.FromHost == p.ToHost:
		return errors.New("its symbols tohost and fromhost are at one place; give each a doubleword of its own")
	case (p.SignatureBegin == 0) != (p.SignatureEnd == 0):
		return errors.New("it has only one of the symbols begin_signature and end_signature; it needs both or none")
	case p.SignatureBegin > p.SignatureEnd:
		return fmt.Errorf("its symbol begin_signature (%#x) lies behind end_signature (%#x)", uint64(p.SignatureBegin), uint64(p.SignatureEnd))
	}
	return nil
}
