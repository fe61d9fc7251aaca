package logchan

import "golang.org/x/sys/unix"

// writeNow writes what the socket takes of the pieces without waiting; 0 if it
// takes nothing now. Go's sockets are non-blocking at this level.
func writeNow(fd uintptr, pieces [][]byte) (n int, err error) {
	for {
		if len(pieces) == 1 {
			n, err = unix.Write(int(fd), pieces[0])
		} else {
			n, err = unix.Writev(int(fd), pieces)
		}
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
