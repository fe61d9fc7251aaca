package image

import (
	"fmt"
	"path"
	"strings"
)

// A node is a file, directory or symbolic link of a package.
type node struct {
	mode uint32
	data []byte // content or the link's target
	left bool   // a file whose content was not kept
}

// kind is one of modeFile, modeDir and modeLink.
func (n *node) kind() uint32 { return n.mode & modeKind }

// A tree holds the files of several packages by name, without a leading slash.
type tree struct{ files map[string]*node }

func newTree() *tree { return &tree{files: map[string]*node{}} }

// mergedTree is a tree with the links of Debian's merged layout: packages have
// their files below usr, programs name them without it.
func mergedTree() *tree {
	t := newTree()
	for _, dir := range mergedDirs {
		t.files[dir] = &node{mode: modeLink | 0o777, data: []byte("usr/" + dir)}
	}
	return t
}

var mergedDirs = []string{"bin", "lib", "sbin"}

// add puts a node into the tree. A name below a link or a file, and a link
// that leads out of the tree, are refused.
func (t *tree) add(name string, n *node) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if p := t.files[dir]; p != nil && p.kind() != modeDir {
			return fmt.Errorf("%s lies below %s, which is no directory", name, dir)
		}
	}
	old := t.files[name]
	if old != nil && old.kind() == modeDir && n.kind() != modeDir {
		return fmt.Errorf("%s is a directory already", name)
	}
	if n.kind() == modeLink {
		if _, ok := linkTarget(name, string(n.data)); !ok {
			return fmt.Errorf("%s is a link to %q, which leads out of the package", name, n.data)
		}
	}
	t.files[name] = n
	return nil
}

// linkTarget is the name that a link at name points to, and whether that is
// inside the tree. An absolute target begins at the root of the tree.
func linkTarget(name, target string) (string, bool) {
	if target == "" || strings.ContainsRune(target, 0) {
		return "", false
	}
	if target[0] == '/' {
		target = path.Clean(target)[1:]
	} else {
		target = path.Join(path.Dir(name), target)
	}
	if target == "" {
		target = "."
	}
	return target, target != ".." && !strings.HasPrefix(target, "../")
}

// resolve follows links to a file, directories on the way included. It is nil
// if there is none.
func (t *tree) resolve(name string) (string, *node) {
	for range 40 { // as many links as the kernel follows
		next, ok := t.step(name)
		if !ok {
			return name, t.files[name]
		}
		name = next
	}
	return name, nil
}

// step replaces the first link in name, if there is one.
func (t *tree) step(name string) (string, bool) {
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		n := t.files[name[:i]]
		if n == nil || n.kind() != modeLink {
			continue
		}
		target, ok := linkTarget(name[:i], string(n.data))
		if !ok {
			return name, false
		}
		return path.Join(target, name[i:]), true
	}
	return name, false
}
