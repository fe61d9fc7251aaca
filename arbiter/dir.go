// Package arbiter decides, once and for ever, who may go on: a test-and-set per
// (VM, run, epoch), and the VM's run record, both on storage that both hosts
// share (R15, R16).
//
// Everything is a file that is created complete and never changed or deleted:
// it is written under a temporary name, fsynced, given its final name with
// link(2), which fails if the name exists, and the directory is fsynced before
// the answer is given. Who asks again reads the same file.
//
//	DIR/VM/run-ORDINAL                 a power-on: run id and process
//	DIR/VM/run-ORDINAL.ended           its planned end
//	DIR/VM/claim-ORDINAL-ID-EPOCH      the winner of an epoch
package arbiter

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lockstep-vm/lockstep/ft"
)

// ErrNotEnded is what BeginRun answers while the last run is not recorded as
// ended: it may still be running somewhere.
var ErrNotEnded = errors.New("arbiter: the last run of this VM is not recorded as ended")

// ErrTaken is what BeginRun answers when another process began a run first.
var ErrTaken = errors.New("arbiter: another process has just powered this VM on")

// Dir is an arbiter on a directory.
type Dir struct {
	path    string
	files   files
	durable bool
	why     string
}

// Open uses the directory at path, creating it if needed. A file system without
// hard links cannot arbitrate and is refused.
func Open(path string) (*Dir, error) {
	d := &Dir{path: path, files: osFiles{}}
	if err := d.files.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("arbiter: %w", err)
	}
	if err := d.probe(); err != nil {
		return nil, err
	}
	d.durable, d.why = durable(path)
	return d, nil
}

// Durable says whether a claim survives a crash of the arbiter's host, and why
// not.
func (d *Dir) Durable() (ok bool, why string) { return d.durable, d.why }

// Ping is a sign of life: it writes and reads a file in the directory.
func (d *Dir) Ping() error { return d.probe() }

// probe tries what a claim needs on names that mean nothing.
func (d *Dir) probe() error {
	target := filepath.Join(d.path, ".probe-"+nonce())
	defer func() { _ = d.files.Remove(target) }()
	_, _, err := d.create(target, []byte("probe\n"))
	if err != nil {
		return fmt.Errorf("arbiter: %s cannot be used: it needs hard links (link(2)) and fsync: %w", d.path, err)
	}
	return nil
}

// Claim is the test-and-set. It answers the process that owns the cell: who if
// it won, now or before. On an error nothing is known: ask again.
func (d *Dir) Claim(cell ft.Cell, who ft.ProcessID) (owner ft.ProcessID, err error) {
	dir, err := d.vmDir(cell.VM)
	if err != nil {
		return owner, err
	}
	name := fmt.Sprintf("claim-%d-%x-%d", cell.Run.Ordinal, cell.Run.ID, cell.Epoch)
	_, have, err := d.create(filepath.Join(dir, name), encode("claim", field{"process", who[:]}))
	if err != nil {
		return owner, fmt.Errorf("arbiter: claim of %v: %w", cell, err)
	}
	if err := decode(have, "claim", field{"process", owner[:]}); err != nil {
		return owner, fmt.Errorf("arbiter: claim of %v: %w", cell, err)
	}
	return owner, nil
}

// Record is what is known of a VM's last run.
type Record struct {
	Run     ft.Run
	Process ft.ProcessID // who began it
	Ended   bool
}

// Last is the record of the VM's last run; false if it was never powered on.
func (d *Dir) Last(vm string) (Record, bool, error) {
	dir, err := d.vmDir(vm)
	if err != nil {
		return Record{}, false, err
	}
	names, err := d.files.List(dir)
	if err != nil {
		return Record{}, false, fmt.Errorf("arbiter: run record of %s: %w", vm, err)
	}
	last := uint64(0)
	for _, name := range names {
		if n, err := strconv.ParseUint(strings.TrimPrefix(name, "run-"), 10, 64); err == nil && strings.HasPrefix(name, "run-") {
			last = max(last, n)
		}
	}
	if last == 0 {
		return Record{}, false, nil
	}
	rec := Record{Run: ft.Run{Ordinal: last}, Ended: slices.Contains(names, fmt.Sprintf("run-%d.ended", last))}
	have, err := d.files.ReadFile(filepath.Join(dir, fmt.Sprintf("run-%d", last)))
	if err == nil {
		err = decode(have, "run", field{"id", rec.Run.ID[:]}, field{"process", rec.Process[:]})
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("arbiter: run record of %s: %w", vm, err)
	}
	return rec, true, nil
}

