package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	switch m {
	case QEMU:
		return guestRun(ctx, s.qemuArgs()...)
	case QEMUIcount:
		return guestRun(ctx, append(s.qemuArgs(), "-icount", "shift=1,sleep=off")...)
	}
	g, err := s.guest(m, s.disk)
	if err != nil {
		return nil, err
	}
	switch m {
	case Beside:
		second, err := s.guest(m, s.other)
		if err != nil {
			return nil, err
		}
		p, err := s.startGuest(ctx, second)
		if err != nil {
			return nil, err
		}
		defer p.end()
		go func() { _, _ = io.Copy(io.Discard, p.stdout) }()
	case Pair:
		backup := g
		backup.Machine = backupOfPair
		p, err := s.startGuest(ctx, backup)
		if err != nil {
			return nil, err
		}
		defer p.end()
		line, err := bufio.NewReader(p.stdout).ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("bench: the backup does not start: %s", strings.TrimSpace(p.stderr.String()))
		}
		g.Peer = strings.TrimSpace(line)
	}
	args, err := s.guestArgs(g)
	if err != nil {
		return nil, err
	}
	return guestRun(ctx, args...)
}

// startGuest starts a process beside the one that is measured.
func (s *stage) startGuest(ctx context.Context, g Guest) (*process, error) {
	args, err := s.guestArgs(g)
	if err != nil {
		return nil, err
	}
	return start(ctx, args...)
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
