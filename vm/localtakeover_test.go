package vm

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/lockstep-vm/lockstep/storage"
)

// held is a copy one of whose writes is held back until the test lets it go, and
// then fails if that is wanted: the same write on both hosts, for writes to one
// place are begun in the guest's order. It remembers all that were begun.
type held struct {
	storage.Backend
	// armed, if not nil, holds the writes at heldAt back until it is closed: a
	// backup counts them from the State on.
	armed chan struct{}
	waits chan struct{}
	letGo chan error

	mu     sync.Mutex
	writes []write
	there  int // writes at heldAt
}

type write struct {
	off   int64
	bytes []byte
}

const (
	heldAt  = 15 * 512
	heldNth = 5
)

func newHeld() *held { return &held{waits: make(chan struct{}), letGo: make(chan error)} }

func (h *held) wrap(b storage.Backend) storage.Backend {
	h.Backend = b
	return h
}

func (h *held) WriteAt(p []byte, off int64) error {
	if off == heldAt && h.armed != nil {
		<-h.armed
	}
	h.mu.Lock()
	h.writes = append(h.writes, write{off, bytes.Clone(p)})
	if off == heldAt {
		h.there++
	}
	hold := off == heldAt && h.there == heldNth
	h.mu.Unlock()
	if hold {
		h.waits <- struct{}{}
		if err := <-h.letGo; err != nil {
			return err
		}
	}
	return h.Backend.WriteAt(p, off)
}

func (h *held) begun() []write {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes
}

// A write that runs on the own copy when the claim is won, and of which the log
// has no completion, is waited for and not begun again.
func TestWriteUnderWayAtTheClaimIsNotBegunTwice(t *testing.T) {
	s := newLocalStage(t)
	ofPrimary, ofBackup := newHeld(), newHeld()
	ofPrimary.armed = make(chan struct{})
	primary, backup := s.localPair(ofPrimary.wrap, ofBackup.wrap)
	close(ofPrimary.armed)
	primary.receives(t, "the write that is held", ofPrimary.waits)
	backup.receives(t, "the write that is held", ofBackup.waits)
	ofPrimary.letGo <- errors.New("the platter is scratched")
	primary.wait(t, Halted)
	backup.log.await(t, EventClaimWon)
	if backup.log.has(EventLive) {
		t.Error("live while a write runs")
	}
	before := len(ofBackup.begun())
	ofBackup.letGo <- nil
	backup.log.await(t, EventLive)
	backup.until(t, "writes", func() bool { return len(ofBackup.begun()) >= before+20 })
	backup.cancel()
	backup.wait(t, Ended)
	at := map[string]int{}
	for _, w := range ofBackup.begun() {
		if w.off != heldAt {
			continue
		}
		if at[string(w.bytes)]++; at[string(w.bytes)] > 1 {
			t.Error("a write was begun twice")
		}
	}
}
