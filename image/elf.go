package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// libraryDirs is where the dynamic loader looks, in its order.
var libraryDirs = []string{"usr/lib/riscv64-linux-gnu", "usr/lib"}

// elfNeeds is the program interpreter (empty if there is none) and the
// libraries that an executable or library names.
func elfNeeds(data []byte) (interpreter string, libraries []string, err error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", nil, err
	}
	if f.Machine != elf.EM_RISCV || f.Class != elf.ELFCLASS64 {
		return "", nil, fmt.Errorf("it is made for %v, not for riscv64", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return "", nil, err
		}
		interpreter = strings.TrimRight(string(name), "\x00")
	}
	libraries, err = f.ImportedLibraries()
	if errors.Is(err, elf.ErrNoSymbols) {
		err = nil
	}
	return interpreter, libraries, err
}

// A found file: where it is asked for, and where links lead.
type found struct {
	name, real string
	data       []byte
}

// addProgram adds an executable, its interpreter and all libraries that it
// needs, directly or not, to the guest. Find is asked for the first file that
// is there under one of several names; it may fetch packages.
func (g *guest) addProgram(name string, find func(names ...string) (found, error)) error {
	type wanted struct{ file, by string }
	queue := []wanted{{name, "the guest"}}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		names := []string{w.file}
		if !strings.Contains(w.file, "/") {
			names = names[:0]
			for _, dir := range libraryDirs {
				names = append(names, path.Join(dir, w.file))
			}
		}
		f, err := find(names...)
		if err != nil {
			return fmt.Errorf("%s, which %s needs: %w", w.file, w.by, err)
		}
		if f.name != f.real && !g.has(f.name) {
			g.Link(f.name, "/"+f.real)
		}
		if g.has(f.real) {
			continue
		}
		g.File(f.real, 0o755, f.data)
		interpreter, libraries, err := elfNeeds(f.data)
		if err != nil {
			return fmt.Errorf("%s: %w", f.real, err)
		}
		if interpreter != "" {
			queue = append(queue, wanted{strings.TrimPrefix(interpreter, "/"), f.real})
		}
		for _, l := range libraries {
			queue = append(queue, wanted{l, f.real})
		}
	}
	return nil
}
