package arbiter

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// Dir is a store of cells in a directory that both hosts reach. Every cell is a
// file that is created complete and never changed or deleted: it is written
// under a temporary name, fsynced, given its final name with link(2), which
// fails if the name exists, and the directory is fsynced before the answer is
// given. Who asks again reads the same file.
//
//	DIR/VM/NAME
type Dir struct {
	path    string
	files   files
	durable bool
	why     string
}

// OpenDir uses the directory at path, creating it if needed. A file system
// without hard links cannot arbitrate and is refused.
func OpenDir(path string) (*Dir, error) {
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

// Outside is Store's.
func (d *Dir) Outside() (ok bool, why string) { return outside(d.path) }

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

// Create is Store's.
func (d *Dir) Create(vm, name string, content []byte) ([]byte, error) {
	if err := cells.Check(vm, name, content); err != nil {
		return nil, err
	}
	dir := filepath.Join(d.path, vm)
	if err := d.files.MkdirAll(dir); err != nil {
		return nil, err
	}
	// The VM's own directory must survive as surely as what is put in it.
	if err := d.files.SyncDir(d.path); err != nil {
		return nil, err
	}
	_, have, err := d.create(filepath.Join(dir, name), content)
	return have, err
}

// Read is Store's.
func (d *Dir) Read(vm, name string) ([]byte, error) {
	if err := cells.Check(vm, name, nil); err != nil {
		return nil, err
	}
	return d.files.ReadFile(filepath.Join(d.path, vm, name))
}

// List is Store's.
func (d *Dir) List(vm, prefix string) ([]string, error) {
	if err := cells.CheckVM(vm); err != nil {
		return nil, err
	}
	names, err := d.files.List(filepath.Join(d.path, vm))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, ".") || !strings.HasPrefix(name, prefix)
	})
	slices.Sort(names)
	return names, nil
}

// Close is Store's. A directory needs none.
func (d *Dir) Close() error { return nil }

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
