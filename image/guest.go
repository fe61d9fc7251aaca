package image

import (
	"embed"
	"slices"
	"strings"
)

// cmdline is the kernel command line of every image. What follows the console
// halves the instructions of a boot: pages are not zeroed at every allocation,
// ciphers are not tested against themselves, the jitter of a clock that has
// none is not measured. IPv6 is off so that an idle guest is idle.
const cmdline = "console=ttyS0 earlycon=sbi ipv6.disable=1 init_on_alloc=0 cryptomgr.notests initcall_blacklist=jent_mod_init"

//go:embed guest
var guestFiles embed.FS

// A guest is the content of an initial RAM disk while it is put together.
type guest struct{ Archive }

// has says whether the guest has a file, directory or link of that name.
func (g *guest) has(name string) bool {
	return slices.ContainsFunc(g.entries, func(e cpioEntry) bool { return e.name == name })
}

// addBase adds the directories, busybox and the files that are our own.
func (g *guest) addBase(busybox []byte) error {
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		g.Dir(dir)
	}
	for _, dir := range mergedDirs {
		g.Link(dir, "usr/"+dir)
	}
	g.Link("usr/sbin", "bin")
	g.File("usr/bin/busybox", 0o755, busybox)
	for _, applet := range []string{"modprobe", "poweroff", "sh"} {
		g.Link("usr/bin/"+applet, "busybox")
	}
	for name, put := range map[string]string{
		"init": "init", "udhcpc.script": "etc/udhcpc.script", "server.conf": "etc/server.conf", "diskcheck": "etc/diskcheck",
	} {
		data, err := guestFiles.ReadFile("guest/" + name)
		if err != nil {
			return err
		}
		perm := uint32(0o644)
		if strings.HasPrefix(string(data), "#!") {
			perm = 0o755
		}
		g.File(put, perm, data)
	}
	return nil
}
