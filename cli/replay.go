package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/spec"
)

type replayCommand struct {
	Spec string `arg:"" type:"path" help:"The spec of the VM that was recorded."`
	Log  string `arg:"" type:"path" help:"The log that run --record wrote."`
}

// Run re-executes a log from power-on and compares every marker and digest.
func (c *replayCommand) Run(ctx context.Context, env Env) error {
	v, err := spec.Load(c.Spec)
	if err != nil {
		return refused(err)
	}
	mc, err := v.Config()
	if err != nil {
		return refused(err)
	}
	f, err := os.Open(c.Log)
	if err != nil {
		return err
	}
	defer f.Close()
	log, err := replay.NewReader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return refused(err)
	}
	head := log.Header()
	if head.ConfigHash != mc.Hash() {
		return refused(fmt.Errorf("%s was recorded with another configuration of the machine than %s describes", c.Log, c.Spec))
	}
	m, err := board.New(mc, head.Birth)
	if err != nil {
		return refused(err)
	}
	r := replay.NewReplayer(m, head.Start)
	begin := time.Now()
	cut, err := replayAll(ctx, log, r, m, env.Stdout)
	var divergence *replay.Divergence
	switch {
	case errors.As(err, &divergence):
		return exitError{ExitHalted, err}
	case err != nil:
		return refused(err)
	}
	took := time.Since(begin)
	did := r.Compared()
	fmt.Fprintf(env.Stderr, "\r\nreplayed %d instructions in %.1f s (%.0f M/s), %d entries; %d markers and %d digests agree; digest %v\n",
		m.Icount(), took.Seconds(), float64(m.Icount())/1e6/took.Seconds(), r.Last().Seq, did.Markers, did.Digests, m.Digest())
	if cut {
		fmt.Fprintln(env.Stderr, "the log was cut off, not ended; everything before the cut was replayed")
	}
	return nil
}

// replayAll applies every entry and shows what the guest writes to its console.
func replayAll(ctx context.Context, log *replay.Reader, r *replay.Replayer, m machine.Machine, console io.Writer) (cut bool, err error) {
	var outputs []machine.Output
	for ctx.Err() == nil {
		e, err := log.Next()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case errors.Is(err, replay.ErrTruncated):
			return true, nil
		case err != nil:
			return false, err
		}
		if err := r.Apply(e); err != nil {
			return false, err
		}
		outputs = m.Outputs(outputs[:0])
		for _, o := range outputs {
			if o.Port == (machine.Port{Kind: machine.PortConsole}) {
				if _, err := console.Write(o.Bytes); err != nil {
					return false, err
				}
			}
		}
	}
	return false, ctx.Err()
}
