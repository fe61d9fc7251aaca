package guests

import (
	"regexp"
	"strconv"
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

var scenarios = []scenario{
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
}

// DESIGN, section 2: on real guests at work, with the clock steered hard. The
// recording keeps its caches; the reference has none; the others are cut at
// random positions, with caches dropped, snapshots restored and engines
// changed. The State is the same at every check.
func TestDeterminism(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.test(t) })
	}
}

func (s scenario) test(t *testing.T) {
	n, seed := length(t, s.length), seed(t)
	r := record(t, s.guest, n, 1_000_000, seed)
	if !testing.Short() {
		s.checkWork(t, r)
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { r.replay(t, e, nil) })
	}
	t.Run("cuts", func(t *testing.T) { r.replay(t, engines[0], newCutter(r.cfg, seed, 500_000, 50)) })
}

// checkWork: the guest did what the scenario is for, and the host disturbed it.
func (s scenario) checkWork(t *testing.T, r *recording) {
	t.Helper()
	checks, inputs := r.inputs()
	t.Logf("%d checks, inputs %v", checks, inputs)
	for name, least := range s.done {
		all := regexp.MustCompile(`\b`+name+`=(\d+)`).FindAllStringSubmatch(r.console, -1)
		last := 0
		if len(all) > 0 {
			last, _ = strconv.Atoi(all[len(all)-1][1])
		}
		t.Logf("%s=%d", name, last)
		if last < least {
			t.Errorf("the guest got to %s=%d, want %d; its console ends with\n%s", name, last, least, tail(r.console))
		}
	}
	want := []string{"SetClock", "ConsoleInput"}
	if len(r.cfg.NICs) > 0 {
		want = append(want, "Frame")
	}
	if len(r.cfg.Disks) > 0 {
		want = append(want, "DiskDone")
	}
	for _, kind := range want {
		if inputs[kind] < 20 {
			t.Errorf("the run is too dull: %d inputs of kind %s", inputs[kind], kind)
		}
	}
}
