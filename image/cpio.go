package image

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Kinds of file in a mode, as stat(2) has them.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
	modeKind = 0o170000
)

// A cpioEntry is a file, directory or symbolic link of the archive.
type cpioEntry struct {
	name string // without a leading slash
	mode uint32 // kind and permissions
	data []byte // content, or the target of a link
}

// An Archive is files for a guest's initial RAM disk. The kernel unpacks
// archives that follow one another, and what comes later replaces what came
// before: an archive behind an image's initrd changes that guest. Names have no
// leading slash and spell out links of the guest to directories: usr/bin/x, for
// bin/x would put a directory in the place of the link bin.
type Archive struct{ entries []cpioEntry }

// File adds a file with the given permissions.
func (a *Archive) File(name string, perm uint32, data []byte) {
	a.entries = append(a.entries, cpioEntry{name, modeFile | perm, data})
}

// Dir adds a directory. Those that other names need are there without.
func (a *Archive) Dir(name string) {
	a.entries = append(a.entries, cpioEntry{name, modeDir | 0o755, nil})
}

// Link adds a symbolic link.
func (a *Archive) Link(name, target string) {
	a.entries = append(a.entries, cpioEntry{name, modeLink | 0o777, []byte(target)})
}

// Write writes the archive as the kernel takes it. A name that is no name, or
// is there twice, or lies below what is no directory, is an error.
func (a *Archive) Write(w io.Writer) error { return writeCPIO(w, a.entries) }

// writeCPIO writes an archive in the "newc" format that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format). It depends on
// nothing but the entries: they are sorted, owned by root and dated at the
// epoch, and missing parent directories are added.
func writeCPIO(w io.Writer, entries []cpioEntry) error {
	sorted, err := completeCPIO(entries)
	if err != nil {
		return err
	}
	out := cpioWriter{w: w}
	for i, e := range sorted {
		links := 1
		if e.mode&modeKind == modeDir {
			links = 2
		}
		out.entry(i+1, links, e)
	}
	out.entry(0, 1, cpioEntry{name: "TRAILER!!!"})
	return out.err
}

// completeCPIO sorts the entries, adds parents and refuses what the kernel
// would unpack into something else.
func completeCPIO(entries []cpioEntry) ([]cpioEntry, error) {
	byName := make(map[string]cpioEntry, len(entries))
	for _, e := range entries {
		if e.name == "" || path.Clean("/"+e.name) != "/"+e.name || strings.ContainsRune(e.name, 0) {
			return nil, fmt.Errorf("image: %q is no name for a file of the guest", e.name)
		}
		if _, twice := byName[e.name]; twice {
			return nil, fmt.Errorf("image: file %q is in the guest twice", e.name)
		}
		byName[e.name] = e
	}
	for _, e := range entries {
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			parent, there := byName[dir]
			if !there {
				byName[dir] = cpioEntry{name: dir, mode: modeDir | 0o755}
			} else if parent.mode&modeKind != modeDir {
				return nil, fmt.Errorf("image: %q lies below %q, which is no directory", e.name, dir)
			}
		}
	}
	sorted := make([]cpioEntry, 0, len(byName))
	for _, e := range byName {
		sorted = append(sorted, e)
	}
	// A directory's name is a prefix of the names in it, so it comes first.
	slices.SortFunc(sorted, func(a, b cpioEntry) int { return cmp.Compare(a.name, b.name) })
	return sorted, nil
}

type cpioWriter struct {
	w   io.Writer
	err error
}

func (c *cpioWriter) entry(ino, links int, e cpioEntry) {
	const zero = 0 // owner, group, time and device numbers
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		ino, e.mode, zero, zero, links, zero, len(e.data), zero, zero, zero, zero, len(e.name)+1, zero, e.name)
	c.padded([]byte(head))
	c.padded(e.data)
}

// padded writes b and zeros up to a multiple of four.
func (c *cpioWriter) padded(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
	if pad := -len(b) & 3; pad != 0 && c.err == nil {
		_, c.err = c.w.Write(make([]byte, pad))
	}
}
