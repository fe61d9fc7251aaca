package spec

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockstep-vm/lockstep/machine"
)

// workDir has a kernel, an initrd and disks, and no image in the cache.
func workDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	kernel := make([]byte, 4096)
	copy(kernel[56:], "RSC\x05")
	for name, data := range map[string][]byte{
		"Image": kernel, "zImage": []byte("\x1f\x8b compressed"), "initrd.cpio.gz": []byte("initrd"),
		"fw.bin": make([]byte, 300), "fw.elf": []byte("\x7fELF and more"),
		"data.img": make([]byte, 1024), "odd.img": make([]byte, 1000), "empty.img": nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := os.Create(filepath.Join(dir, "huge")); err != nil || f.Truncate(300<<20) != nil || f.Close() != nil {
		t.Fatal(err)
	}
	return dir
}

// load reads text as DIR/web.yaml; DIR stands for the directory in the error.
func load(t *testing.T, dir, text string) (*VM, string) {
	t.Helper()
	path := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Load(path)
	if err == nil {
		return v, ""
	}
	if v != nil {
		t.Error("a spec and an error")
	}
	return nil, strings.ReplaceAll(strings.ReplaceAll(err.Error(), path, "web.yaml"), dir, "DIR")
}

func TestLoad(t *testing.T) {
	dir := workDir(t)
	v, msg := load(t, dir, `
name: web
memory: 1G
mmu: sv48
firmware: fw.bin
kernel: Image            # a comment
initrd: initrd.cpio.gz
cmdline: console=ttyS0
disks: [{path: data.img, mode: shared}, {path: `+dir+`/Image, read_only: true}]
nics:  [{switch: unix:run/switch.sock}, {switch: "tcp:127.0.0.1:7000", mac: 52:54:00:12:34:56}]
arbiter: file:arb
heartbeat: 20ms
timeout: 1s
lag_target: 30ms
`)
	if msg != "" {
		t.Fatal(msg)
	}
	want := &VM{
		File: filepath.Join(dir, "web.yaml"), Name: "web", Memory: 1 << 30,
		MMU: machine.Sv48, Firmware: filepath.Join(dir, "fw.bin"),
		Kernel: filepath.Join(dir, "Image"), Initrd: filepath.Join(dir, "initrd.cpio.gz"), Cmdline: "console=ttyS0",
		Disks:   []Disk{{Path: filepath.Join(dir, "data.img"), Mode: Shared, BlockSize: 512}, {Path: filepath.Join(dir, "Image"), Mode: Shared, ReadOnly: true, BlockSize: 512}},
		NICs:    []NIC{{"unix:" + filepath.Join(dir, "run/switch.sock"), DeriveMAC("web", 0)}, {"tcp:127.0.0.1:7000", [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}}},
		Arbiter: "file:" + filepath.Join(dir, "arb"), Heartbeat: 20 * time.Millisecond, Timeout: time.Second, LagTarget: 30 * time.Millisecond,
	}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
	c, err := v.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Memory != 1<<30 || c.MMU != machine.Sv48 || len(c.Firmware) != 300 || len(c.Kernel) != 4096 || string(c.Initrd) != "initrd" || c.Cmdline != "console=ttyS0" ||
		len(c.Disks) != 2 || c.Disks[0].Sectors != 2 || c.Disks[0].ReadOnly || !c.Disks[1].ReadOnly ||
		len(c.NICs) != 2 || c.NICs[1].MAC != v.NICs[1].MAC {
		t.Errorf("configuration: %d disks, %d NICs, %+v %+v", len(c.Disks), len(c.NICs), c.Disks, c.NICs)
	}
}

func TestArbiterOfDriver(t *testing.T) {
	dir := workDir(t)
	for written, want := range map[string]string{
		"unix:run/etcd.sock":                            "unix:" + filepath.Join(dir, "run/etcd.sock"),
		"exec:lockstep-etcd --endpoints https://a:2379": "exec:lockstep-etcd --endpoints https://a:2379",
	} {
		v, msg := load(t, dir, "name: web\nkernel: Image\narbiter: "+written+"\n")
		if msg != "" || v.Arbiter != want {
			t.Errorf("%s: %q, %s", written, v.Arbiter, msg)
		}
	}
}

