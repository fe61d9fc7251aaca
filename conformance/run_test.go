package conformance

import (
	"fmt"
	"strings"
	"testing"

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
const maxIcount = 20_000_000

// newHart is a hart at the loader's first instruction.
func newHart(t *testing.T, image []byte, opt hart.Options) (*hart.Hart, *mem.RAM) {
	t.Helper()
	ram := mem.New(ramSize)
	if !ram.Write(ramBase, image) {
		t.Fatal("the image does not fit")
	}
	env := &environment{}
	h := hart.New(ram, env, opt)
	env.h = h
	h.Reset(ramBase, rv64.MachineMode, 0, 0)
	h.SetMtimecmp(0) // as QEMU's after a reset: MTIP shows
	return h, ram
}

// runHart runs an image to its end and returns RAM and the position. cut is how
// far one Run goes; between two, caches are dropped if drop says so.
func runHart(t *testing.T, image []byte, opt hart.Options, cut machine.Icount, drop bool) ([]byte, machine.Icount) {
	t.Helper()
	out, n, err := tryHart(t, image, opt, cut, drop)
	if err != nil {
		t.Fatal(err)
	}
	return out, n
}

// tryHart is runHart for images that may not end.
func tryHart(t *testing.T, image []byte, opt hart.Options, cut machine.Icount, drop bool) ([]byte, machine.Icount, error) {
	t.Helper()
	h, ram := newHart(t, image, opt)
	for until := cut; ; until += cut {
		exit := h.Run(until)
		if exit == ended {
			break
		}
		if exit != machine.Reached || h.Icount != until || until >= maxIcount {
			return nil, 0, fmt.Errorf("the hart stopped at %d, PC %#x: %v", h.Icount, h.PC, exit)
		}
		if drop {
			h.DropCaches()
		}
	}
	out := make([]byte, imageLen)
	ram.Read(ramBase, out)
	return out, h.Icount, nil
}

// randomInstructions is how many attempts of the batch's programs themselves
// an image takes: those of the loader and of the trap handlers do not count.
// The image runs cut at every instruction; RAM afterwards is returned too.
func randomInstructions(t *testing.T, image []byte, opt hart.Options) (uint64, []byte) {
	t.Helper()
	h, ram := newHart(t, image, opt)
	n := uint64(0)
	for until := h.Icount + 1; ; until++ {
		if off := h.PC - slotBase; off < imageLen && off%slotSize >= code || h.PC-pagesVA < fetchPages<<12 {
			n++
		}
		switch exit := h.Run(until); {
		case exit == ended:
			out := make([]byte, imageLen)
			ram.Read(ramBase, out)
			return n, out
		case exit != machine.Reached || until > maxIcount:
			t.Fatalf("the hart stopped at %d, PC %#x: %v", h.Icount, h.PC, exit)
		}
	}
}

// indent is for reports.
func indent(s string) string { return "\t" + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n\t") }
