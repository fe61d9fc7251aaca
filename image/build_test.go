package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// options are for a build from base into a fresh cache.
func (m *fakeMirror) options(t *testing.T, base string) Options {
	return Options{
		Mirror: base, CacheDir: t.TempDir(), KeyRing: m.ring, AptDir: t.TempDir(),
		Now: func() time.Time { return fakeNow }, RetryPause: time.Microsecond,
	}
}

func TestBuild(t *testing.T) {
	m := newFakeMirror(t)
	o := m.options(t, m.serve(t))
	stages := map[Stage]int{}
	o.Progress = func(e Event) {
		stages[e.Stage]++
		if e.Total > 0 && e.Done > e.Total {
			t.Errorf("%s %s: %d of %d", e.Stage, e.Note, e.Done, e.Total)
		}
	}
	img, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Stage{StageMirror, StageIndex, StageDownload, StageUnpack, StageAssemble, StageDone} {
		if stages[s] == 0 {
			t.Errorf("no event of stage %s", s)
		}
	}
	if img.KernelVersion != "6.12.9+deb13-riscv64" || img.Name != Demo || img.Cmdline != cmdline || img.IndexSHA256 != "" {
		t.Errorf("%+v", img)
	}
	kernel, err := os.ReadFile(img.Kernel)
	if err != nil || !bytes.Equal(kernel, fakeKernel) {
		t.Errorf("kernel: %v", err)
	}
	var names []string
	for _, p := range img.Packages {
		names = append(names, p.Name+" "+p.Version)
	}
	want := []string{"busybox-static 1", "libc6 2.41", "libone1 1.2-3", "libtwo-other 1",
		"linux-image-6.12.9+deb13-riscv64 6.12.9-1", "redis-server 5:8", "redis-tools 5:8"}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("packages: %s", d)
	}
	initrd, err := os.ReadFile(img.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	files := readCPIO(t, initrd)
	mods := "usr/lib/modules/6.12.9+deb13-riscv64/"
	for name, want := range map[string]string{
		"lib":                                   "usr/lib",
		"usr/bin/busybox":                       "busybox",
		"usr/bin/server":                        "redis-server",
		"usr/bin/redis-server":                  "/usr/bin/redis-check-rdb",
		"usr/lib/ld-linux.so.1":                 "/usr/lib/riscv64-linux-gnu/ld-linux.so.1",
		"usr/lib/riscv64-linux-gnu/libone.so.1": "/usr/lib/riscv64-linux-gnu/libone.so.1.2",
		"usr/lib/riscv64-linux-gnu/libtwo.so.0": string(fakeELF("", []string{"libc.so.6"}, "")),
		mods + "kernel/x/virtio_mmio.ko":        string(fakeELF("", nil, "license=GPL\x00depends=\x00")),
		mods + "modules.alias":                  "alias fs-ext4 ext4\n",
		mods + "modules.builtin":                "kernel/lib/crc16.ko\n",
	} {
		if got, ok := files[name]; !ok || got != want {
			t.Errorf("%s is %.60q, want %.60q", name, got, want)
		}
	}
	for _, line := range []string{
		"kernel/x/virtio_net.ko: kernel/x/net_failover.ko kernel/x/failover.ko\n",
		"kernel/x/ext4.ko: kernel/x/new_dep.ko kernel/x/jbd2.ko\n",
	} {
		if !strings.Contains(files[mods+"modules.dep"], line) {
			t.Errorf("modules.dep has no line %q:\n%s", line, files[mods+"modules.dep"])
		}
	}
	if m.asked("adduser") != 0 {
		t.Error("a package without needed files was fetched")
	}
	if _, err := os.Stat(filepath.Join(o.CacheDir, "debs")); !os.IsNotExist(err) {
		t.Errorf("packages stay in the cache: %v", err)
	}
}

