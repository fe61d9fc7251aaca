package guests

import (
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

// A scenario is a guest whose script works for ever, and what it must have
// done within length instructions to count.
type scenario struct {
	name   string
	guest  guest
	length machine.Icount
	// done are numbers that the script prints, again and again as NAME=NUMBER,
	// and what they must have reached at the last.
	done map[string]int
}

var nic = []machine.NICConfig{{MAC: [6]byte{0x52, 0x54, 0, 0, 0, 1}}}

// networkUp lets the guest answer ARP requests for 10.0.0.2.
const networkUp = "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up\n"

// scenarios are what is known to lead translations, decoded code and counters
// astray.
func scenarios(t *testing.T) []scenario {
	t.Helper()
	multiplier(t)
	binary, js := program(t, "churn"), read(t, "testdata/jit.js")
	churn := func(a *image.Archive) { a.File("usr/bin/churn", 0o755, binary) }
	return []scenario{
		{
			// Little RAM and swap on a disk: the kernel clears accessed bits
			// to learn which pages are in use, and does not flush the TLB for it.
			name: "swap",
			guest: guest{
				image: image.Small, memory: 96 << 20, files: churn,
				disks: []machine.DiskConfig{{Sectors: 1 << 18}},
				prepare: `
mkswap /dev/vda >/dev/null && swapon /dev/vda
churn pages 64 &
until [ -e /tmp/ready ]; do usleep 100000; done`,
				script: `
# Both ways of aging pages: generations, and two lists.
while :; do
	sleep 1
	echo n >/sys/kernel/mm/lru_gen/enabled
	sleep 1
	echo y >/sys/kernel/mm/lru_gen/enabled
done`,
			},
			length: 300_000_000,
			done:   map[string]int{"pswpin": 2000, "pswpout": 15_500, "pgscan_anon": 40_000, "rounds": 5, "referenced": 200},
		},
		{
			name: "fork",
			guest: guest{image: image.Small, memory: 96 << 20, nics: nic, script: networkUp + `
n=0
while :; do
	for i in 1 2 3 4 5 6; do
		(echo $i $n | sed s/1/2/ | cat; /bin/true) >/tmp/out.$i &
	done
	wait
	cat /tmp/out.* | sort | uniq | wc -l >/dev/null
	n=$((n + 1))
	echo rounds=$n
done`},
			length: 300_000_000,
			done:   map[string]int{"rounds": 5},
		},
		{
			// Linux patches its own text: branches that are switched on and
			// off, functions that are traced, probes, programs that it compiles.
			name: "modules",
			guest: guest{
				image: image.Stress, memory: 192 << 20, disks: []machine.DiskConfig{{Sectors: 1 << 14}},
				prepare: `
mount -t tracefs tracefs /sys/kernel/tracing && cd /sys/kernel/tracing
echo 'vfs_*' >set_ftrace_filter
mke2fs /dev/vda >/dev/null; mkdir -p /mnt`,
				script: `
n=0
while :; do
	n=$((n + 1))
	echo function >current_tracer && echo "p:probe vfs_read+8" >kprobe_events && echo 1 >events/kprobes/enable || exit 1
	modprobe -a test_static_keys brd || exit 1
	modprobe -r test_static_keys brd
	cat events/kprobes/probe/id >/dev/null
	echo 0 >events/kprobes/enable && echo >kprobe_events && echo nop >current_tracer
	echo $((n % 2)) >/proc/sys/kernel/sched_schedstats
	dd if=/dev/vda of=/dev/null bs=64k count=32 2>/dev/null
	if [ $((n % 8)) = 0 ]; then # these are large, which costs some 1e9 instructions
		modprobe test_bpf test_range=0,20 && modprobe -r test_bpf || exit 1
		modprobe ext4 && mount -t ext4 /dev/vda /mnt && cp /test.sh /mnt && cmp /test.sh /mnt/test.sh || exit 1
		umount /mnt && modprobe -r ext4
	fi
	echo rounds=$n
done`,
			},
			length: 500_000_000,
			done:   map[string]int{"rounds": 2},
		},
		{
			name:   "map",
			guest:  guest{image: image.Small, memory: 128 << 20, files: churn, script: "churn map"},
			length: 300_000_000,
			done:   map[string]int{"rounds": 2, "changes": 20},
		},
		{
			name: "code",
			guest: guest{
				image: image.Small, memory: 96 << 20, files: churn,
				disks: []machine.DiskConfig{{Sectors: 1 << 10}}, script: "churn code",
			},
			length: 200_000_000,
			done:   map[string]int{"rounds": 2, "calls": 1000, "ahead": 500},
		},
		{
			name:   "float",
			guest:  guest{image: image.Small, memory: 96 << 20, nics: nic, files: churn, script: networkUp + "churn float"},
			length: 200_000_000,
			done:   map[string]int{"rounds": 3, "orbits": 10, "signals": 20},
		},
		{
			// Another's compiler, which writes code beside what it runs.
			name: "node",
			guest: guest{
				image: image.Node, memory: 512 << 20,
				files:   func(a *image.Archive) { a.File("jit.js", 0o644, js) },
				prepare: "node /jit.js & while [ ! -e /tmp/ready ]; do usleep 100000; done",
				script:  "wait",
			},
			length: 300_000_000,
			done:   map[string]int{"rounds": 3},
		},
	}
}
