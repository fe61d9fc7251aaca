//go:build !unix

package network

import "syscall"

// tryWrite takes nothing: the goroutine writes.
func tryWrite(syscall.RawConn, []byte) int { return 0 }
