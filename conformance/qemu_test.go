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

	"github.com/lockstep-vm/lockstep/internal/citest"
)

// A feature is an extension of ours that not every QEMU has, by the name of
// QEMU's property.
type feature string

const (
	zicond  feature = "zicond"
	zicbom  feature = "zicbom"
	zicboz  feature = "zicboz"
	zawrs   feature = "zawrs"
	svinval feature = "svinval"
	svadu   feature = "svadu" // A and D are set, or not, as menvcfg.ADUE says
)

var features = []feature{zicond, zicbom, zicboz, zawrs, svinval, svadu}

// An emulator is a QEMU with the model that resembles our hart most.
type emulator struct {
	path    string
	version string
	model   string
	lacks   []feature
}

// theQEMU is the one at LOCKSTEP_QEMU, or that of the PATH.
var theQEMU = sync.OnceValues(func() (*emulator, error) {
	name := os.Getenv("LOCKSTEP_QEMU")
	if name == "" {
		name = "qemu-system-riscv64"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%w: install it (apt-get install qemu-system-misc), or name one in LOCKSTEP_QEMU", err)
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(version), "\n")
	return fit(&emulator{path: path, version: strings.TrimPrefix(line, "QEMU emulator ")})
})

// fit finds the model: it has our extensions as far as this QEMU knows them,
// and none that we lack.
func fit(q *emulator) (*emulator, error) {
	settings := []string{"zba=on", "zbb=on", "zbs=on", "sstc=on", "svade=on"}
	for _, f := range features {
		settings = append(settings, string(f)+"=on")
	}
	for _, name := range []string{"h", "v", "debug", "zbc", "zbkb", "zfa", "zfh", "zfhmin", "Zfh", "Zfhmin", "zcb", "zcmop", "zimop",
		"zacas", "zabha", "svnapot", "svpbmt", "smcdeleg", "ssccfg", "smrnmi", "sscofpmf", "xventanacondops"} {
		settings = append(settings, name+"=off")
	}
	for {
		q.model = "rv64," + strings.Join(settings, ",")
		_, err := q.run(image(nil), patience)
		if err == nil {
			return q, nil
		}
		// QEMU names the first property that it does not know.
		before := len(settings)
		settings = slices.DeleteFunc(settings, func(s string) bool {
			name, _, _ := strings.Cut(s, "=")
			unknown := strings.Contains(err.Error(), "."+name+"' not found")
			if unknown && slices.Contains(features, feature(name)) {
				q.lacks = append(q.lacks, feature(name))
			}
			return unknown
		})
		if len(settings) == before {
			return nil, err
		}
	}
}

// needQEMU finds QEMU, or skips. CI must have it.
func needQEMU(t *testing.T) *emulator {
	t.Helper()
	q, err := theQEMU()
	if err != nil {
		citest.Unable(t, err)
	}
	return q
}

// A batch takes QEMU less than a second on a machine that has nothing else to
// do. What is shrunk may not end at all, and waits for less.
const (
	patience  = 60 * time.Second
	shrinking = 15 * time.Second
)

// run runs an image to its end and returns RAM.
func (q *emulator) run(image []byte, patience time.Duration) ([]byte, error) {
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, q.path,
		"-M", "virt,memory-backend=ram", "-cpu", q.model, "-m", fmt.Sprint(ramSize>>20),
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

func onQEMU(t *testing.T, image []byte) []byte {
	t.Helper()
	out, err := needQEMU(t).run(image, patience)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
