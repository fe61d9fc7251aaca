package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/storage/store"
	"github.com/lockstep-vm/lockstep/vm"
)

const (
	diskBytes = 128 << 20
	// diskSpan is what a program works on.
	diskSpan = diskBytes / 2
)

// diskPrograms are the work of `lockstep bench disk`.
var diskPrograms = []program{
	own(Storage, "seqread", "64 MiB in a row, 256 KiB at a time"),
	own(Storage, "seqread4k", "8192 reads of 4 KiB by eight processes, each in a row"),
	own(Storage, "randread", "8192 reads of 4 KiB by eight processes, anywhere"),
	own(Storage, "seqwrite", "64 MiB in a row, 256 KiB at a time, and a flush"),
	own(Storage, "seqwrite4k", "8192 writes of 4 KiB by eight processes, each in a row, and a flush of each"),
	own(Storage, "randwrite", "8192 writes of 4 KiB by eight processes, anywhere, and a flush of each"),
}

// megabytes are what a program of diskPrograms reads or writes, in MB.
func megabytes(name string) float64 {
	if name == "seqread" || name == "seqwrite" {
		return diskSpan / 1e6
	}
	return 8192 * 4096 / 1e6
}

// A DiskMode is how a guest's disk is kept.
type DiskMode string

// The modes.
const (
	SharedLogged DiskMode = "shared"        // what the primary reads goes to the backup in the log
	SharedReads  DiskMode = "reads: backup" // the backup reads for itself
	OnStore      DiskMode = "nbd"           // shared, on a block store
	LocalCopies  DiskMode = "local"         // each replica has an image of its own
)

// DiskModes are all, in the order in which they are shown.
var DiskModes = []DiskMode{SharedLogged, SharedReads, OnStore, LocalCopies}

// diskMachines are what a guest with a disk runs on.
var diskMachines = []Machine{Alone, Beside, Pair}

// DiskOptions of RunDisk.
type DiskOptions struct {
	Rounds   int        // at least 1
	Modes    []DiskMode // all for none
	Programs []string   // all for none
	Engine   string     // of vm.Config
	Mirror   string
	Progress func(image.Event)
	Out      io.Writer // for what happens
}

// RunDisk measures what a disk costs the primary of a pair, next to the same
// guest alone, and to one that shares the processor with another guest as the
// primary does with its backup.
func RunDisk(ctx context.Context, o DiskOptions) (*DiskReport, error) {
	modes := o.Modes
	if len(modes) == 0 {
		modes = DiskModes
	}
	for _, m := range modes {
		if !slices.Contains(DiskModes, m) {
			return nil, fmt.Errorf("bench: there is no mode %q of a disk; there are %q", m, DiskModes)
		}
	}
	some, err := chosen(diskPrograms, o.Programs)
	if err != nil {
		return nil, err
	}
	e, err := vm.OpenEngine(o.Engine)
	if err != nil {
		return nil, err
	}
	s := &stage{engine: o.Engine}
	if s.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	img, err := image.Ensure(ctx, image.Options{Name: image.Bench, Mirror: o.Mirror, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "lockstep-bench-"); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	if err := s.furnish(img, slices.Repeat(some, o.Rounds), true); err != nil {
		return nil, err
	}
	r := newDiskReport(o.Rounds, modes, some, img.KernelVersion, e.Name)
	for _, m := range modes {
		if err := s.runDisk(ctx, m, some, o, r); err != nil {
			return nil, fmt.Errorf("%s: %w", m, err)
		}
	}
	return r, nil
}

// runDisk measures a mode. All machines run all the time, and each program is
// run on one after the other, so what a host does over time falls on all.
func (s *stage) runDisk(ctx context.Context, m DiskMode, some []program, o DiskOptions, r *DiskReport) error {
	ctx, cancel := context.WithTimeout(ctx, patience*time.Duration(o.Rounds))
	defer cancel()
	dir, err := os.MkdirTemp(s.dir, "disks")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rigs := map[Machine]*rig{}
	for _, on := range diskMachines {
		fmt.Fprintf(o.Out, "%s: starting %s\n", m, on)
		done, err := s.giveDisks(m, on, dir)
		if err != nil {
			return err
		}
		defer done()
		if rigs[on], err = s.begin(ctx, on); err != nil {
			return err
		}
		defer rigs[on].end()
	}
	for round := range o.Rounds {
		fmt.Fprintf(o.Out, "%s: round %d of %d\n", m, round+1, o.Rounds)
		for i, p := range some {
			for j := range diskMachines {
				on := diskMachines[(i+j+round)%len(diskMachines)]
				got, err := rigs[on].turn(p.name)
				if err := errors.Join(ctx.Err(), err); err != nil {
					return fmt.Errorf("%s: %w", on, err)
				}
				if err := r.add(m, on, p.name, got); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// giveDisks gives a machine's guest a disk, and one to the guest beside it. What
// it returns is to be called when they are not used any more.
func (s *stage) giveDisks(m DiskMode, on Machine, dir string) (done func(), err error) {
	paths := [2]string{filepath.Join(dir, string(on)), filepath.Join(dir, string(on)+"-second")}
	for _, path := range paths {
		if err := writeDisk(path); err != nil {
			return nil, err
		}
	}
	done = func() {}
	if m == OnStore {
		srv, err := store.Start(store.Config{
			Listen:  []string{"127.0.0.1:0"},
			Exports: []store.Export{{Name: "disk", File: paths[0]}, {Name: "beside", File: paths[1]}},
			State:   filepath.Join(dir, string(on)+"-store"),
		})
		if err != nil {
			return nil, err
		}
		done = func() { _ = srv.Close() }
		paths = [2]string{srv.URL("disk"), srv.URL("beside")}
	}
	s.disk = &Disk{Path: paths[0], Bytes: diskBytes, BackupReads: m == SharedReads && on == Pair}
	s.other = &Disk{Path: paths[1], Bytes: diskBytes}
	if m == LocalCopies {
		s.disk.Backup, s.other.Backup = paths[1], paths[0]
	}
	return done, nil
}

// writeDisk makes an image of bytes that do not compress: a log cannot have
// less of them than was read.
func writeDisk(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), diskBytes); err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	return f.Sync()
}
