package network

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// guestConn is the gateway's end of a TCP connection with a guest.
type guestConn struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

// newGuestConn sets the options of a connection with a guest: no Nagle, and
// keep-alive, so that what a guest forgot does not stay for ever.
func newGuestConn(wq *waiter.Queue, ep tcpip.Endpoint) *guestConn {
	o := ep.SocketOptions()
	o.SetDelayOption(false)
	o.SetKeepAlive(true)
	idle, interval := tcpip.KeepaliveIdleOption(2*time.Minute), tcpip.KeepaliveIntervalOption(time.Minute)
	ep.SetSockOpt(&idle)
	ep.SetSockOpt(&interval)
	return &guestConn{TCPConn: gonet.NewTCPConn(wq, ep), ep: ep}
}

// reset ends the connection with RST.
func (c *guestConn) reset() {
	c.ep.Abort()
	_ = c.SetDeadline(time.Unix(1, 0))
	c.Close()
}

// dialGuest connects to a guest; it gives up when ctx ends.
func dialGuest(ctx context.Context, s *stack.Stack, to tcpip.FullAddress, network tcpip.NetworkProtocolNumber) (*guestConn, error) {
	wq := new(waiter.Queue)
	ep, terr := s.NewEndpoint(tcp.ProtocolNumber, network, wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	terr = ep.Connect(to)
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Abort()
			return nil, ctx.Err()
		case <-ready:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Close()
		return nil, errors.New(terr.String())
	}
	return newGuestConn(wq, ep), nil
}

var spliceBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// splice carries bytes both ways until both sides have ended, or one fails, or
// ctx ends; then both connections are closed. The end of one direction is
// passed on as such, and a failure as a reset.
func splice(ctx context.Context, host *net.TCPConn, guest *guestConn) {
	reset := sync.OnceFunc(func() {
		host.SetLinger(0)
		_ = host.Close()
		guest.reset()
	})
	stop := context.AfterFunc(ctx, reset)
	defer stop()
	inward := make(chan struct{})
	go func() {
		defer close(inward)
		if carry(guest, host) != nil || guest.CloseWrite() != nil {
			reset()
		}
	}()
	if carry(host, guest) != nil || host.CloseWrite() != nil {
		reset()
	}
	<-inward
	_ = host.Close()
	guest.Close()
}

// carry copies until src ends.
func carry(dst io.Writer, src io.Reader) error {
	b := spliceBuffers.Get().(*[]byte)
	defer spliceBuffers.Put(b)
	for {
		n, err := src.Read(*b)
		if n > 0 {
			if _, err := dst.Write((*b)[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
