package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

var update = flag.Bool("update", false, "write the expected output in the scripts anew")

// TestMain lets scripts run lockstep as a process of its own: this test binary,
// under that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lockstep": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Main(ctx, Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
	}})
}

// The scripts of testdata/script. Beyond testscript's own commands they have:
//
//	exits CODE PROGRAM ARGS...  runs a program, which must end with that code
//	forge LOG FILE              copies a log, its digests altered
//	elf FILE KIND               makes a program for the bare machine; see elf_test.go
//	kernel FILE off|panic|few|count|long  makes the kernel of a bare-metal guest
//	port NAME                   puts an unused TCP port of loopback into a variable
//	until FILE TEXT             waits until a file has a text
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "forge": forge, "kernel": kernel, "port": port, "until": until, "elf": elf,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// kernel writes a guest that says a word on its console and goes off.
func kernel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kernel FILE off|panic|few|count|long")
	}
	const base, header, uart, syscon = 0x8020_0000, 64, 0x1000_0000, 0x10_0000
	p := asm.New(base + header)
	say := func(text string) {
		p.LI(asm.T0, uart)
		for _, c := range text {
			p.LI(asm.T1, int64(c))
			p.SB(asm.T1, 0, asm.T0)
		}
	}
	switch args[1] {
	case "off":
		say("bye\n")
	case "panic":
		say("Kernel panic - not syncing: alas\n")
		p.Label("halt")
		p.J("halt")
	case "few", "count", "long": // for a while
		say("counting\n")
		p.LI(asm.T2, map[string]int64{"few": 300_000, "count": 10_000_000, "long": 150_000_000}[args[1]])
		p.Label("again")
		p.ADDI(asm.T2, asm.T2, -1)
		p.BNE(asm.T2, asm.Zero, "again")
		say("counted\n")
	default:
		ts.Fatalf("unknown guest %q", args[1])
	}
	p.LI(asm.T0, syscon)
	p.LI(asm.T1, 0x5555)
	p.SW(asm.T1, 0, asm.T0)
	p.Label("stay")
	p.J("stay")

	image := make([]byte, header)
	binary.LittleEndian.PutUint32(image, 0x0400_006f) // j .+64
	binary.LittleEndian.PutUint64(image[8:], base-0x8000_0000)
	binary.LittleEndian.PutUint64(image[16:], 2<<20)
	copy(image[0x38:], "RSC\x05")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), append(image, p.Bytes()...), 0o600))
}

func port(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// until gives up after a minute; that bounds a hang and claims no speed.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until FILE TEXT")
	}
	for range 3000 {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%s never has %q", args[0], args[1])
}
