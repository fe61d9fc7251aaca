package guests

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// DESIGN, section 2: on real guests at work, with the clock steered hard. The
// recording keeps its caches; the reference has none; the others are cut at
// random positions, with caches dropped, snapshots restored and engines
// changed. The State is the same at every check.
func TestDeterminism(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) { s.test(t) })
	}
}

func (s scenario) test(t *testing.T) {
	n, seed := length(t, s.length), seed(t)
	r := record(t, s.guest, n, 1_000_000, seed)
	s.checkWork(t, r)
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { r.replay(t, e, nil) })
	}
	t.Run("cuts", func(t *testing.T) { r.replay(t, engines[0], newCutter(r.cfg, seed, 500_000, 50)) })
}

// checkWork: the guest did what the scenario is for, and the host disturbed it.
func (s scenario) checkWork(t *testing.T, r *recording) {
	t.Helper()
	if _, what, bad := strings.Cut(r.console, "wrong: "); bad {
		t.Errorf("a program in the guest found an error: %s", what)
	}
	checks, inputs := r.inputs()
	t.Logf("%d checks, inputs %v", checks, inputs)
	if testing.Short() {
		return // there is no telling how far it got
	}
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
