package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed programs
var sources embed.FS

// hostSources are the files of the C programs on the host.
var hostSources = []string{"main.c", "integer.c", "compress.c", "float.c", "memory.c", "branch.c", "system.c", "disk.c", "rt_host.c"}

// errNoCompiler says that there are no native times.
var errNoCompiler = errors.New("no gcc on this host: no native times")

// buildNative compiles the C programs for the host, with the guest's options.
func buildNative(ctx context.Context, dir string) (path string, err error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return "", errNoCompiler
	}
	files, err := fs.Glob(sources, "programs/*.[ch]")
	if err != nil {
		panic("BUG: bench: " + err.Error())
	}
	for _, f := range files {
		b, err := sources.ReadFile(f)
		if err != nil {
			panic("BUG: bench: " + err.Error())
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600); err != nil {
			return "", fmt.Errorf("bench: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, gcc, append([]string{"-O2", "-fno-math-errno", "-o", "native"}, hostSources...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bench: gcc: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return filepath.Join(dir, "native"), nil
}

// native measures the C programs on the host itself.
func native(ctx context.Context, path string, some []program) map[string]Measurement {
	got := map[string]Measurement{}
	for _, p := range some {
		if !p.own {
			continue
		}
		cmd := exec.CommandContext(ctx, path, p.name)
		out, err := cmd.Output()
		if err != nil {
			got[p.name] = Measurement{Failed: err.Error()}
			continue
		}
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		got[p.name] = Measurement{Seconds: used.Seconds(), Result: strings.TrimSpace(string(out))}
	}
	return got
}
