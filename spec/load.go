package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

// Load reads and checks the spec at path. The error lists everything that is
// wrong, a line each.
func Load(path string) (*VM, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	d := &document{file: path, dir: filepath.Dir(abs)}
	root, err := d.parse()
	if err != nil {
		return nil, err
	}
	v := &VM{
		File: path, Memory: DefaultMemory,
		Heartbeat: DefaultHeartbeat, Timeout: DefaultTimeout, LagTarget: DefaultLagTarget,
	}
	at := d.mapping(root, "a spec", map[string]func(*yaml.Node){
		"name":     func(n *yaml.Node) { v.Name = d.name(n) },
		"memory":   func(n *yaml.Node) { v.Memory = d.memory(n) },
		"mmu":      func(n *yaml.Node) { v.MMU = d.mmu(n) },
		"firmware": func(n *yaml.Node) { v.Firmware = d.firmware(n) },
		"image":    func(n *yaml.Node) { v.Image = d.text(n, "image") },
		"kernel":   func(n *yaml.Node) { v.Kernel = d.kernel(n) },
		"initrd":   func(n *yaml.Node) { v.Initrd = d.regular(n, "initrd") },
		"cmdline":  func(n *yaml.Node) { v.Cmdline = d.cmdline(n) },
		"disks": func(n *yaml.Node) {
			d.each(n, "disks", machine.MaxDisks, func(n *yaml.Node) { v.Disks = append(v.Disks, d.disk(n)) })
		},
		"nics": func(n *yaml.Node) {
			d.each(n, "nics", machine.MaxNICs, func(n *yaml.Node) { v.NICs = append(v.NICs, d.nic(n)) })
		},
		"arbiter":    func(n *yaml.Node) { v.Arbiter = d.arbiter(n) },
		"heartbeat":  func(n *yaml.Node) { v.Heartbeat = d.duration(n, "heartbeat") },
		"timeout":    func(n *yaml.Node) { v.Timeout = d.duration(n, "timeout") },
		"lag_target": func(n *yaml.Node) { v.LagTarget = d.duration(n, "lag_target") },
	})
	if err := d.err(); err != nil {
		return nil, err
	}
	d.together(v, at, root)
	if err := d.err(); err != nil {
		return nil, err
	}
	return v, nil
}

// together checks what no key can say alone, and fills in what follows from
// other keys. At has the lines of the keys.
func (d *document) together(v *VM, at keys, root *yaml.Node) {
	if at["name"] == nil {
		d.wrong(root, "name is missing; write name: web, or whatever the VM is called")
	}
	switch {
	case v.Image != "" && (at["kernel"] != nil || at["initrd"] != nil):
		d.wrong(at["image"], "image brings its own kernel and initrd; leave out either image or kernel and initrd")
	case v.Image != "":
		img, err := image.Load("", v.Image)
		if errors.Is(err, image.ErrNotBuilt) {
			d.wrong(at["image"], "image %q is not in the cache; run: lockstep image build", v.Image)
			return
		}
		if err != nil {
			d.wrong(at["image"], "%v", err)
			return
		}
		v.Kernel, v.Initrd = img.Kernel, img.Initrd
		if at["cmdline"] == nil {
			v.Cmdline = img.Cmdline
		}
	case at["kernel"] == nil:
		d.wrong(root, "kernel is missing; write kernel: PATH, or image: demo for the image that lockstep image build makes")
	}
	if payload := fileSize(v.Firmware) + fileSize(v.Kernel) + fileSize(v.Initrd); payload > v.Memory/4*3 {
		n := at["memory"]
		if n == nil {
			n = root
		}
		d.wrong(n, "memory of %d MiB is too small for firmware, kernel and initrd (%d MiB); at most three quarters may be theirs", v.Memory>>20, payload>>20)
	}
	if v.Timeout < 3*v.Heartbeat {
		n := at["timeout"]
		if n == nil {
			n = at["heartbeat"]
		}
		d.wrong(n, "timeout is %v and heartbeat %v; the time-out must be at least three heartbeats", v.Timeout, v.Heartbeat)
	}
	paths := map[string]bool{}
	for i, disk := range v.Disks {
		if paths[disk.Path] {
			d.wrong(at["disks"].Content[i], "disk %s is there twice; the guest would write one image through two devices", disk.Path)
		}
		if per := uint64(disk.BlockSize); !disk.IsURL() {
			if size, err := diskSize(disk.Path); err == nil && size%per != 0 {
				d.wrong(at["disks"].Content[i], "disk %s is %d bytes long, which is no multiple of its block_size %d; make it longer, or write block_size: 512", disk.Path, size, per)
			}
		}
		paths[disk.Path] = true
	}
	macs := map[[6]byte]bool{}
	for i := range v.NICs {
		n := &v.NICs[i]
		if n.MAC == [6]byte{} {
			n.MAC = DeriveMAC(v.Name, i)
		}
		if macs[n.MAC] {
			d.wrong(at["nics"].Content[i], "two NICs have the address %s; leave mac out, or give another", net.HardwareAddr(n.MAC[:]))
		}
		macs[n.MAC] = true
	}
}

