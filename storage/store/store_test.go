package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage/nbd"
)

func TestReadWriteOverTCPAndUnix(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, listen := range []string{"127.0.0.1:0", "unix:" + socket} {
		path := image(t, diskSize)
		s := serve(t, path, func(c *Config) { c.Listen = []string{listen} })
		c := open(t, address(t, s), 1)
		if c.Sectors() != diskSize/512 || c.BlockSize() != 512 {
			t.Fatalf("%d sectors of blocks of %d", c.Sectors(), c.BlockSize())
		}
		if err := c.WriteAt(block(1), 0); err == nil || !strings.Contains(err.Error(), "is not claimed") {
			t.Fatalf("write before the claim: %v", err)
		}
		claim(t, c, number(1, 1))
		if err := c.WriteAt(block(7), 8192); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 8192)
		if err := c.ReadAt(p, 4096); err != nil || !bytes.Equal(p, append(block(0), block(7)...)) {
			t.Fatalf("read back: %v", err)
		}
		if err := c.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := onDisk(t, path, 8192); got != 7 {
			t.Errorf("in the file is %d", got)
		}
		if err := c.WriteAt(block(1), diskSize-512); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write past the end: %v", err)
		}
		if err := c.ReadAt(make([]byte, 1024), diskSize-512); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("read past the end: %v", err)
		}
		if err := c.ReadAt(make([]byte, 512), 100); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("unaligned read: %v", err)
		}
	}
}

// Requests beyond what the server takes at once go in pieces.
func TestLargeRequestsGoInPieces(t *testing.T) {
	const size = 2*nbd.MaxPayload + 4096
	path := image(t, size)
	c := open(t, address(t, serve(t, path)), 1)
	claim(t, c, number(1, 1))
	data := bytes.Repeat([]byte("pieces of a disk"), size/16)
	if err := c.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	have := make([]byte, size)
	if err := c.ReadAt(have, 0); err != nil || !bytes.Equal(have, data) {
		t.Fatalf("read back: %v", err)
	}
}

