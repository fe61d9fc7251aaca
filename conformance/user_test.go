package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// System calls of Linux.
const (
	sysWrite = 64
	sysExit  = 93
)

// userImage lays out a batch for user mode: the programs run one into the next
// without a loader, and the last writes the whole image to standard output.
func userImage(b []*program) []byte {
	ram := make([]byte, slotSize*(len(b)+1))
	for i, g := range b {
		at := slotAddr(i)
		slot := ram[at-ramBase:][:slotSize]
		g.place(slot, at, 0)
		copy(slot[code:], g.assembleUser(at, i == len(b)-1, len(ram)))
	}
	return ram
}

// assembleUser makes code that sets the registers, runs the items, stores the
// registers and goes on to the next slot. S9 to S11 are not a program's own.
func (g *program) assembleUser(at uint64, last bool, size int) []byte {
	c := &scope{Program: asm.New(at + code), g: g, slot: at}
	c.LI(asm.S9, int64(at))
	for r := asm.FT0; r <= asm.FT11; r++ {
		c.FLD(r, inF+8*int64(r), asm.S9)
	}
	c.LD(asm.T0, inFcsr, asm.S9)
	c.CSRW(asm.FCSR, asm.T0)
	for r := asm.RA; r <= asm.T6; r++ {
		if r != asm.S9 {
			c.LD(r, inX+8*int64(r), asm.S9)
		}
	}
	c.items()

	c.LI(asm.S9, int64(at))
	for r := asm.RA; r <= asm.T6; r++ {
		c.SD(r, outX+8*int64(r), asm.S9)
	}
	for r := asm.FT0; r <= asm.FT11; r++ {
		c.FSD(r, outF+8*int64(r), asm.S9)
	}
	c.LI(asm.T1, outCSRs)
	c.ADD(asm.T1, asm.T1, asm.S9)
	c.CSRR(asm.T0, asm.FCSR)
	c.SD(asm.T0, 0, asm.T1)
	if !last {
		c.LI(asm.T0, int64(at+slotSize+code))
		c.JALR(asm.Zero, 0, asm.T0)
		return c.Bytes()
	}
	c.LI(asm.A0, 1)
	c.LI(asm.A1, ramBase)
	c.LI(asm.A2, int64(size))
	c.LI(asm.A7, sysWrite)
	c.ECALL()
	c.LI(asm.A0, 0)
	c.LI(asm.A7, sysExit)
	c.ECALL()
	return c.Bytes()
}

// executable is a static program of one segment that holds the image.
func executable(image []byte) []byte {
	const offset = 0x1000
	le := binary.LittleEndian
	h := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	h = le.AppendUint16(h, 2)             // ET_EXEC
	h = le.AppendUint16(h, 243)           // EM_RISCV
	h = le.AppendUint32(h, 1)             // version
	h = le.AppendUint64(h, slotBase+code) // entry
	h = le.AppendUint64(h, 64)            // program headers
	h = le.AppendUint64(h, 0)             // no sections
	h = le.AppendUint32(h, 5)             // RVC, double-float ABI
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		h = le.AppendUint16(h, v)
	}
	h = le.AppendUint32(h, 1) // PT_LOAD
	h = le.AppendUint32(h, 7) // RWX
	for _, v := range []uint64{offset, ramBase, ramBase, uint64(len(image)), uint64(len(image)), 0x1000} {
		h = le.AppendUint64(h, v)
	}
	return append(append(h, make([]byte, offset-len(h))...), image...)
}

// runUser runs an image in user mode up to its first system call, the write of
// the result.
func runUser(t *testing.T, image []byte) ([]byte, uint64) {
	t.Helper()
	ram := mem.New(ramSize)
	ram.Write(ramBase, image)
	env := &environment{}
	h := hart.New(ram, env, hart.Options{})
	env.h = h
	h.Reset(slotBase+code, rv64.User, 0, 0)
	h.OpenPMP()
	h.Mstatus = 1 << 13 // FS: initial
	// Any trap ends the run.
	p := asm.New(ramBase)
	p.LI(asm.T0, syscon)
	p.LI(asm.T1, 0x5555)
	p.SW(asm.T1, 0, asm.T0)
	ram.Write(ramBase+0x100, p.Bytes())
	h.Mtvec = ramBase + 0x100
	if exit := h.Run(maxIcount); exit != ended {
		t.Fatalf("the hart stopped at %#x: %v", h.PC, exit)
	}
	if rv64.Cause(h.Mcause) != rv64.EcallU || h.X[asm.A7] != sysWrite {
		t.Fatalf("trap %d at %#x, tval %#x", h.Mcause, h.Mepc, h.Mtval)
	}
	out := make([]byte, len(image))
	ram.Read(ramBase, out)
	return out, uint64(h.Icount)
}

// Calm programs end on qemu-riscv64 as they end on the hart. It is another way
// through QEMU, and the quickest.
func TestAgainstUserModeQEMU(t *testing.T) {
	path, err := exec.LookPath("qemu-riscv64")
	if err != nil {
		citest.Unable(t, fmt.Errorf("%w: install it (apt-get install qemu-user)", err))
	}
	first := number(t, "LOCKSTEP_CONFORMANCE_SEED", 1)
	rounds := max(1, number(t, "LOCKSTEP_CONFORMANCE", 1))
	const programs = 40
	total := uint64(0)
	for _, k := range calm {
		t.Run(k.name, func(t *testing.T) {
			for i := range rounds {
				b := batch(k, first+i*programs, programs)
				image := userImage(b)
				ours, n := runUser(t, image)
				theirs := onUserModeQEMU(t, path, image)
				total += n
				for i, g := range b {
					at := slotAddr(i) - ramBase
					if diff := g.difference(ours[at:][:slotSize], theirs[at:][:slotSize]); diff != "" {
						t.Fatalf("%v differs:\n%s", g, indent(diff))
					}
				}
			}
		})
	}
	t.Logf("%d instructions compared", total)
}

func onUserModeQEMU(t *testing.T, path string, image []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, executable(image), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("qemu-riscv64: %v: %s", err, stderr.Bytes())
	}
	if len(out) != len(image) {
		t.Fatalf("qemu-riscv64 wrote %d bytes, want %d", len(out), len(image))
	}
	return out
}
