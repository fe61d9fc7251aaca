package jit

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An arena is memory for code, seen twice: where it is written it cannot be
// executed, and where it is executed it cannot be written (W^X). The file
// behind it is sealed between the two, so that no later view can be written or
// made writable, the executable one included.
type arena struct {
	write []byte
	exec  uint64 // address of the first byte where it is executable
	view  []byte // the executable view
}

const mfdExec = 0x10 // MFD_EXEC; kernels before 6.3 do not know it

// refusesExecGain asks the kernel that no memory of this process which can be
// written is ever made executable; programs that it starts are free. Kernels
// before 6.7 cannot: there the process itself could make the writable view
// executable, by a call that it does not contain.
func refusesExecGain() bool {
	const refuse, noInherit = 1, 2
	return unix.Prctl(unix.PR_SET_MDWE, refuse|noInherit, 0, 0, 0) == nil
}

func newArena(size int) (*arena, error) {
	refusesExecGain()
	fd, err := unix.MemfdCreate("lockstep-jit", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("lockstep-jit", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	w, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	// A view keeps the right to be made writable that it was mapped with, so the
	// seal comes before the executable one.
	seals := unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		_ = unix.Munmap(w)
		return nil, fmt.Errorf("sealing it: %w", err)
	}
	x, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(w)
		return nil, err
	}
	a := &arena{write: w, exec: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(x)))), view: x}
	runtime.AddCleanup(a, func(views [2][]byte) {
		for _, v := range views {
			_ = unix.Munmap(v)
		}
	}, [2][]byte{w, x})
	return a, nil
}
