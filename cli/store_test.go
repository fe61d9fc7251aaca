package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/nbd"
	"github.com/lockstep-vm/lockstep/storage/store"
)

// A person takes an export from a VM by its name; the VM's process learns it.
func TestStoreRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Start(store.Config{Listen: []string{"127.0.0.1:0"}, Exports: []store.Export{{Name: "disk0", File: path}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := nbd.ParseURL(s.URL("disk0"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := nbd.Open(t.Context(), nbd.Config{Address: a, VM: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Claim(t.Context(), ft.Fence{Run: 1, Number: 1}, nil); err != nil {
		t.Fatal(err)
	}
	release := func(vm string) (int, string) {
		var out bytes.Buffer
		code := Main(t.Context(), Env{Stdin: os.Stdin, Stdout: &out, Stderr: &out}, []string{"store", "release", "--vm", vm, s.URL("disk0")})
		return code, out.String()
	}
	if code, text := release("mail"); code != ExitRefused || !strings.Contains(text, "belongs to VM web, not to mail") {
		t.Errorf("exit %d: %s", code, text)
	}
	if err := c.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if code, text := release("web"); code != ExitOK || !strings.Contains(text, "is released: VM web holds it no more") {
		t.Errorf("exit %d: %s", code, text)
	}
	var fenced storage.ErrFenced
	if err := c.WriteAt(make([]byte, 512), 0); !errors.As(err, &fenced) {
		t.Errorf("a write after the release: %v", err)
	}
}
