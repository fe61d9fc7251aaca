// Package cli is the command line: it turns words into calls of the rooms below
// and their events into lines. It knows nothing of the protocol.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/lockstep-vm/lockstep/vm"
)

// Exit codes of every command. They are part of the interface.
const (
	ExitOK       = 0 // ended as planned; demo --check: everything held
	ExitFailed   = 1 // an error that none of the others names; demo --check: something did not hold
	ExitUsage    = 2 // the command line cannot be understood
	ExitHalted   = 3 // lost the claim, was fenced off or diverged: another replica goes on
	ExitPanicked = 4 // the guest's kernel panicked, or the guest called its power-off a failure
	ExitRefused  = 5 // the peer, the arbiter or the switch refused, or the spec is not valid
	ExitGone     = 6 // a backup that was not armed lost its primary, or left
)

// Env is what a command may touch of its process.
type Env struct {
	Stdin          *os.File
	Stdout, Stderr io.Writer
}

type commands struct {
	Demo     demoCommand     `cmd:"" help:"Fetch and build a guest, run it in lockstep, kill one side, show what happened."`
	Run      runCommand      `cmd:"" help:"Power a VM on: alone, or as the primary of a protected pair (--backup)."`
	Backup   backupCommand   `cmd:"" help:"Be the backup of a VM: wait for its primary, replay, go live when the primary is lost."`
	Switch   switchCommand   `cmd:"" help:"Run the virtual switch: user-mode network, DHCP, NAT, port forwards."`
	Image    imageCommand    `cmd:"" help:"Build or show the guest image that the demo uses."`
	Disk     diskCommand     `cmd:"" help:"Make, show, check and convert disk images."`
	Store    storeCommand    `cmd:"" help:"Run the block store: disks over NBD with fence numbers, and an arbiter beside them."`
	Replay   replayCommand   `cmd:"" help:"Re-execute a log that run --record wrote, and compare."`
	Snapshot snapshotCommand `cmd:"" help:"Show a snapshot that run --save wrote."`
	Bench    benchCommand    `cmd:"" help:"Measure on this machine."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// Main runs one command and returns its exit code.
func Main(ctx context.Context, env Env, args []string) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("lockstep"),
		kong.Description("A virtual machine that runs on two hosts at once and outlives either of them.\n\n"+
			"Exit codes: 0 ended as planned, 1 failed, 2 usage, 3 halted (another replica goes on), "+
			"4 guest panic, 5 refused, 6 an unarmed backup was left. "+
			"run --elf ends with its program's status, or 124 if that has not ended."),
		kong.UsageOnError(),
		kong.ExplicitGroups([]kong.Group{{Key: "bare", Title: "Programs on the bare machine (docs/bare-metal.md):"}}),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { exited = code }),
		benchVars(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(env),
	)
	if err != nil {
		panic("BUG: cli: " + err.Error())
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "lockstep: %v\nSee lockstep --help.\n", err)
		return ExitUsage
	}
	err = parsed.Run()
	var code exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintf(env.Stderr, "lockstep: %v\n", code.err)
		}
		return code.code
	}
	fmt.Fprintf(env.Stderr, "lockstep: %v\n", err)
	return ExitFailed
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return fmt.Sprintf("exit %d: %v", e.code, e.err) }
func (e exitError) Unwrap() error { return e.err }

func refused(err error) error {
	if err == nil {
		return nil
	}
	return exitError{ExitRefused, err}
}

// outcome is the error, with its exit code, for how a replica ended.
func outcome(o vm.Outcome, err error) error {
	switch o {
	case vm.Ended:
		return err
	case vm.Halted:
		return exitError{ExitHalted, err}
	case vm.Panicked:
		return exitError{ExitPanicked, errors.New("the guest's kernel panicked, or called its power-off a failure")}
	case vm.Refused:
		return exitError{ExitRefused, err}
	case vm.Gone:
		return exitError{ExitGone, err}
	}
	panic("BUG: cli: unknown outcome " + o.String())
}
