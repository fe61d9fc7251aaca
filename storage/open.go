package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// An Opener opens what lies at a path or URL. A read-only disk is never written.
type Opener func(target string, readOnly bool) (Backend, error)

// Openers has an Opener for each scheme of URLs, like "nbd". Those of paths need
// none.
type Openers map[string]Opener

// Scheme is that of a URL, and empty for a path.
func Scheme(target string) string {
	scheme, _, ok := strings.Cut(target, "://")
	if !ok || strings.ContainsAny(scheme, "/.") {
		return ""
	}
	return scheme
}

// Open opens a raw image or block device by its path, or a URL by one of the
// openers. Nothing is read or written before the backend is claimed.
func Open(target string, readOnly bool, openers Openers) (Backend, error) {
	if scheme := Scheme(target); scheme != "" {
		open := openers[scheme]
		if open == nil {
			return nil, fmt.Errorf("storage: %s: a disk is a path%s; there is no %s://", target, schemes(openers), scheme)
		}
		return open(target, readOnly)
	}
	info, err := os.Stat(target)
	switch {
	case err != nil:
		return nil, fmt.Errorf("storage: %w", err)
	case info.Mode().IsRegular():
		return OpenFile(target, readOnly)
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		return OpenDevice(target, readOnly)
	}
	return nil, fmt.Errorf("storage: %s is neither a regular file nor a block device; a disk is a raw image or a device", target)
}

func schemes(openers Openers) string {
	s := ""
	for _, name := range slices.Sorted(maps.Keys(openers)) {
		s += " or " + name + "://..."
	}
	return s
}

// capacity is the size of a disk in sectors, if it can be one.
func capacity(f *os.File, blockSize uint32) (uint64, error) {
	size, err := f.Seek(0, 2)
	if err != nil {
		return 0, err
	}
	if size == 0 || size%int64(blockSize) != 0 {
		return 0, fmt.Errorf("%s is %d bytes long; a raw image is a positive multiple of %d", f.Name(), size, blockSize)
	}
	return uint64(size) / sectorSize, nil
}

func failed(err error, f *os.File) error {
	return errors.Join(fmt.Errorf("storage: %w", err), f.Close())
}
