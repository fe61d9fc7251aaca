package image

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A package that goes in whole brings its files but for documentation, and the
// libraries that its programs need out of the packages that it depends on.
func TestBuildWithWholePackages(t *testing.T) {
	m := newFakeMirror(t)
	m.add(t, "nodejs", "20", "Depends: libone1, libc6, adduser\n", map[string][]byte{
		"usr/bin/node":                fakeELF("/lib/ld-linux.so.1", []string{"libone.so.1"}, ""),
		"usr/bin/nodejs":              []byte("-> node"),
		"usr/share/doc/nodejs/README": []byte("read me"),
		"usr/share/nodejs/part.js":    []byte("part"),
	})
	for _, name := range recipes[Node].packages[1:] {
		m.add(t, name, "1", "Depends: nodejs\n", map[string][]byte{"usr/share/nodejs/" + name + ".js": []byte(name)})
	}
	o := m.options(t, m.serve(t))
	o.Name = Node
	img, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	initrd, err := os.ReadFile(img.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	files := readCPIO(t, initrd)
	for name, want := range map[string]string{
		"usr/bin/nodejs":                        "node",
		"usr/share/nodejs/part.js":              "part",
		"usr/share/nodejs/node-undici.js":       "node-undici",
		"usr/lib/riscv64-linux-gnu/libone.so.1": "/usr/lib/riscv64-linux-gnu/libone.so.1.2",
	} {
		if got, ok := files[name]; !ok || got != want {
			t.Errorf("%s is %.60q, want %.60q", name, got, want)
		}
	}
	for _, name := range []string{"usr/share/doc/nodejs/README", "usr/bin/server", "usr/lib/modules/6.12.9+deb13-riscv64/kernel/x/ext4.ko"} {
		if _, ok := files[name]; ok {
			t.Errorf("%s is in the guest", name)
		}
	}
	for _, name := range []string{"adduser", "redis-server"} {
		if m.asked("/"+name+".deb") != 0 {
			t.Errorf("%s was fetched", name)
		}
	}
}

func TestBuildKnowsItsRecipes(t *testing.T) {
	_, err := Build(context.Background(), Options{Name: "other", CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), `no recipe for "other"; there are `+strings.Join(Names(), ", ")) {
		t.Error(err)
	}
}

// What is appended to an image's initrd is the same whatever the order it was put together in.
func TestArchive(t *testing.T) {
	write := func(a *Archive) string {
		var out strings.Builder
		if err := a.Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	var a, b Archive
	a.File("init", 0o755, []byte("x"))
	a.Link("usr/bin/y", "z")
	a.Dir("mnt")
	b.Dir("mnt")
	b.Link("usr/bin/y", "z")
	b.File("init", 0o755, []byte("x"))
	if write(&a) != write(&b) {
		t.Error("the order shows")
	}
	want := map[string]string{"init": "x", "mnt": "", "usr": "", "usr/bin": "", "usr/bin/y": "z"}
	files := readCPIO(t, []byte(write(&a)))
	delete(files, "TRAILER!!!")
	if d := cmp.Diff(want, files); d != "" {
		t.Error(d)
	}
}
