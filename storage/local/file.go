package local

import "errors"

// A File is what a copy or its sidecar lies in. What was written is durable
// only after Sync: until then a loss of power may keep any part of it, sector
// by sector. All methods but Close may run side by side.
type File interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes durable everything that has returned. After an error nothing
	// is known of what was written since the last Sync that succeeded.
	Sync() error
	Truncate(size int64) error
	// Allocate takes the space for a range, so that a write into it cannot find
	// the disk full.
	Allocate(off, n int64) error
	// PunchHole makes a range read as zeros and gives its space back.
	PunchHole(off, n int64) error
	// NextData is the first range at or after off that may hold anything but
	// zeros, start == end if there is none.
	NextData(off int64) (start, end int64, err error)
	Size() (int64, error)
	// Lock takes the exclusive lock of this descriptor, and is ErrLocked if
	// another one holds it.
	Lock() error
	// Close frees the lock.
	Close() error
}

// prompt is a File in the host's page cache (storage.Prompt, PromptWriter).
type prompt interface {
	ReadPromptly(p []byte, off int64) bool
	WritePromptly(p []byte, off int64) bool
}

// FS is the directory that they lie in. A name that was made or changed is
// durable after SyncDir of its directory.
type FS interface {
	Open(path string) (File, error)
	// Create makes a new, empty file, and fails if there is one.
	Create(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error
}

// ErrLocked is what Lock answers while another descriptor holds the lock.
var ErrLocked = errors.New("locked by another process")
