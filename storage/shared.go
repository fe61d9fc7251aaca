// Package storage is the host half of virtual disks. A shared disk is the
// paper's default: one raw image that both hosts reach and that only the live
// VM writes.
//
// The adapter for a raw file promises this much: an exclusive lock is held on
// the very descriptor that writes, so a second live replica waits for the first
// one's process to be gone. The lock is advisory, is freed when that process
// dies (or, on a network file system, when its lease ends), and a frozen
// process keeps it (R19).
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/machine"
)

const sectorSize = 512

// workers is how many requests of one disk run side by side.
const workers = 4

// Shared is a shared disk on a raw image.
type Shared struct {
	file     *os.File
	index    uint8
	sectors  uint64
	readOnly bool
	done     func(machine.DiskDone)

	mu     sync.Mutex
	wake   *sync.Cond
	queue  queue
	locked bool
	closed bool
	wg     sync.WaitGroup
}

// OpenShared opens the image at path as disk number index. done is called, from
// goroutines of the disk, once for every request that has run.
func OpenShared(path string, index uint8, readOnly bool, done func(machine.DiskDone)) (*Shared, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("storage: %s is not a regular file: only raw images can be shared, since this host's cache of a device would hide what the other wrote", path)
	}
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	} else if remote, err := onNetwork(path); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	} else if remote {
		// A completed write must be there after this host is gone, so it must
		// not wait in this host's page cache.
		mode |= unix.O_DSYNC
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	size, err := f.Seek(0, 2)
	if err == nil && (size == 0 || size%sectorSize != 0) {
		err = fmt.Errorf("%s is %d bytes long; a raw image is a positive multiple of %d", path, size, sectorSize)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("storage: %w", err), f.Close())
	}
	s := &Shared{file: f, index: index, sectors: uint64(size) / sectorSize, readOnly: readOnly, done: done}
	s.wake = sync.NewCond(&s.mu)
	for range workers {
		s.wg.Go(s.work)
	}
	return s, nil
}

// onNetwork says whether the file at path lies on a file system that another
// host serves.
func onNetwork(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return false, nil
	}
	return true, nil // unknown ones are treated as the worse case
}

// Sectors is the capacity in 512-byte sectors.
func (s *Shared) Sectors() uint64 { return s.sectors }

// Lock takes the exclusive lock on the writing descriptor and waits as long as
// another process holds it; waiting is called once if it has to. Nothing is
// read or written before.
func (s *Shared) Lock(ctx context.Context, waiting func()) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if s.readOnly {
		lock.Type = unix.F_RDLCK
	}
	for first := true; ; first = false {
		err := unix.FcntlFlock(s.file.Fd(), unix.F_OFD_SETLK, &lock)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("storage: %s cannot be locked: %w", s.file.Name(), err)
		}
		if first && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("storage: %s is still locked by another process: %w", s.file.Name(), ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = true
	return nil
}

// Submit queues a request of the guest. Requests are submitted in the order in
// which they left the machine. A held one runs when it is released.
func (s *Shared) Submit(o machine.Output) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.locked {
		panic("BUG: storage: a request before the lock is held")
	}
	s.queue.add(o)
	s.wake.Signal()
}

// Release lets the held request id run: the gate has let it go.
func (s *Shared) Release(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queue.release(id) {
		panic(fmt.Sprintf("BUG: storage: release of request %d, which is not held", id))
	}
	s.wake.Broadcast()
}

// Idle says whether nothing that was released is left to do.
func (s *Shared) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.queue.requests {
		if r.released {
			return false
		}
	}
	return true
}

// Close drops what has not begun, waits for what has, and frees the lock.
func (s *Shared) Close() error {
	s.mu.Lock()
	s.closed = true
	s.wake.Broadcast()
	s.mu.Unlock()
	s.wg.Wait()
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

func (s *Shared) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var r *request
		for !s.closed {
			if r = s.queue.next(); r != nil {
				break
			}
			s.wake.Wait()
		}
		if s.closed {
			return
		}
		s.mu.Unlock()
		result := s.perform(r)
		s.mu.Lock()
		s.queue.done(r)
		s.wake.Broadcast()
		s.mu.Unlock()
		s.done(result)
		s.mu.Lock()
	}
}

// perform runs one request. An error of the file is the guest's I/O error.
func (s *Shared) perform(r *request) machine.DiskDone {
	result := machine.DiskDone{Disk: s.index, ID: r.ID}
	at := int64(r.Sector) * sectorSize
	var err error
	switch r.Op {
	case machine.DiskRead:
		result.Bytes = make([]byte, r.Length)
		_, err = s.file.ReadAt(result.Bytes, at)
	case machine.DiskWrite:
		_, err = s.file.WriteAt(r.Bytes, at)
	case machine.DiskFlush:
		err = unix.Fdatasync(int(s.file.Fd()))
	}
	if err != nil {
		result.Status, result.Bytes = machine.DiskIOError, nil
	}
	return result
}
