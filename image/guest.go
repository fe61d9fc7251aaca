package image

import (
	"embed"
	"strings"
)

// cmdline is the demo guest's kernel command line. What follows the console
// halves the instructions of a boot: pages are not zeroed at every allocation,
// ciphers are not tested against themselves, the jitter of a clock that has
// none is not measured. IPv6 is off so that an idle guest is idle.
const cmdline = "console=ttyS0 earlycon=sbi ipv6.disable=1 init_on_alloc=0 cryptomgr.notests initcall_blacklist=jent_mod_init"

// servers are the packages that can be the demo guest's server, best first;
// each has /usr/bin/NAME.
var servers = []string{"redis-server", "valkey-server"}

//go:embed guest
var guestFiles embed.FS

// A guest is the content of an initial RAM disk while it is put together.
type guest struct{ entries []cpioEntry }

func (g *guest) file(name string, perm uint32, data []byte) {
	g.entries = append(g.entries, cpioEntry{name, modeFile | perm, data})
}

func (g *guest) link(name, target string) {
	g.entries = append(g.entries, cpioEntry{name, modeLink | 0o777, []byte(target)})
}

// addBase adds the directories, busybox and the files that are our own.
func (g *guest) addBase(busybox []byte) error {
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		g.entries = append(g.entries, cpioEntry{dir, modeDir | 0o755, nil})
	}
	for _, dir := range mergedDirs {
		g.link(dir, "usr/"+dir)
	}
	g.link("usr/sbin", "bin")
	g.file("usr/bin/busybox", 0o755, busybox)
	for _, applet := range []string{"modprobe", "poweroff", "sh"} {
		g.link("usr/bin/"+applet, "busybox")
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
		g.file(put, perm, data)
	}
	return nil
}
