package store

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage/imagelock"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

const sectorSize = 512

// export is one file that is served, and who may write it.
//
// A connection does every access to the file between enter and leave. A claim
// cuts the connections before it off: from then on enter refuses them, and what
// has entered is waited for. Only then the claim is written down and answered.
type export struct {
	name     string
	path     string
	file     *os.File
	info     nbd.Info
	readOnly bool
	records  records
	broken   atomic.Bool // an fdatasync has failed

	claiming sync.Mutex // one claim or release after the other; taken before mu

	mu      sync.Mutex
	idle    *sync.Cond // a connection that was cut off has left
	held    *record    // nil if there never was a claim
	token   uint64     // counts claims and releases
	members map[*member]bool
}

// member is a connection that uses an export.
type member struct {
	role  role
	token uint64 // of the claim it came with
	vm    string // of a reader
	cut   func() // ends the connection; called once
	out   bool   // cut off
	in    int    // requests between enter and leave
}

// role is what a connection asked to be.
type role int

const (
	plain  role = iota // without a number
	reader             // of a VM's disk, beside its writer
	writer             // with a number
)

func openExport(c Export, state string) (e *export, err error) {
	if err := checkName(c.Name); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(c.File)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("store: export %s: %w; make a disk with: truncate -s 10G FILE", c.Name, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("store: export %s: %w", c.Name, err)
	}
	device := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
	if !info.Mode().IsRegular() && !device {
		return nil, fmt.Errorf("store: export %s: %s is neither a regular file nor a block device", c.Name, path)
	}
	record := path + ".fence"
	if state != "" {
		// The name that was given: what /dev/sdb is may change.
		given, err := filepath.Abs(c.File)
		if err != nil {
			return nil, fmt.Errorf("store: export %s: %w", c.Name, err)
		}
		record = filepath.Join(state, url.PathEscape(given)+".fence")
	} else if device {
		return nil, fmt.Errorf("store: export %s: %s is a device, and what is written beside it in /dev is forgotten; say with --state DIR where its fence record goes", c.Name, path)
	}
	mode := os.O_RDWR
	if c.ReadOnly {
		mode = os.O_RDONLY
	}
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return nil, fmt.Errorf("store: export %s: %w", c.Name, err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := lock(file, c.ReadOnly); err != nil {
		return nil, fmt.Errorf("store: export %s: %w", c.Name, err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("store: export %s: %w", c.Name, err)
	}
	block := uint32(sectorSize)
	if device {
		if n, err := unix.IoctlGetInt(int(file.Fd()), unix.BLKSSZGET); err == nil && n > sectorSize {
			block = uint32(n)
		}
	}
	if size == 0 || size%int64(block) != 0 {
		return nil, fmt.Errorf("store: export %s: %s has %d bytes; a disk is a positive multiple of %d: round it up with: truncate -s %%%d %s",
			c.Name, path, size, block, block, path)
	}
	e = &export{
		name: c.Name, path: path, file: file, readOnly: c.ReadOnly, members: map[*member]bool{},
		records: recordFile{record},
	}
	e.idle = sync.NewCond(&e.mu)
	e.info = nbd.Info{
		Size: uint64(size), MinBlock: block, PreferredBlock: max(4096, block), MaxPayload: nbd.MaxPayload,
		Flags: nbd.HasFlags | nbd.SendFlush | nbd.SendFUA | nbd.SendTrim | nbd.SendWriteZeroes | nbd.CanMultiConn,
	}
	if c.ReadOnly {
		e.info.Flags |= nbd.ReadOnly
	}
	return e, e.restore()
}

// restore reads the record that an earlier server left.
func (e *export) restore() error {
	r, ok, err := e.records.load()
	if err != nil {
		return fmt.Errorf("store: export %s: %w", e.name, err)
	}
	if ok {
		e.held = &r
	}
	return nil
}

// lock makes this server the only one that has the file: VMs with shared images
// and QEMU take locks that exclude this one.
func lock(file *os.File, readOnly bool) error {
	kind := imagelock.Exclusive
	if readOnly {
		kind = imagelock.Shared
	}
	err := imagelock.Take(file, kind)
	if errors.Is(err, imagelock.ErrHeld) {
		return fmt.Errorf("%s is in use: another store, a VM or QEMU holds its lock; stop that first", file.Name())
	}
	if err != nil {
		return fmt.Errorf("no lock can be had: %w", err)
	}
	return nil
}

// enter lets m do one request on the file, unless it is cut off.
func (e *export) enter(m *member) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.out {
		return false
	}
	m.in++
	return true
}

func (e *export) leave(m *member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.in--
	if m.out && m.in == 0 {
		e.idle.Broadcast()
	}
}

// expel cuts off those members that which names and waits until none of them
// can touch the file any more. The lock is held, and given up while waiting.
func (e *export) expel(which func(*member) bool) {
	var gone []*member
	for m := range e.members {
		if !m.out && which(m) {
			m.out = true
			m.cut()
		}
		if m.out {
			gone = append(gone, m)
		}
	}
	for _, m := range gone {
		for m.in > 0 {
			e.idle.Wait()
		}
	}
}

func (e *export) detach(m *member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.members, m)
}

// perform does one request that is within the export. data is what a write
// brings or a read fills.
func (e *export) perform(r nbd.Request, data []byte) error {
	at, n := int64(r.Offset), int64(r.Length)
	fua := r.Flags&nbd.FlagFUA != 0
	var err error
	switch r.Type {
	case nbd.CmdRead:
		// A page that the kernel cannot read is an error; the end of the file is
		// not there, since its size was checked and it is locked.
		_, err = e.file.ReadAt(data, at)
		return err
	case nbd.CmdWrite:
		_, err = e.file.WriteAt(data, at)
	case nbd.CmdFlush:
		return e.sync()
	case nbd.CmdTrim:
		if err = e.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n); errors.Is(err, errors.ErrUnsupported) {
			err = nil // a hint
		}
	case nbd.CmdWriteZeroes:
		mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
		if r.Flags&nbd.FlagNoHole != 0 {
			mode = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
		}
		if err = e.allocate(mode, at, n); errors.Is(err, errors.ErrUnsupported) {
			err = e.writeZeros(at, n)
		}
	default:
		panic(fmt.Sprintf("BUG: store: command %d was not checked", r.Type))
	}
	if err == nil && fua {
		err = e.sync()
	}
	return err
}

// sync makes durable what was written. The kernel reports a page that it could
// not write once and then takes it for clean, so after a failure nothing that
// this server still holds can be promised any more.
func (e *export) sync() error {
	if e.readOnly {
		return nil
	}
	if e.broken.Load() {
		return fmt.Errorf("an earlier fdatasync of %s failed: %w", e.path, unix.EIO)
	}
	for {
		err := unix.Fdatasync(int(e.file.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			e.broken.Store(true)
		}
		return err
	}
}

func (e *export) allocate(mode uint32, at, n int64) error {
	for {
		err := unix.Fallocate(int(e.file.Fd()), mode, at, n)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err
	}
}

func (e *export) writeZeros(at, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		piece := min(n, int64(len(zeros)))
		if _, err := e.file.WriteAt(zeros[:piece], at); err != nil {
			return err
		}
		at, n = at+piece, n-piece
	}
	return nil
}
