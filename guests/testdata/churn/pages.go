package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
)

const pageSize = 4096

// pages goes over a region that is larger than RAM: mostly over a part that
// fits and so stays mapped while the kernel takes its accessed bits away, now
// and then over the rest, which drives pages out to swap. Every page carries
// its number and how often it was written.
func pages(mb int) {
	n := mb << 20 / pageSize
	mem, err := syscall.Mmap(-1, 0, n*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	check(err)
	written := make([]uint32, n)
	r := rand.New(rand.NewPCG(1, 2))
	touch := func(p int) {
		at := mem[p*pageSize+p%512*8:]
		want := uint64(0)
		if written[p] != 0 {
			want = uint64(p)<<32 | uint64(written[p])
		}
		if got := binary.LittleEndian.Uint64(at); got != want {
			fail("page %d has %#x, want %#x", p, got, want)
		}
		if written[p] == 0 || r.IntN(3) == 0 {
			written[p]++
			binary.LittleEndian.PutUint64(at, uint64(p)<<32|uint64(written[p]))
		}
	}
	for p := range n {
		touch(p)
	}
	check(os.WriteFile("/tmp/filled", nil, 0o644))
	hot := n / 8
	for round := 1; ; round++ {
		for range 2000 {
			if r.IntN(40) == 0 {
				touch(r.IntN(n))
			} else {
				touch(r.IntN(hot))
			}
		}
		fmt.Printf("rounds=%d %s\n", round, vmstat("pswpin", "pswpout", "pgscan_anon", "pgsteal_anon", "pgactivate"))
	}
}

// vmstat has the named counters of the kernel's as NAME=NUMBER.
func vmstat(names ...string) string {
	f, err := os.Open("/proc/vmstat")
	check(err)
	defer f.Close()
	var all []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		for _, n := range names {
			if n == name {
				all = append(all, name+"="+value)
			}
		}
	}
	return strings.Join(all, " ")
}
