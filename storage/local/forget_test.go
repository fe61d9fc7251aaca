package local

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
)

// errPower is what everything answers on a host that has lost power.
var errPower = errors.New("power is lost")

// forgetFS is a file layer that forgets, at a loss of power, any part of what
// was not synced, sector by sector. All its hosts share one count of operations.
type forgetFS struct {
	mu      sync.Mutex
	tick    func() // before every operation that changes something
	off     bool
	names   map[string]*inode
	durable map[string]*inode
	changes []change // of names, not yet synced
	inodes  []*inode
	fail    func(f *inode, op string) error
	syncs   int
}

type change struct{ from, to string } // a rename; from "": made; to "": removed

type inode struct {
	fs      *forgetFS
	name    string
	durable []byte
	current []byte
	pending []patch
	locked  bool
}

type patch struct {
	off  int64
	b    []byte
	size int64 // of a truncation, if b is nil
}

func newForgetFS() *forgetFS {
	return &forgetFS{names: map[string]*inode{}, durable: map[string]*inode{}, tick: func() {}}
}

func (f *forgetFS) step() error {
	if !f.off {
		f.tick()
	}
	if f.off {
		return errPower
	}
	return nil
}

// crash takes the power away, and gives it back. kept is the chance of a sector
// that was not synced, in 100.
func (f *forgetFS) crash(rng *rand.Rand, kept int) {
	f.off = false
	for _, n := range f.inodes {
		for _, p := range n.pending {
			n.durable = p.apply(n.durable, func() bool { return rng.IntN(100) < kept })
		}
		n.current = append([]byte(nil), n.durable...)
		n.pending, n.locked = nil, false
	}
	for _, c := range f.changes[:rng.IntN(len(f.changes)+1)] {
		f.apply(f.durable, c)
	}
	f.changes = nil
	f.names = map[string]*inode{}
	for name, n := range f.durable {
		f.names[name] = n
	}
}

func (p *patch) apply(to []byte, keep func() bool) []byte {
	if p.b == nil {
		if !keep() {
			return to
		}
		return resize(to, p.size)
	}
	for at := int64(0); at < int64(len(p.b)); {
		n := min(512-(p.off+at)%512, int64(len(p.b))-at)
		if keep() {
			to = resize(to, max(int64(len(to)), p.off+at+n))
			copy(to[p.off+at:], p.b[at:at+n])
		}
		at += n
	}
	return to
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (f *forgetFS) apply(names map[string]*inode, c change) {
	switch {
	case c.from == "":
		for _, n := range f.inodes {
			if n.name == c.to {
				names[c.to] = n
			}
		}
	case c.to == "":
		delete(names, c.from)
	case names[c.from] != nil:
		names[c.to] = names[c.from]
		delete(names, c.from)
	}
}

func (f *forgetFS) Open(path string) (File, error) {
	if f.off {
		return nil, errPower
	}
	if f.names[path] == nil {
		return nil, fs.ErrNotExist
	}
	return &handle{inode: f.names[path]}, nil
}

func (f *forgetFS) Create(path string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	if f.names[path] != nil {
		return nil, fs.ErrExist
	}
	n := &inode{fs: f, name: path}
	for _, old := range f.inodes {
		if old.name == path {
			old.name = ""
		}
	}
	f.inodes = append(f.inodes, n)
	f.names[path] = n
	f.changes = append(f.changes, change{"", path})
	return &handle{inode: n}, nil
}

func (f *forgetFS) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	f.apply(f.names, change{from, to})
	f.changes = append(f.changes, change{from, to})
	return nil
}

func (f *forgetFS) Remove(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	if f.names[path] == nil {
		return fs.ErrNotExist
	}
	delete(f.names, path)
	f.changes = append(f.changes, change{path, ""})
	return nil
}

func (f *forgetFS) SyncDir(string) error {
	if err := f.step(); err != nil {
		return err
	}
	for _, c := range f.changes {
		f.apply(f.durable, c)
	}
	f.changes = nil
	return nil
}

type handle struct {
	*inode
	locks bool
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.off {
		return 0, errPower
	}
	if off >= int64(len(h.current)) {
		return 0, io.EOF
	}
	n := copy(p, h.current[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	return len(p), h.patch("write", patch{off: off, b: append([]byte{}, p...)})
}

func (h *handle) ReadPromptly(p []byte, off int64) bool {
	n, _ := h.ReadAt(p, off)
	return n == len(p)
}

func (h *handle) WritePromptly(p []byte, off int64) bool {
	_, err := h.WriteAt(p, off)
	return err == nil
}

func (h *handle) Truncate(size int64) error { return h.patch("truncate", patch{size: size}) }

func (h *handle) PunchHole(off, n int64) error {
	return h.patch("punch", patch{off: off, b: make([]byte, n)})
}

func (h *handle) Allocate(_, _ int64) error { return h.failure("allocate") }

func (h *handle) failure(op string) error {
	if h.fs.fail != nil {
		return h.fs.fail(h.inode, op)
	}
	return nil
}

func (h *handle) patch(op string, p patch) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.off {
		return errPower
	}
	if err := h.failure(op); err != nil {
		return err
	}
	// Begun before the power goes, it may be found there in part.
	h.pending = append(h.pending, p)
	h.current = p.apply(h.current, func() bool { return true })
	return h.fs.step()
}

func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.step(); err != nil {
		return err
	}
	if err := h.failure("sync"); err != nil {
		return err
	}
	h.fs.syncs++
	for _, p := range h.pending {
		h.durable = p.apply(h.durable, func() bool { return true })
	}
	h.pending = nil
	return nil
}

func (h *handle) NextData(off int64) (start, end int64, err error) {
	for off < int64(len(h.current)) && isZero(h.current[off:min((off/512+1)*512, int64(len(h.current)))]) {
		off = (off/512 + 1) * 512
	}
	if off >= int64(len(h.current)) {
		return off, off, nil
	}
	return off, off + 1, nil
}

func (h *handle) Size() (int64, error) { return int64(len(h.current)), nil }

func (h *handle) Lock() error {
	if h.locked && !h.locks {
		return ErrLocked
	}
	h.locked, h.locks = true, true
	return nil
}

func (h *handle) Close() error {
	if h.locks {
		h.locked = false
	}
	return nil
}
