package arbiter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
)

func process(b byte) ft.ProcessID { return ft.ProcessID{0: b, 15: b} }

// DESIGN R16: "A claim is durable before it is answered".
func TestAnsweredClaimSurvivesCrash(t *testing.T) {
	disk := newForgetful()
	d := Over(&Dir{path: "arb", files: disk})
	cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: 1}
	// Crash before every operation in turn; whatever was answered must stay.
	for crashAt := 1; crashAt < 40; crashAt++ {
		cell.Epoch = ft.Epoch(crashAt)
		disk.failAfter = crashAt
		first, err := d.Claim(ft.Claim{Cell: cell, By: process(1)})
		disk.crash()
		second, err2 := d.Claim(ft.Claim{Cell: cell, By: process(2)})
		if err2 != nil {
			t.Fatal(err2)
		}
		if err == nil && second != first {
			t.Fatalf("crash at operation %d: answered %v, after the crash %v", crashAt, first, second)
		}
	}
}

func TestFileSystemWithoutLinksIsRefused(t *testing.T) {
	disk := newForgetful()
	disk.noLinks = true
	d := &Dir{path: "arb", files: disk}
	if err := d.probe(); err == nil || !strings.Contains(err.Error(), "hard links") {
		t.Errorf("probe = %v", err)
	}
}

func TestDamagedClaimIsAnErrorNotAWinner(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: 1}
	if _, err := d.Claim(ft.Claim{Cell: cell, By: process(1)}); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(path, "web", "claim-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("claims: %v %v", found, err)
	}
	if err := os.WriteFile(found[0], []byte("lockstep claim 1\nprocess 00\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if owner, err := d.Claim(ft.Claim{Cell: cell, By: process(1)}); err == nil {
		t.Errorf("owner %v from a damaged cell", owner)
	}
}

// forgetful is a file system of one level that loses, at a crash, every name
// that its directory was not synced for.
type forgetful struct {
	live, kept map[string][]byte
	noLinks    bool
	failAfter  int // operations until everything fails; 0 is never
}

var errCrashed = errors.New("crashed")

func newForgetful() *forgetful {
	return &forgetful{live: map[string][]byte{}, kept: map[string][]byte{}}
}

func (f *forgetful) op() error {
	switch f.failAfter {
	case 0:
		return nil
	case 1:
		return errCrashed
	}
	f.failAfter--
	return nil
}

func (f *forgetful) crash() {
	f.failAfter = 0
	f.live = map[string][]byte{}
	for name, content := range f.kept {
		f.live[name] = content
	}
}

func (f *forgetful) MkdirAll(string) error { return f.op() }

func (f *forgetful) WriteSynced(path string, content []byte) error {
	if err := f.op(); err != nil {
		return err
	}
	f.live[path] = content
	return nil
}

func (f *forgetful) Link(from, to string) error {
	if err := f.op(); err != nil {
		return err
	}
	if f.noLinks {
		return errors.ErrUnsupported
	}
	if _, taken := f.live[to]; taken {
		return fs.ErrExist
	}
	f.live[to] = f.live[from]
	return nil
}

func (f *forgetful) LinkCount(string) (uint64, error) { return 1, f.op() }

func (f *forgetful) SyncDir(dir string) error {
	if err := f.op(); err != nil {
		return err
	}
	for name, content := range f.live {
		if filepath.Dir(name) == dir {
			f.kept[name] = content
		}
	}
	return nil
}

func (f *forgetful) ReadFile(path string) ([]byte, error) {
	if err := f.op(); err != nil {
		return nil, err
	}
	content, ok := f.live[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

func (f *forgetful) Remove(path string) error {
	if err := f.op(); err != nil {
		return err
	}
	delete(f.live, path)
	return nil
}

func (f *forgetful) List(string) ([]string, error) { return nil, f.op() }