// readCPIO is names and contents of a newc archive.
func readCPIO(t *testing.T, b []byte) map[string]string {
	files := map[string]string{}
	for len(b) > 110 {
		var size, nameSize int
		if _, err := fmt.Sscanf(string(b[54:62])+" "+string(b[94:102]), "%X %X", &size, &nameSize); err != nil {
			t.Fatal(err)
		}
		name := string(b[110 : 110+nameSize-1])
		start := (110 + nameSize + 3) &^ 3
		files[name] = string(b[start : start+size])
		b = b[(start+size+3)&^3:]
	}
	return files
}

// The same packages give the same bytes, wherever and whenever it is built.
func TestBuildIsDeterministic(t *testing.T) {
	m := newFakeMirror(t)
	base := m.serve(t)
	var sums []string
	for range 3 {
		img, err := Build(context.Background(), m.options(t, base))
		if err != nil {
			t.Fatal(err)
		}
		about, err := os.ReadFile(filepath.Join(img.Dir, aboutFile))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, img.SHA256+string(about))
	}
	if sums[0] != sums[1] || sums[0] != sums[2] {
		t.Errorf("three builds differ:\n%s\n%s\n%s", sums[0], sums[1], sums[2])
	}
}

func TestBuildRefuses(t *testing.T) {
	corrupt := func(name string, change func([]byte) []byte) func(*testing.T, *fakeMirror) {
		return func(t *testing.T, m *fakeMirror) { m.files[name] = change(bytes.Clone(m.files[name])) }
	}
	release := func(field, value string) func(*testing.T, *fakeMirror) {
		return func(t *testing.T, m *fakeMirror) { m.release[field] = value }
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *fakeMirror)
		want   string
	}{
		"foreign key": {func(t *testing.T, m *fakeMirror) { m.key, _ = newKey(t) }, "the signature of InRelease is not by Debian's trixie keys"},
		"no signature": {func(t *testing.T, m *fakeMirror) {
			m.files["dists/trixie/InRelease"] = []byte("Origin: Debian\nCodename: trixie\n")
		}, "InRelease is not a signed file"},
		"other origin":   {release("Origin", "Ubuntu"), "InRelease says Origin: Ubuntu, not Debian"},
		"other codename": {release("Codename", "bookworm"), "InRelease says Codename: bookworm, not trixie"},
		"future":         {release("Date", "Sat, 05 Jan 2030 00:00:00 UTC"), "is in the future: is the clock of this machine right?"},
		"expired":        {release("Valid-Until", "Tue, 01 Jan 2030 00:00:00 UTC"), "InRelease was valid until Tue, 01 Jan 2030 00:00:00 UTC: the mirror is out of date"},
		"bad date":       {release("Date", "yesterday"), `"yesterday" is not a date in UTC`},
		"wrong bytes in a package": {corrupt("pool/main/libc6.deb", func(b []byte) []byte { b[100] ^= 1; return b }),
			"image: package libc6 from BASE/pool/main/libc6.deb: not what the signed list says: its SHA-256 is"},
		"short package": {corrupt("pool/main/libc6.deb", func(b []byte) []byte { return b[:len(b)-1] }), "the mirror is in the middle of an update"},
		"long package":  {corrupt("pool/main/libc6.deb", func(b []byte) []byte { return append(b, 0) }), "the mirror is in the middle of an update"},
		"gone package":  {func(t *testing.T, m *fakeMirror) { delete(m.files, "pool/main/libc6.deb") }, "libc6.deb: the server answers 404 Not Found"},
		"stale index": {func(t *testing.T, m *fakeMirror) {
			m.release["Acquire-By-Hash"] = "no"
			m.files["dists/trixie/"+indexName] = []byte("older")
		}, "package index: it is 5 bytes long, the signed list says"},
		"no kernel": {func(t *testing.T, m *fakeMirror) { m.packages = m.packages[3:] }, "the archive has no kernel package"},
		"no server": {func(t *testing.T, m *fakeMirror) {
			for i, p := range m.packages {
				m.packages[i] = strings.ReplaceAll(p, "Package: redis-server", "Package: other")
			}
		}, "the archive has no package redis-server or valkey-server"},
		"no library": {func(t *testing.T, m *fakeMirror) {
			for i, p := range m.packages {
				m.packages[i] = strings.ReplaceAll(p, "Package: libtwo-other", "Package: other")
			}
		}, "libtwo.so.0, which usr/lib/riscv64-linux-gnu/libone.so.1.2 needs: no package that it depends on has"},
		"file name that climbs": {func(t *testing.T, m *fakeMirror) {
			m.packages = append(m.packages, "Package: evil\nVersion: 1\nFilename: ../../x\nSize: 1\nSHA256: "+strings.Repeat("0", 64)+"\n")
		}, `package "evil": name, version or file name is missing or bad`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newFakeMirror(t)
			ring := m.ring
			c.change(t, m)
			base := m.serve(t)
			o := m.options(t, base)
			o.KeyRing = ring
			_, err := Build(context.Background(), o)
			if want := strings.ReplaceAll(c.want, "BASE", base); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error: %v\nwant %q in it", err, want)
			}
			if _, err := Load(o.CacheDir, Demo); !errors.Is(err, ErrNotBuilt) {
				t.Errorf("something was built: %v", err)
			}
		})
	}
}

