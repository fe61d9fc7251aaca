package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/blakesmith/ar"
	"github.com/ulikunitz/xz"
)

// fakeNow is the time at which the made-up archive is used.
var fakeNow = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// fakeConfig makes keys fast and dates them before fakeNow.
var fakeConfig = &packet.Config{
	Algorithm:   packet.PubKeyAlgoEdDSA,
	DefaultHash: crypto.SHA256,
	Time:        func() time.Time { return fakeNow.Add(-time.Hour) },
}

func newKey(t *testing.T) (*openpgp.Entity, []byte) {
	t.Helper()
	key, err := openpgp.NewEntity("Made-up archive", "", "archive@example.org", fakeConfig)
	if err != nil {
		t.Fatal(err)
	}
	var ring bytes.Buffer
	if err := key.Serialize(&ring); err != nil {
		t.Fatal(err)
	}
	return key, ring.Bytes()
}

// sign makes an InRelease file.
func sign(t *testing.T, key *openpgp.Entity, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, key.PrivateKey, fakeConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A fakeMirror serves a tiny archive. Its fields can be changed before use.
type fakeMirror struct {
	key      *openpgp.Entity
	ring     []byte
	release  paragraph         // fields of InRelease but for the sums
	files    map[string][]byte // below /debian/
	packages []string          // paragraphs of the index
	// answer, if it is not nil, may answer a request instead.
	answer func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []string // paths asked for
}

// newFakeMirror has a kernel with its modules, busybox, a server and libraries.
func newFakeMirror(t *testing.T) *fakeMirror {
	m := &fakeMirror{
		release: paragraph{
			"Origin": "Debian", "Codename": "trixie", "Version": "13.99", "Acquire-By-Hash": "yes",
			"Date": fakeNow.Add(-time.Hour).Format("Mon, 02 Jan 2006 15:04:05") + " UTC",
		},
		files: map[string][]byte{},
	}
	m.key, m.ring = newKey(t)

	kernelFiles := map[string][]byte{
		"boot/vmlinux-6.12.9+deb13-riscv64":                    fakeKernel,
		"usr/lib/modules/6.12.9+deb13-riscv64/modules.builtin": []byte("kernel/lib/crc16.ko\n"),
	}
	for _, name := range guestModules {
		if name == "crc16" { // built in here
			continue
		}
		info := "license=GPL\x00depends=\x00"
		switch name {
		case "virtio_net":
			info = "depends=net_failover\x00"
		case "net_failover":
			info = "depends=failover\x00"
		case "ext4":
			// new_dep is not among guestModules: the package is read again for it.
			info = "alias=fs-ext4\x00depends=jbd2,crc16,new-dep\x00"
		}
		kernelFiles["usr/lib/modules/6.12.9+deb13-riscv64/kernel/x/"+name+".ko.xz"] = packXZ(t, fakeELF("", nil, info))
	}
	kernelFiles["usr/lib/modules/6.12.9+deb13-riscv64/kernel/x/new_dep.ko"] = fakeELF("", nil, "depends=\x00")
	m.add(t, "linux-image-6.12.9+deb13-riscv64", "6.12.9-1", "", kernelFiles)
	m.add(t, "linux-image-6.12.10+deb13-riscv64", "6.12.10-1", "", map[string][]byte{"x": nil})
	m.add(t, "linux-image-riscv64", "6.12.9-1", "Depends: linux-image-6.12.9+deb13-riscv64 (= 6.12.9-1)\n", nil)
	m.add(t, "busybox-static", "1", "", map[string][]byte{"usr/bin/busybox": []byte("busybox")})
	m.add(t, "redis-server", "5:8", "Source: redis\nDepends: adduser, redis-tools (= 5:8)\n", map[string][]byte{
		"usr/bin/redis-server": []byte("-> redis-check-rdb")})
	m.add(t, "redis-tools", "5:8", "Source: redis\nDepends: adduser, libone1 (>= 1), libc6\n", map[string][]byte{
		"usr/bin/redis-check-rdb": fakeELF("/lib/ld-linux.so.1", []string{"libone.so.1", "libc.so.6"}, "")})
	m.add(t, "adduser", "3", "", map[string][]byte{"usr/sbin/adduser": nil})
	m.add(t, "libone1", "1.2-3", "Section: libs\nDepends: libtwo0 | libtwo-other\n", map[string][]byte{
		"usr/lib/riscv64-linux-gnu/libone.so.1":   []byte("-> libone.so.1.2"),
		"usr/lib/riscv64-linux-gnu/libone.so.1.2": fakeELF("", []string{"libtwo.so.0"}, "")})
	m.add(t, "libtwo-other", "1", "Section: libs\nProvides: libtwo\n", map[string][]byte{
		"usr/lib/riscv64-linux-gnu/libtwo.so.0": fakeELF("", []string{"libc.so.6"}, "")})
	m.add(t, "libc6", "2.41", "Section: libs\n", map[string][]byte{
		"usr/lib/riscv64-linux-gnu/libc.so.6":     fakeELF("", nil, ""),
		"usr/lib/ld-linux.so.1":                   []byte("-> riscv64-linux-gnu/ld-linux.so.1"),
		"usr/lib/riscv64-linux-gnu/ld-linux.so.1": fakeELF("", nil, "")})
	return m
}

// fakeKernel has the header of a RISC-V Image and nothing after it.
var fakeKernel = func() []byte {
	b := make([]byte, 128)
	copy(b[56:], "RSC\x05")
	return b
}()

// add puts a package into the pool and the index. A content that begins with
// "-> " is a link.
func (m *fakeMirror) add(t *testing.T, name, version, fields string, content map[string][]byte) {
	t.Helper()
	m.addDeb(name, version, fields, fakeDeb(t, "data.tar.gz", fakeTar(t, content)))
}

func (m *fakeMirror) addDeb(name, version, fields string, deb []byte) {
	file := "pool/main/" + name + ".deb"
	m.files[file] = deb
	m.packages = append(m.packages, fmt.Sprintf("Package: %s\nVersion: %s\n%sArchitecture: riscv64\nFilename: %s\nSize: %d\nSHA256: %x\n",
		name, version, fields, file, len(deb), sha256.Sum256(deb)))
}

// serve signs the index and starts the server; it is the mirror's base.
func (m *fakeMirror) serve(t *testing.T) string {
	t.Helper()
	index := packXZ(t, []byte(strings.Join(m.packages, "\n")))
	sum := fmt.Sprintf("%x", sha256.Sum256(index))
	dists := "dists/trixie/"
	if m.release["Acquire-By-Hash"] == "yes" {
		m.files[dists+"main/binary-riscv64/by-hash/SHA256/"+sum] = index
	}
	m.put(dists+indexName, index)
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m.release)) {
		fmt.Fprintf(&text, "%s: %s\n", k, m.release[k])
	}
	fmt.Fprintf(&text, "SHA256:\n %s %d %s\n", sum, len(index), indexName)
	m.put(dists+"InRelease", sign(t, m.key, text.String()))
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s.URL + "/debian"
}

