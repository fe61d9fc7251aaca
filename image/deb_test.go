package image

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func unpackBytes(t *testing.T, deb []byte) (*tree, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(file, deb, 0o644); err != nil {
		t.Fatal(err)
	}
	tr := mergedTree()
	return tr, unpackDeb(file, tr, func(int64) {}, func(string) bool { return true })
}

func TestUnpackCompressions(t *testing.T) {
	data := fakeTar(t, map[string][]byte{"usr/x": []byte("content"), "usr/y": []byte("-> x")})
	for _, member := range []string{"data.tar", "data.tar.gz", "data.tar.xz"} {
		tr, err := unpackBytes(t, fakeDeb(t, member, data))
		if err != nil {
			t.Errorf("%s: %v", member, err)
			continue
		}
		if name, n := tr.resolve("usr/y"); name != "usr/x" || n == nil || string(n.data) != "content" {
			t.Errorf("%s: usr/y leads to %s, %+v", member, name, n)
		}
	}
	if _, err := unpackBytes(t, fakeDeb(t, "data.tar.lzma2", data)); err == nil || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("unknown compression: %v", err)
	}
}

func TestHostilePackages(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, c := range map[string]struct {
		heads []tar.Header
		want  string
	}{
		"absolute name":         {[]tar.Header{file("/etc/passwd")}, "hostile name"},
		"climbing name":         {[]tar.Header{file("./../../etc/passwd")}, "hostile name"},
		"climbing inside":       {[]tar.Header{file("./usr/../../x")}, "hostile name"},
		"climbing link":         {[]tar.Header{link("./usr/x", "../../etc/passwd")}, "leads out of the package"},
		"empty link":            {[]tar.Header{link("./usr/x", "")}, "leads out of the package"},
		"file below a link":     {[]tar.Header{link("./usr/x", "/etc"), file("./usr/x/passwd")}, "lies below usr/x, which is no directory"},
		"file below merged dir": {[]tar.Header{file("./lib/x")}, "lies below lib, which is no directory"},
		"device":                {[]tar.Header{{Name: "./dev/sda", Typeflag: tar.TypeBlock, Mode: 0o644}}, "is of kind"},
		"fifo":                  {[]tar.Header{{Name: "./x", Typeflag: tar.TypeFifo}}, "is of kind"},
		"hard link outside":     {[]tar.Header{{Name: "./x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, "which is no file of the package"},
		"file over directory": {[]tar.Header{{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755}, file("./usr")},
			"is a directory already"},
	} {
		_, err := unpackBytes(t, fakeDeb(t, "data.tar.gz", tarOf(t, c.heads, nil)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

func TestDamagedPackages(t *testing.T) {
	whole := fakeDeb(t, "data.tar.xz", fakeTar(t, map[string][]byte{"usr/x": []byte(strings.Repeat("content", 1000))}))
	for n := 0; n < len(whole)-8; n += 7 {
		if _, err := unpackBytes(t, whole[:n]); err == nil {
			t.Fatalf("a package cut at %d of %d bytes unpacks", n, len(whole))
		}
	}
	for i := range whole {
		flipped := append([]byte{}, whole...)
		flipped[i] ^= 0x20
		_, _ = unpackBytes(t, flipped) // must not panic
	}
}

func TestLinkLoopEnds(t *testing.T) {
	tr := newTree()
	for _, l := range [][2]string{{"a", "b"}, {"b", "a"}} {
		if err := tr.add(l[0], &node{mode: modeLink, data: []byte(l[1])}); err != nil {
			t.Fatal(err)
		}
	}
	if _, n := tr.resolve("a/x"); n != nil {
		t.Error("a loop leads somewhere")
	}
}
