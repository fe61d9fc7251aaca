package arbiter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/arbiter/arbitertest"
	"github.com/lockstep-vm/lockstep/ft"
)

// Without local disks the cells are those of an arbiter that knows no copies.
func TestCellsWithoutCopies(t *testing.T) {
	store := &arbitertest.Memory{}
	a := arbiter.Over(store)
	run, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: arbitertest.Process(1)})
	if err != nil {
		t.Fatal(err)
	}
	cell := ft.Cell{VM: "web", Run: run, Epoch: 3}
	if _, err := a.Claim(ft.Claim{Cell: cell, By: arbitertest.Process(2)}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"run-1":                             fmt.Sprintf("lockstep run 1\nid %x\nprocess %v\n", run.ID, arbitertest.Process(1)),
		fmt.Sprintf("claim-1-%x-3", run.ID): fmt.Sprintf("lockstep claim 1\nprocess %v\n", arbitertest.Process(2)),
	} {
		if have, err := store.Read("web", name); err != nil || string(have) != want {
			t.Errorf("%s is %q, %v; want %q", name, have, err, want)
		}
	}
}

// A damaged statement is an error: to pass over it would make an older copy the
// current one.
func TestDamagedStatementIsAnError(t *testing.T) {
	for _, damage := range []string{
		"", "lockstep claim 1\n", "lockstep claim 1\nprocess %v\n", "lockstep claim 1\nprocess %v\ncopy 00\n",
		"lockstep claim 1\nprocess %v\ncopy %[1]x\nmore 00\n", "lockstep armed 1\nprimary %v\nbackup %[1]x\n",
	} {
		store := &arbitertest.Memory{}
		a := arbiter.Over(store)
		run, err := a.BeginRun(arbiter.PowerOn{
			VM: "web", By: arbitertest.Process(1), Copy: ft.CopyID{1}, Mark: func(ft.Generation) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		content := damage
		if strings.Contains(damage, "%") {
			content = fmt.Sprintf(damage, arbitertest.Process(2))
		}
		if _, err := store.Create("web", fmt.Sprintf("claim-1-%x-1", run.ID), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if rec, _, err := a.Last("web"); err == nil || !strings.Contains(err.Error(), "damaged cell") {
			t.Errorf("%q: %+v, %v", content, rec.Copies, err)
		}
	}
}
