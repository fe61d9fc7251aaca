//go:build unix

package logchan

import "syscall"

// writeNow writes what the socket takes without waiting; 0 if it takes nothing
// now. Go's sockets are non-blocking at this level.
func writeNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
