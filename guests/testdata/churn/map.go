package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// Advice of madvise(2) that package syscall does not name.
const (
	madvCold    = 20
	madvPageout = 21
)

// A region is a mapping with what each of its pages must hold.
type region struct {
	mem      []byte
	want     []uint64 // the first eight bytes of each page
	readOnly bool
	private  bool
}

func newRegion(r *rand.Rand) *region {
	n := 1 + r.IntN(64)
	if r.IntN(8) == 0 {
		n = 1024 // large enough for a huge page
	}
	private, flags := true, syscall.MAP_PRIVATE|syscall.MAP_ANON
	if r.IntN(4) == 0 {
		private, flags = false, syscall.MAP_SHARED|syscall.MAP_ANON
	}
	mem, err := syscall.Mmap(-1, 0, n*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, flags)
	check(err)
	if n >= 1024 {
		_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE) // a kernel may have none
	}
	return &region{mem: mem, want: make([]uint64, n), private: private}
}

func (g *region) word(p int) []byte { return g.mem[p*pageSize : p*pageSize+8] }

// touch reads a page and writes it if it may. A write to a page that may not be
// written must fault and change nothing.
func (g *region) touch(r *rand.Rand) {
	p := r.IntN(len(g.want))
	if got := binary.LittleEndian.Uint64(g.word(p)); got != g.want[p] {
		fail("page %d of %d has %#x, want %#x", p, len(g.want), got, g.want[p])
	}
	if r.IntN(2) == 0 {
		return
	}
	v := r.Uint64()
	if faulted := store(g.word(p), v); faulted != g.readOnly {
		fail("a store faulted: %v; the page is read-only: %v", faulted, g.readOnly)
	} else if !faulted {
		g.want[p] = v
	}
}

// store writes eight bytes and says whether that faulted.
func store(to []byte, v uint64) (faulted bool) {
	defer func() { faulted = recover() != nil }()
	binary.LittleEndian.PutUint64(to, v)
	return
}

func (g *region) protect(readOnly bool) {
	prot := syscall.PROT_READ
	if !readOnly {
		prot |= syscall.PROT_WRITE
	}
	check(syscall.Mprotect(g.mem, prot))
	g.readOnly = readOnly
}

// move lets the region grow, at another address if need be.
func (g *region) move() {
	n := len(g.want) + 16
	const mayMove = 1
	at, _, errno := syscall.Syscall6(syscall.SYS_MREMAP, uintptr(unsafe.Pointer(&g.mem[0])), uintptr(len(g.mem)), uintptr(n*pageSize), mayMove, 0, 0)
	if errno != 0 {
		fail("mremap: %v", errno)
	}
	g.mem = unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n*pageSize)
	g.want = append(g.want, make([]uint64, 16)...)
}

func (g *region) unmap() {
	_, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, uintptr(unsafe.Pointer(&g.mem[0])), uintptr(len(g.mem)), 0)
	if errno != 0 {
		fail("munmap: %v", errno)
	}
}

// maps does whatever can be done to mappings, at random.
func maps() {
	debug.SetPanicOnFault(true)
	r := rand.New(rand.NewPCG(3, 4))
	var all []*region
	changes := 0
	for round := 1; ; round++ {
		for range 300 {
			if len(all) < 8 {
				all = append(all, newRegion(r))
			}
			i := r.IntN(len(all))
			g := all[i]
			switch r.IntN(12) {
			case 0:
				g.unmap()
				all = append(all[:i], all[i+1:]...)
			case 1, 2:
				g.protect(!g.readOnly)
				changes++
			case 3:
				if g.private {
					check(syscall.Madvise(g.mem, syscall.MADV_DONTNEED))
					clear(g.want)
				}
			case 4:
				_ = syscall.Madvise(g.mem, madvCold)
			case 5:
				_ = syscall.Madvise(g.mem, madvPageout)
			case 6:
				if g.private && len(g.want) < 200 {
					g.move()
				}
			case 7:
				fork(g)
			default:
				for range 40 {
					g.touch(r)
				}
			}
		}
		fmt.Printf("rounds=%d changes=%d %s\n", round, changes, vmstat("pgfault", "thp_fault_alloc"))
	}
}

// fork makes a child that shares all memory until either side writes, lets it
// write to one page in two of a private region, and waits for its end.
func fork(g *region) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		fail("clone: %v", errno)
	}
	if pid == 0 {
		// No runtime is there for a child: stores and system calls only.
		if g.private && !g.readOnly {
			for at := 0; at < len(g.mem); at += 2 * pageSize {
				g.mem[at]++
			}
		}
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(int(pid), &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		break
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		fail("a child ended with status %#x", status)
	}
}
