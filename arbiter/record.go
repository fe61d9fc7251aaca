package arbiter

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
	"github.com/lockstep-vm/lockstep/ft"
)

// Over makes an arbiter of a store of cells. The names of the cells of a VM:
//
//	run-ORDINAL                 a power-on: run id, process, copy
//	run-ORDINAL.ended           its planned end
//	claim-ORDINAL-ID-EPOCH      the winner of an epoch: process, copy
//	armed-ORDINAL-ID-EPOCH      the copies of a pairing that may be armed: primary, backup
//
// The copy of a cell is left out without local disks.
func Over(store cells.Store) Arbiter { return &keeper{Store: store} }

// keeper gives the cells their meaning.
type keeper struct{ cells.Store }

func (k *keeper) Claim(c ft.Claim) (owner ft.ProcessID, err error) {
	cell, copies := c.Cell, c.Copies
	if copies != (ft.Copies{}) && copies != ft.ClaimedCopies(cell.Run, cell.Epoch, copies.Primary) {
		panic(fmt.Sprintf("BUG: arbiter: the claim of %v would name %+v", cell, copies))
	}
	fields := append([]field{{"process", c.By[:]}}, copyField(copies.Primary)...)
	have, err := k.Create(cell.VM, cellName("claim", cell), encode("claim", fields...))
	if err == nil {
		owner, _, err = decodeClaim(have)
	}
	if err != nil {
		return owner, fmt.Errorf("arbiter: claim of %v: %w", cell, err)
	}
	return owner, nil
}

func (k *keeper) Last(vm string) (Record, bool, error) {
	rec, any, err := k.last(vm)
	if err == nil && any {
		rec.Copies, err = k.copies(vm, rec.Run.Ordinal)
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("arbiter: run record of %s: %w", vm, err)
	}
	return rec, any, nil
}

func (k *keeper) last(vm string) (rec Record, any bool, err error) {
	names, err := k.List(vm, "run-")
	if err != nil {
		return rec, false, err
	}
	ordinal := uint64(0)
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, "run-"), 10, 64)
		if err == nil {
			ordinal = max(ordinal, n)
		}
	}
	if ordinal == 0 {
		return rec, false, nil
	}
	if rec.Run, rec.Process, _, err = k.readRun(vm, ordinal); err != nil {
		return rec, false, err
	}
	_, err = k.Read(vm, endName(ordinal))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, false, err
	}
	rec.Ended = err == nil
	return rec, true, nil
}

func (k *keeper) BeginRun(p PowerOn) (ft.Run, error) {
	if (p.Copy == ft.CopyID{}) != (p.Mark == nil) {
		panic("BUG: arbiter: a copy and its mark belong together")
	}
	last, any, err := k.last(p.VM)
	if err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: run record of %s: %w", p.VM, err)
	}
	if any && last.Process == p.By {
		return last.Run, nil // our own power-on, asked again
	}
	if any && !last.Ended && !p.Force {
		return ft.Run{}, fmt.Errorf("%w (run %v)", ErrNotEnded, last.Run)
	}
	run := ft.Run{Ordinal: last.Run.Ordinal + 1}
	if _, err := rand.Read(run.ID[:]); err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: %w", err)
	}
	if p.Mark != nil {
		if err := p.Mark(ft.WinnerGeneration(run, 0)); err != nil {
			return ft.Run{}, err
		}
	}
	fields := append([]field{{"id", run.ID[:]}, {"process", p.By[:]}}, copyField(p.Copy)...)
	have, err := k.Create(p.VM, runName(run.Ordinal), encode("run", fields...))
	if err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: power-on of %s: %w", p.VM, err)
	}
	id, winner, _, err := decodeRun(have)
	if err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: power-on of %s: %w", p.VM, err)
	}
	if winner != p.By {
		return ft.Run{}, ErrTaken
	}
	run.ID = id
	return run, nil
}

func (k *keeper) EndRun(vm string, run ft.Run) error {
	_, err := k.Create(vm, endName(run.Ordinal), encode("ended", field{"id", run.ID[:]}))
	if err != nil {
		return fmt.Errorf("arbiter: end of run %v of %s: %w", run, vm, err)
	}
	return nil
}

func cellName(kind string, c ft.Cell) string {
	return fmt.Sprintf("%s-%d-%x-%d", kind, c.Run.Ordinal, c.Run.ID, c.Epoch)
}

func runName(ordinal uint64) string { return fmt.Sprintf("run-%d", ordinal) }
func endName(ordinal uint64) string { return runName(ordinal) + ".ended" }

// field is one line of a cell: a name and bytes, in hex.
type field struct {
	name  string
	bytes []byte
}

func encode(kind string, fields ...field) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lockstep %s 1\n", kind)
	for _, f := range fields {
		fmt.Fprintf(&b, "%s %x\n", f.name, f.bytes)
	}
	return b.Bytes()
}

// decode fills the fields' bytes; their lengths must be those of the cell.
func decode(have []byte, kind string, fields ...field) error {
	lines := strings.Split(strings.TrimSuffix(string(have), "\n"), "\n")
	if lines[0] != "lockstep "+kind+" 1" || len(lines) != len(fields)+1 {
		return fmt.Errorf("damaged cell: it starts with %.40q", lines[0])
	}
	for i, f := range fields {
		name, value, _ := strings.Cut(lines[i+1], " ")
		raw, err := hex.DecodeString(value)
		if err != nil || name != f.name || len(raw) != len(f.bytes) {
			return fmt.Errorf("damaged cell: line %d is %.80q", i+2, lines[i+1])
		}
		copy(f.bytes, raw)
	}
	return nil
}
