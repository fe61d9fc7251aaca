package cli

import (
	"context"
	"time"

	"github.com/lockstep-vm/lockstep/cli/demo"
)

type benchCommand struct {
	Phase  time.Duration `default:"10s" help:"Length of each phase."`
	JSON   bool          `name:"json" help:"Print JSON."`
	Mirror string        `placeholder:"URL" help:"Debian mirror to fetch the guest from."`
}

func (c *benchCommand) Run(ctx context.Context, env Env) error {
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