var vmName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func (d *document) name(n *yaml.Node) string {
	s := d.text(n, "name")
	if s != "" && !vmName.MatchString(s) {
		d.wrong(n, "name %q: a name has lower-case letters, digits, dots, dashes and underscores, begins with a letter or digit and has at most 63 of them", s)
	}
	return s
}

var sizeUnits = map[string]uint{"": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30}

func (d *document) memory(n *yaml.Node) uint64 {
	s := d.scalar(n, "memory", "a size like 256M or 1G")
	if s == "" {
		return 0
	}
	size, err := ParseMemory(s)
	if err != nil {
		d.wrong(n, "memory is %v", err)
	}
	return size
}

// ParseMemory is the bytes of RAM that a size like 256M or 1G asks for, if a
// machine can have so many.
func ParseMemory(s string) (uint64, error) {
	digits := strings.TrimRight(s, "KMGiB")
	number, err := strconv.ParseUint(digits, 10, 64)
	shift, known := sizeUnits[s[len(digits):]]
	switch {
	case err != nil || !known:
		return 0, fmt.Errorf("%q; write a size like 256M or 1G", s)
	case number > machine.MaxMemory>>shift || number<<shift < machine.MinMemory:
		return 0, fmt.Errorf("%s; it must be between %dM and %dG", s, machine.MinMemory>>20, uint64(machine.MaxMemory)>>30)
	case number<<shift%4096 != 0:
		return 0, fmt.Errorf("%s; it must be a multiple of 4K", s)
	}
	return number << shift, nil
}

// regular is the path of a file that is there.
func (d *document) regular(n *yaml.Node, key string) string {
	path := d.path(d.text(n, key))
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.wrong(n, "%s: there is no file %s; paths are taken from the directory of the spec", key, path)
	case err != nil:
		d.wrong(n, "%s: %v", key, err)
	case !info.Mode().IsRegular():
		d.wrong(n, "%s: %s is no regular file", key, path)
	}
	return path
}

func (d *document) mmu(n *yaml.Node) machine.MMU {
	s := d.text(n, "mmu")
	for _, m := range []machine.MMU{machine.Sv39, machine.Sv48, machine.Sv57} {
		if s == m.String() {
			return m
		}
	}
	if s != "" {
		d.wrong(n, "mmu is %q; write sv39, sv48 or sv57", s)
	}
	return machine.Sv39
}

// maxFirmware is where stock kernels want to lie, in bytes from the start of
// RAM, where firmware does.
const maxFirmware = 2 << 20

// firmware checks that the file is a flat binary of a size that can be.
func (d *document) firmware(n *yaml.Node) string {
	before := len(d.errors)
	path := d.regular(n, "firmware")
	if path == "" || len(d.errors) > before {
		return path
	}
	f, err := os.Open(path)
	if err != nil {
		d.wrong(n, "firmware: %v", err)
		return path
	}
	defer f.Close()
	head := make([]byte, 4)
	_, err = io.ReadFull(f, head)
	size := fileSize(path)
	switch {
	case err == nil && string(head) == "\x7fELF":
		d.wrong(n, "firmware: %s is an ELF file; firmware is a flat binary, like OpenSBI's fw_dynamic.bin", path)
	case err != nil || size > maxFirmware:
		d.wrong(n, "firmware: %s is %d bytes long; firmware is a flat binary of at most %d, like OpenSBI's fw_dynamic.bin", path, size, maxFirmware)
	}
	return path
}

