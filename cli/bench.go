package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lockstep-vm/lockstep/cli/bench"
	"github.com/lockstep-vm/lockstep/cli/demo"
)

type benchCommand struct {
	Pair  benchPair  `cmd:"" default:"withargs" help:"Measure what a protected pair costs on this machine: boot, idle, computing, requests."`
	CPU   benchCPU   `cmd:"" name:"cpu" help:"Measure the CPU time of one guest's programs on Lockstep alone, recording and as a protected pair, and on QEMU."`
	Disk  benchDisk  `cmd:"" help:"Measure what a guest's disk costs a protected pair, next to the same guest alone."`
	Guest benchGuest `cmd:"" hidden:"" help:"Be the machine of a guest that is measured."`
}

// benchVars are words in the help texts.
func benchVars() kong.Vars {
	machines := make([]string, len(bench.Machines))
	for i, m := range bench.Machines {
		machines[i] = string(m)
	}
	return kong.Vars{"benchPrograms": strings.Join(bench.Names(), ", "), "benchMachines": strings.Join(machines, ", "), "benchDiskPrograms": strings.Join(bench.DiskNames(), ", ")}
}

type benchPair struct {
	Phase  time.Duration `default:"10s" help:"Length of each phase."`
	JSON   bool          `name:"json" help:"Print JSON."`
	Mirror string        `placeholder:"URL" help:"Debian mirror to fetch the guest from."`
}

func (c *benchPair) Run(ctx context.Context, env Env) error {
	r, err := demo.Bench(ctx, demo.BenchOptions{Phase: c.Phase, Mirror: c.Mirror, Progress: progress(env), Out: env.Stderr})
	if err != nil {
		return err
	}
	if c.JSON {
		return r.Write(env.Stdout)
	}
	r.Print(env.Stdout)
	return nil
}

// benchForm is how a report is printed.
type benchForm struct {
	JSON     bool `name:"json" xor:"form" help:"Print JSON."`
	Markdown bool `xor:"form" help:"Print a Markdown table."`
}

func (f benchForm) print(env Env, r interface {
	Write(io.Writer) error
	Markdown(io.Writer)
	Print(io.Writer)
}) error {
	switch {
	case f.JSON:
		return r.Write(env.Stdout)
	case f.Markdown:
		r.Markdown(env.Stdout)
	default:
		r.Print(env.Stdout)
	}
	return nil
}

type benchCPU struct {
	Rounds  int             `default:"3" help:"How often everything is measured; the spread is over the rounds."`
	Program []string        `placeholder:"NAME" help:"Only these programs: ${benchPrograms}."`
	On      []bench.Machine `placeholder:"NAME" help:"Only on these machines: ${benchMachines}."`
	benchForm
	QEMU   string `name:"qemu" placeholder:"PATH" help:"Which qemu-system-riscv64; none to do without. Otherwise the one in PATH, if there is one."`
	Engine string `enum:"auto,jit,interp,reference" default:"auto" help:"What executes the guest on Lockstep: auto (the JIT where this host lets it, else interp), jit, interp or reference (without caches, slow)."`
	Mirror string `placeholder:"URL" help:"Debian mirror to fetch the guest from."`
}

func (c *benchCPU) Run(ctx context.Context, env Env) error {
	if c.Rounds < 1 {
		return exitError{ExitUsage, errors.New("--rounds must be at least 1")}
	}
	r, err := bench.Run(ctx, bench.Options{
		Rounds: c.Rounds, Programs: c.Program, Machines: c.On, QEMU: c.QEMU, Engine: c.Engine,
		Mirror: c.Mirror, Progress: progress(env), Out: env.Stderr,
	})
	if err != nil {
		return err
	}
	return c.print(env, r)
}

type benchDisk struct {
	Rounds  int              `default:"15" help:"How often everything is measured; the figures are of all rounds together, the spread over each."`
	Mode    []bench.DiskMode `placeholder:"MODE" help:"Only disks of these kinds: shared, reads: backup, nbd, local."`
	Program []string         `placeholder:"NAME" help:"Only these programs: ${benchDiskPrograms}."`
	benchForm
	Engine string `enum:"auto,jit,interp,reference" default:"auto" help:"What executes the guest: auto, jit, interp or reference."`
	Mirror string `placeholder:"URL" help:"Debian mirror to fetch the guest from."`
}

func (c *benchDisk) Run(ctx context.Context, env Env) error {
	if c.Rounds < 1 {
		return exitError{ExitUsage, errors.New("--rounds must be at least 1")}
	}
	r, err := bench.RunDisk(ctx, bench.DiskOptions{
		Rounds: c.Rounds, Modes: c.Mode, Programs: c.Program, Engine: c.Engine, Mirror: c.Mirror, Progress: progress(env), Out: env.Stderr,
	})
	if err != nil {
		return err
	}
	return c.print(env, r)
}

// benchGuest is the process whose CPU time is measured.
type benchGuest struct {
	File string `arg:"" type:"path" help:"What it is told."`
}

func (c *benchGuest) Run(ctx context.Context, env Env) error {
	return bench.RunGuest(ctx, c.File, env.Stdin, env.Stdout, env.Stderr)
}
