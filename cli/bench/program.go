package bench

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/lockstep-vm/lockstep/image"
)

// A Group is programs that lean on the same part of a machine.
type Group string

// The groups, in the order in which they are shown.
const (
	Integer  Group = "integer"
	Floating Group = "floating point"
	Memory   Group = "memory"
	Branches Group = "calls and branches"
	System   Group = "system"
	Real     Group = "Debian's programs"
	Storage  Group = "disk"
)

// Boot is the name of what every guest does first: from power-on until its
// server listens.
const Boot = "boot"

// A program is some fixed work in the guest.
type program struct {
	name  string
	group Group
	what  string // the work, for a reader
	// own says that it is one of the C programs beside this file.
	own bool
	// prepare is a line of shell that is not measured, run is what is. What
	// run prints first must be the same everywhere if same is set.
	prepare, run string
	same         bool
}

func own(group Group, name, what string) program {
	return program{name: name, group: group, what: what, own: true, run: "/bench/main " + name, same: true}
}

// makeData writes 32 MiB that look random and are always the same.
const makeData = "[ -e data ] || openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero | busybox head -c 33554432 >data"

// programs are all but Boot, in the order in which they run.
var programs = []program{
	own(Integer, "sieve", "primes, by crossing out"),
	own(Integer, "crc32", "a checksum by table"),
	own(Integer, "sort", "quicksort and heapsort"),
	own(Integer, "hash", "a hash table with open addressing"),
	own(Integer, "compress", "Lempel-Ziv and a range coder, both ways"),
	own(Floating, "matmul", "matrix multiply"),
	own(Floating, "nbody", "five bodies"),
	own(Floating, "fft", "Fourier transform"),
	own(Memory, "chase", "loads that wait for one another"),
	own(Memory, "copy", "memcpy of 1 MiB"),
	own(Branches, "fib", "recursion"),
	own(Branches, "interp", "an interpreter of a stack machine"),
	own(Branches, "loop", "a loop that fits in registers"),
	own(System, "forkexec", "processes that do nothing"),
	own(System, "pingpong", "a byte between two processes, by pipes"),
	own(System, "churn", "mmap, two pages touched, munmap"),
	own(System, "faults", "pages touched for the first time"),
	own(System, "calls", "getppid"),
	{
		name: "sha256", group: Real, what: "openssl dgst -sha256 of 32 MiB", same: true,
		prepare: makeData,
		run:     "openssl dgst -sha256 -r data",
	},
	{
		name: "aes", group: Real, what: "openssl enc -aes-256-cbc of 32 MiB", same: true,
		prepare: makeData,
		run:     "openssl enc -aes-256-cbc -K 0123456789abcdef -iv 0123456789abcdef -in data -out /dev/null",
	},
	{
		name: "rsa", group: Real, what: "openssl rsa -check of a key of 2048 bits, about the work of 64 signatures", same: true,
		prepare: "openssl genrsa -out key 2048",
		run:     "openssl rsa -check -noout -in key",
	},
	{
		name: "7z", group: Real, what: "7zr a of 1 MiB of text, one thread",
		prepare: `busybox rm -f data; busybox awk 'BEGIN { for (i = 0; i < 30000; i++) print i, i * i % 9973, "and so on to", i * 7 % 1009 }' >text`,
		run:     "/usr/lib/7zip/7zr a -bd -mmt=1 text.7z text",
	},
	{
		name: "sqlite", group: Real, what: "sqlite3: 100,000 INSERT statements in one transaction, an index", same: true,
		prepare: `busybox rm -f text text.7z; { echo 'CREATE TABLE t(a INTEGER PRIMARY KEY, b INTEGER, c TEXT); BEGIN;'; ` +
			`busybox awk 'BEGIN { for (i = 0; i < 100000; i++) printf "INSERT INTO t VALUES(%d,%d,'"'"'name %d'"'"');\n", i, i * 7919 % 100003, i }'; ` +
			`echo 'COMMIT; CREATE INDEX i ON t(b); SELECT count(*), sum(b) FROM t WHERE b > 50000;'; } >sql`,
		run: "sqlite3 table.db '.read sql'",
	},
	{
		name: "python", group: Real, what: "python3: a loop over integers, a dictionary and strings", same: true,
		prepare: "busybox rm -f sql table.db",
		run:     "python3.13 -I -S -B /bench/loop.py",
	},
	{
		name: "redis", group: Real, what: "redis-benchmark: 5,000 SET and 5,000 GET over loopback, 20 clients",
		run: "redis-benchmark -q -t set,get -n 5000 -c 20",
	},
}

