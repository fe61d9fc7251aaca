package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"unsafe"
)

// call calls code at fn with a0, a1 and a2 and returns its a0. The code may use
// no stack and no registers but temporaries.
func call(fn uintptr, a0, a1, a2 uint64) uint64

// fence is FENCE.I.
func fence()

// Encodings; x5 to x7 are temporaries, x10 to x12 the arguments.
func addi(rd, rs, imm uint32) uint32 { return imm<<20 | rs<<15 | rd<<7 | 0x13 }
func sw(rs2, rs1 uint32) uint32      { return rs2<<20 | rs1<<15 | 2<<12 | 0x23 }
func cAddi(rd, imm uint32) uint16    { return uint16(rd<<7 | imm&31<<2 | 1) }

const (
	ret  = 0x00008067
	cRet = 0x8082
)

// mapped is memory of one file at two addresses: one to write, one to execute.
type mapped struct{ write, exec []byte }

func newMapped(pages int) mapped {
	name := []byte("code\x00")
	const sysMemfdCreate = 279
	fd, _, errno := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name[0])), 0, 0)
	if errno != 0 {
		fail("memfd_create: %v", errno)
	}
	check(syscall.Ftruncate(int(fd), int64(pages*pageSize)))
	w, err := syscall.Mmap(int(fd), 0, pages*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	check(err)
	x, err := syscall.Mmap(int(fd), 0, pages*pageSize, syscall.PROT_READ|syscall.PROT_EXEC, syscall.MAP_SHARED)
	check(err)
	return mapped{w, x}
}

// emit writes a function that adds sum to its argument at an offset, as a
// random sequence of long and short instructions, and returns its sum.
func (m mapped) emit(r *rand.Rand, at int) (sum uint64) {
	for range 1 + r.IntN(30) {
		imm := uint32(1 + r.IntN(15))
		sum += uint64(imm)
		if r.IntN(2) == 0 {
			binary.LittleEndian.PutUint16(m.write[at:], cAddi(10, imm))
			at += 2
		} else {
			binary.LittleEndian.PutUint32(m.write[at:], addi(10, 10, imm))
			at += 4
		}
	}
	if r.IntN(2) == 0 {
		binary.LittleEndian.PutUint16(m.write[at:], cRet)
	} else {
		binary.LittleEndian.PutUint32(m.write[at:], ret)
	}
	return sum
}

// synchronize does one of the things that make written code visible, or none.
// This machine needs none of them: code is coherent.
func synchronize(r *rand.Rand, x []byte) {
	const (
		sysMembarrier   = 283
		sysFlushICache  = 259
		registerSync    = 1 << 6 // of the private expedited barriers that synchronize cores
		privateSyncCore = 1 << 5
	)
	switch r.IntN(5) {
	case 0:
		fence()
	case 1:
		at := uintptr(unsafe.Pointer(&x[0]))
		syscall.Syscall(sysFlushICache, at, at+uintptr(len(x)), 0)
	case 2:
		syscall.Syscall(sysMembarrier, registerSync, 0, 0)
		syscall.Syscall(sysMembarrier, privateSyncCore, 0, 0)
	}
}

func code() {
	r := rand.New(rand.NewPCG(5, 6))
	const pages = 16
	m := newMapped(pages)
	fn := func(at int) uintptr { return uintptr(unsafe.Pointer(&m.exec[at])) }
	disk, err := syscall.Open("/dev/vda", syscall.O_RDWR|syscall.O_DIRECT, 0)
	check(err)
	calls, ahead := 0, 0
	for round := 1; ; round++ {
		for range 300 {
			// Functions start anywhere, also at the end of a page.
			at := r.IntN((pages*pageSize-256)/2) * 2
			if r.IntN(3) == 0 {
				at = (1+r.IntN(pages-2))*pageSize - 2*r.IntN(8)
			}
			for range 1 + r.IntN(4) {
				sum := m.emit(r, at)
				synchronize(r, m.exec)
				for range 1 + r.IntN(5) {
					arg := r.Uint64()
					if got := call(fn(at), arg, 0, 0); got != arg+sum {
						fail("code at %#x added %d, want %d", at, got-arg, sum)
					}
					calls++
				}
			}
			ahead += selfPatch(r, m, fn)
		}
		fromDisk(r, m, fn, disk)
		remap(r, m)
		fmt.Printf("rounds=%d calls=%d ahead=%d\n", round, calls, ahead)
	}
}

// selfPatch executes code that overwrites the instruction some places ahead of
// the store, in the same straight line.
func selfPatch(r *rand.Rand, m mapped, fn func(int) uintptr) int {
	at := pageSize*(1+r.IntN(8)) - 4*r.IntN(12)
	distance := 1 + r.IntN(10)
	w := m.write[at:]
	binary.LittleEndian.PutUint32(w, sw(12, 11)) // to the address in a1, through the other mapping
	for i := range distance {
		binary.LittleEndian.PutUint32(w[4+4*i:], addi(10, 10, 0))
	}
	binary.LittleEndian.PutUint32(w[4+4*distance:], ret)
	target := 4 * (1 + r.IntN(distance))
	for i := range 3 {
		v := uint32(r.IntN(2000))
		got := call(fn(at), 1, uint64(uintptr(unsafe.Pointer(&w[target]))), uint64(addi(10, 10, v)))
		if got != 1+uint64(v) {
			fail("code at %#x patched itself %d bytes ahead, the %d. time: added %d, want %d", at, target, i+1, got-1, v)
		}
	}
	return 3
}

// fromDisk lets the disk write code into memory whose code was just executed.
func fromDisk(r *rand.Rand, m mapped, fn func(int) uintptr, disk int) {
	page := m.write[pageSize*2 : pageSize*3]
	at := pageSize*2 + 2*r.IntN(1900)
	first := m.emit(r, at)
	n, err := syscall.Pwrite(disk, page, 0)
	if err != nil || n != pageSize {
		fail("a write of code to the disk: %d, %v", n, err)
	}
	second := m.emit(r, at)
	for _, want := range []uint64{second, first} {
		if got := call(fn(at), 0, 0, 0); got != want {
			fail("code at %#x added %d, want %d; of disk and memory it should be the newer", at, got, want)
		}
		if n, err := syscall.Pread(disk, page, 0); err != nil || n != pageSize {
			fail("a read of code from the disk: %d, %v", n, err)
		}
	}
}

// remap takes the right to execute away and gives it back: the pages stay, the
// page-table entries change.
func remap(r *rand.Rand, m mapped) {
	check(syscall.Mprotect(m.exec, syscall.PROT_NONE))
	if r.IntN(2) == 0 {
		check(syscall.Madvise(m.exec, syscall.MADV_DONTNEED))
	}
	check(syscall.Mprotect(m.exec, syscall.PROT_READ|syscall.PROT_EXEC))
}
