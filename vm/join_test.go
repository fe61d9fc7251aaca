package vm

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

// DESIGN section 6, "a new backup from a running primary": whoever of a pair is
// killed, a new backup on its host joins the one that runs, and takes over from
// it in its turn.
func TestNewBackupsJoinARunningVM(t *testing.T) {
	for _, kind := range []string{"shared", "reads: backup", "local", "store"} {
		t.Run(kind, func(t *testing.T) {
			s, a, b := newStage(t), "", ""
			switch kind {
			case "reads: backup":
				s.reads = true
				t.Setenv(readsEnv, "1")
			case "local":
				s, a, b = newLocalStage(t), "a", "b"
			case "store":
				s.startStore()
			}
			other := s.on(b).start("backup")
			live := s.on(a).start("primary", other.address(t))
			armed := func(e ft.Epoch) {
				live.log.awaitText(t, fmt.Sprintf("armed for epoch %d", e))
				other.log.awaitText(t, fmt.Sprintf("armed for epoch %d", e))
			}
			for round := range 4 {
				epoch := ft.Epoch(round + 1)
				armed(epoch)
				time.Sleep(worked)
				dead, host := live, &a
				if round == 1 {
					dead, host = other, &b
				}
				dead.signal(t, syscall.SIGKILL)
				<-dead.done
				if dead == live {
					live, a, b, host = other, b, a, &b
				}
				live.log.awaitText(t, fmt.Sprintf("outputs leave at once; won the claim of epoch %d", epoch))
				other = s.on(*host).start("backup", dead.address(t))
			}
			armed(5)
			time.Sleep(worked)
			live.signal(t, syscall.SIGTERM)
			live.ends(t, Ended)
			other.ends(t, Ended)
			if live.log.has(EventDiverged) || other.log.has(EventDiverged) {
				t.Errorf("told %v and %v", live.log.list, other.log.list)
			}
			if kind != "local" {
				return
			}
			if x, y := s.copyOn("a"), s.copyOn("b"); x.Common != y.Common || x.Gen != y.Gen {
				t.Errorf("after a planned end the copies are %+v and %+v", x, y)
			}
		})
	}
}