// What nobody serves is told with every reason and with what to do.
func TestNoMirrorMessage(t *testing.T) {
	m := newFakeMirror(t)
	m.release["Origin"] = "Other"
	base := m.serve(t)
	o := m.options(t, "")
	t.Setenv(MirrorVariable, "")
	list := "deb cdrom:[x]/ trixie main\ndeb " + base + "/nowhere trixie main\ndeb " + base + " trixie main\n"
	if err := os.WriteFile(filepath.Join(o.AptDir, "sources.list"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Build(context.Background(), o)
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.NewReplacer(base, "BASE", o.AptDir, "APT").Replace(err.Error())
	want := `image: no Debian mirror serves trixie for riscv64. Tried:
  cdrom:[x] (from APT/sources.list): skipped: "cdrom" is not among the schemes that work here, http and https
  BASE/nowhere (from APT/sources.list): InRelease: the server answers 404 Not Found
  BASE (from APT/sources.list): InRelease says Origin: Other, not Debian
Name a mirror with --mirror URI or in LOCKSTEP_MIRROR: the URI that the deb lines of a Debian machine carry, without dists/. Behind a proxy, set http_proxy and https_proxy.`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The second mirror serves what the first does not.
func TestNextMirrorIsTried(t *testing.T) {
	half, whole := newFakeMirror(t), newFakeMirror(t)
	half.release["Acquire-By-Hash"] = "no"
	half.files["dists/trixie/"+indexName] = []byte("older")
	half.key = whole.key
	a, b := half.serve(t), whole.serve(t)
	o := whole.options(t, "")
	t.Setenv(MirrorVariable, "")
	if err := os.WriteFile(filepath.Join(o.AptDir, "sources.list"), []byte("deb "+a+" x main\ndeb "+b+" x main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(context.Background(), o); err != nil {
		t.Error(err)
	}
}

func TestByHash(t *testing.T) {
	m := newFakeMirror(t)
	m.files["dists/trixie/"+indexName] = []byte("already the next one")
	if _, err := Build(context.Background(), m.options(t, m.serve(t))); err != nil {
		t.Fatal(err)
	}
	if m.asked("by-hash") != 1 || m.asked("Packages.xz") != 0 {
		t.Errorf("asked for %q", m.seen)
	}
}

// An index that no signature covers is taken only by its sum, and shows.
func TestPinnedIndex(t *testing.T) {
	m := newFakeMirror(t)
	index := packXZ(t, []byte(strings.Join(m.packages, "\n")))
	m.packages = m.packages[1:]
	m.release["Acquire-By-Hash"] = "no"
	m.files["dists/trixie/"+indexName] = index
	base := m.serve(t)
	o := m.options(t, base)
	o.IndexSHA256 = strings.Repeat("0", 64)
	if _, err := Build(context.Background(), o); err == nil || !strings.Contains(err.Error(), "neither that of the signed release nor one that is known") {
		t.Errorf("error %v", err)
	}
	o.IndexSHA256 = regexp.MustCompile(`[0-9a-f]{64}`).FindString(func() string {
		_, err := Build(context.Background(), o)
		return strings.ReplaceAll(err.Error(), strings.Repeat("0", 64), "")
	}())
	img, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if img.IndexSHA256 != o.IndexSHA256 {
		t.Errorf("the image does not say so: %+v", img)
	}
}

// A transfer that breaks is resumed; one that the server cannot resume begins
// again.
func TestBrokenTransfers(t *testing.T) {
	for _, resume := range []bool{true, false} {
		m := newFakeMirror(t)
		broken := 0
		var ranges []string
		m.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "libc6.deb") {
				return false
			}
			ranges = append(ranges, r.Header.Get("Range"))
			if !resume {
				r.Header.Del("Range")
			}
			if broken++; broken == 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			} else if broken > 2 {
				return false
			}
			deb := m.files["pool/main/libc6.deb"]
			w.Header().Set("Content-Length", fmt.Sprint(len(deb)))
			w.Write(deb[:100])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		if _, err := Build(context.Background(), m.options(t, m.serve(t))); err != nil {
			t.Errorf("resume %v: %v", resume, err)
		}
		if d := cmp.Diff([]string{"", "bytes=100-", "bytes=100-"}, ranges); d != "" {
			t.Error(d)
		}
	}
}

func TestProxyOfAptIsUsed(t *testing.T) {
	m := newFakeMirror(t)
	m.serve(t)
	var mu sync.Mutex
	hosts := map[string]bool{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.URL.Host] = true
		mu.Unlock()
		m.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	o := m.options(t, "http://mirror.invalid/debian")
	u, _ := url.Parse(proxy.URL)
	if err := os.WriteFile(filepath.Join(o.AptDir, "apt.conf"), []byte(`Acquire::http::Proxy "http://`+u.Host+`/";`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if !hosts["mirror.invalid"] {
		t.Errorf("the proxy saw %v", hosts)
	}
}

func TestEnsureBuildsOnceAndRepairs(t *testing.T) {
	m := newFakeMirror(t)
	o := m.options(t, m.serve(t))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Ensure(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := m.asked("libc6.deb"); n != 1 {
		t.Errorf("four at once fetched %d times", n)
	}
	img, err := Load(o.CacheDir, Demo)
	if err != nil {
		t.Fatal(err)
	}
	initrd, err := os.ReadFile(img.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	initrd[len(initrd)/2] ^= 1 // the size stays
	if err := os.WriteFile(img.Initrd, initrd, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(o.CacheDir, Demo); !errors.Is(err, ErrNotBuilt) || !strings.Contains(err.Error(), "initrd.cpio is missing or damaged") {
		t.Errorf("a damaged image loads: %v", err)
	}
	if again, err := Ensure(context.Background(), o); err != nil || again.SHA256 != img.SHA256 {
		t.Errorf("not repaired: %v", err)
	}
	// Offline: the mirror is not asked when the image is there.
	o.Mirror = "http://127.0.0.1:1/debian"
	if _, err := Ensure(context.Background(), o); err != nil {
		t.Error(err)
	}
}

func TestBuildStopsWhenTold(t *testing.T) {
	m := newFakeMirror(t)
	ctx, cancel := context.WithCancel(context.Background())
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	}
	if _, err := Build(ctx, m.options(t, m.serve(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"../x", "X", ".hidden", "a/b", strings.Repeat("a", 65)} {
		if _, err := Load(t.TempDir(), name); err == nil || !strings.Contains(err.Error(), "is no name of an image") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := Build(context.Background(), Options{Name: "other", CacheDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no recipe") {
		t.Errorf("error %v", err)
	}
}

// The embedded keys are the ones that keys/README.md names.
func TestEmbeddedKeys(t *testing.T) {
	keys, err := archiveKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("keys/README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(readme), " ", "")
	for _, k := range keys {
		if print := fmt.Sprintf("%X", k.PrimaryKey.Fingerprint); !strings.Contains(text, print) {
			t.Errorf("key %s is not in keys/README.md", print)
		}
	}
	if len(keys) != 2 {
		t.Errorf("%d keys", len(keys))
	}
}
