package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
)

func write(id, sector uint64, fill byte) machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortDisk}, Op: machine.DiskWrite, ID: id, Sector: sector, Bytes: bytes.Repeat([]byte{fill}, 1024)}
}

func read(id, sector uint64) machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortDisk}, Op: machine.DiskRead, ID: id, Sector: sector, Length: 1024}
}

func flush(id uint64) machine.Output {
	return machine.Output{Port: machine.Port{Kind: machine.PortDisk}, Op: machine.DiskFlush, ID: id}
}

// DESIGN section 5: "a read that overlaps a held or running write waits for it".
func TestQueueOrder(t *testing.T) {
	tests := []struct {
		name    string
		queue   []machine.Output
		release []uint64
		want    []uint64 // what may run at once
	}{
		{"a read runs unreleased", []machine.Output{read(1, 0)}, nil, []uint64{1}},
		{"a write waits for the gate", []machine.Output{write(1, 0, 'a')}, nil, nil},
		{"a released write runs", []machine.Output{write(1, 0, 'a')}, []uint64{1}, []uint64{1}},
		{"a read waits for a held write that it overlaps", []machine.Output{write(1, 0, 'a'), read(2, 1)}, nil, nil},
		{"a read elsewhere does not", []machine.Output{write(1, 0, 'a'), read(2, 2)}, nil, []uint64{2}},
		{"a read waits for a running write", []machine.Output{write(1, 0, 'a'), read(2, 1)}, []uint64{1}, []uint64{1}},
		{"writes to the same blocks keep their order", []machine.Output{write(1, 0, 'a'), write(2, 1, 'b')}, []uint64{1, 2}, []uint64{1}},
		{"a write waits for an earlier read", []machine.Output{read(1, 0), write(2, 0, 'b')}, []uint64{2}, []uint64{1}},
		{"reads run together", []machine.Output{read(1, 0), read(2, 0)}, nil, []uint64{1, 2}},
		{"a flush waits for writes", []machine.Output{write(1, 0, 'a'), flush(2)}, []uint64{1, 2}, []uint64{1}},
		{"a write does not wait for a flush", []machine.Output{flush(1), write(2, 0, 'a')}, []uint64{1, 2}, []uint64{1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q queue
			for _, o := range tt.queue {
				q.add(o)
			}
			for _, id := range tt.release {
				if !q.release(id) {
					t.Fatalf("release(%d) found nothing", id)
				}
			}
			var got []uint64
			for r := q.next(); r != nil; r = q.next() {
				got = append(got, r.ID)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("runs %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Fatalf("runs %v, want %v", got, tt.want)
				}
			}
		})
	}
}

func image(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openLocked(t *testing.T, path string) (*Shared, chan machine.DiskDone) {
	t.Helper()
	done := make(chan machine.DiskDone, 16)
	s, err := OpenShared(path, 0, false, func(d machine.DiskDone) { done <- d })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Lock(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return s, done
}

func TestWriteReachesTheFileOnlyAfterRelease(t *testing.T) {
	path := image(t, 8192)
	s, done := openLocked(t, path)
	s.Submit(write(1, 2, 'w'))
	s.Submit(read(2, 8)) // proves that the workers have looked at the queue
	if d := <-done; d.ID != 2 {
		t.Fatalf("request %d ran first", d.ID)
	}
	if have, _ := os.ReadFile(path); bytes.IndexByte(have, 'w') >= 0 {
		t.Fatal("a held write reached the file")
	}
	s.Submit(read(3, 2))
	s.Release(1)
	if d := <-done; d.ID != 1 || d.Status != machine.DiskOK {
		t.Fatalf("write: %+v", d)
	}
	if d := <-done; d.ID != 3 || !bytes.Equal(d.Bytes, bytes.Repeat([]byte{'w'}, 1024)) {
		t.Fatalf("the read after it: id %d status %d", d.ID, d.Status)
	}
}

// DESIGN R19: "the winner of a claim waits, visibly, for that lock".
func TestSecondOwnerWaitsForTheLock(t *testing.T) {
	path := image(t, 4096)
	first, _ := openLocked(t, path)
	second, err := OpenShared(path, 0, false, func(machine.DiskDone) {})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	told := 0
	if err := second.Lock(ctx, func() { told++ }); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
		t.Fatalf("lock while held: %v, told %d times", err, told)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestBeyondTheEndIsAnIOError(t *testing.T) {
	s, done := openLocked(t, image(t, 4096))
	s.Submit(read(1, 7))
	if d := <-done; d.Status != machine.DiskIOError || d.Bytes != nil {
		t.Errorf("%+v", d)
	}
}

func TestBadImagesAreRefused(t *testing.T) {
	for name, size := range map[string]int64{"empty": 0, "odd": 700} {
		if _, err := OpenShared(image(t, size), 0, false, nil); err == nil || !strings.Contains(err.Error(), "multiple of 512") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