// Names are the programs that Run can be told to choose, in their order.
func Names() []string { return namesOf(programs) }

// DiskNames are those of RunDisk.
func DiskNames() []string { return namesOf(diskPrograms) }

func namesOf(all []program) []string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.name
	}
	return names
}

// chosen is those of all that have these names, in the order in which they run;
// all of them for no names.
func chosen(all []program, names []string) ([]program, error) {
	if len(names) == 0 {
		return all, nil
	}
	for _, n := range names {
		if there := namesOf(all); !slices.Contains(there, n) {
			return nil, fmt.Errorf("bench: there is no program %q; there are %s", n, strings.Join(there, ", "))
		}
	}
	var some []program
	for _, p := range all {
		if slices.Contains(names, p.name) {
			some = append(some, p)
		}
	}
	return some, nil
}

//go:embed programs/main.riscv64
var guestMain []byte

// loopPy is what Python runs.
const loopPy = `words, total = {}, 0
for i in range(150000):
    key = "k" + str(i * 7919 % 5003)
    words[key] = words.get(key, 0) + i
    total = (total * 31 + (i ^ len(key))) % 1000003
print(total, sum(words.values()) % 1000003)
`

// Lines that the guest prints around a program.
const (
	startMark  = "@@start "  // and its name
	endMark    = "@@end "    // its name and its exit status
	resultMark = "@@result " // its name and the first line that it printed
	doneMark   = "@@done"
	// askMark says that the guest waits for a line before its next program.
	askMark = "@@ask"
	// logMark is printed by a machine that is a primary, behind endMark: the
	// program's name and the bytes logged since it was asked for.
	logMark = "@@log "
)

// rest is the guest's before a program, in microseconds.
const rest = 20_000

// profile is what the guest's login shell runs. With asked it waits for a line
// before each program.
func profile(some []program, asked bool) string {
	var script strings.Builder
	script.WriteString(`cd /tmp
run() {
	name=$1
	shift
	busybox usleep $rest
	echo "@@start $name"
	"$@" >/tmp/out 2>/tmp/err
	code=$?
	echo "@@end $name $code"
	read -r line </tmp/out
	[ $code = 0 ] || read -r line </tmp/err
	echo "@@result $name $line"
}
echo never >/sys/kernel/mm/transparent_hugepage/enabled
busybox dmesg -n 1
`)
	fmt.Fprintf(&script, "rest=%d\n", rest)
	for _, p := range some {
		if p.prepare != "" {
			fmt.Fprintf(&script, "{ %s; } 2>/dev/null\n", p.prepare)
		}
		if asked {
			script.WriteString("echo @@ask; read -r line\n")
		}
		fmt.Fprintf(&script, "run %s %s\n", p.name, p.run)
	}
	script.WriteString("echo @@done\nbusybox poweroff -f\n")
	return script.String()
}

// files are what the guest gets beside its image. The image's init, told to by
// lockstep.shell, starts a login shell when all is ready, which reads the
// profile: so the boot is the image's own.
func files(some []program, asked bool) *image.Archive {
	a := &image.Archive{}
	a.File("etc/profile", 0o644, []byte(profile(some, asked)))
	a.File("bench/main", 0o755, guestMain)
	a.File("bench/loop.py", 0o644, []byte(loopPy))
	return a
}
