package image

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// A supply unpacks packages as their files turn out to be needed.
type supply struct {
	b       *builder
	archive *archive
	tree    *tree
	next    []*debPackage // not unpacked yet, likely ones first
	used    []*debPackage
	files   map[*debPackage][]string // what each of used brought
}

// userland adds everything but the kernel and its modules to the guest.
func (s *supply) userland(ctx context.Context, g *guest, r recipe) error {
	index := s.archive.index
	busyboxPackage, err := index.first("busybox-static")
	if err != nil {
		return err
	}
	s.b.toDownload += busyboxPackage.file.size
	var serverPackage *debPackage
	if r.server != nil {
		if serverPackage, err = index.first(r.server...); err != nil {
			return err
		}
		s.b.toDownload += serverPackage.file.size
	}
	var whole []*debPackage
	for _, name := range r.packages {
		p, err := index.first(name)
		if err != nil {
			return err
		}
		whole = append(whole, p)
		s.b.toDownload += p.file.size
	}

	if err := s.unpack(ctx, busyboxPackage); err != nil {
		return err
	}
	_, busybox := s.tree.resolve("usr/bin/busybox")
	if busybox == nil {
		return errors.New("image: package busybox-static has no /usr/bin/busybox")
	}
	if err := g.addBase(busybox.data); err != nil {
		return err
	}
	if serverPackage != nil {
		server := "usr/bin/" + serverPackage.name
		s.from(serverPackage)
		if err := g.addProgram(server, s.finder(ctx)); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		g.Link("usr/bin/server", path.Base(server))
	}
	for _, p := range whole {
		if err := s.whole(ctx, g, p); err != nil {
			return fmt.Errorf("image: package %s: %w", p.name, err)
		}
	}
	return nil
}

// whole adds all files of a package, and the libraries that its programs need.
func (s *supply) whole(ctx context.Context, g *guest, p *debPackage) error {
	if err := s.unpack(ctx, p); err != nil { // or has been, for one file of it
		return err
	}
	s.from(p)
	find := s.finder(ctx)
	for _, name := range s.files[p] {
		n := s.tree.files[name]
		if n.kind() == modeDir || n.left || g.has(name) {
			continue
		}
		if n.kind() == modeLink {
			g.Link(name, string(n.data))
		} else if bytes.HasPrefix(n.data, []byte(elf.ELFMAG)) {
			if err := g.addProgram(name, find); err != nil {
				return err
			}
		} else {
			g.File(name, n.mode&0o777, n.data)
		}
	}
	return nil
}

// from lets files be looked for in p and what it depends on.
func (s *supply) from(p *debPackage) {
	s.next = s.archive.index.closure(p)
	rank := func(o *debPackage) int {
		switch {
		case o == p:
			return 0
		case o.source == p.source:
			return 1
		case o.section == "libs":
			return 2
		}
		return 3
	}
	slices.SortStableFunc(s.next, func(x, y *debPackage) int { return rank(x) - rank(y) })
}

// documentation is what a guest has no use for.
var documentation = []string{"usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/"}

// unpack fetches and unpacks one package, except for its documentation.
func (s *supply) unpack(ctx context.Context, p *debPackage) error {
	if slices.Contains(s.used, p) {
		return nil
	}
	file, err := s.b.download(ctx, s.archive, p)
	if err != nil {
		return err
	}
	s.used = append(s.used, p)
	before := maps.Clone(s.tree.files)
	err = unpackDeb(file, s.tree, func(int64) {}, func(name string) bool {
		return !slices.ContainsFunc(documentation, func(dir string) bool { return strings.HasPrefix(name, dir) })
	})
	if err != nil {
		return fmt.Errorf("image: package %s: %w", p.name, err)
	}
	s.files[p] = slices.DeleteFunc(slices.Sorted(maps.Keys(s.tree.files)), func(name string) bool { return before[name] != nil })
	return nil
}

// finder looks for the first file that is there under one of several names,
// and unpacks one package after the other while none is.
func (s *supply) finder(ctx context.Context) func(names ...string) (found, error) {
	return func(names ...string) (found, error) {
		for {
			for _, name := range names {
				if real, n := s.tree.resolve(name); n != nil && n.kind() == modeFile && !n.left {
					dir, _ := s.tree.resolve(path.Dir(name))
					return found{path.Join(dir, path.Base(name)), real, n.data}, nil
				}
			}
			if len(s.next) == 0 {
				return found{}, fmt.Errorf("no package that it depends on has /%s", names[0])
			}
			i := s.likely(path.Base(names[0]))
			p := s.next[i]
			s.next = slices.Delete(s.next, i, i+1)
			if err := s.unpack(ctx, p); err != nil {
				return found{}, err
			}
		}
	}
}

// likely is the index of the package that is named after a library, or 0.
func (s *supply) likely(file string) int {
	stem, _, isLibrary := strings.Cut(strings.ReplaceAll(file, "_", "-"), ".so")
	if !isLibrary {
		return 0
	}
	if i := slices.IndexFunc(s.next, func(p *debPackage) bool { return strings.HasPrefix(p.name, stem) }); i >= 0 {
		return i
	}
	return 0
}

// packages lists what was unpacked, by name.
func (s *supply) packages() []Package {
	var all []Package
	for _, p := range s.used {
		all = append(all, Package{Name: p.name, Version: p.version, SHA256: p.file.sha256})
	}
	slices.SortFunc(all, func(x, y Package) int { return cmp.Compare(x.Name, y.Name) })
	return all
}
