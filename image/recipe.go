package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A recipe says what goes into an image beside the stock kernel, busybox and
// our own /init.
type recipe struct {
	// server are packages of which the first that the archive has becomes the
	// guest's server; each has /usr/bin/NAME. None: /init is ready at once.
	server []string
	// packages go in whole, but for documentation, with the libraries that
	// their programs need.
	packages []string
	// modules are the kernel modules, in the order in which they are inserted.
	modules []string
}

// recipes are the images that can be built, by name.
var recipes = map[string]recipe{
	Demo:   {server: []string{"redis-server", "valkey-server"}, modules: guestModules},
	Small:  {modules: virtioModules},
	Stress: {modules: stressModules},
	Node: {
		// The last ones are parts of Node.js that Debian has in packages of their own.
		packages: []string{"nodejs", "node-acorn", "node-cjs-module-lexer", "node-minimatch", "node-undici"},
		modules:  virtioModules,
	},
	Bench: {
		server:   []string{"redis-server", "valkey-server"},
		packages: []string{"openssl", "7zip", "sqlite3", "redis-tools", "python3.13-minimal", "libpython3.13-minimal"},
		modules:  guestModules,
	},
}

// virtioModules are the drivers that every guest wants, in the order in which
// they are inserted.
var virtioModules = []string{"virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net", "virtio-rng"}

// guestModules have a file system beside them.
var guestModules = slices.Concat(virtioModules, []string{"crc32c_generic", "libcrc32c", "crc16", "mbcache", "jbd2", "ext4"})

// stressModules are there to be inserted and removed. Those whose names begin
// with test_ patch or compile kernel code and check it themselves.
var stressModules = slices.Concat(guestModules, []string{
	"loop", "zram", "brd", "null_blk", "dummy", "veth", "tun", "bridge", "overlay", "vfat", "squashfs", "fuse",
	"twofish_generic", "serpent_generic", "des_generic", "wp512", "ts_kmp",
	"test_static_key_base", "test_static_keys", "test_bpf",
})

// recipeFor is the recipe of a name.
func recipeFor(name string) (recipe, error) {
	r, ok := recipes[name]
	if !ok {
		return r, fmt.Errorf("image: no recipe for %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return r, nil
}

// Names are the images that Build has recipes for.
func Names() []string { return slices.Sorted(maps.Keys(recipes)) }
