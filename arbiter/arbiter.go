// Package arbiter decides, once and for ever, who may go on: a test-and-set per
// (VM, run, epoch), and the VM's run record (R15, R16). Both are kept as cells
// that are created once and never change, in a place that both hosts reach and
// that is, where it matters, on neither of them.
package arbiter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockstep-vm/lockstep/arbiter/remote"
	"github.com/lockstep-vm/lockstep/ft"
)

// ErrNotEnded is what BeginRun answers while the last run is not recorded as
// ended: it may still be running somewhere.
var ErrNotEnded = errors.New("arbiter: the last run of this VM is not recorded as ended")

// ErrTaken is what BeginRun answers when another process began a run first.
var ErrTaken = errors.New("arbiter: another process has just powered this VM on")

// Arbiter is what a replica asks. Its methods may be called from several
// goroutines. Every answer is durable before it is given; after an error nothing
// is known, and asking again costs nothing.
type Arbiter interface {
	// Claim is the test-and-set. It answers the process that owns the cell: the
	// one that claims if it won, now or before. With local disks the cell names
	// the winner's copy as well; the images were marked with Copies.Gen, durably,
	// before.
	Claim(c ft.Claim) (owner ft.ProcessID, err error)
	// NameCopies records both copies of the pairing of a cell, which is about to
	// be armed. The images were marked with Copies.Gen, durably, before. Asking
	// again is no error.
	NameCopies(cell ft.Cell, c ft.Copies) error
	// Last is the record of the VM's last run; false if it was never powered on.
	Last(vm string) (Record, bool, error)
	// BeginRun records a power-on. It refuses with ErrNotEnded unless the last
	// run is recorded as ended or a person orders it with Force: nobody may
	// conclude that a VM that runs alone is dead.
	BeginRun(p PowerOn) (ft.Run, error)
	// EndRun records the planned end of a run: the guest is off and every disk
	// write before that is done. Recording it again is no error.
	EndRun(vm string, run ft.Run) error
	// Ping is a sign of life: a claim would be answered now.
	Ping() error
	// Durable says whether a claim survives a crash of the arbiter's host, and
	// why not.
	Durable() (ok bool, why string)
	// Outside says whether the arbiter lies on a third place, as far as can be
	// known from this host, and why not.
	Outside() (ok bool, why string)
	// Close ends the use of the arbiter; calls that wait return an error.
	Close() error
}

// PowerOn asks for a new run of a VM.
type PowerOn struct {
	VM string
	By ft.ProcessID
	// Force means that the operator has made sure, by hand, that the last run's
	// processes are gone.
	Force bool
	// Copy is the copy of the local disks that the run begins with; zero without
	// local disks. The caller has asked ft.PowerOn whether it may.
	Copy ft.CopyID
	// Mark marks the images of Copy, durably. It is called with the generation
	// of the run before the run is recorded: a copy that is current is never
	// behind the record. An error of it is BeginRun's. Nil without local disks.
	Mark func(ft.Generation) error
}

// Record is what is known of a VM's last run.
type Record struct {
	Run     ft.Run
	Process ft.ProcessID // who began it
	Ended   bool
	// Copies are the current copies of the VM's local disks, as this run or, if
	// it had none, an earlier one has named them last. Zero without local disks.
	Copies ft.Copies
}

// Open opens the arbiter that a spec names:
//
//	file:DIRECTORY, DIRECTORY   a directory that both hosts reach
//	exec:COMMAND                a driver that is started (package remote), as
//	                            exec:lockstep-etcd --endpoints https://a:2379
//	unix:PATH                   a driver that listens there
//
// A directory whose name begins like another form needs file: before it.
func Open(name string) (Arbiter, error) {
	if dial, ok, err := remote.Split(name); ok {
		if err != nil {
			return nil, fmt.Errorf("arbiter: %q: %w", name, err)
		}
		store, err := remote.Open(dial)
		if err != nil {
			return nil, fmt.Errorf("arbiter: %s: %w", name, err)
		}
		return Over(store), nil
	}
	d, err := OpenDir(strings.TrimPrefix(name, "file:"))
	if err != nil {
		return nil, err
	}
	return Over(d), nil
}
