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
var libraryDirs = []string{"usr/lib/riscv64-linux-gnu", "usr/lib", "lib/riscv64-linux-gnu", "lib"}

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

// addProgram adds an executable, its interpreter and all libraries that it
// needs, directly or not, to the guest. Find is asked for names of files; it
// may fetch packages.
func (g *guest) addProgram(name string, find func(names ...string) (string, []byte, error)) error {
	type wanted struct{ by, put string }
	queue := []wanted{{by: "the image", put: name}}
	seen := map[string]bool{}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		names := []string{w.put}
		if !strings.Contains(w.put, "/") {
			names = names[:0]
			for _, dir := range libraryDirs {
				names = append(names, path.Join(dir, w.put))
			}
		}
		real, data, err := find(names...)
		if err != nil {
			return fmt.Errorf("%s, which %s needs: %w", w.put, w.by, err)
		}
		put := w.put
		if !strings.Contains(put, "/") {
			put = path.Join(path.Dir(real), put)
		}
		if seen[put] {
			continue
		}
		seen[put] = true
		interpreter, libraries, err := elfNeeds(data)
		if err != nil {
			return fmt.Errorf("%s: %w", put, err)
		}
		if put == strings.TrimPrefix(real, "/") || !seen[real] {
			seen[real] = true
			g.file(real, 0o755, data)
		}
		if put != real {
			g.link(put, "/"+real)
		}
		if interpreter != "" {
			queue = append(queue, wanted{by: put, put: strings.TrimPrefix(interpreter, "/")})
		}
		for _, l := range libraries {
			queue = append(queue, wanted{by: put, put: l})
		}
	}
	return nil
}
