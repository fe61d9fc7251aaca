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
//	run-ORDINAL                 a power-on: run id and process
//	run-ORDINAL.ended           its planned end
//	claim-ORDINAL-ID-EPOCH      the winner of an epoch
func Over(store cells.Store) Arbiter { return &keeper{Store: store} }

// keeper gives the cells their meaning.
type keeper struct{ cells.Store }

func (k *keeper) Claim(cell ft.Cell, who ft.ProcessID) (owner ft.ProcessID, err error) {
	name := fmt.Sprintf("claim-%d-%x-%d", cell.Run.Ordinal, cell.Run.ID, cell.Epoch)
	have, err := k.Create(cell.VM, name, encode("claim", field{"process", who[:]}))
	if err != nil {
		return owner, fmt.Errorf("arbiter: claim of %v: %w", cell, err)
	}
	if err := decode(have, "claim", field{"process", owner[:]}); err != nil {
		return owner, fmt.Errorf("arbiter: claim of %v: %w", cell, err)
	}
	return owner, nil
}

func (k *keeper) Last(vm string) (Record, bool, error) {
	rec, any, err := k.last(vm)
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
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, "run-"), 10, 64)
		if err == nil && n > rec.Run.Ordinal {
			rec.Run.Ordinal = n
		}
	}
	if rec.Run.Ordinal == 0 {
		return rec, false, nil
	}
	have, err := k.Read(vm, runName(rec.Run.Ordinal))
	if err != nil {
		return rec, false, err
	}
	if err := decode(have, "run", field{"id", rec.Run.ID[:]}, field{"process", rec.Process[:]}); err != nil {
		return rec, false, err
	}
	_, err = k.Read(vm, endName(rec.Run.Ordinal))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, false, err
	}
	rec.Ended = err == nil
	return rec, true, nil
}

func (k *keeper) BeginRun(vm string, who ft.ProcessID, force bool) (ft.Run, error) {
	last, any, err := k.Last(vm)
	if err != nil {
		return ft.Run{}, err
	}
	if any && last.Process == who {
		return last.Run, nil // our own power-on, asked again
	}
	if any && !last.Ended && !force {
		return ft.Run{}, fmt.Errorf("%w (run %v)", ErrNotEnded, last.Run)
	}
	run := ft.Run{Ordinal: last.Run.Ordinal + 1}
	if _, err := rand.Read(run.ID[:]); err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: %w", err)
	}
	have, err := k.Create(vm, runName(run.Ordinal), encode("run", field{"id", run.ID[:]}, field{"process", who[:]}))
	if err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: power-on of %s: %w", vm, err)
	}
	var winner ft.ProcessID
	if err := decode(have, "run", field{"id", run.ID[:]}, field{"process", winner[:]}); err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: power-on of %s: %w", vm, err)
	}
	if winner != who {
		return ft.Run{}, ErrTaken
	}
	return run, nil
}

func (k *keeper) EndRun(vm string, run ft.Run) error {
	_, err := k.Create(vm, endName(run.Ordinal), encode("ended", field{"id", run.ID[:]}))
	if err != nil {
		return fmt.Errorf("arbiter: end of run %v of %s: %w", run, vm, err)
	}
	return nil
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
