package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// A Machine is a way to run the guest.
type Machine string

// The machines.
const (
	Alone      Machine = "alone"       // Lockstep, one replica that records nothing
	Recording  Machine = "recording"   // Lockstep, its log written to /dev/null
	Pair       Machine = "pair"        // Lockstep, the primary of a protected pair
	Beside     Machine = "beside"      // Alone, while a second one does the same: what a pair shares a processor with
	QEMU       Machine = "qemu"        // plain TCG
	QEMUIcount Machine = "qemu-icount" // TCG with -icount shift=1,sleep=off
)

// Machines are all, in the order in which they are shown.
var Machines = []Machine{Alone, Recording, Pair, Beside, QEMU, QEMUIcount}

// memoryMiB is the guest's RAM, on every machine.
const memoryMiB = 512

// stage is what all machines run.
type stage struct {
	self           string // this program
	qemu           string // path of qemu-system-riscv64; may be empty
	engine         string
	dir            string // of temporary files
	kernel, initrd string
	cmdline        string
	disk           *Disk // that the guest has; may be nil
	other          *Disk // that of the guest beside it

	arbiters, launched int
}

// run runs the guest on one machine.
func (s *stage) run(ctx context.Context, m Machine) (map[string]Measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := s.begin(ctx, m)
	if err != nil {
		return nil, err
	}
	defer r.end()
	got, err := r.all()
	return got, errors.Join(ctx.Err(), err)
}

// guest is one with a disk, which may be nil, and an arbiter of its own if it
// needs one.
func (s *stage) guest(m Machine, d *Disk) (Guest, error) {
	g := Guest{Machine: m, Engine: s.engine, Kernel: s.kernel, Initrd: s.initrd, Cmdline: s.cmdline, Disk: d}
	if m == Pair || d != nil && d.Backup != "" {
		s.arbiters++
		g.Arbiter = filepath.Join(s.dir, fmt.Sprintf("arbiter%d", s.arbiters))
		if err := os.Mkdir(g.Arbiter, 0o700); err != nil {
			return Guest{}, fmt.Errorf("bench: %w", err)
		}
	}
	return g, nil
}

// guestArgs are the arguments of the process that is the guest's machine.
func (s *stage) guestArgs(g Guest) ([]string, error) {
	b, err := json.Marshal(g)
	if err != nil {
		panic("BUG: bench: " + err.Error())
	}
	s.launched++
	path := filepath.Join(s.dir, fmt.Sprintf("guest%d.json", s.launched))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return []string{s.self, "bench", "guest", path}, nil
}

// qemuArgs are those of a machine as a user would start it.
func (s *stage) qemuArgs() []string {
	return []string{
		s.qemu, "-M", "virt", "-smp", "1", "-m", fmt.Sprint(memoryMiB), "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-nic", "none", "-no-reboot", "-kernel", s.kernel, "-initrd", s.initrd, "-append", s.cmdline,
	}
}

// qemuVersion is what the emulator calls itself.
func qemuVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("bench: %s --version: %w", path, err)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line), nil
}

// isLockstep says whether a machine is ours.
func (m Machine) isLockstep() bool {
	return slices.Contains([]Machine{Alone, Recording, Pair, Beside}, m)
}
