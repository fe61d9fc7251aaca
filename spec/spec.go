// Package spec reads the YAML description of a VM. It is strict: an unknown
// key, a wrong type, a missing file or an impossible combination is an error
// that names the line and says what to do.
package spec

import (
	"fmt"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

// Defaults of the settings that a spec may leave out.
const (
	DefaultMemory    = 256 << 20
	DefaultHeartbeat = 50 * time.Millisecond
	DefaultTimeout   = 500 * time.Millisecond
	DefaultLagTarget = 20 * time.Millisecond
)

// VM is a spec as read, with its paths made absolute (relative ones are taken
// from the directory of the spec).
type VM struct {
	File string // the spec itself
	Name string
	// Memory is the guest's RAM in bytes.
	Memory uint64
	// Image is a name in the image cache; then Kernel and Initrd are its
	// files, and Cmdline its own unless the spec has one.
	Image    string
	CacheDir string // where Image was found
	Kernel   string // path of the raw RISC-V Image
	Initrd   string // path; empty if there is none
	Cmdline  string
	Disks    []Disk
	NICs     []NIC
	Arbiter  string // "file:" and an absolute path; empty if there is none

	Heartbeat time.Duration // how often the logging channel shows life
	Timeout   time.Duration // silence after which the peer counts as lost
	LagTarget time.Duration // execution lag over which the primary slows down
}

// DiskMode says who writes a disk (DESIGN section 7).
type DiskMode string

// Shared: both replicas reach one image, only the live VM writes it.
const Shared DiskMode = "shared"

// Disk is a raw image.
type Disk struct {
	Path     string
	Mode     DiskMode
	ReadOnly bool
}

// NIC is a network device and the switch that it is plugged into.
type NIC struct {
	Switch string // "unix:" and an absolute path, or "tcp:" HOST:PORT
	MAC    [6]byte
}

// Load reads and checks the spec at path.
func Load(path string) (*VM, error) {
	return nil, fmt.Errorf("spec: being written")
}

// Config is the guest-visible configuration: it reads kernel and initrd and
// takes the disks' sizes. Both replicas must get the same.
func (v *VM) Config() (*machine.Config, error) {
	return nil, fmt.Errorf("spec: being written")
}