// BeginRun records a power-on. It refuses with ErrNotEnded unless the last run
// is recorded as ended or a person orders it with force: nobody may conclude
// that a VM that runs alone is dead. Force means that the operator has made
// sure, by hand, that the last run's processes are gone.
func (d *Dir) BeginRun(vm string, who ft.ProcessID, force bool) (ft.Run, error) {
	last, any, err := d.Last(vm)
	if err != nil {
		return ft.Run{}, err
	}
	if any && !last.Ended && last.Process != who && !force {
		return ft.Run{}, fmt.Errorf("%w (run %v)", ErrNotEnded, last.Run)
	}
	if any && last.Process == who {
		return last.Run, nil // our own power-on, asked again
	}
	run := ft.Run{Ordinal: last.Run.Ordinal + 1}
	if _, err := rand.Read(run.ID[:]); err != nil {
		return ft.Run{}, fmt.Errorf("arbiter: %w", err)
	}
	dir, err := d.vmDir(vm)
	if err != nil {
		return ft.Run{}, err
	}
	_, have, err := d.create(filepath.Join(dir, fmt.Sprintf("run-%d", run.Ordinal)),
		encode("run", field{"id", run.ID[:]}, field{"process", who[:]}))
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

// EndRun records the planned end of a run: the guest is off and every disk
// write before that is done. Recording it again is no error.
func (d *Dir) EndRun(vm string, run ft.Run) error {
	dir, err := d.vmDir(vm)
	if err != nil {
		return err
	}
	_, _, err = d.create(filepath.Join(dir, fmt.Sprintf("run-%d.ended", run.Ordinal)), encode("ended", field{"id", run.ID[:]}))
	if err != nil {
		return fmt.Errorf("arbiter: end of run %v of %s: %w", run, vm, err)
	}
	return nil
}

var vmName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (d *Dir) vmDir(vm string) (string, error) {
	if !vmName.MatchString(vm) {
		return "", fmt.Errorf("arbiter: %q cannot name a VM: use letters, digits, dot, dash and underscore", vm)
	}
	dir := filepath.Join(d.path, vm)
	if err := d.files.MkdirAll(dir); err != nil {
		return "", fmt.Errorf("arbiter: %w", err)
	}
	// The VM's own directory must survive as surely as what is put in it.
	if err := d.files.SyncDir(d.path); err != nil {
		return "", fmt.Errorf("arbiter: %w", err)
	}
	return dir, nil
}

// create makes target with content unless it exists. It returns whether it was
// made and the content it has now; both are durable when it returns.
func (d *Dir) create(target string, content []byte) (made bool, have []byte, err error) {
	dir := filepath.Dir(target)
	temp := filepath.Join(dir, ".new-"+nonce())
	if err := d.files.WriteSynced(temp, content); err != nil {
		return false, nil, err
	}
	defer func() { _ = d.files.Remove(temp) }()
	linkErr := d.files.Link(temp, target)
	if linkErr != nil && !errors.Is(linkErr, fs.ErrExist) {
		// NFS may lose the answer of a link that happened: the link count tells.
		if n, err := d.files.LinkCount(temp); err != nil || n != 2 {
			return false, nil, linkErr
		}
		linkErr = nil
	}
	if err := d.files.SyncDir(dir); err != nil {
		return false, nil, err
	}
	have, err = d.files.ReadFile(target)
	return linkErr == nil, have, err
}

func nonce() string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("BUG: crypto/rand does not fail: " + err.Error())
	}
	return hex.EncodeToString(b[:])
}

// field is one line of a file: a name and bytes, in hex.
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

// decode fills the fields' bytes; their lengths must be those of the file.
func decode(have []byte, kind string, fields ...field) error {
	lines := strings.Split(strings.TrimSuffix(string(have), "\n"), "\n")
	if lines[0] != "lockstep "+kind+" 1" || len(lines) != len(fields)+1 {
		return fmt.Errorf("damaged file: it starts with %.40q", lines[0])
	}
	for i, f := range fields {
		name, value, _ := strings.Cut(lines[i+1], " ")
		raw, err := hex.DecodeString(value)
		if err != nil || name != f.name || len(raw) != len(f.bytes) {
			return fmt.Errorf("damaged file: line %d is %.80q", i+2, lines[i+1])
		}
		copy(f.bytes, raw)
	}
	return nil
}
