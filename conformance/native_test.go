package conformance

import (
	"testing"

	"github.com/lockstep-vm/lockstep/internal/citest"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// native are options with which every block is translated before it is first
// executed; false where this host has no translation.
func native(t *testing.T, opt hart.Options) (hart.Options, bool) {
	t.Helper()
	n, err := jit.New(1 << 20)
	if err != nil {
		if citest.Running() {
			t.Fatal(err)
		}
		t.Logf("without translated code: %v", err)
		return opt, false
	}
	opt.Native, opt.Threshold = n, 1
	return opt, true
}
