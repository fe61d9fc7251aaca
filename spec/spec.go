// Package spec reads the YAML description of a VM. It is strict: an unknown
// key, a wrong type, a missing file or an impossible combination is an error
// that names the line and says what to do. examples/web.yaml shows every key.
package spec

import (
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

// Defaults of the settings that a spec may leave out.
const (
	DefaultMemory    = 256 << 20 // bytes
	DefaultHeartbeat = 50 * time.Millisecond
	DefaultTimeout   = 500 * time.Millisecond
	DefaultLagTarget = 100 * time.Millisecond
)

// VM is a spec as read, with its paths made absolute (relative ones are taken
// from the directory of the spec).
type VM struct {
	File string // the spec itself
	Name string
	// Memory is the guest's RAM in bytes.
	Memory uint64
	// MMU is the widest address translation that the guest finds.
	MMU machine.MMU
	// Firmware is the path of a flat binary that starts first, in machine mode;
	// if empty, the machine answers the SBI itself.
	Firmware string
	// Image is a name in the image cache; then Kernel and Initrd are its
	// files, and Cmdline its own unless the spec has one.
	Image   string
	Kernel  string // path of the raw RISC-V Image
	Initrd  string // path; empty if there is none
	Cmdline string
	Disks   []Disk
	NICs    []NIC
	// SizeOf is the size in bytes of a disk that is a URL. Config needs it if
	// there is one; Load leaves it nil.
	SizeOf func(url string, readOnly bool) (uint64, error)
	// Arbiter is file:PATH, unix:PATH or store:unix:PATH, the path absolute, or
	// store:HOST:PORT or exec:COMMAND; empty if there is none.
	Arbiter string

	Heartbeat time.Duration // how often the logging channel shows life
	Timeout   time.Duration // silence after which the peer counts as lost
	LagTarget time.Duration // execution lag over which the primary slows down
}

// NIC is a network device and the switch that it is plugged into.
type NIC struct {
	Switch string // "unix:" and an absolute path, or "tcp:" HOST:PORT
	MAC    [6]byte
}

// Config is the guest-visible configuration: it reads firmware, kernel and
// initrd and takes the disks' sizes. Both replicas must get the same.
func (v *VM) Config() (*machine.Config, error) {
	c := &machine.Config{Memory: v.Memory, MMU: v.MMU, Cmdline: v.Cmdline}
	var err error
	if v.Firmware != "" {
		if c.Firmware, err = os.ReadFile(v.Firmware); err != nil {
			return nil, fmt.Errorf("spec: %s: firmware: %w", v.File, err)
		}
	}
	if c.Kernel, err = os.ReadFile(v.Kernel); err != nil {
		return nil, fmt.Errorf("spec: %s: kernel: %w", v.File, err)
	}
	if v.Initrd != "" {
		if c.Initrd, err = os.ReadFile(v.Initrd); err != nil {
			return nil, fmt.Errorf("spec: %s: initrd: %w", v.File, err)
		}
	}
	for _, d := range v.Disks {
		size, err := v.sizeOf(&d)
		if err != nil {
			return nil, fmt.Errorf("spec: %s: disk: %w", v.File, err)
		}
		c.Disks = append(c.Disks, machine.DiskConfig{
			Sectors: size / sectorSize, ReadOnly: d.ReadOnly,
			Serial: d.Serial, BlockSize: d.BlockSize, Local: d.Mode == Local,
		})
	}
	for _, n := range v.NICs {
		c.NICs = append(c.NICs, machine.NICConfig{MAC: n.MAC})
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("spec: %s: %w", v.File, err)
	}
	return c, nil
}

// DeriveMAC is the address of a VM's NIC that the spec gives none: the same
// for the same name and index, locally administered.
func DeriveMAC(name string, index int) [6]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "lockstep mac %d\n%s", index, name))
	mac := [6]byte(sum[:6])
	mac[0] = mac[0]&^1 | 2 // not a group address, locally administered
	return mac
}

func (v *VM) sizeOf(d *Disk) (uint64, error) {
	switch {
	case !d.IsURL():
		return diskSize(d.Path)
	case v.SizeOf == nil:
		return 0, fmt.Errorf("%s is a URL, which cannot be opened here; write the path of an image", d.Path)
	}
	return v.SizeOf(d.Path, d.ReadOnly)
}

// sectorSize is the unit of a disk's size, in bytes.
const sectorSize = 512

// diskSize is the size in bytes of the raw image at path.
func diskSize(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return 0, fmt.Errorf("%s is a directory; a disk is a raw image", path)
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		return 0, err
	}
	if size == 0 || size%sectorSize != 0 {
		return 0, fmt.Errorf("%s is %d bytes long; a raw image is a positive multiple of %d", path, size, sectorSize)
	}
	return uint64(size), nil
}
