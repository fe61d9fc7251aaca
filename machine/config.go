package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"
)

// Config is everything the guest can see of its computer. Two replicas must
// have the same; the handshake of the logging channel compares Hash.
type Config struct {
	Memory uint64 // bytes of RAM, a multiple of 4096
	MMU    MMU    // widest mode of satp
	// Firmware is a flat binary that starts first, in machine mode at the start
	// of RAM, and finds the kernel as OpenSBI's fw_dynamic and fw_jump do. If
	// empty the kernel starts at once and the machine answers its SBI calls.
	Firmware []byte
	Kernel   []byte // raw RISC-V Image
	Initrd   []byte
	Cmdline  string
	Disks    []DiskConfig
	NICs     []NICConfig
}

// MMU is the widest address translation that satp takes; narrower ones are
// there too. A kernel uses the widest that it finds, and wider is slower.
type MMU uint8

const (
	Sv39 MMU = iota
	Sv48
	Sv57
	numMMUs
)

func (m MMU) String() string {
	if m < numMMUs {
		return [...]string{"sv39", "sv48", "sv57"}[m]
	}
	return fmt.Sprintf("MMU(%d)", uint8(m))
}

// DiskConfig is a virtio block device as the guest sees it.
type DiskConfig struct {
	Sectors  uint64 // capacity in 512-byte sectors
	ReadOnly bool
	// BlockSize is that of the smallest access, in bytes: 512, which 0 means
	// too, or 4096.
	BlockSize uint32
	// Serial is what the guest reads as the disk's serial number, of at most 20
	// bytes; empty for one made of the disk's number.
	Serial string
	// Local: each replica has a copy of its own, so that what the guest writes
	// stays inside the replica and is no output (DESIGN section 7).
	Local bool
}

// NICConfig is a virtio network device as the guest sees it.
type NICConfig struct{ MAC [6]byte }

// Birth is what is random or dated at power-on: chosen once, by the first
// primary, and part of the initial State (R2).
type Birth struct {
	Seed  [64]byte // rng-seed of the device tree
	RTC   uint64   // nanoseconds since 1970 at VTime 0
	Clock Clock    // initial virtual clock
}

// Hash identifies the configuration.
func (c *Config) Hash() [32]byte {
	h := blake3.New()
	// Every variable part is preceded by its length, so that no two
	// configurations write the same bytes.
	num := func(v uint64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], v)
		h.Write(b[:])
	}
	blob := func(b []byte) {
		num(uint64(len(b)))
		h.Write(b)
	}
	blob([]byte("lockstep machine configuration 3"))
	num(c.Memory)
	num(uint64(c.MMU))
	blob(c.Firmware)
	blob(c.Kernel)
	blob(c.Initrd)
	blob([]byte(c.Cmdline))
	num(uint64(len(c.Disks)))
	for _, d := range c.Disks {
		num(d.Sectors)
		ro := uint64(0)
		if d.ReadOnly {
			ro = 1
		}
		num(ro)
		num(uint64(d.Block()))
		blob([]byte(d.Serial))
		local := uint64(0)
		if d.Local {
			local = 1
		}
		num(local)
	}
	num(uint64(len(c.NICs)))
	for _, n := range c.NICs {
		blob(n.MAC[:])
	}
	var out [32]byte
	h.Sum(out[:0])
	return out
}

// Limits of a configuration.
const (
	MinMemory  = 16 << 20
	MaxMemory  = 64 << 30
	MaxDisks   = 8
	MaxNICs    = 8
	MaxCmdline = 2048
	MaxSerial  = 20 // bytes of a disk's serial number (virtio 5.2.6)
	// MaxSectors keeps the bytes of a disk within what hosts count in.
	MaxSectors = 1 << 54
)

// Validate says what is wrong with the configuration, if anything.
func (c *Config) Validate() error {
	switch {
	case c.Memory < MinMemory || c.Memory > MaxMemory:
		return fmt.Errorf("machine: memory is %d bytes; it must be between %d and %d", c.Memory, uint64(MinMemory), uint64(MaxMemory))
	case c.Memory%4096 != 0:
		return fmt.Errorf("machine: memory is %d bytes; it must be a multiple of 4096", c.Memory)
	case len(c.Disks) > MaxDisks:
		return fmt.Errorf("machine: %d disks; at most %d are possible", len(c.Disks), MaxDisks)
	case len(c.NICs) > MaxNICs:
		return fmt.Errorf("machine: %d NICs; at most %d are possible", len(c.NICs), MaxNICs)
	case len(c.Cmdline) > MaxCmdline:
		return fmt.Errorf("machine: command line of %d bytes; at most %d are possible", len(c.Cmdline), MaxCmdline)
	case c.MMU >= numMMUs:
		return fmt.Errorf("machine: there is no mode %v of satp", c.MMU)
	case uint64(len(c.Firmware))+uint64(len(c.Kernel))+uint64(len(c.Initrd)) > c.Memory/4*3:
		return fmt.Errorf("machine: firmware, kernel and initrd (%d bytes) do not fit in %d bytes of memory",
			len(c.Firmware)+len(c.Kernel)+len(c.Initrd), c.Memory)
	}
	for i := range c.Disks {
		if err := c.Disks[i].validate(); err != nil {
			return fmt.Errorf("machine: disk %d: %w", i, err)
		}
	}
	return nil
}

// Block is the size of the smallest access in bytes.
func (d *DiskConfig) Block() uint32 {
	if d.BlockSize == 0 {
		return sectorSize
	}
	return d.BlockSize
}

const sectorSize = 512

func (d *DiskConfig) validate() error {
	if b := d.Block(); b != 512 && b != 4096 {
		return fmt.Errorf("blocks of %d bytes; they must have 512 or 4096", b)
	}
	if per := uint64(d.Block() / sectorSize); d.Sectors == 0 || d.Sectors > MaxSectors || d.Sectors%per != 0 {
		return fmt.Errorf("%d sectors; there must be a positive multiple of %d, and at most %d", d.Sectors, per, uint64(MaxSectors))
	}
	return CheckSerial(d.Serial)
}

// CheckSerial says what is wrong with a disk's serial number, if anything.
// Guests make names of files of it.
func CheckSerial(s string) error {
	if len(s) > MaxSerial {
		return fmt.Errorf("the serial number %q has %d bytes; at most %d are possible", s, len(s), MaxSerial)
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' && c != '.' {
			return fmt.Errorf("the serial number %q has a %q in it; letters, digits, dots, dashes and underscores are possible", s, c)
		}
	}
	return nil
}
