package guests

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/vm"
)

// kills is how many replicas a VM outlives below before its plug is pulled.
const kills = 3

// A VM outlives one replica after the other: a new backup joins it each time, in
// the place and with the disks of the one that was killed. What its database
// committed on the way is there at the end.
func TestFailoverAgainAndAgain(t *testing.T) {
	multiplier(t)
	rng := rand.New(rand.NewPCG(seed(t), 19))
	for _, mode := range diskModes {
		t.Run(mode.name, func(t *testing.T) {
			w := mode.wait(t, sqliteGuest, []string{newExt4(t, 32<<20)})
			journal := []string{"delete", "wal"}[rng.IntN(2)]
			r := w.outlive(t, rng, sqliteLine(journal, "EXTRA", 100_000, "true"), "@committed")
			told := r.durable("@committed")
			t.Logf("%d transactions were committed, journal %s", len(told), journal)
			for i, n := range told {
				if n != uint64(i)+1 {
					t.Fatalf("after transaction %d it told of %d, not of the next", i, n)
				}
			}
			dir := checkExt4(t, r.images[0], true)
			if lost := missing(t, filepath.Join(dir, "db"), told); lost != nil {
				t.Errorf("transactions %d were committed and are not there", lost)
			}
		})
	}
}

// outlive has a guest work while the replicas that it runs on are killed one
// after the other, and then pulls its plug.
func (w *waiting) outlive(t *testing.T, rng *rand.Rand, line, word string) result {
	t.Helper()
	screen := newReader(2 + kills)
	works := func() {
		t.Helper()
		heard := len(result{console: screen.all()}.durable(word))
		if _, more := screen.await(word, heard+1+rng.IntN(10)); !more {
			t.Fatalf("the guest has stopped; its console said\n%s", tail(strings.Join(screen.all(), "\n")))
		}
	}
	live, backup := w.pair(t, line, screen)
	protected, alone := map[*side]int{live: 1, backup: 1}, map[*side]int{}
	for range kills {
		works()
		victim, survivor := live, backup
		if rng.IntN(4) == 0 {
			victim, survivor = backup, live
		}
		victim.kill()
		_ = victim.wait()
		alone[survivor]++
		survivor.comes(t, vm.EventLive, alone[survivor])
		works()
		live, backup = survivor, w.join(t, victim, line, screen)
		protected[live]++
		protected[backup]++
		live.comes(t, vm.EventProtected, protected[live])
	}
	works()
	live.kill()
	_ = live.wait()
	backup.comes(t, vm.EventLive, 1)
	works()
	backup.kill()
	_ = backup.wait()
	backup.host.close(t)
	if err := screen.missed(); err != nil {
		t.Errorf("bytes of the console are in no replica's: %v", err)
	}
	return result{images: backup.host.files, console: screen.all()}
}
