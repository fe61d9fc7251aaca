package vm

import (
	"crypto/md5"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
)

// A Linux guest that reads a shared image, writes over what it has read and
// reads it again finds the same in both modes. The log of `reads: backup` has
// next to nothing of what was read.
func TestLinuxReadsByTheBackup(t *testing.T) {
	const size = 64 << 20
	mc := linux(t, "lockstep.shell")
	mc.Disks = []machine.DiskConfig{{Sectors: size / 512}}
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{42}).Read(content)
	sum := md5.Sum(content)
	var logged [2]uint64
	for i, reads := range []bool{false, true} {
		dir := t.TempDir()
		image := filepath.Join(dir, "disk.img")
		if err := os.WriteFile(image, content, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := Config{
			Name: "boot", Machine: mc, Disks: []Disk{{Path: image, BackupReads: reads}}, Arbiter: filepath.Join(dir, "arbiter"),
			Timeout: 5 * time.Second, digestEvery: 100_000_000,
		}
		bcfg, blog := cfg, newEvents()
		bcfg.Listen, bcfg.OnEvent = porttest.Address(), blog.add
		b, err := Follow(bcfg)
		if err != nil {
			t.Fatal(err)
		}
		backup := run(t, b, blog)
		plog := newEvents()
		var console screen
		cfg.Peer, cfg.OnEvent, cfg.Console = b.Addr(), plog.add, &console
		p, err := PowerOn(cfg)
		if err != nil {
			t.Fatal(err)
		}
		primary := run(t, p, plog)
		console.await(t, "~ # ", 1)
		before, burnt, began := p.Status().Log.Bytes, burnt(t), time.Now()
		typed := "md5sum /dev/vda; echo read-$((6*7))\n"
		primary.Type(1, 0, []byte(typed))
		console.await(t, "read-42", 1)
		console.await(t, hex.EncodeToString(sum[:]), 1)
		after := p.Status().Log.Bytes
		logged[i] = after - before
		t.Logf("reads by the backup %v: %d bytes of log for %d bytes read (%.2f %%), %v of CPU for both replicas, in %v",
			reads, logged[i], size, 100*float64(logged[i])/size, spent(t, burnt), time.Since(began).Round(time.Millisecond))
		again := "dd if=/dev/vda of=/dev/vda bs=64k skip=1 conv=notrunc 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches; md5sum /dev/vda; poweroff -f\n"
		primary.Type(1, uint64(len(typed)), []byte(again))
		primary.wait(t, Ended)
		backup.wait(t, Ended)
		if st := backup.Status(); st.Digests.Compared < 5 || st.Digests.Different > 0 {
			t.Errorf("digests: %+v", st.Digests)
		}
		moved := md5.Sum(append(append([]byte(nil), content[64<<10:]...), content[size-64<<10:]...))
		console.await(t, hex.EncodeToString(moved[:]), 1)
		if on, err := os.ReadFile(image); err != nil || md5.Sum(on) != moved {
			t.Errorf("the image is another than the guest's: %v", err)
		}
	}
	// The guest keeps what it read of the disk while it came up: that much less is logged.
	if logged[0] < size*9/10 || logged[1] > size/50 {
		t.Errorf("%d and %d bytes of log for %d bytes read; with data it must be nearly all, without under 2 %%", logged[0], logged[1], size)
	}
}

// burnt is the CPU time of this process.
func burnt(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func spent(t *testing.T, since time.Duration) time.Duration {
	t.Helper()
	return (burnt(t) - since).Round(time.Millisecond)
}
