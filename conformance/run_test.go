package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// environment has nothing but the register that ends the run.
type environment struct{ h *hart.Hart }

const ended = machine.Exit(200)

func (e *environment) Load(machine.GPA, uint8) (uint64, bool) { return 0, false }

func (e *environment) Store(gpa machine.GPA, size uint8, v uint64) bool {
	if gpa == syscon && size == 4 && v == 0x5555 {
		e.h.RequestExit(ended)
		return true
	}
	return false
}

func (e *environment) Ecall(*hart.Hart) bool { return false }
func (e *environment) Stored(*hart.Hart)     {}

// maxIcount is far more than a batch needs.
const maxIcount = 200_000_000

// runHart runs an image to its end and returns RAM and the position. cut is how
// far one Run goes; between two, caches are dropped if drop says so.
func runHart(t *testing.T, image []byte, opt hart.Options, cut machine.Icount, drop bool) ([]byte, machine.Icount) {
	t.Helper()
	ram := mem.New(ramSize)
	if !ram.Write(ramBase, image) {
		t.Fatal("the image does not fit")
	}
	env := &environment{}
	h := hart.New(ram, env, opt)
	env.h = h
	h.Reset(ramBase, rv64.MachineMode, 0, 0)
	h.OpenPMP()
	h.Menvcfg = rv64.EnvADUE
	h.SetMtimecmp(0) // as QEMU's after a reset: MTIP shows
	for until := cut; ; until += cut {
		exit := h.Run(until)
		if exit == ended {
			break
		}
		if exit != machine.Reached || h.Icount != until || until > maxIcount {
			t.Fatalf("the hart stopped at %d, PC %#x: %v; it should reach %d", h.Icount, h.PC, exit, until)
		}
		if drop {
			h.DropCaches()
		}
	}
	out := make([]byte, imageLen)
	ram.Read(ramBase, out)
	return out, h.Icount
}

// qemuPath finds QEMU, or skips. CI must have it.
var qemuPath = sync.OnceValues(func() (string, error) { return exec.LookPath("qemu-system-riscv64") })

func needQEMU(t *testing.T) string {
	t.Helper()
	path, err := qemuPath()
	if err == nil {
		return path
	}
	const how = "qemu-system-riscv64 is not installed (apt-get install qemu-system-misc)"
	if os.Getenv("CI") == "true" {
		t.Fatal(how)
	}
	t.Skip(how)
	return ""
}

// cpu is a model with the extensions of ours, as far as this QEMU knows their
// names.
var (
	cpu         = sync.OnceValues(func() (string, error) { return findCPU("rv64,zba=off,zbb=off,zbs=off") })
	cpuWithBits = sync.OnceValues(func() (string, error) { return findCPU("rv64,zba=on,zbb=on,zbs=on") })
)

func findCPU(model string) (string, error) {
	path, err := qemuPath()
	if err != nil {
		return "", err
	}
	off := []string{"h", "v", "zfa", "zawrs", "zicbom", "zicbop", "zicboz", "zcb", "zbc", "zicond", "zacas", "zabha", "zfh", "zfhmin", "smcdeleg", "svade"}
	for {
		try := model
		for _, name := range off {
			try += "," + name + "=off"
		}
		_, err := runQEMU(path, try, image(nil))
		if err == nil {
			return try, nil
		}
		// QEMU names the first property that it does not know.
		before := len(off)
		off = slices.DeleteFunc(off, func(name string) bool { return strings.Contains(err.Error(), "."+name+"' not found") })
		if len(off) == before {
			return "", err
		}
	}
}

// runQEMU runs an image to its end and returns RAM.
func runQEMU(path, model string, image []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ram")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(file, ramSize); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path,
		"-M", "virt,memory-backend=ram", "-cpu", model, "-m", fmt.Sprint(ramSize>>20),
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%d,mem-path=%s,share=on", ramSize, file),
		"-bios", "none", "-display", "none", "-serial", "none", "-monitor", "none", "-net", "none")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu: %w: %s", err, bytes.TrimSpace(out))
	}
	out := make([]byte, imageLen)
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = io.ReadFull(f, out)
	return out, err
}

func onQEMU(t *testing.T, k kind, image []byte) []byte {
	t.Helper()
	path := needQEMU(t)
	model, err := cpuWithBits()
	if err != nil {
		t.Fatal(err)
	}
	out, err := runQEMU(path, model, image)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// indent is for reports.
func indent(s string) string { return "\t" + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n\t") }
