package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/spec"
	"github.com/lockstep-vm/lockstep/vm"
)

// ExitExhausted is the exit code of a program on the bare machine that was
// still running at the end of --max-instructions; as that of timeout(1).
const ExitExhausted = 124

const (
	// maxELF bounds a program's file in bytes, debugging information included.
	maxELF = 1 << 30
	// elfSlice is how far a program runs between two looks at its output and
	// at whether the person wants to end it, in instructions.
	elfSlice = 1 << 20
)

// elfFlags run a program on the bare machine in place of a VM.
type elfFlags struct {
	ELF         string  `name:"elf" type:"path" placeholder:"FILE" group:"bare" help:"Run this RV64 executable on the bare machine, in machine mode, without a spec. Its exit status is the program's."`
	Memory      string  `placeholder:"SIZE" default:"128M" group:"bare" help:"Its RAM, from 0x80000000 on, like 64M or 1G (default: 128M)."`
	Limit       *uint64 `name:"max-instructions" placeholder:"N" group:"bare" help:"End with status 124 after so many instructions."`
	Signature   string  `type:"path" placeholder:"FILE" group:"bare" help:"When it has ended write the memory from its symbol begin_signature to end_signature, as lines of hexadecimal digits."`
	Granularity int     `name:"signature-granularity" enum:"4,8,16" default:"4" group:"bare" help:"Bytes in a line of the signature: 4, 8 or 16."`
}

// programFlags are the names of elfFlags.
var programFlags = []string{"elf", "memory", "max-instructions", "signature", "signature-granularity"}

// checkFlags sees to it that a command line is about a VM or about a program on the bare
// machine, not both.
func (c *runCommand) checkFlags(parsed *kong.Context) error {
	usage := func(format string, args ...any) error {
		return exitError{ExitUsage, fmt.Errorf(format, args...)}
	}
	var program, vm []string
	for _, p := range parsed.Path {
		switch {
		case p.Flag == nil || p.Flag.Name == "engine":
		case slices.Contains(programFlags, p.Flag.Name):
			program = append(program, "--"+p.Flag.Name)
		default:
			vm = append(vm, "--"+p.Flag.Name)
		}
	}
	switch {
	case c.ELF == "" && len(program) > 0:
		return usage("%s: only for a program on the bare machine; name it with --elf FILE", strings.Join(program, ", "))
	case c.ELF == "" && c.Spec == "":
		return usage(`expected "<spec>", or --elf FILE`)
	case c.ELF != "" && c.Spec != "":
		return usage("%s: --elf runs a program without a spec; leave one of them out", c.Spec)
	case c.ELF != "" && len(vm) > 0:
		return usage("%s: only for a VM; a program on the bare machine (--elf) runs alone and has no host to speak to", strings.Join(vm, ", "))
	}
	return nil
}

// run runs the program to its end.
func (f *elfFlags) run(ctx context.Context, env Env, engine string) error {
	e, err := vm.OpenEngine(engine)
	if err != nil {
		return refused(err)
	}
	memory, err := spec.ParseMemory(f.Memory)
	if err != nil {
		return exitError{ExitUsage, fmt.Errorf("--memory is %w", err)}
	}
	p, err := f.read()
	if err != nil {
		return refused(err)
	}
	b, err := board.NewProgram(memory, p, e.Engine)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", f.ELF, err))
	}
	limit := machine.Never
	if f.Limit != nil {
		limit = machine.Icount(*f.Limit)
	}
	if err := runProgram(ctx, env, b, limit); err != nil {
		return f.unsigned(err)
	}
	status, err := b.Ended()
	if err != nil {
		return f.unsigned(err)
	}
	if f.Signature != "" {
		if err := os.WriteFile(f.Signature, signature(b.Signature(), f.Granularity), 0o666); err != nil {
			return err
		}
	}
	if status != 0 {
		return exitError{code: int(status)}
	}
	return nil
}

// unsigned adds to the reason why a program has not ended by itself that there
// is no signature, if one is wanted.
func (f *elfFlags) unsigned(err error) error {
	if f.Signature == "" {
		return err
	}
	code := ExitFailed
	if e := (exitError{}); errors.As(err, &e) {
		code, err = e.code, e.err
	}
	return exitError{code, fmt.Errorf("%w; no signature is written", err)}
}

// read reads the program.
func (f *elfFlags) read() (*boot.Program, error) {
	file, err := os.Open(f.ELF)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxELF+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxELF {
		return nil, fmt.Errorf("%s is larger than %d MiB, which no program is; strip its debugging information", f.ELF, maxELF>>20)
	}
	p, err := boot.ParseELF(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.ELF, err)
	}
	if f.Signature != "" && p.SignatureEnd == 0 {
		return nil, fmt.Errorf("%s has no symbols begin_signature and end_signature, so there is no signature to write; define them, and do not strip the program", f.ELF)
	}
	return p, nil
}

// runProgram runs to the end of the program, which is no error, and writes
// what it says.
func runProgram(ctx context.Context, env Env, b *board.Board, limit machine.Icount) error {
	var out []machine.Output
	for {
		exit := b.RunProgram(min(limit, b.Icount()+elfSlice))
		out = b.Outputs(out[:0])
		for _, o := range out {
			if o.Port.Kind != machine.PortConsole {
				continue
			}
			w := env.Stdout
			if o.Port.Index == board.ProgramConsole {
				w = env.Stderr
			}
			if _, err := w.Write(o.Bytes); err != nil {
				return fmt.Errorf("cannot write what the program says: %w", err)
			}
		}
		switch {
		case exit == machine.PoweredOff:
			return nil
		case exit == machine.Idle:
			return fmt.Errorf("the program waits for ever: WFI at position %d, and no timer is set whose interrupt mie enables", b.Icount())
		case b.Icount() >= limit:
			return exitError{ExitExhausted, fmt.Errorf("the program has not ended after %d instructions", limit)}
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted at position %d", b.Icount())
		}
	}
}

// signature is memory as lines of hexadecimal digits, a granule each, its most
// significant byte first. What the last granule lacks is zeros.
func signature(mem []byte, granule int) []byte {
	var out []byte
	line := make([]byte, granule)
	for ; len(mem) > 0; mem = mem[min(granule, len(mem)):] {
		clear(line)
		copy(line, mem)
		slices.Reverse(line)
		out = append(hex.AppendEncode(out, line), '\n')
	}
	return out
}
