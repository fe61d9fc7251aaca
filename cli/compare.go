package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/arch/riscv64/riscv64asm"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/vm"
)

// engines are the ways to execute a guest, by name. The last one is what the
// others are measured by.
var engines = []engine{
	{vm.EngineJIT, on(vm.EngineJIT)},
	{vm.EngineInterp, on(vm.EngineInterp)},
	{vm.EngineReference, on(vm.EngineReference)},
}

// on makes machines on an engine.
func on(name string) builder {
	return func(mc *machine.Config, birth machine.Birth) (machine.Machine, error) {
		e, err := vm.OpenEngine(name)
		if err != nil {
			return nil, err
		}
		return board.NewOn(e.Engine, mc, birth)
	}
}

type engine struct {
	name  string
	build builder
}

// findEngine is the engine of a name; auto is what the host has.
func findEngine(name string) (engine, error) {
	if name == vm.EngineAuto {
		e, err := vm.OpenEngine(name)
		if err != nil {
			return engine{}, err
		}
		name = e.Name
	}
	var names []string
	for _, e := range engines {
		if e.name == name {
			return e, nil
		}
		names = append(names, e.name)
	}
	return engine{}, fmt.Errorf("there is no engine %q; there are %s", name, strings.Join(names, ", "))
}

// compare executes a log on two engines side by side.
func (c *replayCommand) compare(ctx context.Context, env Env, log *replay.Reader, mc *machine.Config, examined engine) error {
	head := log.Header()
	if c.Every == 0 {
		return refused(errors.New("--every must be 1 or more"))
	}
	reference := engines[len(engines)-1]
	a, start, err := c.machine(head, mc, examined.build)
	if err != nil {
		return refused(err)
	}
	b, _, err := c.machine(head, mc, reference.build)
	if err != nil {
		return refused(err)
	}
	var failed error
	comparison := replay.Comparison{
		A: replay.Side{Name: examined.name, Machine: a}, B: replay.Side{Name: reference.name, Machine: b},
		Start: start, Every: machine.Icount(c.Every),
		Outputs: func(outputs []machine.Output) { failed = errors.Join(failed, printConsole(env.Stdout, outputs)) },
	}
	begin := time.Now()
	entries, next := uint64(0), after(log, start)
	found, err := comparison.Run(func() (replay.Entry, error) {
		if err := errors.Join(ctx.Err(), failed); err != nil {
			return replay.Entry{}, err
		}
		e, err := next()
		if err == nil {
			entries++
		}
		return e, err
	})
	var divergence *replay.Divergence
	switch {
	case found != nil:
		return exitError{ExitHalted, errors.New(foundText(&comparison, found))}
	case errors.As(err, &divergence):
		return exitError{ExitHalted, fmt.Errorf("%s and %s agree with each other, but the machine that was recorded differed:\n%s",
			examined.name, reference.name, divergence.Report())}
	case err != nil && !errors.Is(err, io.EOF) && !replay.Truncated(err):
		return refused(err)
	}
	fmt.Fprintf(env.Stderr, "\r\n%s and %s agree over %d instructions and %d entries, in %.1f s; digest %v\n",
		examined.name, reference.name, a.Icount()-start.Pos, entries, time.Since(begin).Seconds(), a.Digest())
	if replay.Truncated(err) {
		fmt.Fprintln(env.Stderr, "the log was cut off, not ended; everything before the cut was compared")
	}
	return nil
}

// foundText is what a person should know of a finding.
func foundText(c *replay.Comparison, f *replay.Finding) string {
	var b strings.Builder
	a, ref := c.A.Name, c.B.Name
	switch {
	case f.Exact && f.Entry != nil:
		fmt.Fprintf(&b, "%s and %s take entry %d at position %d differently: %T", a, ref, f.Entry.Seq, f.At, f.Entry.Body)
		if in, ok := f.Entry.Body.(replay.Input); ok {
			fmt.Fprintf(&b, " of %T", in.In)
		}
	case f.Exact:
		fmt.Fprintf(&b, "%s and %s differ after the instruction at position %d", a, ref, f.At)
	default:
		fmt.Fprintf(&b, "%s and %s differ, but not exactly is known where: %s", a, ref, f.Why)
	}
	fmt.Fprintf(&b, "\n  seen at position %d; equal at %d", f.Seen, f.Since)
	if f.Fetched {
		fmt.Fprintf(&b, "\n  pc %#x: %s", uint64(f.PC), disassemble(f.Encoding))
		if f.Interrupt {
			b.WriteString(" (an interrupt came before it: the instruction is the first of the handler)")
		}
	}
	for _, p := range f.Parts {
		fmt.Fprintf(&b, "\n  %s: %s in %s, %s in %s", p.What, p.Here, a, p.Log, ref)
	}
	if p := f.Bytes; p != nil {
		const most = 64
		n := min(len(p.A), most)
		fmt.Fprintf(&b, "\n  the first of the %d bytes from %#x on: % x in %s, % x in %s", len(p.A), uint64(p.Addr), p.A[:n], a, p.B[:n], ref)
	}
	return b.String()
}

// disassemble shows an encoding, and the instruction if it is known.
func disassemble(encoding uint32) string {
	raw := binary.LittleEndian.AppendUint32(nil, encoding)
	text := fmt.Sprintf("%#08x", encoding)
	if encoding&3 != 3 {
		raw, text = raw[:2], fmt.Sprintf("%#04x", encoding)
	}
	in, err := riscv64asm.Decode(raw)
	if err != nil {
		return text
	}
	return text + "  " + numbered.ReplaceAllStringFunc(riscv64asm.GNUSyntax(in), func(x string) string {
		if n, err := strconv.Atoi(x[1:]); err == nil && n < len(registerNames) {
			return registerNames[n]
		}
		return x
	})
}

// A disassembler writes x10 for what reports call a0.
var numbered = regexp.MustCompile(`\bx[0-9]+\b`)

var registerNames = [32]string{
	"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
	"a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
}