func TestTrimAndZeroMakeHolesOrNot(t *testing.T) {
	path := image(t, diskSize)
	c := open(t, address(t, serve(t, path)), 1)
	claim(t, c, number(1, 1))
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	fill := func() {
		t.Helper()
		if err := c.WriteAt(bytes.Repeat(block(9), diskSize/4096), 0); err != nil {
			t.Fatal(err)
		}
		if err := c.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []struct {
		name  string
		do    func(off, n int64) error
		holes bool
	}{{"discard", c.Discard, true}, {"unmap", c.Unmap, true}, {"zero", c.Zero, false}} {
		fill()
		full := blocks()
		if err := what.do(4096, diskSize-8192); err != nil {
			t.Fatalf("%s: %v", what.name, err)
		}
		if a, b, z := onDisk(t, path, 0), onDisk(t, path, 4096), onDisk(t, path, diskSize-4096); a != 9 || b != 0 || z != 9 {
			t.Errorf("%s: the blocks before, in and after the range have %d, %d, %d", what.name, a, b, z)
		}
		if err := c.Sync(); err != nil {
			t.Fatal(err)
		}
		if holes := blocks() < full; holes != what.holes {
			t.Errorf("%s: holes are %v, want %v: %d blocks of %d", what.name, holes, what.holes, blocks(), full)
		}
	}
}

// Many requests at once, on several connections of plain clients, each with
// blocks of its own.
func TestManyRequestsInFlight(t *testing.T) {
	path := image(t, 64*diskSize)
	a := address(t, serve(t, path))
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			p := plainClient(t, a)
			defer p.close()
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range 4 {
				at := uint64(n)*diskSize + uint64(r.IntN(200))*4096
				want := block(byte(1 + r.IntN(255)))
				p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 1, Offset: at, Length: 4096}, want)
				p.expect(1, 0, 0)
				for h := range uint64(2 * maxRequests) {
					p.send(nbd.Request{Type: nbd.CmdRead, Handle: h, Offset: at, Length: 4096}, nil)
				}
				seen := map[uint64]bool{}
				for range 2 * maxRequests {
					h, have := p.next(4096)
					if seen[h] || !bytes.Equal(have, want) {
						t.Errorf("answer %d, again %v, or with other data", h, seen[h])
					}
					seen[h] = true
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatCannotBeServedIsRefusedClearly(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd")
	if err := os.WriteFile(odd, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := image(t, diskSize)
	if err := os.WriteFile(damaged+".fence", []byte("lockstep fence 1\nvm web\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := image(t, diskSize)
	if err := os.WriteFile(later+".fence", []byte("lockstep fence 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	served := image(t, diskSize)
	serve(t, served)
	good := image(t, diskSize)
	for _, c := range []struct {
		why    string
		change func(*Config)
	}{
		{"has 1000 bytes; a disk is a positive multiple of 512", func(c *Config) { c.Exports[0].File = odd }},
		{"has 0 bytes", func(c *Config) { c.Exports[0].File = empty }},
		{"neither a regular file nor a block device", func(c *Config) { c.Exports[0].File = dir }},
		{"neither a regular file nor a block device", func(c *Config) { c.Exports[0].File = "/dev/null" }},
		{"truncate -s 10G", func(c *Config) { c.Exports[0].File = filepath.Join(dir, "none") }},
		{"is in use: another store", func(c *Config) { c.Exports[0].File = served }},
		{"is in use: another store", func(c *Config) { c.Exports = append(c.Exports, Export{Name: "b", File: good}) }},
		{"two exports named", func(c *Config) { c.Exports = append(c.Exports, Export{Name: "disk0", File: good}) }},
		{"has 1 to 255 bytes", func(c *Config) { c.Exports[0].Name = "" }},
		{"cannot name an export", func(c *Config) { c.Exports[0].Name = "a\nb" }},
		{"it is damaged", func(c *Config) { c.Exports[0].File = damaged }},
		{"a later version", func(c *Config) { c.Exports[0].File = later }},
		{"not a loopback address", func(c *Config) { c.Listen = []string{"0.0.0.0:0"} }},
		{"not a loopback address", func(c *Config) { c.Listen = []string{":0"} }},
		{"is no address", func(c *Config) { c.Listen = []string{"here"} }},
		{"nowhere to listen", func(c *Config) { c.Listen = nil }},
		{"nothing to serve", func(c *Config) { c.Exports = nil }},
		{"is not a socket", func(c *Config) { c.Listen = []string{"unix:" + odd} }},
	} {
		cfg := Config{Listen: []string{"127.0.0.1:0"}, Exports: []Export{{Name: "disk0", File: good}}}
		c.change(&cfg)
		s, err := Start(cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v; want an error that says %q", err, c.why)
		}
	}
	// What was refused holds no lock.
	serve(t, good)
}

func TestReadOnlyExportIsOnlyRead(t *testing.T) {
	path := image(t, diskSize)
	a := address(t, serve(t, path, func(c *Config) { c.Exports[0].ReadOnly = true }))
	p := plainClient(t, a)
	defer p.close()
	for _, command := range []uint16{nbd.CmdTrim, nbd.CmdWriteZeroes} {
		p.send(nbd.Request{Type: command, Handle: 1, Length: 512}, nil)
		p.expect(1, nbd.EPERM, 0)
	}
	p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 1, Length: 512}, make([]byte, 512))
	p.expect(1, nbd.EPERM, 0)
	p.send(nbd.Request{Type: nbd.CmdFlush, Handle: 2}, nil)
	p.expect(2, 0, 0)
	c := open(t, a, 1)
	if err := c.Claim(t.Context(), number(1, 1), nil); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("claim: %v", err)
	}
}

// The protocol's own rules, with a client that breaks them.
func TestHostileRequests(t *testing.T) {
	path := image(t, diskSize)
	said := &notes{}
	a := address(t, serve(t, path, func(c *Config) { c.Note = said.add }))
	p := plainClient(t, a)
	defer p.close()
	for i, c := range []struct {
		r    nbd.Request
		code uint32
	}{
		{nbd.Request{Type: nbd.CmdRead, Length: 1 << 31}, nbd.EOVERFLOW},
		{nbd.Request{Type: nbd.CmdRead, Length: nbd.MaxPayload}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Offset: 1<<64 - 512, Length: 1024}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Offset: 1 << 63, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Offset: diskSize, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdWriteZeroes, Offset: 1<<64 - 512, Length: 1<<32 - 512}, nbd.ENOSPC},
		{nbd.Request{Type: nbd.CmdTrim, Offset: 512, Length: diskSize}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Offset: 1, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Offset: 0, Length: 511}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Flags: nbd.FlagNoHole, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdWriteZeroes, Flags: 1 << 4, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdFlush, Length: 512}, nbd.EINVAL},
		{nbd.Request{Type: 5}, nbd.EINVAL},
		{nbd.Request{Type: 7}, nbd.EINVAL},
		{nbd.Request{Type: 0xffff}, nbd.EINVAL},
		{nbd.Request{Type: nbd.CmdRead, Length: 0}, 0},
		{nbd.Request{Type: nbd.CmdFlush, Flags: nbd.FlagFUA}, 0},
	} {
		c.r.Handle = uint64(i)
		p.send(c.r, nil)
		p.expect(uint64(i), c.code, 0)
	}
	p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 99, Offset: diskSize - 512, Length: 1024}, make([]byte, 1024))
	p.expect(99, nbd.ENOSPC, 0)
	p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 100, Flags: nbd.FlagFUA, Length: 512}, make([]byte, 512))
	p.expect(100, 0, 0)
	p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 101, Length: nbd.MaxPayload + 1}, nil)
	p.gone()
	said.until(t, "at most 33554432 are taken")
	q := plainClient(t, a)
	defer q.close()
	q.raw.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nFrom: nobody\r\n\r\n"))
	q.gone()
	said.until(t, "lost its place")
}

// A failed fdatasync is not forgotten: the kernel tells it once only.
func TestFailedSyncStays(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	s.exports["disk0"].broken.Store(true)
	c := open(t, address(t, s), 1)
	claim(t, c, number(1, 1))
	if err := c.WriteAt(block(1), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("flush: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	said := &notes{}
	a := address(t, serve(t, image(t, diskSize), func(c *Config) { c.Note = said.add }))
	for range maxConns {
		p := plainClient(t, a)
		defer p.close()
	}
	p := dialRaw(t, a)
	defer p.close()
	p.gone()
	said.until(t, fmt.Sprintf("there are %d connections", maxConns))
}