// put sets a file unless a test has set it already.
func (m *fakeMirror) put(name string, data []byte) {
	if _, set := m.files[name]; !set {
		m.files[name] = data
	}
}

func (m *fakeMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.seen = append(m.seen, r.URL.Path)
	m.mu.Unlock()
	if m.answer != nil && m.answer(w, r) {
		return
	}
	data, ok := m.files[strings.TrimPrefix(r.URL.Path, "/debian/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (m *fakeMirror) asked(part string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, p := range m.seen {
		if strings.Contains(p, part) {
			n++
		}
	}
	return n
}

func packXZ(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 16, BufSize: 1 << 12, CheckSum: xz.CRC32}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fakeTar makes a data.tar out of names and contents.
func fakeTar(t *testing.T, content map[string][]byte) []byte {
	var heads []tar.Header
	for _, name := range slices.Sorted(maps.Keys(content)) {
		h := tar.Header{Name: "./" + name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content[name]))}
		if target, ok := strings.CutPrefix(string(content[name]), "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		heads = append(heads, h)
	}
	return tarOf(t, heads, content)
}

func tarOf(t *testing.T, heads []tar.Header, content map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range heads {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(content[strings.TrimPrefix(h.Name, "./")]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fakeDeb wraps a data.tar, compressed as the member's name says.
func fakeDeb(t *testing.T, member string, data []byte) []byte {
	t.Helper()
	switch {
	case strings.HasSuffix(member, ".gz"):
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(data)
		z.Close()
		data = packed.Bytes()
	case strings.HasSuffix(member, ".xz"):
		data = packXZ(t, data)
	}
	var out bytes.Buffer
	w := ar.NewWriter(&out)
	if err := w.WriteGlobalHeader(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", []byte("not looked at")}, {member, data}} {
		if err := w.WriteHeader(&ar.Header{Name: m.name, Mode: 0o100644, Size: int64(len(m.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// fakeELF is a riscv64 ELF file with an interpreter, DT_NEEDED entries and a
// .modinfo section, each only if given.
func fakeELF(interpreter string, needed []string, modinfo string) []byte {
	type section struct {
		name       string
		kind, link uint32
		data       []byte
	}
	str := []byte{0}
	var dynamic []byte
	for _, n := range needed {
		dynamic = binary.LittleEndian.AppendUint64(dynamic, 1) // DT_NEEDED
		dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(len(str)))
		str = append(append(str, n...), 0)
	}
	dynamic = append(dynamic, make([]byte, 16)...) // DT_NULL
	sections := []section{{}, {".dynstr", 3, 0, str}, {".dynamic", 6, 1, dynamic}, {".modinfo", 1, 0, []byte(modinfo)}, {".interp", 1, 0, append([]byte(interpreter), 0)}, {".shstrtab", 3, 0, nil}}
	names := []byte{0}
	offsets := make([]uint32, len(sections))
	for i, s := range sections[1:] {
		offsets[i+1] = uint32(len(names))
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names

	const headSize, progSize, sectSize = 64, 56, 64
	body, at := []byte{}, uint64(headSize+progSize)
	var table []byte
	var interpAt uint64
	for i, s := range sections {
		if s.name == ".interp" {
			interpAt = at
		}
		for _, v := range []any{offsets[i], s.kind, uint64(0), uint64(0), at, uint64(len(s.data)), s.link, uint32(0), uint64(1), uint64(0)} {
			table, _ = binary.Append(table, binary.LittleEndian, v)
		}
		body = append(body, s.data...)
		at += uint64(len(s.data))
	}
	programs := uint16(0)
	if interpreter != "" {
		programs = 1
	}
	out := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, v := range []any{uint16(3), uint16(243), uint32(1), uint64(0), uint64(headSize), at, uint32(0),
		uint16(headSize), uint16(progSize), programs, uint16(sectSize), uint16(len(sections)), uint16(len(sections) - 1)} {
		out, _ = binary.Append(out, binary.LittleEndian, v)
	}
	for _, v := range []any{uint32(3), uint32(4), interpAt, uint64(0), uint64(0), uint64(len(interpreter) + 1), uint64(0), uint64(1)} {
		out, _ = binary.Append(out, binary.LittleEndian, v)
	}
	return append(append(out, body...), table...)
}
