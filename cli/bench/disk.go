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

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/storage/store"
	"github.com/lockstep-vm/lockstep/vm"
)

const (
	diskBytes = 128 << 20
	// diskSpan is what a program works on.
	diskSpan = diskBytes / 2
	// longRest is long enough for a machine to tell of its log between two
	// programs, in microseconds.
	longRest = 400_000
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

// settled is the programs behind a line that is typed when the machine is what it
// is to be, and before one that does nothing: what was logged before the first is
// the boot's, and the machine tells of the last one's log while the guest rests.
func settled() []program {
	line := program{name: lineProgram, run: "busybox head -n 1"}
	nothing := program{name: "nothing", run: "busybox true"}
	return slices.Concat([]program{line}, diskPrograms, []program{nothing})
}

// lineProgram waits for a line.
const lineProgram = "line"

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
	if err := s.furnish(img, settled(), longRest); err != nil {
		return nil, err
	}
	paths := [2]string{filepath.Join(s.dir, "disk"), filepath.Join(s.dir, "beside")}
	for _, path := range paths {
		if err := writeDisk(path); err != nil {
			return nil, err
		}
	}
	r := newDiskReport(o.Rounds, modes, img.KernelVersion, e.Name)
	for round := range o.Rounds {
		for i := range modes {
			m := modes[(i+round)%len(modes)]
			for _, on := range diskMachines {
				fmt.Fprintf(o.Out, "round %d of %d: %s, %s\n", round+1, o.Rounds, m, on)
				got, err := s.runDisk(ctx, m, on, paths)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", m, on, err)
				}
				if err := r.add(m, on, got); err != nil {
					return nil, err
				}
			}
		}
	}
	return r, nil
}

// runDisk runs the guest with a disk on one machine. The second path is of the
// disk of the guest beside it.
func (s *stage) runDisk(ctx context.Context, m DiskMode, on Machine, paths [2]string) (map[string]Measurement, error) {
	if m == LocalCopies {
		// Fresh ones: a copy belongs to the VM whose arbiter has named it.
		dir, err := os.MkdirTemp(s.dir, "copies")
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		paths = [2]string{filepath.Join(dir, "own"), filepath.Join(dir, "second")}
		for _, to := range paths {
			if err := writeDisk(to); err != nil {
				return nil, err
			}
		}
	}
	if m == OnStore {
		srv, err := store.Start(store.Config{
			Listen:  []string{"127.0.0.1:0"},
			Exports: []store.Export{{Name: "disk", File: paths[0]}, {Name: "beside", File: paths[1]}},
			State:   filepath.Join(s.dir, fmt.Sprintf("store%d", s.launched)),
		})
		if err != nil {
			return nil, err
		}
		defer func() { _ = srv.Close() }()
		paths = [2]string{srv.URL("disk"), srv.URL("beside")}
	}
	s.disk = &Disk{Path: paths[0], Bytes: diskBytes, BackupReads: m == SharedReads && on == Pair}
	s.other = &Disk{Path: paths[1], Bytes: diskBytes}
	if m == LocalCopies {
		s.disk.Backup, s.other.Backup = paths[1], paths[0]
	}
	return s.run(ctx, on)
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
