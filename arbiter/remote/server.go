package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// maxAsked bounds the requests of one client that are answered at once.
const maxAsked = 64

// Serve answers one client until its stream ends, closes the stream, and
// returns when no request is being worked on. Only a stream that breaks or does
// not speak the protocol is an error. It does not close the store.
func Serve(stream io.ReadWriteCloser, store cells.Store) error {
	defer func() { _ = stream.Close() }()
	first := hello{Lockstep: "cells", Version: Version}
	first.Durable, first.WhyNotDurable = store.Durable()
	first.Outside, first.WhyNotOutside = store.Outside()
	if err := put(stream, first); err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	var (
		writing sync.Mutex
		working sync.WaitGroup
		free    = make(chan struct{}, maxAsked)
	)
	defer working.Wait()
	for in := lines(stream, maxRequest); ; {
		var req request
		err := next(in, &req)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("remote: %w", err)
		}
		free <- struct{}{}
		working.Go(func() {
			a := perform(store, req)
			writing.Lock()
			defer writing.Unlock()
			_ = put(stream, a) // a client that is gone asks again elsewhere
			<-free
		})
	}
}

// ServeAll answers every client that comes to l, until ctx ends; it closes l.
func ServeAll(ctx context.Context, l net.Listener, store cells.Store) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var working sync.WaitGroup
	defer working.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("remote: %w", err)
		}
		working.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			_ = Serve(conn, store)
		})
	}
}

func perform(store cells.Store, req request) answer {
	a := answer{ID: req.ID}
	var err error
	switch req.Op {
	case opCreate:
		if err = cells.Check(req.VM, req.Name, req.Content); err == nil {
			a.Content, err = store.Create(req.VM, req.Name, req.Content)
		}
	case opRead:
		if err = cells.Check(req.VM, req.Name, nil); err == nil {
			a.Content, err = store.Read(req.VM, req.Name)
		}
	case opList:
		if err = cells.CheckVM(req.VM); err == nil {
			a.Names, err = store.List(req.VM, req.Name)
		}
	case opPing:
		err = store.Ping()
	default:
		err = fmt.Errorf("the driver does not know the request %q: take driver and VM from one release", req.Op)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.Missing = true
	case err != nil:
		a.Error = err.Error()
	}
	return a
}
