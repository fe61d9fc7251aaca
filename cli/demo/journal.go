package demo

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// journal keeps what happened, for a face that shows it later.
type journal struct {
	start time.Time

	mu    sync.Mutex
	notes []note
}

// note is one thing that happened.
type note struct {
	at   time.Duration // since the start
	text string
}

func (n note) String() string { return fmt.Sprintf("%7.2f  %s", n.at.Seconds(), n.text) }

// keptNotes bounds the journal; the oldest notes go first.
const keptNotes = 500

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.notes = append(j.notes, note{time.Since(j.start), fmt.Sprintf(format, args...)})
	if len(j.notes) > keptNotes {
		j.notes = slices.Delete(j.notes, 0, len(j.notes)-keptNotes)
	}
}

// newest is a copy of the last n notes.
func (j *journal) newest(n int) []note {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.notes[max(0, len(j.notes)-n):])
}

// print writes every note, as the plain face would have.
func (j *journal) print(w io.Writer) {
	for _, n := range j.newest(keptNotes) {
		fmt.Fprintln(w, n)
	}
}
