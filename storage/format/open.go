package format

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxChain is how many images may lie on top of one another.
const maxChain = 64

// Options say how images are opened.
type Options struct {
	// Kind is what the image is; Auto goes by its name and first bytes.
	Kind Kind
	// BackingAnywhere lets a qcow2 image name a backing file outside its own
	// directory. Only for images that are trusted: who made the image chooses
	// which file of this host becomes part of the disk.
	BackingAnywhere bool
}

// Open opens an image and, of a qcow2 one, its backing files. It shares the lock
// on each, so that nobody can write them before Close.
func Open(path string, o Options) (Image, error) {
	return openChain(path, o, nil)
}

// identity tells whether two names are one file.
type identity struct{ dev, ino uint64 }

// openChain opens an image on which those in above lie.
func openChain(path string, o Options, above []identity) (img Image, err error) {
	f, length, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	above, err = link(f, above)
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(f, o.Kind)
	if err != nil {
		return nil, err
	}
	if kind == Raw {
		return newRaw(f, length)
	}
	q, err := newQCOW2(f, length, path)
	if err != nil {
		return nil, err
	}
	if q.header.backing != "" {
		if q.backing, err = openBacking(q.header, path, o, above); err != nil {
			return nil, err
		}
	}
	q.closer = f
	return q, nil
}

// link adds a file to a chain, in which it must not be already.
func link(f *os.File, above []identity) ([]identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	id := identity{uint64(st.Dev), st.Ino}
	for _, a := range above {
		if a == id {
			return nil, fmt.Errorf("format: %s is its own backing file, by way of %d images; give it another with qemu-img rebase -u -b", f.Name(), len(above))
		}
	}
	if len(above) == maxChain {
		return nil, fmt.Errorf("format: %s is below %d images, which is more than is read; merge them with qemu-img convert -O qcow2", f.Name(), maxChain)
	}
	return append(above, id), nil
}

func kindOf(f *os.File, asked Kind) (Kind, error) {
	b, err := first(f)
	if err != nil {
		return Auto, err
	}
	return choose(f.Name(), asked, b)
}

// openBacking opens the backing file that the image at path names.
func openBacking(h *header, path string, o Options, above []identity) (Image, error) {
	where, kind, err := backingOf(h, path, o.BackingAnywhere)
	if err != nil {
		return nil, err
	}
	img, err := openChain(where, Options{Kind: kind, BackingAnywhere: o.BackingAnywhere}, above)
	if err != nil {
		return nil, fmt.Errorf("%w (it is the backing file of %s)", err, path)
	}
	return img, nil
}

// backingOf is the path and the kind of the backing file that the image at path
// names.
func backingOf(h *header, path string, anywhere bool) (string, Kind, error) {
	name := h.backing
	if scheme, _, found := strings.Cut(name, ":"); found && !strings.Contains(scheme, "/") {
		if scheme != "file" {
			return "", Auto, fmt.Errorf("format: %s has the backing file %q, which is not a plain file name; put all into one image with qemu-img convert -O qcow2", path, name)
		}
		name = name[len("file:"):]
	}
	if !filepath.IsLocal(name) && !anywhere {
		return "", Auto, fmt.Errorf("format: %s has the backing file %q, which is outside its own directory, so that whoever made the image chooses a file of this host; allow that (--backing-anywhere) if you trust it", path, name)
	}
	kind := Auto
	if h.backingKind != "" {
		var err error
		if kind, err = ParseKind(h.backingKind); err != nil || kind == Auto {
			return "", Auto, fmt.Errorf("format: %s has a backing file of format %q, and only raw and qcow2 are read; put all into one image with qemu-img convert -O qcow2", path, h.backingKind)
		}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	return name, kind, nil
}
