package storage

import "testing"

func TestSparesAreUsedAgain(t *testing.T) {
	var s spares
	first := s.take(4096)
	s.give(first)
	if second := s.take(1000); len(second) != 1000 || &second[0] != &first[0] {
		t.Error("a read got new memory though a buffer was given back")
	}
	if third := s.take(1000); &third[0] == &first[0] {
		t.Error("two reads have one buffer")
	}
	s.give(make([]byte, 512))
	if b := s.take(4096); len(b) != 4096 {
		t.Errorf("%d bytes instead of 4096", len(b))
	}
}

// However much a guest has read at once, little is kept of it.
func TestSparesAreBounded(t *testing.T) {
	var s spares
	for range 100 {
		s.give(make([]byte, 1<<20))
	}
	if s.bytes != spareBytes || len(s.free) != spareBytes>>20 {
		t.Errorf("%d buffers of %d bytes in all are kept", len(s.free), s.bytes)
	}
	for range 100 {
		s.take(1 << 20)
	}
	if s.bytes != 0 || len(s.free) != 0 {
		t.Errorf("%d buffers are left, counted as %d bytes", len(s.free), s.bytes)
	}
}