// The socket in a disk's URL is from the directory of the spec, like any path.
func TestDiskURLs(t *testing.T) {
	dir := workDir(t)
	for written, want := range map[string]string{
		"nbd+unix:///disk0?socket=run/a+b.sock":    "nbd+unix:///disk0?socket=" + dir + "/run/a+b.sock",
		"nbd+unix:///a%20b?socket=s%25.sock":       "nbd+unix:///a%20b?socket=" + dir + "/s%25.sock",
		"nbd+unix:///disk0?socket=/run/s.sock":     "nbd+unix:///disk0?socket=/run/s.sock",
		"nbd+unix:///disk0?socket=/run/a%2Bb.sock": "nbd+unix:///disk0?socket=/run/a%2Bb.sock",
		"nbd://10.0.0.3/disk0":                     "nbd://10.0.0.3/disk0",
		// Refused, with the reason, by who opens them.
		"nbd+unix:///disk0":                       "nbd+unix:///disk0",
		"nbd+unix:///disk0?socket=":               "nbd+unix:///disk0?socket=",
		"nbd+unix:///disk0?socket=a&socket=b":     "nbd+unix:///disk0?socket=a&socket=b",
		"nbd+unix:///disk0?socket=a&password=b":   "nbd+unix:///disk0?socket=a&password=b",
		"nbd://10.0.0.3/disk0?socket=run/s.sock":  "nbd://10.0.0.3/disk0?socket=run/s.sock",
		"nbd+unix://host/disk0?socket=run/s.sock": "nbd+unix://host/disk0?socket=" + dir + "/run/s.sock",
	} {
		v, msg := load(t, dir, "name: web\nkernel: Image\ndisks: [{path: '"+written+"'}]\n")
		if msg != "" {
			t.Errorf("%s: %s", written, msg)
			continue
		}
		got, err := url.Parse(v.Disks[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		// What it says, however it is escaped.
		wanted, _ := url.Parse(want)
		if got.Query().Encode() != wanted.Query().Encode() || got.Host != wanted.Host || got.EscapedPath() != wanted.EscapedPath() || got.Scheme != wanted.Scheme {
			t.Errorf("%s: %s, want %s", written, v.Disks[0].Path, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	v, msg := load(t, workDir(t), "name: web\nkernel: Image\n")
	if msg != "" {
		t.Fatal(msg)
	}
	if v.Memory != DefaultMemory || v.Heartbeat != DefaultHeartbeat || v.Timeout != DefaultTimeout || v.LagTarget != DefaultLagTarget {
		t.Errorf("%+v", v)
	}
}

func TestDeriveMAC(t *testing.T) {
	a := DeriveMAC("web", 0)
	if a != DeriveMAC("web", 0) {
		t.Error("not the same twice")
	}
	if a == DeriveMAC("web", 1) || a == DeriveMAC("db", 0) {
		t.Error("the same for others")
	}
	if a[0]&3 != 2 {
		t.Errorf("%x is no locally administered address of one station", a)
	}
}

// The texts that a person meets. A case is a spec and its error.
func TestErrors(t *testing.T) {
	dir := workDir(t)
	const ok = "name: web\nkernel: Image\n"
	for _, c := range []struct{ text, want string }{
		{"", "spec: web.yaml:1: the file is empty; examples/web.yaml shows what a spec has"},
		{"name: web\n\tkernel: Image\n", "spec: web.yaml:2: not YAML: found a tab character that violates indentation"},
		{"# nothing here\n", "spec: web.yaml:1: the file is empty; examples/web.yaml shows what a spec has"},
		{"just words", "spec: web.yaml:1: a spec is a mapping with the keys arbiter, cmdline, disks, firmware, heartbeat, image, initrd, kernel, lag_target, memory, mmu, name, nics, timeout, not the text \"just words\""},
		{ok + "---\nname: two\n", "spec: web.yaml: a second document begins (or the rest is not YAML); a file describes one VM"},
		{ok + "memroy: 1G\n", "spec: web.yaml:3: unknown key \"memroy\" in a spec; the keys are arbiter, cmdline, disks, firmware, heartbeat, image, initrd, kernel, lag_target, memory, mmu, name, nics, timeout"},
		{ok + "name: db\n", "spec: web.yaml:3: name is there twice; the first is on line 1"},
		{"kernel: Image\n", "spec: web.yaml:1: name is missing; write name: web, or whatever the VM is called"},
		{"name: web\n", "spec: web.yaml:1: kernel is missing; write kernel: PATH, or image: demo for the image that lockstep image build makes"},
		{"name: Web Server\nkernel: Image\n", "spec: web.yaml:1: name \"Web Server\": a name has lower-case letters, digits, dots, dashes and underscores, begins with a letter or digit and has at most 63 of them"},
		{"name: 7\nkernel: Image\n", "spec: web.yaml:1: name is a text, not a number; write \"7\", with the quotes, if that is meant"},
		{"name:\nkernel: Image\n", "spec: web.yaml:1: name is a text, not nothing"},
		{"name: [a]\nkernel: Image\n", "spec: web.yaml:1: name is a text, not a list"},
		{"name: &a web\nkernel: *a\n", "spec: web.yaml:2: kernel is a text, not an alias (they do not work here)"},
		{ok + "memory: lots\n", "spec: web.yaml:3: memory is \"lots\"; write a size like 256M or 1G"},
		{ok + "memory: 1T\n", "spec: web.yaml:3: memory is \"1T\"; write a size like 256M or 1G"},
		{ok + "memory: 99999999999999G\n", "spec: web.yaml:3: memory is 99999999999999G; it must be between 16M and 64G"},
		{ok + "memory: 8M\n", "spec: web.yaml:3: memory is 8M; it must be between 16M and 64G"},
		{ok + "memory: 33333333\n", "spec: web.yaml:3: memory is 33333333; it must be a multiple of 4K"},
		{ok + "memory: {}\n", "spec: web.yaml:3: memory is a mapping; write a size like 256M or 1G"},
		{ok + "mmu: sv32\n", "spec: web.yaml:3: mmu is \"sv32\"; write sv39, sv48 or sv57"},
		{ok + "mmu: 39\n", "spec: web.yaml:3: mmu is a text, not a number; write \"39\", with the quotes, if that is meant"},
		{ok + "firmware: gone\n", "spec: web.yaml:3: firmware: there is no file DIR/gone; paths are taken from the directory of the spec"},
		{ok + "firmware: fw.elf\n", "spec: web.yaml:3: firmware: DIR/fw.elf is an ELF file; firmware is a flat binary, like OpenSBI's fw_dynamic.bin"},
		{ok + "firmware: empty.img\n", "spec: web.yaml:3: firmware: DIR/empty.img is 0 bytes long; firmware is a flat binary of at most 2097152, like OpenSBI's fw_dynamic.bin"},
		{ok + "firmware: huge\nmemory: 1G\n", "spec: web.yaml:3: firmware: DIR/huge is 314572800 bytes long; firmware is a flat binary of at most 2097152, like OpenSBI's fw_dynamic.bin"},
		{"name: web\nfirmware: fw.bin\n", "spec: web.yaml:1: kernel is missing; write kernel: PATH, or image: demo for the image that lockstep image build makes"},
		{ok + "initrd: huge\n", "spec: web.yaml:1: memory of 256 MiB is too small for firmware, kernel and initrd (300 MiB); at most three quarters may be theirs"},
		{ok + "initrd: huge\nmemory: 300M\n", "spec: web.yaml:4: memory of 300 MiB is too small for firmware, kernel and initrd (300 MiB); at most three quarters may be theirs"},
		{"name: web\nkernel: nowhere\n", "spec: web.yaml:2: kernel: there is no file DIR/nowhere; paths are taken from the directory of the spec"},
		{"name: web\nkernel: .\n", "spec: web.yaml:2: kernel: DIR is no regular file"},
		{"name: web\nkernel: zImage\n", "spec: web.yaml:2: kernel: DIR/zImage is no raw RISC-V Image; Debian's /boot/vmlinux-*-riscv64 is one, an ELF file or a compressed one is not"},
		{ok + "image: demo\n", "spec: web.yaml:3: image brings its own kernel and initrd; leave out either image or kernel and initrd"},
		{"name: web\nimage: demo\n", "spec: web.yaml:2: image \"demo\" is not in the cache; run: lockstep image build"},
		{"name: web\nimage: ../x\n", "spec: web.yaml:2: image: \"../x\" is no name of an image: it has lower-case letters, digits, dots and dashes"},
		{ok + "cmdline: " + strings.Repeat("x", 2049) + "\n", "spec: web.yaml:3: cmdline has 2049 bytes; at most 2048 are possible"},
		{ok + "disks: {path: data.img}\n", "spec: web.yaml:3: disks is a list, like disks: [{...}], not a mapping"},
		{ok + "disks:\n", "spec: web.yaml:3: disks is a list, like disks: [{...}], not nothing"},
		{ok + "disks: [data.img]\n", "spec: web.yaml:3: a disk is a mapping with the keys block_size, flush, mode, path, read_only, reads, serial, not the text \"data.img\""},
		{ok + "disks:\n- mode: shared\n", "spec: web.yaml:4: a disk needs a path; write {path: data.img}"},
		{ok + "disks: [{path: 'nbd://a/b', mode: local}]\n", "spec: web.yaml:3: disk nbd://a/b is a URL; a local disk is an image on each host: write mode: shared, or the path of an image"},
		{ok + "disks: [{path: data.img, mode: local, reads: backup}]\n", "spec: web.yaml:3: reads is for shared disks; each replica reads its own copy of a local one: leave it out"},
		{ok + "disks: [{path: data.img, flush: both}]\n", "spec: web.yaml:3: flush is for local disks; a shared one has no second copy: leave it out"},
		{ok + "disks: [{path: data.img, mode: local, read_only: true, flush: one}]\n", "spec: web.yaml:3: a read-only disk is never flushed; leave flush out"},
		{ok + "disks: [{path: data.img, reads: both}]\n", "spec: web.yaml:3: reads is \"both\"; write primary or backup"},
		{ok + "disks: [{path: data.img, mode: local, flush: all}]\n", "spec: web.yaml:3: flush is \"all\"; write one or both"},
		{ok + "disks: [{path: data.img, block_size: 1024}]\n", "spec: web.yaml:3: block_size is 1024; write 512 or 4096"},
		{ok + "disks: [{path: data.img, block_size: 4096}]\n", "spec: web.yaml:3: disk DIR/data.img is 1024 bytes long, which is no multiple of its block_size 4096; make it longer, or write block_size: 512"},
		{ok + "disks: [{path: data.img, serial: a b}]\n", "spec: web.yaml:3: disk: the serial number \"a b\" has a ' ' in it; letters, digits, dots, dashes and underscores are possible"},
		{ok + "disks: [{path: data.img, serial: abcdefghijklmnopqrstu}]\n", "spec: web.yaml:3: disk: the serial number \"abcdefghijklmnopqrstu\" has 21 bytes; at most 20 are possible"},
		{ok + "disks: [{path: data.img, mode: fast}]\n", "spec: web.yaml:3: disk mode is \"fast\"; write shared or local"},
		{ok + "disks: [{path: data.img, read_only: 1}]\n", "spec: web.yaml:3: read_only is true or false, not a number"},
		{ok + "disks: [{path: data.img, size: 1G}]\n", "spec: web.yaml:3: unknown key \"size\" in a disk; the keys are block_size, flush, mode, path, read_only, reads, serial"},
		{ok + "disks: [{path: gone.img}]\n", "spec: web.yaml:3: disk: there is no file DIR/gone.img; make one with: truncate -s 1G DIR/gone.img"},
		{ok + "disks: [{path: odd.img}]\n", "spec: web.yaml:3: disk: DIR/odd.img is 1000 bytes long; a raw image is a positive multiple of 512"},
		{ok + "disks: [{path: empty.img}]\n", "spec: web.yaml:3: disk: DIR/empty.img is 0 bytes long; a raw image is a positive multiple of 512"},
		{ok + "disks:\n- path: data.img\n- path: ./data.img\n", "spec: web.yaml:5: disk DIR/data.img is there twice; the guest would write one image through two devices"},
		{ok + "disks: [{path: a},{path: a},{path: a},{path: a},{path: a},{path: a},{path: a},{path: a},{path: a}]\n", "spec: web.yaml:3: disks has 9 elements; at most 8 are possible"},
		{ok + "nics: [{}]\n", "spec: web.yaml:3: a NIC needs a switch; write {switch: unix:PATH}, where lockstep switch listens"},
		{ok + "nics: [{switch: eth0}]\n", "spec: web.yaml:3: switch is \"eth0\"; write unix:PATH or tcp:HOST:PORT"},
		{ok + "nics: [{switch: \"tcp:host\"}]\n", "spec: web.yaml:3: switch is \"tcp:host\"; write unix:PATH or tcp:HOST:PORT"},
		{ok + "nics: [{switch: unix:s, mac: 01:00:5e:00:00:01}]\n", "spec: web.yaml:3: mac is \"01:00:5e:00:00:01\"; write an address of one station, like 52:54:00:12:34:56, or leave it out"},
		{ok + "nics:\n- {switch: unix:s, mac: 52:54:00:12:34:56}\n- {switch: unix:s, mac: 52-54-00-12-34-56}\n", "spec: web.yaml:5: two NICs have the address 52:54:00:12:34:56; leave mac out, or give another"},
		{ok + "arbiter: /srv/shared\n", "spec: web.yaml:3: arbiter is \"/srv/shared\"; write file:DIRECTORY, on storage that both hosts reach, store:HOST:PORT of a block store, or a driver's exec:COMMAND or unix:PATH"},
		{ok + "arbiter: 'exec: '\n", "spec: web.yaml:3: arbiter is \"exec: \"; write file:DIRECTORY, on storage that both hosts reach, store:HOST:PORT of a block store, or a driver's exec:COMMAND or unix:PATH"},
		{ok + "arbiter: 'store:10.0.0.3'\n", "spec: web.yaml:3: arbiter is \"store:10.0.0.3\"; write file:DIRECTORY, on storage that both hosts reach, store:HOST:PORT of a block store, or a driver's exec:COMMAND or unix:PATH"},
		{ok + "arbiter: file:Image\n", "spec: web.yaml:3: arbiter: DIR/Image is no directory"},
		{ok + "heartbeat: 50\n", "spec: web.yaml:3: heartbeat is \"50\"; write a duration like 50ms or 2s"},
		{ok + "heartbeat: 1ms\n", "spec: web.yaml:3: heartbeat is 1ms; it must be between 10ms and 1h"},
		{ok + "timeout: 100ms\n", "spec: web.yaml:3: timeout is 100ms and heartbeat 50ms; the time-out must be at least three heartbeats"},
		{ok + "heartbeat: 1s\n", "spec: web.yaml:3: timeout is 500ms and heartbeat 1s; the time-out must be at least three heartbeats"},
		{"nam: web\nmemory: 1\n", "spec: web.yaml:1: unknown key \"nam\" in a spec; the keys are arbiter, cmdline, disks, firmware, heartbeat, image, initrd, kernel, lag_target, memory, mmu, name, nics, timeout\n" +
			"spec: web.yaml:2: memory is 1; it must be between 16M and 64G"},
	} {
		if _, msg := load(t, dir, c.text); msg != c.want {
			t.Errorf("%.60q:\n%s", c.text, cmp.Diff(c.want, msg))
		}
	}
	if _, err := Load(filepath.Join(dir, "no.yaml")); err == nil || !strings.HasPrefix(err.Error(), "spec: open ") {
		t.Errorf("no spec: %v", err)
	}
}

// The annotated example stands for every key, and all of it works once the
// comments that hide keys are gone.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../examples/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := workDir(t)
	if _, msg := load(t, dir, string(text)); !strings.HasSuffix(msg, "image \"demo\" is not in the cache; run: lockstep image build") {
		t.Errorf("as it stands: %s", msg)
	}
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		for _, key := range []string{"mmu:", "firmware:", "kernel:", "initrd:", "cmdline:", "disks:", "  - path:", "    mode:", "    read_only:", "    serial:", "    block_size:", "    reads:"} {
			line = strings.Replace(line, "# "+key, key, 1)
		}
		line = strings.Replace(line, "    # mac:", "    mac:", 1)
		if line != "image: demo" {
			lines = append(lines, line)
		}
	}
	v, msg := load(t, dir, strings.Join(lines, "\n"))
	if msg != "" {
		t.Fatalf("%s\n%s", msg, strings.Join(lines, "\n"))
	}
	if len(v.Disks) != 1 || v.NICs[0].MAC[0] != 0x52 || v.Cmdline == "" || v.Heartbeat != DefaultHeartbeat ||
		v.Timeout != DefaultTimeout || v.LagTarget != DefaultLagTarget || v.Memory != DefaultMemory ||
		v.MMU != machine.Sv39 || v.Firmware == "" {
		t.Errorf("%+v", v)
	}
}

// A payload that goes after the spec was read is an error, not a guest of nothing.
func TestConfigReadsAgain(t *testing.T) {
	dir := workDir(t)
	v, msg := load(t, dir, "name: web\nkernel: Image\nfirmware: fw.bin\ndisks: [{path: data.img}]\n")
	if msg != "" {
		t.Fatal(msg)
	}
	for _, gone := range []struct{ file, want string }{{"data.img", "disk: open"}, {"fw.bin", "firmware: open"}} {
		if err := os.Remove(filepath.Join(dir, gone.file)); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Config(); err == nil || !strings.Contains(err.Error(), gone.want) {
			t.Errorf("error %v", err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("name: web\nkernel: Image\ndisks: [{path: data.img}]\nnics: [{switch: unix:a}]\n")
	f.Add("a: &a [*a]\n")
	f.Add("{? [a] : b, !!binary x: y}")
	dir := f.TempDir()
	path := filepath.Join(dir, "web.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if v, err := Load(path); (v == nil) == (err == nil) {
			t.Errorf("%v, %v", v, err)
		}
	})
}
