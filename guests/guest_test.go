package guests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

const (
	guestsVariable = "LOCKSTEP_GUESTS"
	seedVariable   = "LOCKSTEP_GUESTS_SEED"
)

// Lines that a guest prints around its script.
const (
	beginLine = "guests: begin"
	endLine   = "guests: end " // followed by the exit status of the script
)

// initScript is the guest's first process.
const initScript = `#!/bin/busybox sh
export PATH=/bin:/sbin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs tmpfs /tmp
exec </dev/console >/dev/console 2>&1
busybox --install -s /usr/bin 2>/dev/null
stty -echo
echo 1 >/proc/sys/vm/overcommit_memory # the Go runtime reserves much
modprobe -a virtio_mmio virtio_blk virtio_net virtio-rng
sh /test.sh
echo "` + endLine + `$?"
poweroff -f
`

// A guest is what a test boots: an image whose /init runs the test's scripts
// with busybox, all applets by their names, and powers off when it is through.
type guest struct {
	image  string               // name of the image
	memory uint64               // bytes
	disks  []machine.DiskConfig // all zeros at power-on
	nics   []machine.NICConfig
	files  func(a *image.Archive) // adds files of the test's own; may be nil
	// Both are for busybox sh: what comes before the test, and the test.
	prepare, script string
}

// config is the computer with that guest in it. It skips the test if nobody
// asked for tests on real guests.
func (g guest) config(t testing.TB) *machine.Config {
	t.Helper()
	multiplier(t)
	img, err := image.Load("", g.image)
	if err != nil {
		t.Fatalf("%v; run: lockstep image build %s", err, g.image)
	}
	var a image.Archive
	a.File("init", 0o755, []byte(initScript))
	a.File("test.sh", 0o644, fmt.Appendf(nil, "%s\necho %q\n%s\n", g.prepare, beginLine, g.script))
	if g.files != nil {
		g.files(&a)
	}
	initrd := bytes.NewBuffer(read(t, img.Initrd))
	if err := a.Write(initrd); err != nil {
		t.Fatal(err)
	}
	return &machine.Config{
		Memory: g.memory, Kernel: read(t, img.Kernel), Initrd: initrd.Bytes(), Cmdline: img.Cmdline,
		Disks: g.disks, NICs: g.nics,
	}
}

// run boots the guest on the engine that production uses, waits for its
// power-off and returns what the script printed. It fails if the script does,
// or if it takes more than limit instructions.
func (g guest) run(t testing.TB, limit machine.Icount) string {
	t.Helper()
	cfg := g.config(t)
	m := engines[0].make(t, cfg)
	h := newHost(t, cfg, seed(t))
	h.runUntil(t, m, limit, func() bool { return false })
	text := h.console.String()
	_, script, begun := strings.Cut(text, beginLine+"\r\n")
	out, status, ended := strings.Cut(script, endLine)
	if !begun || !ended || !strings.HasPrefix(status, "0\r") {
		t.Fatalf("the guest did not get through its script in %d instructions; its console ends with\n%s", m.Icount(), tail(text))
	}
	return strings.ReplaceAll(out, "\r\n", "\n")
}

// multiplier is the value of LOCKSTEP_GUESTS; without it the test is skipped.
func multiplier(t testing.TB) machine.Icount {
	t.Helper()
	text := os.Getenv(guestsVariable)
	if text == "" {
		t.Skip(guestsVariable + " is not set: tests on real guests want images and minutes")
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q; it wants a whole number from 1", guestsVariable, text)
	}
	return machine.Icount(n)
}

// length is n instructions, as often as LOCKSTEP_GUESTS says.
func length(t testing.TB, n machine.Icount) machine.Icount {
	n *= multiplier(t)
	if testing.Short() {
		n /= 10
	}
	return n
}

// seed is where the host's random choices start. A failure repeats with it.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := uint64(1)
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, s)
	return s
}

// program builds testdata/NAME, a Go program, for the guest.
func program(t testing.TB, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "GORISCV64=rva20u64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build of testdata/%s for the guest: %v\n%s", name, err, out)
	}
	return read(t, file)
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tail is the end of what a console printed.
func tail(text string) string { return text[max(0, len(text)-3000):] }
