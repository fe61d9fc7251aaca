package asm

import (
	"bytes"
	"debug/elf"
	"testing"
)

// Another reader finds in ELF what was written.
func TestELF(t *testing.T) {
	p := New(0x8000_0000)
	p.NOP()
	p.Label("_start")
	p.NOP()
	p.Half(7) // of a length that needs padding
	p.Label("tohost")
	f, err := elf.NewFile(bytes.NewReader(p.ELF("_start", 100, "_start", "tohost")))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_RISCV || f.Entry != 0x8000_0004 || len(f.Progs) != 1 {
		t.Fatalf("header %+v, %d segments", f.FileHeader, len(f.Progs))
	}
	s := f.Progs[0]
	data := make([]byte, 10)
	if _, err := s.ReadAt(data, 0); err != nil || !bytes.Equal(data, p.Bytes()) {
		t.Errorf("the segment holds %x, %v", data, err)
	}
	if s.Type != elf.PT_LOAD || s.Paddr != 0x8000_0000 || s.Filesz != 10 || s.Memsz != 110 {
		t.Errorf("segment %+v", s.ProgHeader)
	}
	symbols, err := f.Symbols()
	if err != nil || len(symbols) != 2 {
		t.Fatalf("symbols %+v, %v", symbols, err)
	}
	if symbols[0].Name != "_start" || symbols[0].Value != 0x8000_0004 || symbols[1].Name != "tohost" || symbols[1].Value != 0x8000_000a {
		t.Errorf("symbols %+v", symbols)
	}
}
