// Package bench measures the CPU time that one guest takes on Lockstep and on
// QEMU: the same kernel, initial RAM disk and programs, one machine after the
// other, in several rounds.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/vm"
)

// Options of Run.
type Options struct {
	Rounds   int       // at least 1
	Programs []string  // all for none
	Machines []Machine // all for none
	// QEMU is the path of qemu-system-riscv64; empty to look for it, "none" to
	// do without.
	QEMU     string
	Engine   string // of vm.Config
	Mirror   string
	Progress func(image.Event)
	Out      io.Writer // for what happens
}

// NoQEMU in Options.QEMU leaves QEMU out.
const NoQEMU = "none"

// Run measures. Programs that fail are in the report; a machine that fails is
// an error.
func Run(ctx context.Context, o Options) (*Report, error) {
	some, err := chosen(programs, o.Programs)
	if err != nil {
		return nil, err
	}
	machines := o.Machines
	if len(machines) == 0 {
		machines = Machines
	}
	for _, m := range machines {
		if !slices.Contains(Machines, m) {
			return nil, fmt.Errorf("bench: there is no machine %q; there are %v", m, Machines)
		}
	}
	r := &Report{Rounds: o.Rounds}
	r.describeHost()
	s := &stage{engine: o.Engine}
	if machines, err = s.findQEMU(ctx, o, machines, r); err != nil {
		return nil, err
	}
	if len(machines) == 0 {
		return nil, errors.New("bench: no machine is left to measure")
	}
	e, err := vm.OpenEngine(o.Engine)
	if err != nil {
		return nil, err
	}
	r.Engine = e.Name
	if text := e.Slower(); text != "" {
		fmt.Fprintln(o.Out, text)
	}
	if s.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	img, err := image.Ensure(ctx, image.Options{Name: image.Bench, Mirror: o.Mirror, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	r.Kernel = img.KernelVersion
	if s.dir, err = os.MkdirTemp("", "lockstep-bench-"); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	if err := s.furnish(img, some, false); err != nil {
		return nil, err
	}
	nativePath, err := buildNative(ctx, s.dir)
	if errors.Is(err, errNoCompiler) {
		fmt.Fprintln(o.Out, err)
	} else if err != nil {
		return nil, err
	}
	r.Machines = machines
	r.begin(some)
	for round := range o.Rounds {
		if nativePath != "" {
			r.add(nativeMachine, native(ctx, nativePath, some))
		}
		for i := range machines {
			// Each machine is first in its turn: what a host does over time
			// falls on all.
			m := machines[(i+round)%len(machines)]
			fmt.Fprintf(o.Out, "round %d of %d: %s\n", round+1, o.Rounds, m)
			got, err := s.run(ctx, m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m, err)
			}
			r.add(m, got)
		}
	}
	r.conclude(some)
	return r, nil
}

// findQEMU leaves those machines that can be measured here.
func (s *stage) findQEMU(ctx context.Context, o Options, machines []Machine, r *Report) ([]Machine, error) {
	without := func() []Machine {
		return slices.DeleteFunc(slices.Clone(machines), func(m Machine) bool { return !m.isLockstep() })
	}
	if o.QEMU == NoQEMU || len(without()) == len(machines) {
		return without(), nil
	}
	path, err := exec.LookPath(o.QEMU)
	if o.QEMU == "" {
		path, err = exec.LookPath("qemu-system-riscv64")
	}
	if errors.Is(err, exec.ErrNotFound) && o.QEMU == "" {
		fmt.Fprintln(o.Out, "qemu-system-riscv64 is not installed: nothing to compare with (Debian: qemu-system-misc)")
		return without(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s.qemu = path
	r.QEMU, err = qemuVersion(ctx, path)
	return machines, err
}

// furnish writes the initial RAM disk: that of the image and behind it what is
// ours. With asked the guest waits for a line before each program.
func (s *stage) furnish(img *image.Image, some []program, asked bool) error {
	b, err := os.ReadFile(img.Initrd)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	all := bytes.NewBuffer(append(b, make([]byte, -len(b)&511)...))
	if err := files(some, asked).Write(all); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	s.kernel, s.initrd = img.Kernel, filepath.Join(s.dir, "initrd")
	s.cmdline = img.Cmdline + " lockstep.shell"
	if err := os.WriteFile(s.initrd, all.Bytes(), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
