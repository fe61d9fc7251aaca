package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/storage/store"
)

// serveStore makes this process the stage's block store.
func serveStore(s *stage) int {
	cells, err := arbiter.OpenDir(filepath.Join(s.dir, "arbiter"))
	if err == nil {
		_, err = store.Start(store.Config{
			Listen: []string{"unix:" + s.store}, Cells: cells,
			Exports: []store.Export{{Name: "disk0", File: s.disk()}},
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	_ = json.NewEncoder(os.Stdout).Encode(Event{Kind: "serving"})
	select {}
}

// startStore puts the disk and the arbiter into a store, a process of its own.
func (s *stage) startStore() *process {
	s.t.Helper()
	s.store = filepath.Join(s.dir, "store")
	p := s.start("store")
	p.log.await(s.t, "serving")
	return p
}

func (s *stage) contents() []byte {
	s.t.Helper()
	b, err := os.ReadFile(s.disk())
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// DESIGN R19: a store discards the late writes of the old primary, so the backup
// does not wait for its process.
func TestFrozenPrimaryCannotWriteToAStore(t *testing.T) {
	s := newStage(t)
	s.startStore()
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	primary.signal(t, syscall.SIGSTOP)
	backup.log.await(t, EventLive)
	if backup.log.has(EventLockWait) {
		t.Errorf("the backup waited for a frozen process: %v", backup.log.list)
	}
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
	if !s.ended() {
		t.Error("the run record does not say that the run has ended")
	}
	left := s.contents()
	if bytes.Equal(left, make([]byte, len(left))) {
		t.Error("the guest wrote nothing")
	}
	primary.signal(t, syscall.SIGCONT)
	primary.ends(t, Halted)
	if !bytes.Equal(s.contents(), left) {
		t.Error("a write of the old primary landed after it had lost")
	}
}

// DESIGN R19: "A write that the old primary had in flight may reach a shared disk
// late and land over newer data". The primary is frozen when half of a write has
// reached the store, and the other half comes after the backup has ended.
func TestWriteThatWasFrozenHalfWayDoesNotLand(t *testing.T) {
	s := newStage(t)
	s.startStore()
	backup := s.start("backup")
	h, socket := s.between()
	s.store = socket
	primary := s.start("primary", backup.address(t))
	primary.log.await(t, EventProtected)
	backup.log.await(t, EventProtected)
	time.Sleep(worked)
	late := h.hold()
	primary.signal(t, syscall.SIGSTOP)
	backup.log.await(t, EventLive) // at once: nobody waits for the rest
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
	left := s.contents()
	if h.let() {
		t.Errorf("the store told the old primary that its write is done: %+v", late)
	}
	if !bytes.Equal(s.contents(), left) {
		t.Errorf("the old primary's write landed after it had lost: %+v", late)
	}
	primary.signal(t, syscall.SIGCONT)
	primary.ends(t, Halted)
	if !bytes.Equal(s.contents(), left) {
		t.Error("a write of the old primary landed after it had lost")
	}
}

// A store that dies stops nobody: requests wait, and nothing is lost or done
// twice.
func TestReplicasWaitForTheirStore(t *testing.T) {
	s := newStage(t)
	first := s.startStore()
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	first.signal(t, syscall.SIGKILL)
	<-first.done
	primary.log.awaitText(t, "is lost, connecting again")
	s.startStore()
	primary.log.awaitText(t, "is there again")
	time.Sleep(worked)
	for _, p := range []*process{primary, backup} {
		if p.log.has(EventPeerLost) || p.log.has(EventDiskStopped) {
			t.Errorf("a lost store is no failover and no error: %v", p.log.list)
		}
	}
	primary.signal(t, syscall.SIGTERM)
	primary.ends(t, Ended)
	backup.ends(t, Ended)
}

// Store and primary die together; the backup claims and fences when the store is
// back, and the guest reads what it wrote.
func TestBackupWaitsForTheStoreToGoLive(t *testing.T) {
	s := newStage(t)
	first := s.startStore()
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	first.signal(t, syscall.SIGKILL)
	<-first.done
	primary.signal(t, syscall.SIGKILL)
	backup.log.awaitText(t, "the arbiter does not answer")
	s.startStore()
	backup.log.await(t, EventLive)
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
}
