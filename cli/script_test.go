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
	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/arbiter/etcd"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

var update = flag.Bool("update", false, "write the expected output in the scripts anew")

// TestMain lets scripts run lockstep and the driver of etcd as processes of their
// own: this test binary, under those names.
func TestMain(m *testing.M) {
	process := func(run func(context.Context) int) func() {
		return func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx))
		}
	}
	testscript.Main(m, map[string]func(){
		"lockstep": process(func(ctx context.Context) int {
			return Main(ctx, Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:])
		}),
		"lockstep-etcd": process(func(ctx context.Context) int {
			return etcd.Main(ctx, etcd.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:])
		}),
	})
}

// The scripts of testdata/script. Beyond testscript's own commands they have:
//
//	exits CODE PROGRAM ARGS...  runs a program, which must end with that code
//	forge LOG FILE              copies a log, its digests altered
//	elf FILE KIND               makes a program for the bare machine; see elf_test.go
//	kernel FILE off|panic|few|count|key|disk|diskkey  makes the kernel of a bare-metal guest
//	port NAME                   puts an unused TCP port of loopback into a variable
//	until FILE TEXT             waits until a file has a text
//	again N FILE TEXT PROGRAM ARGS...  runs a program N times, each time until a file has a text once more
//	unlimit FILE                lets the process whose id a file has write files of any size
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
			"exits": exits, "forge": forge, "kernel": kernel, "port": port, "until": until, "again": again, "unlimit": unlimit, "elf": elf,
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
		ts.Fatalf("usage: kernel FILE off|panic|few|count|key|disk|diskkey")
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
	case "few", "count": // for a while
		say("counting\n")
		p.LI(asm.T2, map[string]int64{"few": 300_000, "count": 10_000_000}[args[1]])
		p.Label("again")
		p.ADDI(asm.T2, asm.T2, -1)
		p.BNE(asm.T2, asm.Zero, "again")
		say("counted\n")
	case "key": // until one is pressed
		say("counting\n")
		awaitKey(p, uart)
		say("counted\n")
	case "disk":
		say("writing\n")
		writeSector(p, 100<<20/512, "failed")
		say("written\n")
		p.Label("failed")
	case "diskkey":
		say("writing\n")
		writeSector(p, 1, "failed")
		say("waiting\n")
		awaitKey(p, uart)
		writeSector(p, 2, "failed")
		say("written\n")
		p.Label("failed")
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

// awaitKey has a guest compute until something is typed.
func awaitKey(p *asm.Program, uart int64) {
	p.LI(asm.T0, uart)
	p.Label("nothing typed")
	p.LBU(asm.T1, 5, asm.T0)
	p.ANDI(asm.T1, asm.T1, 1)
	p.BEQZ(asm.T1, "nothing typed")
	p.LBU(asm.T1, 0, asm.T0)
}

// writeSector has a guest write a sector of its only disk, and wait until that is
// done. It makes the disk ready each time.
func writeSector(p *asm.Program, sector int64, failed string) {
	const disk, ring, avail, used, request, status = 0x1000_3000, 0x8070_0000, 0x400, 0x800, 0xc00, 0xc10
	store := func(at, value int64) {
		p.LI(asm.T0, at)
		p.LI(asm.T1, value)
		p.SW(asm.T1, 0, asm.T0)
	}
	for n, d := range [][3]int64{ // address, length, flags and the next one
		{ring + request, 16, 1 | 1<<16},
		{ring, 512, 1 | 2<<16},
		{ring + status, 1, 2},
	} {
		at := ring + int64(n)*16
		store(at, d[0])
		store(at+4, 0)
		store(at+8, d[1])
		store(at+12, d[2])
	}
	store(ring+request, 1) // a write
	store(ring+request+8, sector)
	store(ring+used, 0)
	store(ring+avail, 1<<16) // one chain is available: the first
	for _, w := range [][2]int64{
		{0x70, 0}, {0x70, 1}, {0x70, 3},
		{0x24, 1}, {0x20, 1}, {0x24, 0}, {0x20, 0}, // VIRTIO_F_VERSION_1 alone
		{0x70, 11}, {0x30, 0}, {0x38, 4},
		{0x80, ring}, {0x84, 0}, {0x90, ring + avail}, {0x94, 0}, {0xa0, ring + used}, {0xa4, 0},
		{0x44, 1}, {0x70, 15}, {0x50, 0},
	} {
		store(disk+w[0], w[1])
	}
	p.LI(asm.T0, ring+used)
	pending := fmt.Sprintf("pending %d", sector)
	p.Label(pending)
	p.LHU(asm.T1, 2, asm.T0)
	p.BEQZ(asm.T1, pending)
	p.LI(asm.T0, ring+status)
	p.LBU(asm.T1, 0, asm.T0)
	p.BNE(asm.T1, asm.Zero, failed)
}

func port(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	_, n, err := net.SplitHostPort(porttest.Address())
	ts.Check(err)
	ts.Setenv(args[0], n)
}

// until gives up after a minute; that bounds a hang and claims no speed.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until FILE TEXT")
	}
	appears(ts, args[0], args[1], 1)
}

// appears waits until a file has a text n times.
func appears(ts *testscript.TestScript, name, text string, n int) {
	for range 3000 {
		if b, err := os.ReadFile(ts.MkAbs(name)); err == nil && strings.Count(string(b), text) >= n {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%s has %q less than %d times:\n%s", name, text, n, ts.ReadFile(name))
}

// again gives up after a minute, in which what happens anyway every few seconds
// has not happened as often.
func again(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: again N FILE TEXT PROGRAM ARGS...")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	end := time.Now().Add(time.Minute)
	for i := range n {
		before := strings.Count(ts.ReadFile(args[1]), args[2])
		ts.Check(ts.Exec(args[3], args[4:]...))
		appears(ts, args[1], args[2], before+1)
		if time.Now().After(end) {
			ts.Fatalf("%q only %d times: it comes as if nobody had asked for it", args[2], i+1)
		}
	}
}

// unlimit raises the soft limit of RLIMIT_FSIZE.
func unlimit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unlimit FILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	var limit unix.Rlimit
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &limit))
	limit.Cur = limit.Max
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil))
}
