package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
)

// Paper, section 4.2: the backup reads for itself. Digests every few thousand
// instructions and the sums of what was read find every difference.
func TestBackupReadsTheSharedDisk(t *testing.T) {
	s := newStage(t)
	s.reads = true
	primary, backup := s.pair()
	for primary.Status().OutputDelay.Count < 2000 {
		time.Sleep(time.Millisecond)
	}
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	if backup.follow.own.told == 0 {
		t.Error("the backup has read nothing")
	}
	if backup.log.has(EventDiverged) || primary.log.has(EventPeerLost) {
		t.Errorf("told %v and %v", primary.log.list, backup.log.list)
	}
	agree(t, primary, backup)
}

// agree compares two replicas that have ended. A planned end does not wait until
// the backup has executed all of the log, so at the end they may differ in where
// they are; the log's digests and markers have compared them on the way.
func agree(t *testing.T, primary, backup *running) {
	t.Helper()
	if c := backup.follow.replayer.Compared(); c.Digests == 0 || c.Markers == 0 {
		t.Errorf("the backup has compared %+v", c)
	}
	if backup.log.has(EventDiverged) {
		t.Errorf("the backup has diverged: %v", backup.log.list)
	}
	if p, b := primary.m.Digest(), backup.m.Digest(); p != b && primary.m.Icount() == backup.m.Icount() {
		t.Errorf("digests %v and %v", p, b)
	}
}

// The side that is left goes on with what it has read, and the guest reads what
// it wrote.
func TestEitherSideSurvivesWhileTheBackupReads(t *testing.T) {
	t.Setenv(readsEnv, "1")
	for name, primaryDies := range map[string]bool{"primary": true, "backup": false} {
		t.Run(name+" dies", func(t *testing.T) {
			s := newStage(t)
			primary, backup := s.pairOfProcesses()
			time.Sleep(worked)
			dead, left := primary, backup
			if !primaryDies {
				dead, left = backup, primary
			}
			dead.signal(t, syscall.SIGKILL)
			left.log.await(t, EventLive)
			time.Sleep(worked)
			left.signal(t, syscall.SIGTERM)
			left.ends(t, Ended)
		})
	}
}

// flaky is a disk whose reads fail at one replica, some of the time.
type flaky struct {
	storage.Backend
	reads, failed *atomic.Int64
}

func (f flaky) Follow() error { return nil }

func (f flaky) ReadAt(p []byte, off int64) error {
	if f.reads.Add(1)%3 == 1 && f.failed.Add(1) <= 4 {
		return errors.New("the cable is loose")
	}
	return f.Backend.ReadAt(p, off)
}

// DESIGN section 7: "a failed read is retried".
func TestFailedReadsOfTheBackupAreTriedAgain(t *testing.T) {
	s := newStage(t)
	s.reads = true
	var reads, failed atomic.Int64
	log := newEvents()
	cfg := s.config(log)
	cfg.Listen = porttest.Address()
	cfg.Disks[0].Path = "flaky://" + s.disk()
	cfg.Openers = storage.Openers{"flaky": func(target string, readOnly bool) (storage.Backend, error) {
		b, err := storage.OpenFile(strings.TrimPrefix(target, "flaky://"), readOnly)
		return flaky{b, &reads, &failed}, err
	}}
	r, err := Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	backup := run(t, r, log)
	primary := s.powerOn(backup.Addr())
	primary.log.await(t, EventProtected)
	for failed.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	before := primary.Status().OutputDelay.Count
	for primary.Status().OutputDelay.Count < before+500 {
		time.Sleep(time.Millisecond)
	}
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	agree(t, primary, backup)
}

// blind is a backend that only one host can reach.
type blind struct{}

func (blind) Sectors() uint64                                     { return 16 }
func (blind) BlockSize() uint32                                   { return 512 }
func (blind) Claim(context.Context, ft.Fence, func(string)) error { return nil }
func (blind) ReadAt([]byte, int64) error                          { return nil }
func (blind) WriteAt([]byte, int64) error                         { return nil }
func (blind) Sync() error                                         { return nil }
func (blind) Discard(int64, int64) error                          { return nil }
func (blind) Zero(int64, int64) error                             { return nil }
func (blind) Close() error                                        { return nil }

func TestReadsByTheBackupAreRefused(t *testing.T) {
	s := newStage(t)
	s.reads = true
	cfg := s.config(newEvents())
	cfg.Disks[0].Path = "blind://x"
	cfg.Openers = storage.Openers{"blind": func(string, bool) (storage.Backend, error) { return blind{}, nil }}
	if _, err := PowerOn(cfg); err == nil || !strings.Contains(err.Error(), "write reads: primary") {
		t.Errorf("a disk that two hosts cannot read: %v", err)
	}
	cfg = s.config(newEvents())
	out, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cfg.Listen, cfg.Record, cfg.RecordState = porttest.Address(), out, filepath.Join(s.dir, "state")
	if _, err := Follow(cfg); err == nil || !strings.Contains(err.Error(), "cannot be replayed") {
		t.Errorf("a backup that records: %v", err)
	}
}

// Both replicas must agree in who reads.
func TestReplicasThatReadDifferentlyRefuseEachOther(t *testing.T) {
	s := newStage(t)
	backup := s.follow()
	s.reads = true
	primary := s.powerOn(backup.Addr())
	primary.wait(t, Refused)
	if primary.err == nil || !strings.Contains(primary.err.Error(), "reads:") {
		t.Errorf("the primary says %v", primary.err)
	}
}

// Alone, with nobody who could read, completions carry their data and writes
// wait for nobody.
func TestAloneReadsAreThePrimarys(t *testing.T) {
	s := newStage(t)
	s.reads = true
	r := s.powerOn("")
	for r.Status().OutputDelay.Count < 200 {
		time.Sleep(time.Millisecond)
	}
	r.cancel()
	r.wait(t, Ended)
}

// The backup tells at once of reads in front of a marker; a read that a change
// waits for may be completed behind the marker of that change.
func TestAReadThatAChangeWaitsForGetsAMarker(t *testing.T) {
	var log bytes.Buffer
	recorder, err := replay.NewRecorder(&log, replay.Header{})
	if err != nil {
		t.Fatal(err)
	}
	r := &Replica{start: time.Now(), m: sim.NewToy(sim.ToyConfig{}), recorder: recorder, cfg: Config{Disks: []Disk{{BackupReads: true}}}}
	r.out = newOutlet(r.now, func() {})
	r.out.beginReads()
	for _, o := range []machine.Output{
		{Port: machine.Port{Kind: machine.PortDisk}, ID: 1, Op: machine.DiskRead, Sector: 0, Length: 1024},
		{Port: machine.Port{Kind: machine.PortDisk}, ID: 2, Op: machine.DiskRead, Sector: 8, Length: 1024},
		{Port: machine.Port{Kind: machine.PortDisk}, ID: 3, Op: machine.DiskWrite, Sector: 1, Bytes: make([]byte, 512)},
	} {
		r.readByBackup(o)
	}
	for _, id := range []uint64{2, 1} {
		r.logInput(machine.DiskDone{ID: id, Bytes: make([]byte, 1024)})
	}
	if err := recorder.End(); err != nil {
		t.Fatal(err)
	}
	lr, err := replay.NewReader(&log)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		e, err := lr.Next()
		if err != nil {
			break
		}
		got = append(got, fmt.Sprintf("%T", e.Body))
	}
	if want := []string{"replay.OwnDone", "replay.OwnDone", "replay.Marker"}; !slices.Equal(got, want) {
		t.Errorf("the log has %v, want %v", got, want)
	}
}
