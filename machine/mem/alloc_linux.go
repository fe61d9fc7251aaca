package mem

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// allocate is size bytes of zeros outside the garbage collector's memory, in
// huge pages where the host has them: a guest's accesses then miss the host's
// translation caches less, and the host takes the memory of a dead process
// back sooner. They are given back when owner is no longer reachable.
func allocate(size uint64, owner *RAM) []byte {
	all, err := unix.Mmap(-1, 0, int(size+hugePage), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return make([]byte, size)
	}
	runtime.AddCleanup(owner, func(b []byte) { _ = unix.Munmap(b) }, all)
	b := all[-address(all)&(hugePage-1):][:size:size]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // a kernel without them does as well
	return b
}
