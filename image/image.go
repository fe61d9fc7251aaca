// Package image makes guest images out of Debian packages: it finds a mirror,
// checks the archive's signature, fetches what the guest needs and writes a
// kernel and an initial RAM disk into the user's cache directory. It needs no
// root and runs no foreign code; once an image is built, no network.
package image

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Names of images. All have the stock Debian kernel and a busybox userland.
const (
	Demo   = "demo"   // what the demo runs: a Redis-compatible server on TCP port 6379
	Small  = "small"  // no server, no file system: 96 MiB of memory suffice
	Stress = "stress" // no server, but many kernel modules to insert and remove
	Node   = "node"   // Node.js; wants 384 MiB of memory
	Bench  = "bench"  // the demo's guest with the programs of lockstep bench cpu; wants 512 MiB
)

// ServerPort is the TCP port on which the server of the demo guest listens.
const ServerPort = 6379

// Lines that the demo guest prints on its console, for those who watch it boot.
const (
	ReadyLine        = "lockstep: ready"        // the server listens
	DiskProgressLine = "disk: "                 // followed by "N blocks verified"
	DiskMismatchLine = "disk: MISMATCH"         // a block read back differs; the guest powers off
	PanicLine        = "lockstep: guest failed" // /init could not go on; the guest powers off
)

// Options says what to build and where. The zero value builds the demo guest
// from the machine's own mirror into the user's cache directory.
type Options struct {
	Name     string      // image to build; Demo if empty
	Mirror   string      // base URI of a Debian mirror; LOCKSTEP_MIRROR, then apt's configuration if empty
	CacheDir string      // DefaultCacheDir() if empty
	Progress func(Event) // called from the building goroutine; may be nil

	// IndexSHA256 is for a mirror that serves another package index than its
	// signed release lists, because an update of it has stopped half-way: the
	// index with this sum is then taken in its stead. Whoever gives it vouches
	// for every package in it; if empty, LOCKSTEP_INDEX_SHA256, else the one
	// that the program knows.
	IndexSHA256 string

	// KeyRing replaces the embedded archive keys (binary OpenPGP), AptDir
	// replaces /etc/apt, Client the HTTP client and Now the clock. Tests and
	// private archives use them.
	KeyRing []byte
	AptDir  string
	Client  *http.Client
	Now     func() time.Time
	// RetryPause is the pause before a failed transfer is tried again, which
	// doubles from there; half a second if zero.
	RetryPause time.Duration
}

// Stage names one part of a build.
type Stage string

// The stages in their order.
const (
	StageMirror   Stage = "mirror"   // looking for a mirror that serves
	StageIndex    Stage = "index"    // package index, bytes
	StageDownload Stage = "download" // packages, bytes
	StageUnpack   Stage = "unpack"   // the kernel package, bytes
	StageAssemble Stage = "assemble" // writing the image
	StageDone     Stage = "done"
)

// Event is a report of progress.
type Event struct {
	Stage Stage
	Note  string // what is being worked on: a package, a mirror
	Done  int64  // bytes done in this stage
	Total int64  // bytes in all; 0 if not known
}

// Package is a Debian package that went into an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// Image is a built guest.
type Image struct {
	Name          string
	Dir           string // directory that holds the files below
	Kernel        string // path of the raw RISC-V Image
	Initrd        string // path of the initial RAM disk (cpio, newc)
	Cmdline       string // default kernel command line
	KernelVersion string // as uname -r prints it
	SHA256        string // over kernel, initrd and command line, in hex
	Packages      []Package
	// IndexSHA256 is the sum of a package index that no signature covers and
	// that was taken because its sum is known; empty for a signed one.
	IndexSHA256 string
}

// ErrNotBuilt is what Load returns (wrapped) when the cache has no such image.
var ErrNotBuilt = errors.New("image is not built")

// Ensure is Load, or Build if the image is not there yet.
func Ensure(ctx context.Context, o Options) (*Image, error) {
	name := o.Name
	if name == "" {
		name = Demo
	}
	img, err := Load(o.CacheDir, name)
	if errors.Is(err, ErrNotBuilt) {
		return build(ctx, o, true)
	}
	return img, err
}
