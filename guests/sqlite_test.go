package guests

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/machine"
)

const transactions = 60

// sqliteGuest has an ext4 file system on its disk.
var sqliteGuest = guest{
	image: image.Bench, memory: 256 << 20,
	disks:  []machine.DiskConfig{{Sectors: 32 << 11}},
	script: "modprobe -a crc32c_generic libcrc32c crc16 mbcache jbd2 ext4\n" + waitingScript,
}

// sqliteLine commits so many transactions, says of each when COMMIT has returned,
// and does a last thing before it closes the database. Level is how much of each
// transaction is synced. With FULL and a rollback journal the last
// transaction that was committed is undone by a loss of power (TestPowerCutOfSqlite):
// the journal's deletion is not durable yet. Only EXTRA syncs the directory that
// it was in (SQLite, PRAGMA synchronous).
func sqliteLine(journal, level string, count int, last string) string {
	return fmt.Sprintf(`mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && sqlite3 /mnt/db "PRAGMA journal_mode=%[1]s; CREATE TABLE t(n INTEGER PRIMARY KEY, b BLOB);" && `+
		`{ echo "PRAGMA synchronous=%[2]s;"; i=0; while [ $i -lt %[3]d ]; do i=$((i+1)); `+
		`echo "BEGIN; INSERT INTO t VALUES($i, randomblob(600)); UPDATE t SET b = randomblob(700) WHERE n = abs(random()) %% $i; COMMIT; SELECT '@committed $i $i.';"; done; %[4]s; } | `+
		`sqlite3 -bail /mnt/db && umount /mnt`, journal, level, count, last)
}

// missing are those of the rows that a database does not have.
func missing(t testing.TB, db string, rows []uint64) []uint64 {
	t.Helper()
	if got := command(t, "sqlite3", db, "PRAGMA integrity_check"); got != "ok\n" {
		t.Errorf("integrity_check of %s: %s", filepath.Base(db), got)
	}
	there := "\n" + command(t, "sqlite3", db, "SELECT n FROM t")
	var not []uint64
	for _, n := range rows {
		if !strings.Contains(there, fmt.Sprintf("\n%d\n", n)) {
			not = append(not, n)
		}
	}
	return not
}

// A database keeps every transaction of which its guest was told that it is
// committed, when a replica is killed, and when both are.
func TestFailoverOfSqlite(t *testing.T) {
	multiplier(t)
	rng := rand.New(rand.NewPCG(seed(t), 13))
	for _, mode := range diskModes {
		t.Run(mode.name, func(t *testing.T) {
			w := mode.wait(t, sqliteGuest, []string{newExt4(t, 32<<20)})
			for i := range failovers(t) {
				journal, plug := []string{"delete", "wal"}[rng.IntN(2)], rng.IntN(2) == 0
				level := "FULL" // a failover is no loss of power
				if plug {
					level = "EXTRA"
				}
				t.Run(fmt.Sprintf("%d-%s-plug-%v", i, journal, plug), func(t *testing.T) {
					r := w.run(t, round{rng: rng, line: sqliteLine(journal, level, transactions, "true"), word: "@committed", within: transactions / 2, plug: plug})
					told := r.durable("@committed")
					t.Logf("%d transactions were committed", len(told))
					for i, n := range told {
						if n != uint64(i)+1 {
							t.Fatalf("after transaction %d it told of %d, not of the next", i, n)
						}
					}
					if !plug && len(told) != transactions {
						t.Fatalf("it told of %d commits of %d", len(told), transactions)
					}
					dir := checkExt4(t, r.images[0], plug)
					if len(told) == 0 {
						return
					}
					if lost := missing(t, filepath.Join(dir, "db"), told); lost != nil {
						t.Errorf("transactions %d were committed and are not there", lost)
					}
				})
			}
			w.failedOver(t, failovers(t))
		})
	}
}
