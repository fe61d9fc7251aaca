// Package format knows how images lie in files: raw ones, which a VM runs from,
// and qcow2, which is converted. It opens them for reading, creates, checks and
// converts them, and refuses what would lose data: a file that another process
// uses, a name that is taken, a size that no disk has.
//
// An image may come from anybody, or be written by a guest. Whatever it holds,
// reading it takes bounded memory, opens no file that its owner did not mean,
// and ends in an error at worst.
package format

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// SectorSize is the unit of every disk, in bytes.
const SectorSize = 512

// Kind is how an image keeps its blocks.
type Kind uint8

// Auto is the kind that the name and the first bytes agree on.
const (
	Auto Kind = iota
	Raw
	QCOW2
)

func (k Kind) String() string {
	switch k {
	case Auto:
		return "auto"
	case Raw:
		return "raw"
	case QCOW2:
		return "qcow2"
	}
	panic(fmt.Sprintf("BUG: format: kind %d", uint8(k)))
}

// ParseKind is the kind of that name.
func ParseKind(s string) (Kind, error) {
	for k := Auto; k <= QCOW2; k++ {
		if s == k.String() {
			return k, nil
		}
	}
	return Auto, fmt.Errorf("format: there is no format %q; there are raw and qcow2", s)
}

// An Extent is a range of the disk, in bytes. A Zero one reads as zeros; any
// other may too.
type Extent struct {
	Start, Length int64
	Zero          bool
}

// An Image is open for reading. It is not for use by several goroutines.
type Image interface {
	// Size is that of the disk in bytes, a positive multiple of SectorSize.
	Size() int64
	// ReadAt fills p from byte off of the disk; all of p lies within it.
	ReadAt(p []byte, off int64) error
	// Extent is a range that begins at off, which is within the disk, and is at
	// least one byte long.
	Extent(off int64) (Extent, error)
	Close() error
}

// magics are the first bytes of formats with a file of their own.
var magics = []struct{ name, magic string }{
	{"qcow2", "QFI\xfb"},
	{"VMDK", "KDMV"},
	{"VMDK", "COWD"},
	{"VMDK", "# Disk DescriptorFile"},
	{"VHDX", "vhdxfile"},
	{"VHD", "conectix"},
	{"QED", "QED\x00"},
	{"Parallels", "WithoutFreeSpace"},
	{"Parallels", "WithouFreSpacExt"},
	{"LUKS", "LUKS\xba\xbe"},
}

// probeLength is how many first bytes probe wants to see.
const probeLength = 68

// probe names the format that the first bytes of a file look like; empty for
// none, which is what a raw image looks like.
func probe(first []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(first, []byte(m.magic)) {
			return m.name
		}
	}
	if len(first) >= probeLength && bytes.Equal(first[64:68], []byte{0x7f, 0x10, 0xda, 0xbe}) {
		return "VDI"
	}
	return ""
}

// named is the kind that a file's extension says, Auto if it says none: a .img
// is anything.
func named(path string) Kind {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".qcow2", ".qcow":
		return QCOW2
	case ".raw":
		return Raw
	}
	return Auto
}

// choose is the kind of the image at path, which begins with the bytes first.
// A guest writes the first bytes of its raw disk as it likes, so those alone
// never make an image qcow2: its name or its user must say so too.
func choose(path string, asked Kind, first []byte) (Kind, error) {
	like := probe(first)
	switch {
	case asked == Raw:
		return Raw, nil
	case asked == QCOW2 || named(path) == QCOW2:
		if like != "qcow2" {
			return Auto, fmt.Errorf("format: %s is no qcow2 image: it does not begin with the magic of one; if it is a raw image, say so by its format, raw", path)
		}
		return QCOW2, nil
	case like == "qcow2":
		return Auto, fmt.Errorf("format: %s begins like a qcow2 image, but its name does not say so, and a guest can write those bytes on a raw disk; name its format: qcow2 or raw", path)
	case like == "LUKS":
		return Raw, nil // what a guest encrypts is its own affair
	case like != "":
		return Auto, fmt.Errorf("format: %s looks like a %s image, which is not read here; convert it with qemu-img convert -O qcow2, or name its format raw if it is a raw disk", path, like)
	}
	return Raw, nil
}
