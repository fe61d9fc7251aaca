package storage

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// PromptFile reads what a file has in the host's page cache. The zero value is
// ready to use.
type PromptFile struct{ never atomic.Bool } // the file system cannot tell

// ReadAt fills p from off and says whether that needed no waiting (preadv2,
// RWF_NOWAIT). Otherwise p may have changed.
func (c *PromptFile) ReadAt(f *os.File, p []byte, off int64) bool {
	if c.never.Load() {
		return false
	}
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
	if unsupported(err) || errors.Is(err, unix.EPERM) { // or a sandbox forbids it
		c.never.Store(true)
	}
	return err == nil && n == len(p)
}
