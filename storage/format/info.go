package format

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Info is what an image says of itself.
type Info struct {
	Path      string     `json:"path"`
	Format    string     `json:"format"`
	Size      int64      `json:"size"`      // of the disk, in bytes
	FileSize  int64      `json:"file_size"` // in bytes
	Allocated int64      `json:"allocated"` // bytes of the file that take space
	Sparse    bool       `json:"sparse"`    // whether the file has holes
	InUse     bool       `json:"in_use"`    // another process may be writing it
	Unusable  string     `json:"unusable"`  // why it can be neither run from nor converted; empty if it can
	QCOW2     *QCOW2Info `json:"qcow2,omitempty"`
}

// QCOW2Info is what only a qcow2 image has.
type QCOW2Info struct {
	Version       uint32 `json:"version"`
	ClusterSize   int64  `json:"cluster_size"`
	Compression   string `json:"compression"`       // of clusters that are compressed
	Backing       string `json:"backing,omitempty"` // as the image names it
	BackingFormat string `json:"backing_format,omitempty"`
	Snapshots     uint32 `json:"snapshots"`
	Encrypted     bool   `json:"encrypted"`
	Dirty         bool   `json:"dirty"`
	Corrupt       bool   `json:"corrupt"`
	ExternalData  bool   `json:"external_data"`
	ExtendedL2    bool   `json:"extended_l2"`
	LazyRefcounts bool   `json:"lazy_refcounts"`
}

// Stat tells what the image at path is, also while it is in use and if nothing
// can be done with it. kind may be Auto.
func Stat(path string, kind Kind) (*Info, error) {
	f, length, err := open(path)
	inUse := errors.Is(err, ErrInUse)
	if inUse {
		f, length, err = openUnlocked(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if kind, err = kindOf(f, kind); err != nil {
		return nil, err
	}
	i := &Info{Path: path, Format: kind.String(), Size: length, FileSize: length, InUse: inUse}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	i.Allocated, i.Sparse = st.Blocks*SectorSize, isSparse(length, st.Blocks)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		i.Allocated, i.Sparse = length, false
	}
	if kind == Raw {
		err = fits(length, SectorSize)
	} else {
		err = i.stat(f, length)
	}
	if err != nil {
		i.Unusable = "it " + err.Error()
		if kind == Raw {
			i.Unusable = err.Error()
		}
	}
	return i, nil
}

// stat adds what the header says; the error is why it cannot be read.
func (i *Info) stat(f *os.File, length int64) error {
	h, err := parseHeader(f, length)
	if err != nil {
		i.Size = 0
		return err
	}
	i.Size = h.size
	i.QCOW2 = &QCOW2Info{
		Version: h.version, ClusterSize: h.cluster(), Compression: h.compression.String(),
		Backing: h.backing, BackingFormat: h.backingKind, Snapshots: h.snapshots, Encrypted: h.crypt != 0,
		Dirty: h.incompatible&incompatDirty != 0, Corrupt: h.incompatible&incompatCorrupt != 0,
		ExternalData: h.incompatible&incompatExtData != 0, ExtendedL2: h.incompatible&incompatExtL2 != 0,
		LazyRefcounts: h.compatible&compatLazy != 0,
	}
	return h.readable()
}

// allocated is how many bytes of a file take space.
func allocated(f *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("format: %w", err)
	}
	return st.Blocks * SectorSize, nil
}
