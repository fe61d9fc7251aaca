package spec

import (
	"errors"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockstep-vm/lockstep/machine"
)

// DiskMode says who writes a disk (DESIGN section 7).
type DiskMode string

const (
	// Shared: both replicas reach one image, only the live VM writes it.
	Shared DiskMode = "shared"
	// Local: each replica writes an image of its own.
	Local DiskMode = "local"
)

// Disk is a raw image, a block device or what a URL leads to.
type Disk struct {
	Path     string // or a URL, like nbd://HOST/NAME
	Mode     DiskMode
	ReadOnly bool
	// Serial is what the guest reads as the serial number; empty for one made
	// of the disk's number.
	Serial string
	// BlockSize is that of the smallest access, in bytes: 512 or 4096.
	BlockSize uint32
	// BackupReads: the backup reads a shared disk for itself.
	BackupReads bool
	// FlushBoth: a flush of a local disk waits for both copies.
	FlushBoth bool
}

var diskURL = regexp.MustCompile(`^[a-z][a-z0-9+]*://`)

// IsURL says whether Path is a URL.
func (d *Disk) IsURL() bool { return diskURL.MatchString(d.Path) }

func (d *document) disk(n *yaml.Node) Disk {
	disk := Disk{Mode: Shared, BlockSize: sectorSize}
	at := d.mapping(n, "a disk", map[string]func(*yaml.Node){
		"path": func(n *yaml.Node) { d.diskPath(n, &disk) },
		"mode": func(n *yaml.Node) {
			disk.Mode = DiskMode(d.choice(n, "disk mode", string(Shared), string(Local)))
		},
		"read_only": func(n *yaml.Node) { disk.ReadOnly = d.boolean(n, "read_only") },
		"serial": func(n *yaml.Node) {
			if disk.Serial = d.text(n, "serial"); disk.Serial != "" {
				if err := machine.CheckSerial(disk.Serial); err != nil {
					d.wrong(n, "disk: %v", err)
				}
			}
		},
		"block_size": func(n *yaml.Node) {
			switch s := d.scalar(n, "block_size", "512 or 4096"); s {
			case "":
			case "512", "4096":
				size, _ := strconv.ParseUint(s, 10, 32)
				disk.BlockSize = uint32(size)
			default:
				d.wrong(n, "block_size is %s; write 512 or 4096", s)
			}
		},
		"reads": func(n *yaml.Node) { disk.BackupReads = d.choice(n, "reads", "primary", "backup") == "backup" },
		"flush": func(n *yaml.Node) { disk.FlushBoth = d.choice(n, "flush", "one", "both") == "both" },
	})
	if at == nil {
		return disk
	}
	switch {
	case at["path"] == nil:
		d.wrong(n, "a disk needs a path; write {path: data.img}")
	case disk.Mode == Local && disk.IsURL():
		d.wrong(at["path"], "disk %s is a URL; a local disk is an image on each host: write mode: shared, or the path of an image", disk.Path)
	}
	if disk.Mode == Local && at["reads"] != nil {
		d.wrong(at["reads"], "reads is for shared disks; each replica reads its own copy of a local one: leave it out")
	}
	if disk.Mode == Shared && at["flush"] != nil {
		d.wrong(at["flush"], "flush is for local disks; a shared one has no second copy: leave it out")
	}
	if disk.Mode == Local && disk.ReadOnly && at["flush"] != nil {
		d.wrong(at["flush"], "a read-only disk is never flushed; leave flush out")
	}
	return disk
}

func (d *document) diskPath(n *yaml.Node, disk *Disk) {
	disk.Path = d.text(n, "path")
	switch {
	case disk.Path == "":
		return
	case disk.IsURL():
		disk.Path = d.localSocket(disk.Path)
		return
	}
	disk.Path = d.path(disk.Path)
	if _, err := diskSize(disk.Path); errors.Is(err, os.ErrNotExist) {
		d.wrong(n, "disk: there is no file %s; make one with: truncate -s 1G %s", disk.Path, disk.Path)
	} else if err != nil {
		d.wrong(n, "disk: %v", err)
	}
}

// localSocket takes the socket of a URL, like any other path, from the directory
// of the spec. What is wrong with the URL is said by who opens it.
func (d *document) localSocket(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "nbd+unix" {
		return target
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) != 1 || len(query["socket"]) != 1 {
		return target
	}
	socket := url.QueryEscape(d.path(query.Get("socket")))
	u.RawQuery = "socket=" + strings.ReplaceAll(socket, "%2F", "/")
	return u.String()
}

// choice is one of two words; the first if it is another one.
func (d *document) choice(n *yaml.Node, key, a, b string) string {
	switch s := d.text(n, key); s {
	case a, b:
		return s
	case "":
	default:
		d.wrong(n, "%s is %q; write %s or %s", key, s, a, b)
	}
	return a
}
