package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A module is a kernel module as it goes into the guest, not compressed: the
// kernel's own unpacking would cost the guest more than copying.
type module struct {
	name    string // as the kernel spells it
	path    string // below /lib/modules/VERSION
	data    []byte
	depends []string
	aliases []string
}

// moduleName is the name in the kernel's spelling, of a file or of a name.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// isModule: NAME.ko, possibly compressed.
func isModule(file string) bool {
	name := path.Base(file)
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return false
}

// readModule unpacks a module's file and reads what it says of itself.
func readModule(file string, data []byte) (*module, error) {
	m := &module{name: moduleName(file), path: file}
	ext := path.Ext(file)
	if ext != ".ko" {
		m.path = strings.TrimSuffix(file, ext)
	}
	r, err := decompress(bytes.NewReader(data), ext)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if m.data, err = io.ReadAll(io.LimitReader(r, maxOneFile)); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	f, err := elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s: no kernel module: it has no .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.depends = append(m.depends, moduleName(d))
				}
			}
		case "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m, nil
}

// A moduleSet is modules by name.
type moduleSet map[string]*module

// missing are names that the modules depend on and that are neither in the set
// nor built into the kernel.
func (s moduleSet) missing(builtin map[string]bool) []string {
	var names []string
	for _, m := range s {
		for _, d := range m.depends {
			if s[d] == nil && !builtin[d] && !slices.Contains(names, d) {
				names = append(names, d)
			}
		}
	}
	slices.Sort(names)
	return names
}

// order is the set in an order of insertion: that of the names, with what a
// module depends on before it.
func (s moduleSet) order(names []string) []*module {
	var all []*module
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		m := s[name]
		if m == nil || done[name] {
			return
		}
		done[name] = true
		for _, d := range m.depends {
			visit(d)
		}
		all = append(all, m)
	}
	for _, name := range names {
		visit(moduleName(name))
	}
	return all
}

// addModules adds the kernel's modules with the lists that modprobe reads.
func (g *guest) addModules(k *kernel, names []string) {
	dir := path.Join("usr/lib/modules", k.version)
	set := k.modules
	var dep, alias strings.Builder
	for _, m := range set.order(names) {
		g.File(path.Join(dir, m.path), 0o644, m.data)
		// modprobe inserts from the right: the farthest dependency stands last.
		needs := set.below(m)
		slices.Reverse(needs)
		fmt.Fprintf(&dep, "%s:", m.path)
		for _, n := range needs {
			fmt.Fprintf(&dep, " %s", n.path)
		}
		dep.WriteByte('\n')
		for _, a := range m.aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", a, m.name)
		}
	}
	g.File(path.Join(dir, "modules.dep"), 0o644, []byte(dep.String()))
	g.File(path.Join(dir, "modules.alias"), 0o644, []byte(alias.String()))
	g.File(path.Join(dir, "modules.symbols"), 0o644, nil)
	g.File(path.Join(dir, "modules.builtin"), 0o644, k.builtin)
}

// below is what m depends on, in the order of insertion.
func (s moduleSet) below(m *module) []*module {
	var all []*module
	var visit func(o *module)
	visit = func(o *module) {
		for _, d := range o.depends {
			if n := s[d]; n != nil && !slices.Contains(all, n) {
				visit(n)
				all = append(all, n)
			}
		}
	}
	visit(m)
	return all
}
