package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/cli/demo"
)

type demoCommand struct {
	Check    bool          `help:"Run unattended and exit 0 only if everything held."`
	JSON     string        `name:"json" placeholder:"FILE" help:"Write what was measured to FILE (- for the standard output)."`
	Kill     string        `enum:"primary,backup,partition,none" default:"primary" help:"What to do to the pair: primary, backup, partition or none."`
	After    time.Duration `default:"5s" help:"When to do it, counted from the client's first answer."`
	Duration time.Duration `default:"15s" help:"How long the client works in all. On a terminal: until q."`
	Disk     bool          `help:"Have the guest write a raw disk and check it all the while."`
	Mirror   string        `placeholder:"URL" help:"Debian mirror to fetch the guest from; else LOCKSTEP_MIRROR, else those of this machine's apt configuration."`
}

func (c *demoCommand) Run(ctx context.Context, env Env) error {
	if c.After < 0 || c.Duration <= 0 || c.Kill != string(demo.KillNone) && c.After >= c.Duration {
		return exitError{ExitUsage, fmt.Errorf("--after %v and --duration %v: the kill must lie within the client's work", c.After, c.Duration)}
	}
	var out io.Writer = env.Stdout
	if c.JSON == "-" {
		out = env.Stderr
	}
	r, err := demo.Run(ctx, demo.Options{
		Kill: demo.Kill(c.Kill), After: c.After, Duration: c.Duration, Disk: c.Disk,
		JSON: c.JSON, Check: c.Check, Mirror: c.Mirror, Progress: progress(env),
		Stdin: env.Stdin, Stdout: out,
	})
	if err != nil {
		return err
	}
	r.Print(out)
	if len(r.Problems) > 0 {
		return errors.New("not everything held")
	}
	return nil
}
