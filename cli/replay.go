package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/spec"
	"github.com/lockstep-vm/lockstep/vm"
)

type replayCommand struct {
	Spec string `arg:"" type:"path" help:"The spec of the VM that was recorded."`
	Log  string `arg:"" type:"path" help:"The log that run --record or backup --record wrote."`

	From string `type:"path" placeholder:"SNAPSHOT" help:"Begin with the State of this snapshot: the one that the log begins with, or one of the same run, taken while the log was written."`

	Compare bool   `help:"Execute on two engines side by side and name the first instruction after which they differ."`
	Engine  string `default:"auto" placeholder:"NAME" help:"What executes: jit, interp, reference, or auto, which is jit where this host allows it and else interp (${default}). With --compare it is compared with the reference, which has no caches."`
	Every   uint64 `default:"1000000" placeholder:"N" help:"With --compare: instructions between two comparisons at most (${default}). More often sees differences that soon heal, and is slower."`
}

// Run re-executes a log and compares every marker and digest.
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
	e, err := findEngine(c.Engine)
	if err != nil {
		return refused(err)
	}
	if c.Compare {
		return c.compare(ctx, env, log, mc, e)
	}
	m, start, err := c.machine(head, mc, e.build)
	if err != nil {
		return refused(err)
	}
	r := replay.NewReplayer(m, start)
	begin := time.Now()
	cut, err := replayAll(ctx, after(log, start), r, m, env.Stdout)
	var divergence *replay.Divergence
	switch {
	case errors.As(err, &divergence):
		return exitError{ExitHalted, errors.New(divergence.Report() + "\n  replay --compare tells whether this engine is at fault, or the recording")}
	case err != nil:
		return refused(err)
	}
	took := time.Since(begin)
	did := r.Compared()
	fmt.Fprintf(env.Stderr, "\r\nreplayed %d instructions in %.1f s (%.0f M/s), %d entries; %d markers and %d digests agree; digest %v\n",
		m.Icount()-start.Pos, took.Seconds(), float64(m.Icount()-start.Pos)/1e6/took.Seconds(), r.Last().Seq-start.Seq, did.Markers, did.Digests, m.Digest())
	if cut {
		fmt.Fprintln(env.Stderr, "the log was cut off, not ended; everything before the cut was replayed")
	}
	return nil
}

// machine is a machine in the State that replaying begins with, and the point
// of the log that this is.
func (c *replayCommand) machine(head replay.Header, mc *machine.Config, build builder) (machine.Machine, replay.Point, error) {
	if c.From == "" {
		if head.FromSnapshot() {
			return nil, replay.Point{}, fmt.Errorf("%s begins with a snapshot at position %d, not at power-on; give that snapshot with --from FILE", c.Log, head.Start.Pos)
		}
		m, err := build(mc, head.Birth)
		return m, head.Start, err
	}
	m, h, err := vm.LoadSnapshot(c.From, mc, build)
	if err != nil {
		return nil, replay.Point{}, err
	}
	start := replay.Point{Seq: replay.Seq(h.LogSeq), Pos: h.Pos}
	switch {
	case head.FromSnapshot() && start == head.Start && h.Digest == head.StartDigest:
	case h.RunID == head.RunID && h.RunOrdinal == head.RunOrdinal && start.Seq >= head.Start.Seq && start.Pos >= head.Start.Pos:
	default:
		return nil, replay.Point{}, fmt.Errorf("%s does not belong to %s: the snapshot is of run %v, position %d, digest %v; the log is of run %v and begins at position %d, digest %v",
			c.From, c.Log, ft.Run{Ordinal: h.RunOrdinal, ID: h.RunID}, h.Pos, h.Digest, ft.Run{Ordinal: head.RunOrdinal, ID: head.RunID}, head.Start.Pos, head.StartDigest)
	}
	return m, start, nil
}

// after hands out the entries of a log that follow a point.
func after(log *replay.Reader, start replay.Point) func() (replay.Entry, error) {
	last := log.Header().Start.Seq
	return func() (replay.Entry, error) {
		for {
			e, err := log.Next()
			if err != nil && last < start.Seq && (errors.Is(err, io.EOF) || replay.Truncated(err)) {
				return e, fmt.Errorf("the log ends with entry %d, before the snapshot, which follows entry %d; there is nothing to replay", last, start.Seq)
			}
			if err != nil || e.Seq > start.Seq {
				return e, err
			}
			last = e.Seq
		}
	}
}

// A builder makes a machine at power-on.
type builder func(*machine.Config, machine.Birth) (machine.Machine, error)

// replayAll applies every entry and shows what the guest writes to its console.
func replayAll(ctx context.Context, next func() (replay.Entry, error), r *replay.Replayer, m machine.Machine, console io.Writer) (cut bool, err error) {
	var outputs []machine.Output
	for ctx.Err() == nil {
		e, err := next()
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
		if err := printConsole(console, outputs); err != nil {
			return false, err
		}
	}
	return false, ctx.Err()
}

// printConsole writes what a guest has written to its first console.
func printConsole(w io.Writer, outputs []machine.Output) error {
	for _, o := range outputs {
		if o.Port == (machine.Port{Kind: machine.PortConsole}) {
			if _, err := w.Write(o.Bytes); err != nil {
				return err
			}
		}
	}
	return nil
}
