package guests

import (
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

// The guest that all tests here build upon: script, files, disk and modules.
func TestGuestRunsItsScript(t *testing.T) {
	g := guest{
		image: image.Stress, memory: 192 << 20,
		disks: []machine.DiskConfig{{Sectors: 1 << 14}},
		files: func(a *image.Archive) { a.File("usr/bin/hello", 0o755, []byte("#!/bin/sh\necho hello from $0\n")) },
		script: `set -e
hello
modprobe loop
dd if=/etc/udhcpc.script of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null
head -c 9 /dev/vda; echo
nproc`,
	}
	out := g.run(t, 2_000_000_000)
	for _, want := range []string{"hello from /bin/hello\n", "#!/bin/bu\n", "1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the script printed no %q:\n%s", want, out)
		}
	}
}
