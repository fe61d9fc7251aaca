package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/vm"
)

// memory of the machine on which the C programs run, and where it begins.
const (
	suiteMemory = 16 << 20
	suiteBase   = 0x8000_0000
)

// C programs on the bare machine leave the same signature, say the same and end
// with the same status on every engine as on QEMU's spike board.
func TestProgramsAgainstQEMU(t *testing.T) {
	gcc := citest.Program(t, "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu")
	qemu := citest.Program(t, "qemu-system-riscv64", "qemu-system-misc")
	sources := filepath.Join("testdata", "elf")
	files, err := filepath.Glob(filepath.Join(sources, "*.c"))
	if err != nil || len(files) < 4 {
		t.Fatalf("programs %v, %v", files, err)
	}
	for _, source := range files {
		name := strings.TrimSuffix(filepath.Base(source), ".c")
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, name)
			build := exec.Command(gcc, "-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany", "-O1", "-Wall", "-ffreestanding", "-nostdlib",
				"-static", "-no-pie", "-fno-pic", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
				"-T", filepath.Join(sources, "link.ld"), "-o", program, filepath.Join(sources, "start.S"), source)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			status, said, want := onSpike(t, qemu, dir, program)
			for _, engine := range []string{vm.EngineAuto, vm.EngineInterp, vm.EngineReference} {
				file := filepath.Join(dir, engine)
				var stdout, stderr bytes.Buffer
				got := Main(t.Context(), Env{Stdin: os.Stdin, Stdout: &stdout, Stderr: &stderr},
					[]string{"run", "--elf", program, "--engine", engine, "--memory", "16M", "--max-instructions", "100000000", "--signature", file, "--signature-granularity", "8"})
				if got != status || stdout.String() != said {
					t.Fatalf("%s: status %d, %q, %s; QEMU: %d, %q", engine, got, stdout.String(), stderr.String(), status, said)
				}
				lines, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				mine, theirs := strings.Split(string(lines), "\n"), strings.Split(want, "\n")
				if len(mine) != len(theirs) || len(mine) != 1025 {
					t.Fatalf("%s: %d lines of signature, QEMU has %d; want 1025", engine, len(mine), len(theirs))
				}
				for i := range mine {
					if mine[i] != theirs[i] {
						t.Fatalf("%s: line %d of the signature is %s, QEMU's %s", engine, i+1, mine[i], theirs[i])
					}
				}
			}
		})
	}
}

// onSpike runs a program on QEMU's spike board.
func onSpike(t *testing.T, qemu, dir, program string) (status int, said, lines string) {
	t.Helper()
	file := filepath.Join(dir, "qemu")
	args := []string{"-m", "16M", "-bios", "none", "-kernel", program, "-display", "none", "-serial", "stdio", "-monitor", "none"}
	status, said, problem := runSpike(t, qemu, append(args, "-M", "spike,signature="+file+",signature-granularity=8"))
	if !strings.Contains(problem, "signature' not found") {
		out, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: status %d, %s", err, status, problem)
		}
		return status, said, string(out)
	}
	// QEMU before 8 cannot write a signature; its RAM is a file.
	ram := filepath.Join(dir, "ram")
	status, said, problem = runSpike(t, qemu, append(args, "-M", "spike,memory-backend=ram",
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%d,mem-path=%s,share=on", suiteMemory, ram)))
	mem, err := os.ReadFile(ram)
	if err != nil {
		t.Fatalf("%v: status %d, %s", err, status, problem)
	}
	f := &elfFlags{ELF: program}
	p, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	return status, said, string(signature(mem[p.SignatureBegin-suiteBase:p.SignatureEnd-suiteBase], 8))
}

func runSpike(t *testing.T, qemu string, args []string) (status int, said, problem string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}
