package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// say runs a program to its end and returns what it says.
func say(t *testing.T, ok bool, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ok != (err == nil) {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// exercise does what a disk does on a server that knows no fence numbers.
func exercise(t *testing.T, a nbd.Address) {
	t.Helper()
	fenced := open(t, a, 1)
	if err := fenced.Claim(t.Context(), number(1, 1), nil); err == nil || !strings.Contains(err.Error(), "knows no fence numbers") {
		t.Fatalf("claim: %v", err)
	}
	fenced.Close()
	c := open(t, a, 1, func(c *nbd.Config) { c.Unfenced = true })
	defer c.Close()
	claim(t, c, number(1, 1))
	if c.Sectors() != diskSize/512 {
		t.Fatalf("%d sectors", c.Sectors())
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), diskSize/16)
	check := func() {
		t.Helper()
		have := make([]byte, diskSize)
		if err := c.ReadAt(have, 0); err != nil || !bytes.Equal(have, data) {
			t.Fatalf("read back: %v, or other data", err)
		}
	}
	if err := c.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	check()
	if err := errors.Join(c.Sync(), c.Zero(4096, 8192), c.Unmap(65536, 65536)); err != nil {
		t.Fatal(err)
	}
	clear(data[4096:12288])
	clear(data[65536:131072])
	check()
	if err := errors.Join(c.Discard(0, 4096), c.WriteAt(block(5), 0)); err != nil {
		t.Fatal(err)
	}
	copy(data, block(5))
	check()
}

func TestPeerNbdkit(t *testing.T) {
	nbdkit := citest.Program(t, "nbdkit", "nbdkit")
	socket := filepath.Join(t.TempDir(), "s")
	// The listening socket is nbdkit's from the start, so nobody waits for it.
	for _, plugin := range []string{"memory", "file"} {
		args := []string{"-f", "--exit-with-parent", "memory", fmt.Sprint(diskSize)}
		if plugin == "file" {
			args = []string{"-f", "--exit-with-parent", "file", image(t, diskSize)}
		}
		a := peer(t, socket+plugin, nbdkit, args)
		exercise(t, a)
	}
}

func TestPeerQemuNbd(t *testing.T) {
	qemu := citest.Program(t, "qemu-nbd", "qemu-utils")
	a := peer(t, filepath.Join(t.TempDir(), "s"), qemu, []string{"--persistent", "--shared=4", "--format=raw", "--discard=unmap", image(t, diskSize)})
	exercise(t, a)
}

// peer starts a server with a listening socket as systemd would, and ends it
// with the test.
func peer(t *testing.T, socket, name string, args []string) nbd.Address {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The variable must name the process that runs the program: the shell's.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, name}, args...)...)
	cmd.ExtraFiles = []*os.File{f}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	return nbd.Address{Net: "unix", Path: socket}
}

// QEMU's tools use an export of ours as any other, until a VM claims it.
func TestPeerQemu(t *testing.T) {
	img, qemuIO := citest.Program(t, "qemu-img", "qemu-utils"), citest.Program(t, "qemu-io", "qemu-utils")
	path := image(t, diskSize)
	s := serve(t, path)
	url := s.URL("disk0")
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(say(t, true, img, "info", "--output=json", url)), &info); err != nil || info.Size != diskSize {
		t.Fatalf("qemu-img info: %v, size %d", err, info.Size)
	}
	io := func(ok bool, commands ...string) string {
		t.Helper()
		args := []string{"-f", "raw"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		return say(t, ok, qemuIO, append(args, url)...)
	}
	io(true, "write -P 17 0 64k", "read -P 17 0 64k", "flush",
		"write -P 18 -f 64k 4k", "read -P 18 64k 4k",
		"write -z 4k 4k", "read -P 0 4k 4k", "read -P 17 8k 4k",
		"write -z -u 12k 4k", "read -P 0 12k 4k",
		"discard 128k 64k",
		"write -P 19 1000 100", "read -P 19 1000 100", "read -P 17 900 100",
		"aio_write -P 20 256k 64k", "aio_write -P 21 320k 64k", "aio_write -P 22 384k 64k", "aio_flush",
		"read -P 20 256k 64k", "read -P 21 320k 64k", "read -P 22 384k 64k")
	if a, b := onDisk(t, path, 64<<10), onDisk(t, path, 320<<10); a != 18 || b != 21 {
		t.Errorf("in the file are %d and %d", a, b)
	}
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, bytes.Repeat([]byte("source!\n"), diskSize/8), 0o600); err != nil {
		t.Fatal(err)
	}
	say(t, true, img, "convert", "-n", "-f", "raw", "-O", "raw", source, url)
	say(t, true, img, "compare", "-f", "raw", "-F", "raw", source, url)

	claim(t, open(t, address(t, s), 1), number(1, 1))
	if text := io(false, "read 0 512"); !strings.Contains(text, "belongs to VM web") {
		t.Errorf("qemu-io on a claimed export says %s", text)
	}
}

func TestPeerNbdinfo(t *testing.T) {
	nbdinfo := citest.Program(t, "nbdinfo", "libnbd-bin")
	s := serve(t, image(t, diskSize), func(c *Config) {
		c.Exports = append(c.Exports, Export{Name: "second disk", File: image(t, diskSize), ReadOnly: true})
	})
	var list struct {
		Exports []struct {
			Name     string `json:"export-name"`
			Size     int64  `json:"export-size"`
			ReadOnly bool   `json:"is_read_only"`
			Multi    bool   `json:"can_multi_conn"`
			FUA      bool   `json:"can_fua"`
			Zero     bool   `json:"can_zero"`
			Trim     bool   `json:"can_trim"`
			Minimum  int    `json:"block_size_minimum"`
			Maximum  int    `json:"block_size_maximum"`
		} `json:"exports"`
	}
	text := say(t, true, nbdinfo, "--list", "--json", strings.TrimSuffix(s.URL("disk0"), "/disk0"))
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if len(list.Exports) != 2 || list.Exports[0].Name != "disk0" || list.Exports[1].Name != "second disk" ||
		list.Exports[0].ReadOnly || !list.Exports[1].ReadOnly {
		t.Fatalf("%+v", list)
	}
	e := list.Exports[0]
	if e.Size != diskSize || !e.Multi || !e.FUA || !e.Zero || !e.Trim || e.Minimum != 512 || e.Maximum != nbd.MaxPayload {
		t.Errorf("%+v", e)
	}
}

// Attaching needs a kernel module; listing does not.
func TestPeerNbdClient(t *testing.T) {
	client := citest.Program(t, "nbd-client", "nbd-client")
	s := serve(t, image(t, diskSize))
	host, port, err := net.SplitHostPort(s.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	if text := say(t, true, client, "-l", host, port); !strings.Contains(text, "disk0") {
		t.Errorf("nbd-client -l says %s", text)
	}
}
