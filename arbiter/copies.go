package arbiter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/lockstep-vm/lockstep/ft"
)

// This file is what the cells say of the copies of local disks (DESIGN section
// 7). Cells are never changed, so each is a statement, and the one of the
// greatest generation counts.

func (k *keeper) NameCopies(cell ft.Cell, c ft.Copies) error {
	if c != ft.ArmedCopies(cell.Run, cell.Epoch, c.Primary, c.Backup) || c.Primary == (ft.CopyID{}) || c.Backup == (ft.CopyID{}) {
		panic(fmt.Sprintf("BUG: arbiter: the pairing of %v would name %+v", cell, c))
	}
	want := encode("armed", field{"primary", c.Primary[:]}, field{"backup", c.Backup[:]})
	have, err := k.Create(cell.VM, cellName("armed", cell), want)
	if err == nil && !bytes.Equal(have, want) {
		err = errors.New("another pairing of this epoch was named before")
	}
	if err != nil {
		return fmt.Errorf("arbiter: naming the copies of %v: %w", cell, err)
	}
	return nil
}

// copies is the statement that counts, of the latest run that makes one; newest
// is the ordinal of the last run.
func (k *keeper) copies(vm string, newest uint64) (ft.Copies, error) {
	claims, err := k.List(vm, "claim-")
	if err != nil {
		return ft.Copies{}, err
	}
	armed, err := k.List(vm, "armed-")
	if err != nil {
		return ft.Copies{}, err
	}
	for n := newest; n > 0; n-- {
		c, err := k.copiesOf(vm, n, append(claims, armed...))
		if err != nil || c != (ft.Copies{}) {
			return c, err
		}
	}
	return ft.Copies{}, nil
}

// copiesOf folds what one run says; zero if it has no local disks.
func (k *keeper) copiesOf(vm string, ordinal uint64, names []string) (ft.Copies, error) {
	run, _, first, err := k.readRun(vm, ordinal)
	if errors.Is(err, fs.ErrNotExist) {
		return ft.Copies{}, nil
	}
	if err != nil || first == (ft.CopyID{}) {
		return ft.Copies{}, err
	}
	c := ft.ClaimedCopies(run, 0, first)
	for _, name := range names {
		kind, _, _ := strings.Cut(name, "-")
		text, ok := strings.CutPrefix(name, fmt.Sprintf("%s-%d-%x-", kind, ordinal, run.ID))
		epoch, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil {
			continue
		}
		have, err := k.Read(vm, name)
		if err != nil {
			return ft.Copies{}, err
		}
		said, err := decodeCopies(have, kind, run, ft.Epoch(epoch))
		if err != nil {
			return ft.Copies{}, fmt.Errorf("%s: %w", name, err)
		}
		c = c.Later(said)
	}
	return c, nil
}

func decodeCopies(have []byte, kind string, run ft.Run, e ft.Epoch) (ft.Copies, error) {
	if kind == "armed" {
		var primary, backup ft.CopyID
		err := decode(have, kind, field{"primary", primary[:]}, field{"backup", backup[:]})
		return ft.ArmedCopies(run, e, primary, backup), err
	}
	_, winner, err := decodeClaim(have)
	if err == nil && winner == (ft.CopyID{}) {
		err = errors.New("damaged cell: the winner's copy is missing")
	}
	return ft.ClaimedCopies(run, e, winner), err
}

func (k *keeper) readRun(vm string, ordinal uint64) (run ft.Run, process ft.ProcessID, c ft.CopyID, err error) {
	run.Ordinal = ordinal
	have, err := k.Read(vm, runName(ordinal))
	if err == nil {
		run.ID, process, c, err = decodeRun(have)
	}
	return run, process, c, err
}

func decodeRun(have []byte) (id [16]byte, process ft.ProcessID, c ft.CopyID, err error) {
	fields := append([]field{{"id", id[:]}, {"process", process[:]}}, copyLine(have, &c)...)
	err = decode(have, "run", fields...)
	return id, process, c, err
}

func decodeClaim(have []byte) (process ft.ProcessID, c ft.CopyID, err error) {
	fields := append([]field{{"process", process[:]}}, copyLine(have, &c)...)
	err = decode(have, "claim", fields...)
	return process, c, err
}

// copyField is the line of a copy; none if it is zero.
func copyField(c ft.CopyID) []field {
	if c == (ft.CopyID{}) {
		return nil
	}
	return []field{{"copy", c[:]}}
}

// copyLine is the field of a copy to decode; none if the cell has no such line.
func copyLine(have []byte, c *ft.CopyID) []field {
	if !bytes.Contains(have, []byte("\ncopy ")) {
		return nil
	}
	return []field{{"copy", c[:]}}
}
