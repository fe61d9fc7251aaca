package vm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage/nbd"
	"github.com/lockstep-vm/lockstep/storage/store"
)

// The size of a disk that is a URL is asked of its server: of a store on another
// host only if that is allowed, and by a VM that may have the disk.
func TestDiskSize(t *testing.T) {
	const size = 3 << 20
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(image, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Start(store.Config{
		Listen: []string{"unix:" + filepath.Join(dir, "s"), "0.0.0.0:0"}, Insecure: true,
		Exports: []store.Export{{Name: "disk0", File: image}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Addresses()[1])
	if err != nil {
		t.Fatal(err)
	}
	socket := "nbd+unix:///disk0?socket=" + filepath.Join(dir, "s")
	tcp := func(host string) string { return fmt.Sprintf("nbd://%s/disk0", net.JoinHostPort(host, port)) }
	claimed := "belongs to VM web"
	for _, tt := range []struct {
		vm, target         string
		readOnly, insecure bool
		why                string // empty if it is told
	}{
		{"web", socket, false, false, ""},
		{"web", socket, true, false, ""},
		{"web", tcp("127.0.0.1"), false, false, ""},
		{"web", tcp("localhost"), false, false, ""},
		{"web", tcp("0.0.0.0"), false, true, ""},
		{"web", tcp("0.0.0.0"), false, false, "is not a loopback address"},
		{"web", tcp("192.0.2.1"), false, false, "is not a loopback address"},
		{"web", strings.Replace(socket, "disk0", "disk1", 1), false, false, `no export "disk1"`},
		{"web", "https://127.0.0.1/disk0", false, false, "a disk is a path, nbd://HOST/NAME"},
		{"web", image, false, false, "a disk is a path, nbd://HOST/NAME"},
		{"mail", socket, false, false, claimed},
	} {
		if tt.why == claimed {
			claim(t, socket, "web")
		}
		got, err := DiskSize(t.Context(), tt.vm, tt.target, tt.readOnly, tt.insecure)
		switch {
		case tt.why == "" && (err != nil || got != size):
			t.Errorf("%s: %d bytes, %v", tt.target, got, err)
		case tt.why != "" && (err == nil || !strings.Contains(err.Error(), tt.why)):
			t.Errorf("%s: %d bytes, %v; want an error with %q", tt.target, got, err, tt.why)
		}
	}
}

// claim makes an export a VM's.
func claim(t *testing.T, target, vm string) {
	t.Helper()
	at, err := nbd.ParseURL(target)
	if err != nil {
		t.Fatal(err)
	}
	c, err := nbd.Open(t.Context(), nbd.Config{Address: at, VM: vm})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Claim(t.Context(), ft.Fence{Run: 1, Number: 1}, nil); err != nil {
		t.Fatal(err)
	}
}

// Nothing of a store on another host is used unless that is allowed.
func TestStoreOnAnotherHostIsRefused(t *testing.T) {
	s := newStage(t)
	for what, change := range map[string]func(*Config){
		"disk nbd://192.0.2.1/disk0":    func(c *Config) { c.Disks[0].Path = "nbd://192.0.2.1/disk0" },
		"arbiter store:192.0.2.1:10809": func(c *Config) { c.Arbiter = "store:192.0.2.1:10809" },
	} {
		cfg := s.config(newEvents())
		change(&cfg)
		r, err := PowerOn(cfg)
		if err == nil {
			r.close()
		}
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "is not a loopback address") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
