package storage

import "sync"

// spareBytes bounds what a disk keeps for its next reads.
const spareBytes = 8 << 20

// spares are buffers that reads are done into again: a guest that reads its disk
// would otherwise have the collector run all the time.
type spares struct {
	mu    sync.Mutex
	free  [][]byte
	bytes int
}

// take is a buffer of n bytes, whose contents are anything.
func (s *spares) take(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.free) - 1; i >= 0; i-- {
		if b := s.free[i]; cap(b) >= n {
			last := len(s.free) - 1
			s.free[i], s.free[last] = s.free[last], nil
			s.free = s.free[:last]
			s.bytes -= cap(b)
			return b[:n]
		}
	}
	return make([]byte, n)
}

// give takes a buffer that nobody uses any more.
func (s *spares) give(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+cap(b) <= spareBytes {
		s.free = append(s.free, b)
		s.bytes += cap(b)
	}
}
