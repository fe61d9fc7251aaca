package guests

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// One VM, no pair: what a guest keeps on its disk when its process is killed
// right after it said that a transaction is committed. With synchronous=EXTRA
// it keeps all of them. With FULL it loses the last one, but not because of the
// disk, which has its row: the rollback journal that was deleted is there again,
// and whoever opens the database next undoes the transaction with it. QEMU's
// guests lose it alike.
func TestPowerCutOfSqlite(t *testing.T) {
	multiplier(t)
	rng := rand.New(rand.NewPCG(seed(t), 17))
	w := diskModes[0].wait(t, sqliteGuest, []string{newExt4(t, 32<<20)})
	for _, c := range []struct {
		journal, level string
		undone         bool
	}{
		{"delete", "EXTRA", false},
		{"delete", "FULL", true},
		{"wal", "FULL", false},
	} {
		t.Run(c.journal+"-"+c.level, func(t *testing.T) {
			undone := 0
			for range failovers(t) {
				told, lost := w.cutPower(t, c.journal, c.level, 1+rng.IntN(transactions/2))
				last := told[len(told)-1:]
				switch {
				case lost == nil:
				case !c.undone || !slices.Equal(lost, last):
					t.Errorf("of %d transactions that were committed these are not there: %d", len(told), lost)
				default:
					undone++
				}
			}
			if c.undone && undone == 0 {
				t.Error("no transaction was undone: this test does not show what it is for")
			}
		})
	}
}

// cutPower has one VM commit so many transactions, and kills it. It returns what
// was committed, and which of that the database does not have.
func (w *waiting) cutPower(t *testing.T, journal, level string, count int) (told, lost []uint64) {
	t.Helper()
	alone, h := w.part, w.host(t)
	// The guest stands still when it has said the last line; Linux makes the
	// journal's deletion durable by itself after 5 s.
	alone.Host, alone.Arbiter, alone.Line = h.disks, h.arbiter, sqliteLine(journal, level, count, "sleep 100")
	r := startReplica(t, alone, newReader(1))
	r.console.await("@committed", count)
	r.kill()
	_ = r.wait()
	told = result{console: r.console.all()}.durable("@committed")
	if len(told) != count {
		t.Fatalf("%d of %d transactions were committed; it told\n%s\nand its console said\n%s",
			len(told), count, strings.Join(r.events.all(), "\n"), tail(strings.Join(r.console.all(), "\n")))
	}
	image := filepath.Join(t.TempDir(), "image")
	command(t, "cp", "--sparse=always", h.files[0], image)
	dir := checkExt4(t, image, true)

	// A database to which the rollback journal does not come back.
	whole := filepath.Join(t.TempDir(), "db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, "db"+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(whole+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rows := missing(t, whole, told); rows != nil {
		t.Errorf("the disk lacks the rows of transactions %d, which were committed", rows)
	}
	lost = missing(t, filepath.Join(dir, "db"), told)

	// The guest sees at its next power-on what is seen from outside.
	next := w.part
	next.Host, next.Arbiter = h.disks, filepath.Join(t.TempDir(), "arbiter")
	next.Line = `mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && sqlite3 /mnt/db "SELECT '@row ' || n || ' ' || n || '.' FROM t" && umount /mnt`
	again := startReplica(t, next, newReader(1))
	if err := again.wait(); err != nil {
		t.Fatalf("%v; it told\n%s\nand its console said\n%s", err, strings.Join(again.events.all(), "\n"), tail(strings.Join(again.console.all(), "\n")))
	}
	rows := result{console: again.console.all()}.durable("@row")
	for _, n := range told {
		if slices.Contains(rows, n) == slices.Contains(lost, n) {
			t.Errorf("the guest and this host do not agree on transaction %d", n)
		}
	}
	return told, lost
}
