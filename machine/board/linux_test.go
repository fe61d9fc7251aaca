package board

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

// linuxConfig is a computer that boots the guest in the directory that
// LOCKSTEP_GUEST names: a kernel Image and an initrd.cpio.
func linuxConfig(t testing.TB) *machine.Config {
	t.Helper()
	dir := os.Getenv("LOCKSTEP_GUEST")
	if dir == "" {
		t.Skip("LOCKSTEP_GUEST names no directory with Image and initrd.cpio")
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return &machine.Config{
		Memory: 256 << 20, Kernel: read("Image"), Initrd: read("initrd.cpio"), Cmdline: "earlycon=sbi console=ttyS0",
		Disks: []machine.DiskConfig{{Sectors: 1 << 14}},
		NICs:  []machine.NICConfig{{MAC: [6]byte{0x52, 0x54, 0, 0, 0, 1}}},
	}
}

const linuxEnd = 1_500_000_000

// DESIGN, section 2, on the boot of a stock kernel: random slices, dropped
// caches and restored snapshots lead to equal digests at every check, and so
// does the reference without caches on the first part.
func TestLinuxBootIsDeterministic(t *testing.T) {
	cfg := linuxConfig(t)
	b := newBoard(t, cfg)
	log := record(t, b, newWorld(11, cfg.Disks), linuxEnd, 20_000_000)
	_, tail := b.ConsoleTail(0)
	if !strings.Contains(string(tail), "Linux version") || !strings.Contains(string(tail), "Run /init") {
		t.Fatalf("the kernel did not come up; the console ends with %q", tail[max(0, len(tail)-500):])
	}
	b = nil // 256 MiB less
	replay(t, "cuts", newBoard(t, cfg), log, randomCuts(t, cfg, 12, 3_000_000, 100))
	replay(t, "one piece", newBoard(t, cfg), log, nil)

	ref, err := NewReference(cfg, testBirth)
	if err != nil {
		t.Fatal(err)
	}
	first := 0
	for first < len(log) && log[first].pos < 60_000_000 {
		first++
	}
	replay(t, "reference", ref, log[:first], nil)
}

// BenchmarkLinuxSave measures a snapshot of a running system.
func BenchmarkLinuxSave(b *testing.B) {
	m := bootLinux(b, linuxConfig(b))
	for b.Loop() {
		if err := m.Save(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func bootLinux(b *testing.B, cfg *machine.Config) *Board {
	m := newBoard(b, cfg)
	record(b, m, newWorld(13, cfg.Disks), linuxEnd, linuxEnd/10)
	return m
}
