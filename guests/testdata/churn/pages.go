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
	hot := n / 8
	for round := 1; ; round++ {
		if round == 4 {
			// What is often used is in RAM: the work can begin.
			check(os.WriteFile("/tmp/ready", nil, 0o644))
		}
		if round%2 == 0 {
			referenced(func() {
				for range 500 {
					touch(r.IntN(hot))
				}
			})
		}
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

// referenced clears the accessed bits of this program's pages, without a flush
// of the TLB since no other address space is in use in between, and prints how
// much memory is then accessed.
func referenced(access func()) {
	check(os.WriteFile("/proc/self/clear_refs", []byte("1"), 0))
	access()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	check(err)
	_, after, found := strings.Cut(string(text), "Referenced:")
	if kb, _, ok := strings.Cut(strings.TrimSpace(after), " "); found && ok {
		fmt.Printf("referenced=%s\n", kb)
		return
	}
	fail("smaps_rollup has no Referenced: %s", text)
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