// kernel checks for the header of a raw RISC-V Image (magic "RSC\x05" at 56).
func (d *document) kernel(n *yaml.Node) string {
	before := len(d.errors)
	path := d.regular(n, "kernel")
	if path == "" || len(d.errors) > before {
		return path
	}
	f, err := os.Open(path)
	if err != nil {
		d.wrong(n, "kernel: %v", err)
		return path
	}
	defer f.Close()
	head := make([]byte, 64)
	if _, err := io.ReadFull(f, head); err != nil || binary.LittleEndian.Uint32(head[56:]) != 0x05435352 {
		d.wrong(n, "kernel: %s is no raw RISC-V Image; Debian's /boot/vmlinux-*-riscv64 is one, an ELF file or a compressed one is not", path)
	}
	return path
}

func (d *document) cmdline(n *yaml.Node) string {
	s := d.text(n, "cmdline")
	if len(s) > machine.MaxCmdline {
		d.wrong(n, "cmdline has %d bytes; at most %d are possible", len(s), machine.MaxCmdline)
	}
	return s
}

func (d *document) nic(n *yaml.Node) NIC {
	var nic NIC
	at := d.mapping(n, "a NIC", map[string]func(*yaml.Node){
		"switch": func(n *yaml.Node) { nic.Switch = d.address(n) },
		"mac": func(n *yaml.Node) {
			s := d.scalar(n, "mac", "an address like 52:54:00:12:34:56")
			if s == "" {
				return
			}
			mac, err := net.ParseMAC(s)
			if err != nil || len(mac) != 6 || mac[0]&1 != 0 || [6]byte(mac) == [6]byte{} {
				d.wrong(n, "mac is %q; write an address of one station, like 52:54:00:12:34:56, or leave it out", s)
				return
			}
			nic.MAC = [6]byte(mac)
		},
	})
	if at != nil && at["switch"] == nil {
		d.wrong(n, "a NIC needs a switch; write {switch: unix:PATH}, where lockstep switch listens")
	}
	return nic
}

// address is where a switch listens.
func (d *document) address(n *yaml.Node) string {
	s := d.text(n, "switch")
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "":
		return ""
	case kind == "unix" && rest != "":
		return "unix:" + d.path(rest)
	case kind == "tcp":
		if host, port, err := net.SplitHostPort(rest); err == nil && host != "" && port != "" {
			return s
		}
	}
	d.wrong(n, "switch is %q; write unix:PATH or tcp:HOST:PORT", s)
	return s
}

func (d *document) arbiter(n *yaml.Node) string {
	s := d.text(n, "arbiter")
	if s == "" {
		return ""
	}
	if socket, ok := strings.CutPrefix(s, "unix:"); ok && socket != "" {
		return "unix:" + d.path(socket)
	}
	if command, ok := strings.CutPrefix(s, "exec:"); ok && strings.TrimSpace(command) != "" {
		return s
	}
	if address, ok := strings.CutPrefix(s, "store:"); ok && storeAddress(address) {
		if socket, ok := strings.CutPrefix(address, "unix:"); ok {
			return "store:unix:" + d.path(socket)
		}
		return s
	}
	path, ok := strings.CutPrefix(s, "file:")
	if !ok || path == "" {
		d.wrong(n, "arbiter is %q; write file:DIRECTORY, on storage that both hosts reach, store:HOST:PORT of a block store, or a driver's exec:COMMAND or unix:PATH", s)
		return s
	}
	path = d.path(path)
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		d.wrong(n, "arbiter: %s is no directory", path)
	}
	return "file:" + path
}

// storeAddress says whether a block store can be at s: HOST:PORT or unix:PATH.
func storeAddress(s string) bool {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		return socket != ""
	}
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && port != ""
}

// minDuration is the shortest setting that a host can keep.
const minDuration = 10 * time.Millisecond

func (d *document) duration(n *yaml.Node, key string) time.Duration {
	s := d.scalar(n, key, "a duration like 50ms")
	if s == "" {
		return minDuration
	}
	t, err := time.ParseDuration(s)
	if err != nil {
		d.wrong(n, "%s is %q; write a duration like 50ms or 2s", key, s)
	} else if t < minDuration || t > time.Hour {
		d.wrong(n, "%s is %v; it must be between %v and 1h", key, t, minDuration)
	}
	return t
}

// fileSize is 0 for a file that is not there.
func fileSize(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}
