package bench

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

// asked is a guest of two programs that waits to be asked, in shell.
const asked = `for p in a b; do
	echo "@@ask"
	read -r line || exit 1
	echo "@@start $p"
	echo "@@end $p 0"
	echo "@@log $p 5"
	echo "@@result $p $NAME $line"
done
echo "@@done"
`

// Each guest of a rig runs a program a turn, when it is its turn, and the first
// one is measured.
func TestRigTakesTurns(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		citest.Unable(t, "no sh")
	}
	r := &rig{}
	defer r.end()
	for _, name := range []string{"first", "second"} {
		if err := r.start(t.Context(), "sh", "-c", "NAME="+name+"\n"+asked); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"a", "b"} {
		m, err := r.turn(p)
		if err != nil {
			t.Fatal(err)
		}
		if m.Result != "first" || m.Logged != 5 || m.Elapsed <= 0 || m.Failed != "" {
			t.Errorf("%s: %+v", p, m)
		}
		if second := r.guests[1].got[p]; second.Result != "second" {
			t.Errorf("%s beside it: %+v", p, second)
		}
	}
	if m, err := r.turn("c"); err == nil || !strings.Contains(err.Error(), "ended before its programs did") {
		t.Errorf("a turn of guests that are done: %+v, %v", m, err)
	}
}

// The guest beside the one that is measured may say as much as it likes.
func TestRigReadsWhatTheOtherGuestSays(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		citest.Unable(t, "no sh")
	}
	said := filepath.Join(t.TempDir(), "said")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := &rig{}
	defer r.end()
	for _, script := range []string{
		"until [ -e " + said + " ]; do sleep 0.05; done; echo @@done",
		"yes | head -c 1000000; touch " + said,
	} {
		if err := r.start(ctx, "sh", "-c", script); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.all(); err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// A guest that is not asked does nothing, and its process ends with the rig.
func TestRigEnds(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		citest.Unable(t, "no sh")
	}
	r := &rig{}
	if err := r.start(t.Context(), "sh", "-c", asked); err != nil {
		t.Fatal(err)
	}
	if err := r.guests[0].until(askMark); err != nil {
		t.Fatal(err)
	}
	r.end()
	if got := r.guests[0].got; len(got) != 0 {
		t.Errorf("it ran %v", got)
	}
	if r.guests[0].process.cmd.ProcessState == nil {
		t.Error("its process has not ended")
	}
}
