package store

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// errCut is what a request is answered with that a connection brought which was
// cut off: it did not touch the file.
var errCut = errors.New("cut off")

// transmit takes requests until the client leaves or is cut off. They run side
// by side, and their answers leave as they are ready.
func (c *conn) transmit() {
	var wg sync.WaitGroup
	defer c.export.detach(c.member)
	defer wg.Wait()
	c.begin()
	for {
		var head [nbd.RequestSize]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			c.lost(err)
			return
		}
		r, err := nbd.ParseRequest(&head)
		if err != nil {
			c.lost(err)
			return
		}
		if r.Type == nbd.CmdDisc {
			return // the requests before are answered first
		}
		data, err := c.receive(r)
		if err != nil {
			c.lost(err)
			return
		}
		bad := check(r, c.export.info.Size, c.export.info.MinBlock, c.export.readOnly || c.member.role == reader)
		wg.Go(func() {
			c.handle(r, data, bad)
			c.give(held(r))
		})
	}
}

// begin takes the negotiation's time limit away, unless the connection was cut
// off already.
func (c *conn) begin() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	e := c.export
	e.mu.Lock()
	defer e.mu.Unlock()
	if !c.server.closed && !c.member.out {
		c.raw.SetDeadline(time.Time{})
	}
}

// lost notes why a connection ends that the client did not end itself.
func (c *conn) lost(err error) {
	c.export.mu.Lock()
	out := c.member.out
	c.export.mu.Unlock()
	switch {
	case out:
		c.server.note("%s: cut off from export %s", c.peer, c.export.name)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, unix.ECONNRESET):
	default:
		c.server.note("%s: export %s: %v", c.peer, c.export.name, err)
	}
}

// held is how much data of a request is in memory while it is under way.
func held(r nbd.Request) int {
	if r.Type == nbd.CmdRead && r.Length > nbd.MaxPayload {
		return 0 // it is refused
	}
	if r.Type == nbd.CmdRead || r.Type == nbd.CmdWrite {
		return int(r.Length)
	}
	return 0
}

// receive waits until there is room for a request and reads a write's data.
func (c *conn) receive(r nbd.Request) ([]byte, error) {
	if r.Type == nbd.CmdWrite && r.Length > nbd.MaxPayload {
		// What follows cannot be told from its data, so this ends here.
		return nil, fmt.Errorf("a write of %d bytes; at most %d are taken", r.Length, nbd.MaxPayload)
	}
	c.take(held(r))
	if r.Type != nbd.CmdWrite {
		return nil, nil
	}
	data := make([]byte, r.Length)
	_, err := io.ReadFull(c.in, data)
	return data, err
}

// take waits until n bytes and one request more are within the bounds.
func (c *conn) take(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.count >= maxRequests || c.bytes+n > maxBytes {
		c.room.Wait()
	}
	c.count++
	c.bytes += n
}

func (c *conn) give(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	c.bytes -= n
	c.room.Signal()
}

// check says with what error a request is refused, 0 if it is not.
func check(r nbd.Request, size uint64, block uint32, readOnly bool) uint32 {
	flags := nbd.FlagFUA
	switch r.Type {
	case nbd.CmdFlush:
		if r.Offset != 0 || r.Length != 0 {
			return nbd.EINVAL
		}
	case nbd.CmdRead:
		if r.Length > nbd.MaxPayload {
			return nbd.EOVERFLOW
		}
	case nbd.CmdWriteZeroes:
		flags |= nbd.FlagNoHole
	case nbd.CmdWrite, nbd.CmdTrim:
	default:
		return nbd.EINVAL
	}
	writes := r.Type == nbd.CmdWrite || r.Type == nbd.CmdTrim || r.Type == nbd.CmdWriteZeroes
	switch {
	case r.Flags&^flags != 0:
		return nbd.EINVAL
	case writes && readOnly:
		return nbd.EPERM
	case r.Offset > size || uint64(r.Length) > size-r.Offset:
		if r.Type == nbd.CmdWrite || r.Type == nbd.CmdWriteZeroes {
			return nbd.ENOSPC
		}
		return nbd.EINVAL
	case r.Offset%uint64(block) != 0 || r.Length%block != 0:
		return nbd.EINVAL
	}
	return 0
}

// handle does a request and answers it.
func (c *conn) handle(r nbd.Request, data []byte, bad uint32) {
	if bad != 0 {
		c.send(r, bad, nil)
		return
	}
	if r.Type == nbd.CmdRead {
		data = make([]byte, r.Length)
	}
	err := c.perform(r, data)
	switch {
	case err == errCut:
		c.send(r, nbd.ESHUTDOWN, nil)
	case err != nil:
		c.server.note("%s: export %s: %v", c.peer, c.export.name, err)
		c.send(r, code(err), nil)
	case r.Type == nbd.CmdRead:
		c.send(r, 0, data)
	default:
		c.send(r, 0, nil)
	}
}

func (c *conn) perform(r nbd.Request, data []byte) error {
	if !c.export.enter(c.member) {
		return errCut
	}
	defer c.export.leave(c.member)
	if r.Length == 0 && r.Type != nbd.CmdFlush {
		return nil
	}
	return c.export.perform(r, data)
}

// code is the protocol's number for an error of the file ("Error values").
func code(err error) uint32 {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return nbd.ENOSPC
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return nbd.EPERM
	}
	return nbd.EIO
}

// send writes an answer. A client that cannot be written to is lost.
func (c *conn) send(r nbd.Request, code uint32, data []byte) {
	c.out.Send(nbd.Reply{Error: code, Handle: r.Handle}.Append(nil), data)
}
