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

// sqliteLine commits transactions and says of each when COMMIT has returned.
// With less than EXTRA a rollback journal that was deleted may come back after a
// loss of power, and undo the last transaction: only EXTRA syncs the directory
// that the journal was in (SQLite, PRAGMA synchronous).
func sqliteLine(journal string) string {
	return fmt.Sprintf(`mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && sqlite3 /mnt/db "PRAGMA journal_mode=%[1]s; CREATE TABLE t(n INTEGER PRIMARY KEY, b BLOB);" && `+
		`{ echo "PRAGMA synchronous=EXTRA;"; i=0; while [ $i -lt %[2]d ]; do i=$((i+1)); `+
		`echo "BEGIN; INSERT INTO t VALUES($i, randomblob(600)); UPDATE t SET b = randomblob(700) WHERE n = abs(random()) %% $i; COMMIT; SELECT '@committed $i $i.';"; done; } | `+
		`sqlite3 -bail /mnt/db && umount /mnt`, journal, transactions)
}

// A database keeps every transaction of which its guest was told that it is
// committed, when a replica is killed, and when both are.
func TestFailoverOfSqlite(t *testing.T) {
	multiplier(t)
	rng := rand.New(rand.NewPCG(seed(t), 13))
	g := guest{
		image: image.Bench, memory: 256 << 20,
		disks:  []machine.DiskConfig{{Sectors: 32 << 11}},
		script: "modprobe -a crc32c_generic libcrc32c crc16 mbcache jbd2 ext4\n" + waitingScript,
	}
	for _, mode := range diskModes {
		t.Run(mode.name, func(t *testing.T) {
			w := mode.wait(t, g, []string{newExt4(t, 32<<20)})
			for i := range failovers(t) {
				journal, plug := []string{"delete", "wal"}[rng.IntN(2)], rng.IntN(2) == 0
				t.Run(fmt.Sprintf("%d-%s-plug-%v", i, journal, plug), func(t *testing.T) {
					r := w.run(t, round{rng: rng, line: sqliteLine(journal), word: "@committed", within: transactions / 2, plug: plug})
					told := r.durable("@committed")
					t.Logf("%d transactions were committed", len(told))
					if !plug && len(told) < transactions-1 {
						t.Fatalf("it told of %d commits of %d", len(told), transactions)
					}
					db := filepath.Join(checkExt4(t, r.images[0], plug), "db")
					if len(told) == 0 {
						return
					}
					if got := command(t, "sqlite3", db, "PRAGMA integrity_check"); got != "ok\n" {
						t.Errorf("integrity_check: %s", got)
					}
					rows := "\n" + command(t, "sqlite3", db, "SELECT n FROM t")
					for _, n := range told {
						if !strings.Contains(rows, fmt.Sprintf("\n%d\n", n)) {
							t.Errorf("transaction %d was committed and is not there", n)
						}
					}
				})
			}
			w.failedOver(t, failovers(t))
		})
	}
}
