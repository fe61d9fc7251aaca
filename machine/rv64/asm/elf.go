package asm

import "encoding/binary"

// ELF is the program as a static executable (ET_EXEC) for a bare machine: one
// segment at the program's base, in memory followed by bss zero bytes, the
// entry point at the label entry, and a global symbol for each other label
// that is named. It is laid out as header, program header, code and data,
// section headers (none, symbols, strings), symbols, strings.
func (p *Program) ELF(entry string, bss int, symbols ...string) []byte {
	const (
		header, segment, section, symbol = 64, 56, 64, 24
		executable, riscv, load          = 2, 243, 1
		symtab, strtab, global, absolute = 2, 3, 1 << 4, 0xfff1
	)
	code := p.Bytes()
	le := binary.LittleEndian
	sections := uint64(header+segment+len(code)+7) &^ 7
	table := sections + 3*section
	names := table + uint64(1+len(symbols))*symbol

	strings, entries := []byte{0}, make([]byte, symbol) // the first symbol is the null symbol
	for _, s := range symbols {
		e := le.AppendUint32(nil, uint32(len(strings)))
		e = append(e, global, 0)
		e = le.AppendUint16(e, absolute)
		e = le.AppendUint64(e, p.Addr(s))
		entries = append(entries, le.AppendUint64(e, 8)...)
		strings = append(append(strings, s...), 0)
	}

	f := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	for _, v := range []uint16{executable, riscv, 1, 0} { // the third and fourth are the version
		f = le.AppendUint16(f, v)
	}
	for _, v := range []uint64{p.Addr(entry), header, sections} {
		f = le.AppendUint64(f, v)
	}
	f = le.AppendUint32(f, 0) // flags
	for _, v := range []uint16{header, segment, 1, section, 3, 0} {
		f = le.AppendUint16(f, v)
	}

	f = le.AppendUint32(f, load)
	f = le.AppendUint32(f, 7) // readable, writable, executable
	for _, v := range []uint64{header + segment, p.base, p.base, uint64(len(code)), uint64(len(code) + bss), 8} {
		f = le.AppendUint64(f, v)
	}
	f = append(f, code...)
	f = append(f, make([]byte, int(sections)-len(f))...)

	f = append(f, make([]byte, section)...)
	for _, s := range []struct {
		kind         uint32
		at, size     uint64
		link, locals uint32
		entry        uint64
	}{
		{symtab, table, uint64(len(entries)), 2, 1, symbol},
		{strtab, names, uint64(len(strings)), 0, 0, 0},
	} {
		f = le.AppendUint32(f, 0) // no name
		f = le.AppendUint32(f, s.kind)
		for _, v := range []uint64{0, 0, s.at, s.size} {
			f = le.AppendUint64(f, v)
		}
		f = le.AppendUint32(f, s.link)
		f = le.AppendUint32(f, s.locals)
		f = le.AppendUint64(f, 8)
		f = le.AppendUint64(f, s.entry)
	}
	return append(append(f, entries...), strings...)
}
