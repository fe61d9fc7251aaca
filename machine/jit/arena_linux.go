package jit

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An arena is memory for code, seen twice: where it is written it cannot be
// executed, and where it is executed it cannot be written (W^X). The file
// behind it is sealed once both views are there, so that no view can be made
// writable again.
type arena struct {
	write []byte
	exec  uint64 // address of the first byte where it is executable
	view  []byte // the executable view
}

const mfdExec = 0x10 // MFD_EXEC; kernels before 6.3 do not know it

func newArena(size int) (*arena, error) {
	fd, err := unix.MemfdCreate("lockstep-jit", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("lockstep-jit", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	w, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	x, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(w)
		return nil, err
	}
	seals := unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		_ = unix.Munmap(w)
		_ = unix.Munmap(x)
		return nil, fmt.Errorf("sealing it: %w", err)
	}
	a := &arena{write: w, exec: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(x)))), view: x}
	runtime.AddCleanup(a, func(views [2][]byte) {
		for _, v := range views {
			_ = unix.Munmap(v)
		}
	}, [2][]byte{w, x})
	return a, nil
}
